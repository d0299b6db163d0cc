"""Graph layers against PyTorch autograd, networkx and the definitions, on the karate club and directed graphs."""

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import graphs
from dlreference.losses import cross_entropy

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def rng():
    return np.random.default_rng(328)


def karate():
    return nx.to_numpy_array(nx.karate_club_graph(), weight=None)


def directed(rng, n=7):
    """A directed graph without self-loops whose node 2 listens to nobody."""
    adjacency = (rng.random((n, n)) < 0.4).astype(float)
    np.fill_diagonal(adjacency, 0.0)
    adjacency[2] = 0.0
    return adjacency


def leaf(x):
    return torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True)


def test_symmetric_normalize_equals_networkx_laplacian():
    graph = nx.karate_club_graph()
    graph.add_edges_from((v, v) for v in list(graph))
    nx.set_edge_attributes(graph, 1.0, "weight")
    # networkx counts a self-loop once in the row sum, so I - L is D^-1/2 (A + I) D^-1/2
    expected = np.eye(34) - nx.normalized_laplacian_matrix(graph).toarray()
    np.testing.assert_allclose(graphs.symmetric_normalize(karate()), expected, **TIGHT)


def test_symmetric_normalize_eigenvalues():
    values = np.linalg.eigvalsh(graphs.symmetric_normalize(karate()))
    assert values[-1] == pytest.approx(1.0, abs=1e-12)
    assert values[0] > -1.0


def test_symmetric_normalize_isolated_node_keeps_its_features():
    adjacency = np.zeros((4, 4))
    adjacency[0, 1] = adjacency[1, 0] = 1.0
    propagation = graphs.symmetric_normalize(adjacency)
    np.testing.assert_array_equal(propagation[2:], np.eye(4)[2:])
    np.testing.assert_allclose(propagation[:2, :2], np.full((2, 2), 0.5))
    assert adjacency.trace() == 0.0


def test_symmetric_normalize_single_node():
    np.testing.assert_array_equal(graphs.symmetric_normalize([[0.0]]), [[1.0]])


def torch_gcn_layer(x, propagation, W, b):
    return F.relu(torch.tensor(propagation) @ x @ W.T + b)


@pytest.mark.parametrize("kind", ["karate", "directed"])
def test_gcn_layer_forward_and_backward(rng, kind):
    adjacency = karate() if kind == "karate" else directed(rng)
    n = len(adjacency)
    propagation = graphs.symmetric_normalize(adjacency)
    x, W, b = leaf(rng.normal(size=(n, 5))), leaf(rng.normal(size=(3, 5))), leaf(rng.normal(size=3))
    expected = torch_gcn_layer(x, propagation, W, b)
    dout = rng.normal(size=(n, 3))
    expected.backward(torch.tensor(dout))
    out, cache = graphs.gcn_layer_forward(x.detach(), propagation, W.detach(), b.detach())
    np.testing.assert_allclose(out, expected.detach(), **TIGHT)
    for ours, theirs in zip(graphs.gcn_layer_backward(dout, cache), (x, W, b), strict=True):
        np.testing.assert_allclose(ours, theirs.grad, **TIGHT)


def test_gcn_stack_forward_and_backward(rng):
    adjacency = karate()
    params = {"W1": (6, 4), "b1": (6,), "W2": (5, 6), "b2": (5,), "W3": (2, 5), "b3": (2,)}
    leaves = {name: leaf(rng.normal(size=shape)) for name, shape in params.items()}
    x = leaf(rng.normal(size=(34, 4)))
    propagation = torch.tensor(graphs.symmetric_normalize(adjacency))
    h = x
    for layer in (1, 2, 3):
        h = propagation @ h @ leaves[f"W{layer}"].T + leaves[f"b{layer}"]
        h = torch.tanh(h) if layer < 3 else h
    dout = rng.normal(size=(34, 2))
    h.backward(torch.tensor(dout))
    out, caches = graphs.gcn_forward(
        x.detach(), adjacency, {k: v.detach().numpy() for k, v in leaves.items()}, activation="tanh"
    )
    grads, dx = graphs.gcn_backward(dout, caches)
    np.testing.assert_allclose(out, h.detach(), **TIGHT)
    np.testing.assert_allclose(dx, x.grad, **TIGHT)
    assert list(grads) == list(params)
    for name, theirs in leaves.items():
        np.testing.assert_allclose(grads[name], theirs.grad, **TIGHT)


def test_gcn_stack_without_biases(rng):
    params = {"W1": rng.normal(size=(3, 4)), "W2": rng.normal(size=(2, 3))}
    x, adjacency = rng.normal(size=(34, 4)), karate()
    with_zero = {**params, "b1": np.zeros(3), "b2": np.zeros(2)}
    np.testing.assert_array_equal(
        graphs.gcn_forward(x, adjacency, params)[0], graphs.gcn_forward(x, adjacency, with_zero)[0]
    )


