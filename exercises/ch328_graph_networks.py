"""Chapter 328: Graph Neural Networks

Molecules, friendships, road maps: data whose points are tied to each other, with no order and no grid. A graph network
lets every node listen to its neighbours, layer after layer. You write the two layers that matter most, GCN and GAT,
with their backward passes, the plain aggregations, and two measurements: how far a node hears, and how alike all nodes
become.

Conventions, here and in every chapter:
  - N nodes with features x (N, D); the adjacency A is (N, N), A[i, j] is 1 where node i listens to node j, else 0, with
    zeros on the diagonal; an undirected graph has a symmetric A;
  - weights are (out, in), used as x @ W.T; gradients have the shapes of what they belong to;
  - functions accept any arrays of numbers, work in float64, and never modify what they are given: A above all.

Run `dlgrade check ch328` as often as you like; `dlgrade hint ch328 gcn_layer` helps you on.
"""

import numpy as np


def normalize_adjacency(A):
    """The propagation matrix of a graph convolution (Kipf and Welling, 2017).

        P = D^-1/2 (A + I) D^-1/2          D diagonal, with the row sums of A + I

    Every node also listens to itself, so no degree is zero: an isolated node keeps its own features. Dividing by the
    roots of both degrees keeps popular nodes from shouting, and keeps P symmetric when A is.

    A: (N, N), without self-loops.
    Returns P, an array (N, N).

    Example: normalize_adjacency([[0, 1], [1, 0]]) gives [[0.5, 0.5], [0.5, 0.5]]; a single node gives [[1.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("normalize_adjacency is still to do")


def gcn_layer(x, P, W, b):
    """One graph convolution with a ReLU:   z = P @ (x @ W.T) + b          out = max(z, 0)

    x: features (N, D_in).
    P: propagation matrix (N, N), as from normalize_adjacency; it need not be symmetric.
    W: weights (D_out, D_in).
    b: bias (D_out,).
    Returns (out, cache): an array (N, D_out), and whatever your `gcn_layer_backward` wants to find again.

    Example: with P the identity it is an ordinary layer: gcn_layer([[1.0, -2.0]], [[1.0]], [[3.0, 1.0]], [0.5]) gives
             out = [[1.5]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gcn_layer is still to do")


def gcn_layer_backward(dout, cache):
    """Backward through `gcn_layer`.

        dz = dout where z > 0, else 0          g = P^T dz
        dW = g^T x          db = sum of dz over the nodes          dx = g W

    A message that went from j to i along P[i, j] sends its gradient back along the same entry: that is P transposed.

    dout:  gradient at out, (N, D_out).
    cache: what `gcn_layer` returned second.
    Returns (dx, dW, db), with the shapes of x, W and b.

    Example: for the example of gcn_layer with dout = [[1.0]], dx is [[3.0, 1.0]], dW is [[1.0, -2.0]] and db [1.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gcn_layer_backward is still to do")


def aggregate(x, A, how):
    """What each node's neighbours say, put together: their "sum", "mean" or entry-wise "max".

    Sums can count, means compare neighbourhoods of different size, maxima notice whether anybody has a feature. A node
    is not its own neighbour here, and a node without neighbours gets zeros in every case.

    x:   features (N, D).
    A:   (N, N), zeros and ones; it need not be symmetric: row i says to whom node i listens.
    how: "sum", "mean" or "max".
    Returns an array (N, D).

    Example: with x = [[1.0], [2.0], [6.0]] and A = [[0, 1, 1], [1, 0, 0], [0, 0, 0]],
             "sum" gives [[8.0], [1.0], [0.0]], "mean" [[4.0], [1.0], [0.0]] and "max" [[6.0], [1.0], [0.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("aggregate is still to do")


def gat_layer(x, A, W, a_self, a_neighbour):
    """One head of graph attention (Velickovic et al., 2018): each node decides whom of its neighbours to hear.

        h = x @ W.T
        e_ij = leaky_relu(a_self . h_i + a_neighbour . h_j)          slope 0.2 for negative numbers, 1 otherwise
        attention_ij = softmax of e_i over the neighbours j of i, and i itself          exactly 0 for all others
        out_i = sum_j attention_ij h_j

    x:           features (N, D_in).
    A:           (N, N), zeros and ones, without self-loops; every node listens to itself all the same.
    W:           (D_out, D_in).
    a_self, a_neighbour: (D_out,).
    Returns (out, attention, cache): arrays (N, D_out) and (N, N), and whatever your `gat_backward` wants to find again.

    Example: with a_self and a_neighbour zero each node takes the plain average over its neighbours and itself.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gat_layer is still to do")


def gat_backward(dout, cache):
    """Backward through `gat_layer`.

    h is used three times: as what is averaged, and on both sides of the score. With dE the gradient at the scores after
    the softmax's Jacobian, and dS = dE times the slope of the leaky ReLU (0.2 where s <= 0):

        dE = attention * (dout h^T - row sums of dout h^T * attention)
        dh_i = sum_j attention_ji dout_j + (row sum of dS)_i a_self + (column sum of dS)_i a_neighbour

    dout:  gradient at out, (N, D_out).
    cache: what `gat_layer` returned third.
    Returns (dx, grads): an array (N, D_in), and a dict with the keys W, a_self and a_neighbour.

    Example: for dout of zeros all gradients are zeros.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gat_backward is still to do")


def hears(A, layers):
    """Which nodes can influence which after that many layers.

    One layer lets a node hear its neighbours and itself; k layers let it hear whoever is at most k steps away.

    A:      (N, N), zeros and ones, without self-loops; row i says to whom node i listens.
    layers: k, a whole number; 0 is allowed.
    Returns a boolean array (N, N), True at [i, j] where node i hears of node j.

    Example: on the path 0 - 1 - 2, hears(A, 1) is False at [0, 2] only, and at [2, 0]; hears(A, 2) is True everywhere.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("hears is still to do")


def dirichlet_energy(x, A):
    """How different neighbours are: it falls with every propagation, and reaches 0 when nothing is left to tell.

        energy = sum over all entries of x * (x - P x)          P = normalize_adjacency(A)

    Networks with many layers drive it to zero: that is over-smoothing, all nodes of a component look alike.

    x: features (N, D).
    A: symmetric, (N, N), without self-loops.
    Returns one number.

    Example: dirichlet_energy([[1.0], [1.0]], [[0, 1], [1, 0]]) is 0.0, and with x = [[1.0], [-1.0]] it is 2.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("dirichlet_energy is still to do")
