"""Chapter 321: Attention Mechanism

A recurrent net hands everything it knows through one narrow state. Attention lets every position look at every other:
a query is compared with all keys, the comparison becomes weights, and the weights average the values. You write it with
masks, several heads at once, and the whole way back: through the averages, the softmax and the products.

Conventions, here and in every chapter:
  - the batch is the first axis: sequences are (B, T, d), attention weights (B, Tq, Tk) with the keys on the last axis;
  - a boolean mask is True where a query MAY look at a key, as in torch.nn.functional.scaled_dot_product_attention
    (torch.nn.MultiheadAttention means the opposite: beware when you compare);
  - a query that may look at nothing gets weights that are all zero, and so an output of zeros;
  - weight matrices are (out, in), used as x @ W.T; gradients are a dict with the keys of the parameters;
  - functions accept any arrays of numbers, work in float64, and never modify what they are given.

Run `dlgrade check ch321` as often as you like; `dlgrade hint ch321 attention` helps you on.
"""

import numpy as np


def masked_softmax(scores, mask=None):
    """Softmax over the last axis, of the allowed entries only.

    A score that is not allowed counts as minus infinity: its weight is exactly 0, and the others sum to one without it.
    Subtract the maximum of each row first, so that scores of 10,000 do no harm. A row in which nothing is allowed has
    no maximum to speak of: its weights are all 0.

    scores: (..., Tk), for example (B, Tq, Tk).
    mask:   True where allowed, any shape that broadcasts to that of scores; None allows everything.
    Returns the weights, an array of the shape of scores.

    Example: masked_softmax([[0.0, 5.0, 0.0]], [[True, False, True]]) gives [[0.5, 0.0, 0.5]], and with
             [[False, False, False]] it gives [[0.0, 0.0, 0.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("masked_softmax is still to do")


def causal_mask(n):
    """The mask of a model that writes from left to right: position i may look at itself and at what came before.

    n: the length of the sequence.
    Returns a boolean array (n, n), True at [i, j] where j <= i.

    Example: causal_mask(3) gives [[True, False, False], [True, True, False], [True, True, True]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("causal_mask is still to do")


def attention(q, k, v, mask=None):
    """Scaled dot-product attention.

        scores = q k^T / sqrt(dk)          weights = masked_softmax(scores, mask)          out = weights v

    A product of dk independent terms of variance 1 has variance dk. Dividing by the root of dk keeps the scores at
    variance 1 whatever dk is; otherwise the softmax of a large head puts all its weight on one key and stops learning.

    q:    queries (B, Tq, dk).
    k:    keys (B, Tk, dk). Tk may differ from Tq.
    v:    values (B, Tk, dv). dv may differ from dk.
    mask: True where a query may look at a key, any shape that broadcasts to (B, Tq, Tk), or None.
    Returns (out, weights): arrays (B, Tq, dv) and (B, Tq, Tk).

    Example: attention([[[1.0]]], [[[0.0], [log 3]]], [[[0.0, 8.0], [4.0, 0.0]]]) gives
             ([[[3.0, 2.0]]], [[[0.25, 0.75]]]): dk is 1, the scores are 0 and log 3.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("attention is still to do")


def attention_backward(dout, q, k, v, weights):
    """Backward through `attention`, from the gradient at its output to queries, keys and values.

    With P the weights, and S the scores before the softmax:

        dv = P^T dout                                    dP = dout v^T
        dS = P * (dP - sum over keys of dP * P)          the Jacobian of a softmax, row by row
        dq = dS k / sqrt(dk)                             dk = dS^T q / sqrt(dk)

    The mask needs no second look: where it forbids, P is 0, and so is dS.

    dout:    gradient at out, (B, Tq, dv).
    q, k, v: what `attention` was given, (B, Tq, dk), (B, Tk, dk), (B, Tk, dv).
    weights: what it returned second, (B, Tq, Tk).
    Returns (dq, dk, dv), with the shapes of q, k and v.

    Example: for the example of `attention` with dout = [[[1.0, 0.0]]], dv is [[[0.25, 0.0], [0.75, 0.0]]],
             dk is [[[-0.75], [0.75]]] and dq is [[[0.75 log 3]]]: moving weight to the second key is worth 4.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("attention_backward is still to do")


def split_heads(x, n_heads):
    """Cut the features into heads: head h gets columns h * d / n_heads up to (h + 1) * d / n_heads.

    x:       (B, T, d), with d a multiple of n_heads.
    n_heads: the number of heads H.
    Returns an array (B, H, T, d / H).

    Example: split_heads([[[1, 2, 3, 4], [5, 6, 7, 8]]], 2) gives [[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("split_heads is still to do")


def merge_heads(x):
    """Undo `split_heads`: put the heads side by side again.

    x: (B, H, T, d / H).
    Returns an array (B, T, d).

    Example: merge_heads([[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]]) gives [[[1, 2, 3, 4], [5, 6, 7, 8]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("merge_heads is still to do")


def multi_head(x, params, n_heads, mask=None):
    """Multi-head self-attention: H small attentions side by side, each with its own view of x.

        q = split_heads(x @ W_q.T)      k, v likewise          heads = attention of each head by itself
        out = merge_heads(heads) @ W_o.T

    Each head has d / H features, and its scores are divided by sqrt(d / H).

    x:       (B, T, d).
    params:  dict with W_q, W_k, W_v, W_o, each (d, d). There are no biases.
    n_heads: the number of heads H; d is a multiple of it.
    mask:    as in `attention`, the same for all heads: any shape that broadcasts to (B, T, T), or None.
    Returns (out, cache): an array (B, T, d), and whatever your `multi_head_backward` wants to find again.

    Example: with one head and all four matrices the identity, out is attention(x, x, x)[0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("multi_head is still to do")


def multi_head_backward(dout, cache):
    """Backward through `multi_head`.

    x was made into queries, keys and values, so its gradient is the sum of what comes back on the three ways.

    dout:  gradient at out, (B, T, d).
    cache: what `multi_head` returned second.
    Returns (dx, grads): an array (B, T, d), and a dict with the keys W_q, W_k, W_v, W_o, each gradient (d, d).

    Example: for dout of zeros, dx and all gradients are zeros.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("multi_head_backward is still to do")


def additive_scores(query, keys, params):
    """The scores of additive attention (Bahdanau, 2015): a small network instead of a product.

        score of query i and key j = v . tanh(W_q q_i + W_k k_j)

    Queries and keys may have different widths here. Nothing is divided by a root.

    query:  (B, Tq, Dq).
    keys:   (B, Tk, Dk).
    params: dict with W_q (A, Dq), W_k (A, Dk) and v (A,).
    Returns the scores, an array (B, Tq, Tk); masked_softmax makes weights of them.

    Example: additive_scores([[[1.0]]], [[[2.0], [-1.0]]], {"W_q": [[1.0]], "W_k": [[1.0]], "v": [2.0]}) gives
             [[[2 tanh 3, 0.0]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("additive_scores is still to do")


def additive_backward(dscores, query, keys, params):
    """Backward through `additive_scores`.

    With h = tanh(...), (B, Tq, Tk, A), the gradient at what went into the tanh is dscores * v * (1 - h^2). A query's
    gradient sums over the keys it met, a key's over the queries.

    dscores: gradient at the scores, (B, Tq, Tk).
    query, keys, params: what `additive_scores` was given.
    Returns (dquery, dkeys, grads): arrays (B, Tq, Dq) and (B, Tk, Dk), and a dict with the keys W_q, W_k, v, each
    gradient of the shape of its parameter.

    Example: for the example of `additive_scores` with dscores = [[[0.0, 1.0]]], dquery is [[[2.0]]], dkeys is
             [[[0.0], [2.0]]], and the gradient of v is [0.0], because tanh(0) = 0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("additive_backward is still to do")