def test_gcn_and_gat_are_permutation_equivariant(rng):
    adjacency, x = karate(), rng.normal(size=(34, 4))
    W, a, c = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=3)
    order = rng.permutation(34)
    shuffled = adjacency[np.ix_(order, order)]
    np.testing.assert_allclose(
        graphs.gcn_forward(x[order], shuffled, {"W1": W})[0],
        graphs.gcn_forward(x, adjacency, {"W1": W})[0][order],
        **TIGHT,
    )
    np.testing.assert_allclose(
        graphs.gat_layer_forward(x[order], shuffled, W, a, c)[0],
        graphs.gat_layer_forward(x, adjacency, W, a, c)[0][order],
        **TIGHT,
    )


def test_gcn_trained_on_two_labels_splits_the_karate_club():
    graph = nx.karate_club_graph()
    adjacency = karate()
    clubs = np.array([graph.nodes[v]["club"] != "Mr. Hi" for v in graph]).astype(int)
    rng = np.random.default_rng(0)
    params = {"W1": 0.3 * rng.normal(size=(8, 34)), "W2": 0.3 * rng.normal(size=(2, 8))}
    params |= {"b1": np.zeros(8), "b2": np.zeros(2)}
    labelled = np.isin(np.arange(34), [0, 33])
    for _ in range(200):
        logits, caches = graphs.gcn_forward(np.eye(34), adjacency, params)
        _, dlogits = cross_entropy(logits, clubs, labelled)
        grads, _ = graphs.gcn_backward(dlogits, caches)
        params = {name: value - 0.5 * grads[name] for name, value in params.items()}
    assert (logits.argmax(axis=1) == clubs).mean() >= 0.9


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_aggregate_equals_the_definition_node_by_node(rng, how):
    adjacency, x = directed(rng), rng.normal(size=(7, 3))
    reduce = {"mean": np.mean, "sum": np.sum, "max": np.max}[how]
    expected = np.stack([reduce(x[row != 0], axis=0) if row.any() else np.zeros(3) for row in adjacency])
    np.testing.assert_allclose(graphs.aggregate(x, adjacency, how), expected, **TIGHT)


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_aggregate_backward(rng, how):
    adjacency, x = directed(rng), leaf(rng.normal(size=(7, 3)))
    rows = []
    for row in torch.tensor(adjacency) != 0:
        if not row.any():
            rows.append(torch.zeros(3, dtype=torch.float64))
        else:
            rows.append({"mean": x[row].mean(0), "sum": x[row].sum(0), "max": x[row].amax(0)}[how])
    dout = rng.normal(size=(7, 3))
    torch.stack(rows).backward(torch.tensor(dout))
    np.testing.assert_allclose(graphs.aggregate_backward(dout, x.detach(), adjacency, how), x.grad, **TIGHT)


def test_aggregate_max_shares_the_gradient_of_a_tie():
    x, adjacency = leaf([[1.0], [1.0], [0.0], [5.0]]), np.array([[0.0, 1, 1, 0]] + [[0.0] * 4] * 3)
    adjacency[0, 0] = 1.0
    x[:3].amax(0).sum().backward()
    got = graphs.aggregate_backward([[1.0], [0.0], [0.0], [0.0]], x.detach(), adjacency, "max")
    np.testing.assert_allclose(got, x.grad, **TIGHT)


def test_aggregate_max_of_negative_features_ignores_absent_neighbours():
    x = np.array([[-3.0], [-5.0], [9.0]])
    np.testing.assert_array_equal(
        graphs.aggregate(x, [[0, 1, 0], [1, 0, 0], [0, 0, 0]], "max"), [[-5.0], [-3.0], [0.0]]
    )


def test_aggregate_refuses_unknown_names():
    with pytest.raises(ValueError, match="how must be"):
        graphs.aggregate(np.ones((1, 1)), [[0.0]], "median")


def torch_gat(x, adjacency, W, a_self, a_neighbour, slope):
    h = x @ W.T
    scores = F.leaky_relu((h @ a_self)[:, None] + (h @ a_neighbour)[None, :], slope)
    allowed = (torch.tensor(adjacency) != 0) | torch.eye(len(adjacency), dtype=torch.bool)
    attention = torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=1)
    return attention, attention @ h


@pytest.mark.parametrize("kind", ["karate", "directed", "single"])
def test_gat_layer_forward_and_backward(rng, kind):
    adjacency = {"karate": karate(), "directed": directed(rng), "single": np.zeros((1, 1))}[kind]
    n = len(adjacency)
    x, W = leaf(rng.normal(size=(n, 5))), leaf(rng.normal(size=(3, 5)))
    a_self, a_neighbour = leaf(rng.normal(size=3)), leaf(rng.normal(size=3))
    attention, expected = torch_gat(x, adjacency, W, a_self, a_neighbour, 0.2)
    dout = rng.normal(size=(n, 3))
    expected.backward(torch.tensor(dout))
    out, cache = graphs.gat_layer_forward(x.detach(), adjacency, W.detach(), a_self.detach(), a_neighbour.detach())
    dx, grads = graphs.gat_layer_backward(dout, cache)
    np.testing.assert_allclose(cache.attention, attention.detach(), **TIGHT)
    np.testing.assert_allclose(out, expected.detach(), **TIGHT)
    np.testing.assert_allclose(dx, x.grad, **TIGHT)
    for name, theirs in {"W": W, "a_self": a_self, "a_neighbour": a_neighbour}.items():
        np.testing.assert_allclose(grads[name], theirs.grad, **TIGHT)


def test_gat_attention_rows_sum_to_one_within_the_neighbourhood(rng):
    adjacency = directed(rng)
    _, cache = graphs.gat_layer_forward(
        1e3 * rng.normal(size=(7, 4)), adjacency, rng.normal(size=(3, 4)), *rng.normal(size=(2, 3))
    )
    np.testing.assert_allclose(cache.attention.sum(axis=1), 1.0, rtol=1e-14)
    assert np.all(cache.attention[~graphs.neighbourhood(adjacency)] == 0.0)
    assert cache.attention[2, 2] == 1.0


@pytest.mark.parametrize("hops", [0, 1, 2, 3])
def test_within_hops_equals_networkx_shortest_paths(hops):
    lengths = dict(nx.all_pairs_shortest_path_length(nx.karate_club_graph()))
    expected = np.array([[lengths[i].get(j, 99) <= hops for j in range(34)] for i in range(34)])
    np.testing.assert_array_equal(graphs.within_hops(karate(), hops), expected)


def test_within_hops_follows_the_direction_of_listening():
    chain = np.zeros((3, 3))
    chain[1, 0] = chain[2, 1] = 1.0
    np.testing.assert_array_equal(graphs.within_hops(chain, 2)[2], [True, True, True])
    np.testing.assert_array_equal(graphs.within_hops(chain, 2)[0], [True, False, False])


def test_two_gcn_layers_see_exactly_two_hops(rng):
    adjacency, x = karate(), rng.uniform(0.5, 1.5, size=(34, 4))
    params = {"W1": rng.uniform(0.1, 1.0, size=(3, 4)), "W2": rng.uniform(0.1, 1.0, size=(2, 3))}
    base, _ = graphs.gcn_forward(x, adjacency, params)
    for node in (0, 16, 26):
        moved = x.copy()
        moved[node] += 1.0
        changed = np.any(graphs.gcn_forward(moved, adjacency, params)[0] != base, axis=1)
        np.testing.assert_array_equal(changed, graphs.within_hops(adjacency, 2)[:, node])


def test_dirichlet_energy_equals_the_sum_over_edges(rng):
    graph, x = nx.karate_club_graph(), rng.normal(size=(34, 3))
    scaled = x / np.sqrt(np.array([d for _, d in graph.degree()]) + 1.0)[:, None]
    expected = sum(((scaled[i] - scaled[j]) ** 2).sum() for i, j in graph.edges())
    assert graphs.dirichlet_energy(x, karate()) == pytest.approx(expected, rel=1e-11)


def test_mean_pairwise_distance_equals_the_sum_over_pairs(rng):
    x = rng.normal(size=(6, 3))
    expected = np.mean([np.linalg.norm(x[i] - x[j]) for i in range(6) for j in range(6) if i != j])
    assert graphs.mean_pairwise_distance(x) == pytest.approx(expected, rel=1e-12)
    assert graphs.mean_pairwise_distance(np.ones((4, 2))) == 0.0


def test_propagation_over_smooths_to_the_square_root_of_the_degrees(rng):
    adjacency, x = karate(), rng.normal(size=(34, 3))
    degree = adjacency.sum(axis=1) + 1.0
    limit = np.outer(np.sqrt(degree), np.sqrt(degree) @ x) / degree.sum()
    np.testing.assert_allclose(graphs.propagate(x, adjacency, 400), limit, atol=1e-10)


def test_smoothing_curve_tends_to_zero_and_energy_never_rises(rng):
    adjacency, x = karate(), rng.normal(size=(34, 3))
    curve = graphs.smoothing_curve(x, adjacency, 64)
    energies = [graphs.dirichlet_energy(graphs.propagate(x, adjacency, k), adjacency) for k in range(9)]
    assert np.all(np.diff(energies) <= 0)
    assert curve[0] == pytest.approx(energies[0] / (x**2).sum(), rel=1e-12)
    assert curve[3] == pytest.approx(energies[3] / (graphs.propagate(x, adjacency, 3) ** 2).sum(), rel=1e-12)
    assert curve[-1] < 1e-3
