"""Checks of chapter 328: graph convolutions and graph attention there and back, aggregation, reach, over-smoothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import graphs as ref

from dlgrade.course.compare import entry, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture

Array = np.ndarray[Any, Any]
Params = dict[str, Array]

# Zachary's karate club (W. W. Zachary, Journal of Anthropological Research 33, 1977): who met whom outside the club,
# each member with those of higher number, and the members who went with the officer when the club split.
KARATE = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
WITH_OFFICER = (9, 14, 15, 18, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33)


def karate() -> Array:
    A = np.zeros((34, 34))
    for member, others in KARATE.items():
        A[member, list(others)] = A[list(others), member] = 1.0
    return A


def floats(*arrays: Any) -> tuple[Array, ...]:
    return tuple(np.asarray(a, dtype=np.float64) for a in arrays)


def undirected(rng: Rng, n: int) -> Array:
    """A path through all nodes and some more edges: connected, with degrees that differ."""
    A = np.triu(rng.random((n, n)) < 0.35, 1).astype(np.float64)
    A[np.arange(n - 1), np.arange(1, n)] = 1.0
    A[0, -1] = 0.0 if n > 2 else A[0, -1]
    A[0, n // 2] = 1.0
    return np.maximum(A, A.T)


def directed(rng: Rng, n: int) -> Array:
    """Row and column sums differ, and every node listens to somebody."""
    A = (rng.random((n, n)) < 0.4).astype(np.float64)
    A[np.arange(n), (np.arange(n) + 1) % n] = 1.0
    A[:, 0] = 1.0
    np.fill_diagonal(A, 0.0)
    A[0, 2] = 1.0
    return A


def with_isolated(rng: Rng, n: int) -> Array:
    A = undirected(rng, n)
    A[1] = A[:, 1] = 0.0
    return A


# --- normalisation ---------------------------------------------------------------------------------------------------


def na_with(loops: float = 1.0, degree_of_loops: bool = True, kind: str = "both") -> Callable[[Array], Array]:
    """A normalisation with other self-loops, other degrees, or another place for the degrees."""

    def normalize(A: Array) -> Array:
        (A,) = floats(A)
        looped = A + loops * np.eye(len(A))
        degree = (looped if degree_of_loops else A).sum(axis=1)
        if kind == "row":
            return looped / degree[:, None]
        if kind == "column":
            return looped / degree
        if kind == "no root":
            return looped / degree[:, None] / degree
        if kind == "in and out":
            return looped / np.sqrt(degree)[:, None] / np.sqrt(looped.sum(axis=0))
        return looped / np.sqrt(degree)[:, None] / np.sqrt(degree)

    return normalize


def na_in_place(A: Array) -> Array:
    if isinstance(A, np.ndarray):
        A += np.eye(len(A))
        looped = A
    else:
        looped = np.asarray(A, dtype=np.float64) + np.eye(len(A))
    scale = 1 / np.sqrt(looped.sum(axis=1))
    return scale[:, None] * looped * scale


@prop("symmetric, with eigenvalues in [-1, 1]", 3, "normalize_adjacency")
def spectrum(student: Any, rng: Rng) -> None:
    P = numbers(student.normalize_adjacency(undirected(rng, 7)), (7, 7), "P")
    same(P, P.T, "P, compared with its transpose,")
    largest = float(np.abs(np.linalg.eigvalsh(P)).max()) if np.isfinite(P).all() else np.inf
    holds(
        abs(largest - 1) < 1e-9,
        "the largest eigenvalue of P should be 1 in size: propagation neither blows features up nor kills them.",
        f"It is {largest:.6g}.",
    )


NORMALIZE = Exercise(
    name="normalize_adjacency",
    title="The propagation matrix",
    functions=("normalize_adjacency",),
    hints=(
        "Write down A + I for three nodes in a row. What are its row sums, and what would an isolated node's "
        "be without I?",
        "The diagonal matrices need not be built: multiplying by D^-1/2 from the left scales rows, from the "
        "right columns.",
        "scale = 1 / sqrt(row sums of A + I); then scale as a column, times A + I, times scale as a row.",
    ),
    checks=(
        numeric(
            "undirected graphs",
            6,
            "normalize_adjacency",
            ref.symmetric_normalize,
            [
                Case("six nodes", lambda rng: (undirected(rng, 6),)),
                Case("the karate club, 34 members", lambda rng: (karate(),)),
                Case("two nodes", lambda rng: (np.array([[0.0, 1.0], [1.0, 0.0]]),)),
            ],
        ),
        numeric(
            "isolated nodes keep their own features",
            4,
            "normalize_adjacency",
            ref.symmetric_normalize,
            [
                Case("one isolated node among six", lambda rng: (with_isolated(rng, 6),)),
                Case("a graph of one node", lambda rng: (np.zeros((1, 1)),)),
            ],
        ),
        numeric(
            "a directed graph: degrees are row sums",
            3,
            "normalize_adjacency",
            ref.symmetric_normalize,
            [Case("five nodes", lambda rng: (directed(rng, 5),))],
        ),
        spectrum,
        unchanged(2, {"normalize_adjacency": lambda rng: (undirected(rng, 5),)}),
    ),
    mistakes=(
        Mistake(
            name="no-self-loops",
            advice="Add the identity first: without it a node never hears itself, and an isolated node divides "
            "by zero.",
            replaces={"normalize_adjacency": na_with(loops=0.0)},
        ),
        Mistake(
            name="degrees-without-loops",
            advice="The degrees are the row sums of A + I, self-loops included, not of A.",
            replaces={"normalize_adjacency": na_with(degree_of_loops=False)},
        ),
        Mistake(
            name="rows-normalised",
            advice="D^-1 (A + I) makes rows sum to one but is not symmetric: scale by the root of both degrees.",
            replaces={"normalize_adjacency": na_with(kind="row")},
        ),
        Mistake(
            name="columns-normalised",
            advice="Scale by the root of both degrees, on the left and on the right; yours divides the columns only.",
            replaces={"normalize_adjacency": na_with(kind="column")},
        ),
        Mistake(
            name="degrees-without-root",
            advice="Each side is scaled by the root of the degree, D^-1/2; with D^-1 on both sides features die away.",
            replaces={"normalize_adjacency": na_with(kind="no root")},
        ),
        Mistake(
            name="column-degrees-on-the-right",
            advice="Both degrees are row sums here: on a directed graph row and column sums differ.",
            replaces={"normalize_adjacency": na_with(kind="in and out")},
        ),
        Mistake(
            name="self-loops-added-into-a",
            advice="A itself was changed, so the next call adds the loops once more: make a new array, A + I.",
            replaces={"normalize_adjacency": na_in_place},
        ),
        Mistake(
            name="two-self-loops",
            advice="One self-loop a node is added; yours has twice the identity.",
            replaces={"normalize_adjacency": na_with(loops=2.0)},
        ),
    ),
)

# --- GCN layer -------------------------------------------------------------------------------------------------------


def gcn(x: Array, P: Array, W: Array, b: Array) -> Any:
    return ref.gcn_layer_forward(x, P, W, b)


def gcn_draw(graph: Callable[[Rng, int], Array], n: int, d_in: int, d_out: int) -> Callable[[Rng], tuple[Array, ...]]:
    return lambda rng: (
        rng.normal(size=(n, d_in)),
        ref.symmetric_normalize(graph(rng, n)),
        rng.normal(size=(d_out, d_in)),
        rng.normal(size=d_out),
    )


def gcn_with(
    mix: Callable[[Array, Array], Array] = lambda P, y: P @ y,
    activation: Callable[[Array], Array] = lambda z: np.maximum(z, 0),
    bias_inside: bool = False,
    bias: bool = True,
) -> Callable[..., Any]:
    """A layer that mixes nodes, activates or biases otherwise."""

    def layer(x: Array, P: Array, W: Array, b: Array) -> Any:
        x, P, W, b = floats(x, P, W, b)
        if bias_inside:
            return activation(mix(P, x @ W.T + b)), None
        return activation(mix(P, x @ W.T) + b * bias), None

    return layer


GCN_CASES = [
    Case("an undirected graph, all widths different", gcn_draw(undirected, 5, 3, 4)),
    Case("a directed graph", gcn_draw(directed, 4, 4, 4)),
    Case("a single node", gcn_draw(lambda rng, n: np.zeros((1, 1)), 1, 3, 2)),
]


@prop("numbering the nodes otherwise changes nothing else", 3, "gcn_layer")
def equivariant(student: Any, rng: Rng) -> None:
    x, P, W, b = gcn_draw(undirected, 6, 3, 4)(rng)
    order = rng.permutation(6)
    answer = student.call("gcn_layer", x[order], P[np.ix_(order, order)], W, b, keep=(1,))
    same(items(answer, ("out", "cache"))[0], gcn(x, P, W, b)[0][order], "out for renumbered nodes")


GCN_LAYER = Exercise(
    name="gcn_layer",
    title="A graph convolution",
    functions=("gcn_layer",),
    hints=(
        "It is an ordinary layer with one more product. Where must it stand, so that the shapes fit?",
        "x @ W.T is (N, D_out): every node by itself. P from the left then mixes the nodes.",
        "z is P @ (x @ W.T) + b; the bias comes after the mixing. Keep x, P, W and z.",
    ),
    checks=(
        numeric("features are mixed along the edges", 9, "gcn_layer", gcn, GCN_CASES, pick=0, result="out", keep=(1,)),
        equivariant,
        unchanged(1, {"gcn_layer": gcn_draw(undirected, 4, 3, 2)}, keep=(1,)),
    ),
    mistakes=(
        Mistake(
            name="messages-sent-backwards",
            advice="Row i of P says to whom node i listens: multiply by P, not by its transpose.",
            replaces={"gcn_layer": gcn_with(mix=lambda P, y: P.T @ y)},
        ),
        Mistake(
            name="graph-not-used",
            advice="Without P every node stays alone: multiply by it from the left.",
            replaces={"gcn_layer": gcn_with(mix=lambda P, y: y)},
        ),
        Mistake(
            name="gcn-activation-missing",
            advice="The layer ends with a ReLU.",
            replaces={"gcn_layer": gcn_with(activation=lambda z: z)},
        ),
        Mistake(
            name="bias-mixed-along-edges",
            advice="The bias is added after the mixing; before it, P would scale it differently at every node.",
            replaces={"gcn_layer": gcn_with(bias_inside=True)},
        ),
        Mistake(
            name="gcn-bias-missing",
            advice="The bias b is added to every node.",
            replaces={"gcn_layer": gcn_with(bias=False)},
        ),
        Mistake(
            name="mixed-twice",
            advice="One layer mixes once: a node hears its neighbours, not yet theirs.",
            replaces={"gcn_layer": gcn_with(mix=lambda P, y: P @ (P @ y))},
        ),
    ),
)

# --- GCN backward ----------------------------------------------------------------------------------------------------


def gcn_kept(x: Array, P: Array, W: Array, b: Array) -> Any:
    x, P, W, b = floats(x, P, W, b)
    out, cache = gcn(x, P, W, b)
    return out, (x, P, W, cache.z)


def gcn_backward_with(
    through: Callable[[Array, Array], Array] = lambda P, dz: P.T @ dz,
    mask: Callable[[Array], Array] = lambda z: z > 0,
    averaged: bool = False,
    early: bool = False,
    bias_of: Callable[[Array, Array], Array] = lambda dz, g: dz,
) -> dict[str, Callable[..., Any]]:
    """gcn_layer with a backward that goes through the graph, the ReLU or the sums otherwise."""

    def backward(dout: Array, cache: Any) -> Any:
        x, P, W, z = floats(*cache)
        (dout,) = floats(dout)
        dz = dout * mask(z)
        g = through(P, dz)
        share = 1 / len(x) if averaged else 1.0
        return g @ W, share * (dz if early else g).T @ x, share * bias_of(dz, g).sum(axis=0)

    return {"gcn_layer": gcn_kept, "gcn_layer_backward": backward}


def gcn_inputs(graph: Any, n: int, d_in: int, d_out: int, far: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        named = dict(zip(("x", "P", "W", "b"), gcn_draw(graph, n, d_in, d_out)(rng), strict=True))
        # A bias that lifts every output leaves gradients as they are, and finite differences without digits.
        return {**named, "b": named["b"] + far, "dout": rng.normal(size=(n, d_out))}

    return draw


def gcn_value(student: Any, i: dict[str, Any]) -> Any:
    return items(student.call("gcn_layer", i["x"], i["P"], i["W"], i["b"], keep=(1,)), ("out", "cache"))[0]


def gcn_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    cache = items(student.call("gcn_layer", i["x"], i["P"], i["W"], i["b"], keep=(1,)), ("out", "cache"))[1]
    answer = items(student.gcn_layer_backward(i["dout"], cache), ("dx", "dW", "db"))
    return dict(zip(("x", "W", "b"), answer, strict=True))


def gcn_right(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        grads = ref.gcn_layer_backward(i["dout"], gcn(i["x"], i["P"], i["W"], i["b"])[1])
        return {name: grad for name, grad in zip(("x", "W", "b"), grads, strict=True) if name in wanted}

    return reference


def gcn_check(name: str, points: int, wanted: tuple[str, ...]) -> Any:
    cases = [
        GradientCase("an undirected graph, all widths different", gcn_inputs(undirected, 5, 3, 4)),
        GradientCase("a directed graph", gcn_inputs(directed, 4, 4, 4)),
        GradientCase("a single node", gcn_inputs(lambda rng, n: np.zeros((1, 1)), 1, 3, 2)),
        GradientCase("outputs far from zero", gcn_inputs(undirected, 3, 2, 2, 1e6)),
    ]
    return gradient(
        name,
        points,
        ("gcn_layer", "gcn_layer_backward"),
        cases,
        value=gcn_value,
        grads=gcn_grads,
        reference=gcn_right(*wanted),
    )


@prop("dout is left as it was", 1, "gcn_layer", "gcn_layer_backward", alone=False)
def gcn_dout_kept(student: Any, rng: Rng) -> None:
    gcn_grads(student, gcn_inputs(undirected, 5, 3, 4)(rng))
    holds(
        0 not in student.changed,
        "`gcn_layer_backward` modified its argument `dout` in place; work on a copy or a new array.",
    )


GCN_BACKWARD = Exercise(
    name="gcn_layer_backward",
    title="Backward through a graph convolution",
    functions=("gcn_layer", "gcn_layer_backward"),
    hints=(
        "Node i heard node j with the weight P[i, j]. Who must hear of i's gradient on the way back?",
        "First the ReLU: where z was not positive nothing passes. Then P transposed, then the ordinary layer.",
        "dz is dout times (z > 0), g is P.T @ dz; then dx = g @ W, dW = g.T @ x, and the bias, which was added "
        "after the "
        "mixing, gets the sum of dz.",
    ),
    checks=(
        gcn_check("gradient of the features", 6, ("x",)),
        gcn_check("gradient of the weights", 6, ("W",)),
        gcn_check("gradient of the bias", 4, ("b",)),
        gcn_dout_kept,
    ),
    mistakes=(
        Mistake(
            name="gcn-backward-not-transposed",
            advice="Gradients go against the messages: along P transposed. On undirected graphs alone the two agree.",
            replaces=gcn_backward_with(through=lambda P, dz: P @ dz),
        ),
        Mistake(
            name="gcn-backward-without-graph",
            advice="What a node said was heard by its neighbours, and their gradients come back: P.T @ dz.",
            replaces=gcn_backward_with(through=lambda P, dz: dz),
        ),
        Mistake(
            name="gcn-relu-forgotten",
            advice="Where z was not positive the ReLU was flat, and nothing passes back.",
            replaces=gcn_backward_with(mask=lambda z: np.ones_like(z)),
        ),
        Mistake(
            name="gcn-gradients-averaged",
            advice="Whoever computed dout has divided already: the gradients are sums over the nodes.",
            replaces=gcn_backward_with(averaged=True),
        ),
        Mistake(
            name="weight-gradient-before-mixing",
            advice="The weights were used before the mixing, so their gradient is made from P.T @ dz, not from dz.",
            replaces=gcn_backward_with(early=True),
        ),
        Mistake(
            name="bias-gradient-mixed",
            advice="The bias was added after the mixing: its gradient is the sum of dz itself.",
            replaces=gcn_backward_with(bias_of=lambda dz, g: g),
        ),
    ),
)

# --- aggregation -----------------------------------------------------------------------------------------------------


def ag_transposed(x: Array, A: Array, how: str) -> Array:
    return ref.aggregate(x, np.asarray(A).T, how)  # type: ignore[arg-type]


def ag_with_self(x: Array, A: Array, how: str) -> Array:
    return ref.aggregate(x, np.asarray(A) + np.eye(len(A)), how)  # type: ignore[arg-type]


def ag_nan(x: Array, A: Array, how: str) -> Array:
    x, A = floats(x, A)
    if how == "mean":
        return A @ x / A.sum(axis=1, keepdims=True)
    if how == "max":
        return np.where(A[:, :, None] > 0, x[None], -np.inf).max(axis=1)
    return A @ x


def ag_max_of_products(x: Array, A: Array, how: str) -> Array:
    x, A = floats(x, A)
    return (A[:, :, None] * x[None]).max(axis=1) if how == "max" else ref.aggregate(x, A, how)  # type: ignore[arg-type]


def ag_mean_of_all(x: Array, A: Array, how: str) -> Array:
    x, A = floats(x, A)
    return A @ x / len(A) if how == "mean" else ref.aggregate(x, A, how)  # type: ignore[arg-type]


def ag_max_of_rows(x: Array, A: Array, how: str) -> Array:
    x, A = floats(x, A)
    if how != "max":
        return ref.aggregate(x, A, how)  # type: ignore[arg-type]
    best = [max(np.flatnonzero(row), key=lambda j: x[j].sum(), default=None) for row in A]
    return np.array([np.zeros(x.shape[1]) if j is None else x[j] for j in best])


def ag_case(how: str, graph: Any, n: int, d: int, shift: float = 0.0) -> Callable[[Rng], tuple[Any, ...]]:
    return lambda rng: (rng.normal(size=(n, d)) + shift, graph(rng, n), how)


def ag_check(how: str, points: int) -> Any:
    return numeric(
        f"the {how} over the neighbours",
        points,
        "aggregate",
        lambda x, A, how: ref.aggregate(x, A, how),
        [
            Case("an undirected graph", ag_case(how, undirected, 5, 3)),
            Case("a directed graph", ag_case(how, directed, 4, 4)),
            Case("negative features everywhere", ag_case(how, undirected, 4, 2, -5.0)),
            Case("features far below zero", ag_case(how, undirected, 4, 2, -1e12)),
            Case("a node without neighbours", ag_case(how, with_isolated, 5, 2)),
        ],
    )


AGGREGATE = Exercise(
    name="aggregate",
    title="Sum, mean and maximum",
    functions=("aggregate",),
    hints=(
        "Two of the three are one matrix product. What does the third need that a product cannot give?",
        "A @ x adds up the rows of x that row i of A marks. The mean divides by the degree, and an isolated "
        "node has none.",
        "For the maximum make an array (N, N, D) of everybody's features, put -inf where j is no neighbour of "
        "i, and take "
        "the maximum over j; then zeros for nodes without neighbours.",
    ),
    checks=(
        ag_check("sum", 3),
        ag_check("mean", 4),
        ag_check("max", 4),
        unchanged(1, {"aggregate": ag_case("max", with_isolated, 4, 2)}),
    ),
    mistakes=(
        Mistake(
            name="listened-the-wrong-way",
            advice="Row i of A says to whom node i listens; yours goes down the columns.",
            replaces={"aggregate": ag_transposed},
        ),
        Mistake(
            name="node-among-its-neighbours",
            advice="A node is not its own neighbour here: use A without self-loops.",
            replaces={"aggregate": ag_with_self},
        ),
        Mistake(
            name="nobody-to-hear",
            advice="A node without neighbours gets zeros: guard the division, and the maximum of nothing.",
            replaces={"aggregate": ag_nan},
        ),
        Mistake(
            name="strangers-count-as-zero",
            advice="Multiplying by A turns strangers into zeros, which win against negative numbers: use -inf "
            "for them.",
            replaces={"aggregate": ag_max_of_products},
        ),
        Mistake(
            name="mean-over-all-nodes",
            advice="The mean divides by the number of neighbours of each node, not by the number of nodes.",
            replaces={"aggregate": ag_mean_of_all},
        ),
        Mistake(
            name="maximum-of-whole-nodes",
            advice="The maximum is taken for every feature by itself, perhaps from different neighbours.",
            replaces={"aggregate": ag_max_of_rows},
        ),
    ),
)

# --- graph attention -------------------------------------------------------------------------------------------------


def gat(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> Any:
    out, cache = ref.gat_layer_forward(x, A, W, a_self, a_neighbour)
    return out, cache.attention, cache


def gat_with(
    heard: Callable[[Array], Array] = ref.neighbourhood, slope: float = 0.2, swapped: bool = False, axis: int = 1
) -> Callable[..., Any]:
    """A layer that listens to other nodes, bends its scores otherwise, or normalises along another axis."""

    def layer(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> Any:
        x, A, W, a_self, a_neighbour = floats(x, A, W, a_self, a_neighbour)
        h = x @ W.T
        mine, theirs = (h @ a_neighbour, h @ a_self) if swapped else (h @ a_self, h @ a_neighbour)
        s = mine[:, None] + theirs[None]
        e = np.where(heard(A), np.where(s > 0, s, slope * s), -np.inf)
        weights = np.exp(e - e.max(axis=axis, keepdims=True))
        attention = weights / weights.sum(axis=axis, keepdims=True)
        return attention @ h, attention, None

    return layer


def gat_mask_after(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> Any:
    _, attention, _ = gat_with(heard=lambda A: np.ones(A.shape, dtype=bool))(x, A, W, a_self, a_neighbour)
    attention = attention * ref.neighbourhood(A)
    x, W = floats(x, W)
    return attention @ (x @ W.T), attention, None


def gat_averages_x(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> Any:
    out, attention, cache = gat(x, A, W, a_self, a_neighbour)
    x, W = floats(x, W)
    return (attention @ x if W.shape[0] == W.shape[1] else out * 0), attention, cache


def gat_draw(graph: Any, n: int, d_in: int, d_out: int) -> Callable[[Rng], tuple[Array, ...]]:
    return lambda rng: (
        rng.normal(size=(n, d_in)),
        graph(rng, n),
        rng.normal(size=(d_out, d_in)),
        rng.normal(size=d_out),
        rng.normal(size=d_out),
    )


def gat_loud(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> tuple[Array, ...]:
    return x, A, W, 4096 * a_self, a_neighbour


def gat_low(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> tuple[Array, ...]:
    """Every score is far below zero, and those of one node differ little."""
    return np.abs(x) + 1, A, np.abs(W) + 1, -4096 * (np.abs(a_self) + 1), a_neighbour / 8


GAT_CASES = [
    Case("an undirected graph, all widths different", gat_draw(undirected, 5, 3, 4)),
    Case("a directed graph", gat_draw(directed, 4, 4, 4)),
    Case("an isolated node", gat_draw(with_isolated, 4, 2, 3)),
    Case("scores in the thousands", lambda rng: gat_loud(*gat_draw(undirected, 4, 2, 3)(rng))),
    Case("scores of minus many thousands", lambda rng: gat_low(*gat_draw(undirected, 4, 2, 3)(rng))),
]


@prop("only neighbours are heard, and the weights sum to one", 2, "gat_layer")
def restricted(student: Any, rng: Rng) -> None:
    x, A, W, a_self, a_neighbour = gat_draw(directed, 6, 3, 4)(rng)
    answer = student.call("gat_layer", x, A, W, a_self, a_neighbour, keep=(2,))
    attention = numbers(items(answer, ("out", "attention", "cache"))[1], (6, 6), "attention")
    same(attention.sum(axis=1), np.ones(6), "the sum of each row of attention")
    strangers = attention[~ref.neighbourhood(A)]
    holds(not strangers.any(), "attention should be exactly zero for all but neighbours and the node itself.")


GAT_LAYER = Exercise(
    name="gat_layer",
    title="Graph attention",
    functions=("gat_layer",),
    hints=(
        "The score of a pair is a number of the one plus a number of the other: how do you make a table of all pairs?",
        "Scores, leaky ReLU, minus infinity for strangers, softmax of each row. Everybody counts as his own neighbour.",
        "h @ a_self as a column plus h @ a_neighbour as a row gives the table. The mask is (A > 0) or the "
        "identity; subtract "
        "the row's maximum before exp.",
    ),
    checks=(
        numeric("the attention", 5, "gat_layer", gat, GAT_CASES, pick=1, result="attention", keep=(2,)),
        numeric("the output", 4, "gat_layer", gat, GAT_CASES, pick=0, result="out", keep=(2,)),
        restricted,
        unchanged(1, {"gat_layer": gat_draw(undirected, 4, 2, 3)}, keep=(2,)),
    ),
    mistakes=(
        Mistake(
            name="attention-to-everybody",
            advice="Only neighbours and the node itself are heard: strangers get minus infinity before the softmax.",
            replaces={"gat_layer": gat_with(heard=lambda A: np.ones(A.shape, dtype=bool))},
        ),
        Mistake(
            name="attention-without-self",
            advice="A node listens to itself too: add the identity to the mask.",
            replaces={"gat_layer": gat_with(heard=lambda A: A > 0)},
        ),
        Mistake(
            name="strangers-cut-after-softmax",
            advice="Zeros after the softmax leave rows that sum to less than one: mask the scores before it.",
            replaces={"gat_layer": gat_mask_after},
        ),
        Mistake(
            name="graph-listened-backwards",
            advice="Row i of A says to whom node i listens; yours uses the columns.",
            replaces={"gat_layer": gat_with(heard=lambda A: ref.neighbourhood(A.T))},
        ),
        Mistake(
            name="self-and-neighbour-swapped",
            advice="a_self belongs to the node that listens, the rows; a_neighbour to the one that speaks, the "
            "columns.",
            replaces={"gat_layer": gat_with(swapped=True)},
        ),
        Mistake(
            name="leaky-relu-missing",
            advice="Scores below zero are multiplied by 0.2; without that bend all nodes rank their neighbours alike.",
            replaces={"gat_layer": gat_with(slope=1.0)},
        ),
        Mistake(
            name="relu-instead-of-leaky",
            advice="Scores below zero are multiplied by 0.2, not cut off.",
            replaces={"gat_layer": gat_with(slope=0.0)},
            variants=({"gat_layer": gat_with(slope=0.01)},),
        ),
        Mistake(
            name="attention-over-listeners",
            advice="The softmax runs over the neighbours of each node, along its row.",
            replaces={"gat_layer": gat_with(axis=0)},
        ),
        Mistake(
            name="raw-features-averaged",
            advice="What is averaged is h = x @ W.T, the transformed features.",
            replaces={"gat_layer": gat_averages_x},
        ),
    ),
)

# --- graph attention backward ----------------------------------------------------------------------------------------


def gat_kept(x: Array, A: Array, W: Array, a_self: Array, a_neighbour: Array) -> Any:
    out, attention, cache = gat(x, A, W, a_self, a_neighbour)
    return out, attention, tuple(cache)


def gat_backward_with(
    jacobian: bool = True, bend: bool = True, ways: str = "hsn", swapped: bool = False
) -> dict[str, Callable[..., Any]]:
    """gat_layer with a backward without the softmax's Jacobian, without the bend, or with some ways to h left out."""

    def backward(dout: Array, cache: Any) -> Any:
        c = ref.GATCache(*cache)
        (dout,) = floats(dout)
        da = dout @ c.h.T
        de = c.attention * (da - jacobian * (da * c.attention).sum(axis=1, keepdims=True))
        ds = de * (np.where(c.scores > 0, 1.0, c.slope) if bend else 1.0)
        mine, theirs = ds.sum(axis=1), ds.sum(axis=0)
        if swapped:
            mine, theirs = theirs, mine
        dh = c.attention.T @ dout if "h" in ways else np.zeros_like(c.h)
        dh = dh + ("s" in ways) * np.outer(mine, c.a_self) + ("n" in ways) * np.outer(theirs, c.a_neighbour)
        return dh @ c.W, {"W": dh.T @ c.x, "a_self": mine @ c.h, "a_neighbour": theirs @ c.h}

    return {"gat_layer": gat_kept, "gat_backward": backward}


GAT_NAMES = ("W", "a_self", "a_neighbour")
# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3


def gat_inputs(graph: Any, n: int, d_in: int, d_out: int) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        named = dict(zip(("x", "A", *GAT_NAMES), gat_draw(graph, n, d_in, d_out)(rng), strict=True))
        return {**named, "dout": rng.normal(size=(n, d_out))}

    return draw


def gat_steep(graph: Any, n: int, d_in: int, d_out: int) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        named = gat_inputs(graph, n, d_in, d_out)(rng)
        return {**named, "x": named["x"] / STEEP, "W": STEEP * named["W"]}

    return draw


def gat_call(student: Any, i: dict[str, Any]) -> tuple[Any, ...]:
    answer = student.call("gat_layer", i["x"], i["A"], *(i[name] for name in GAT_NAMES), keep=(2,))
    return items(answer, ("out", "attention", "cache"))


def gat_grads(student: Any, i: dict[str, Any]) -> dict[str, Any]:
    dx, grads = items(student.gat_backward(i["dout"], gat_call(student, i)[2]), ("dx", "grads"))
    holds(type(grads) is not dict or not set(grads) - set(GAT_NAMES), "`grads` has keys that are no parameters.")
    return {"x": dx, **{name: entry(grads, name, "`grads`") for name in GAT_NAMES}}


def gat_right(*wanted: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def reference(i: dict[str, Any]) -> dict[str, Any]:
        _, cache = ref.gat_layer_forward(i["x"], i["A"], *(i[name] for name in GAT_NAMES))
        dx, grads = ref.gat_layer_backward(i["dout"], cache)
        return {name: grad for name, grad in {"x": dx, **grads}.items() if name in wanted}

    return reference


GAT_GRADIENTS = [
    GradientCase("an undirected graph, all widths different", gat_inputs(undirected, 5, 3, 4)),
    GradientCase("a directed graph", gat_inputs(directed, 4, 4, 4)),
    GradientCase("an isolated node", gat_inputs(with_isolated, 4, 2, 3)),
]


def gat_check(name: str, points: int, wanted: tuple[str, ...], cases: list[GradientCase]) -> Any:
    return gradient(
        name,
        points,
        ("gat_layer", "gat_backward"),
        cases,
        value=lambda student, i: gat_call(student, i)[0],
        grads=gat_grads,
        reference=gat_right(*wanted),
    )


@prop("dout is left as it was", 1, "gat_layer", "gat_backward", alone=False)
def gat_dout_kept(student: Any, rng: Rng) -> None:
    gat_grads(student, gat_inputs(undirected, 5, 3, 4)(rng))
    holds(
        0 not in student.changed,
        "`gat_backward` modified its argument `dout` in place; work on a copy or a new array.",
    )


GAT_BACKWARD = Exercise(
    name="gat_backward",
    title="Backward through graph attention",
    functions=("gat_layer", "gat_backward"),
    hints=(
        "In how many places of gat_layer does h appear? Each sends something back.",
        "Average, softmax, leaky ReLU, table of sums: go back through them in this order. A table of sums "
        "sends row sums "
        "to what stood in the column, and column sums to what stood in the row.",
        "After dS: dh is attention.T @ dout, plus the outer product of the row sums with a_self, plus that of "
        "the column "
        "sums with a_neighbour. The two vectors get row sums @ h and column sums @ h.",
    ),
    checks=(
        gat_check("gradient of the features", 5, ("x",), GAT_GRADIENTS),
        gat_check("gradient of the weights", 4, ("W",), GAT_GRADIENTS),
        gat_check("gradients of the two score vectors", 4, ("a_self", "a_neighbour"), GAT_GRADIENTS),
        gat_check(
            "gradients are computed, not approximated",
            2,
            ("x", *GAT_NAMES),
            [GradientCase("tiny features and huge weights", gat_steep(undirected, 4, 3, 2))],
        ),
        gat_dout_kept,
    ),
    mistakes=(
        Mistake(
            name="gat-jacobian-incomplete",
            advice="The attention of a row sums to one: subtract the row's sum of gradient times attention.",
            replaces=gat_backward_with(jacobian=False),
        ),
        Mistake(
            name="leaky-slope-forgotten",
            advice="Where the score was below zero the gradient is multiplied by 0.2, as the score was.",
            replaces=gat_backward_with(bend=False),
        ),
        Mistake(
            name="scores-way-to-h-missing",
            advice="h also makes the scores, on both sides: its gradient has three parts, not one.",
            replaces=gat_backward_with(ways="h"),
            variants=(gat_backward_with(ways="hs"), gat_backward_with(ways="hn")),
        ),
        Mistake(
            name="average-way-to-h-missing",
            advice="h is what is averaged: attention transposed times dout belongs to its gradient.",
            replaces=gat_backward_with(ways="sn"),
        ),
        Mistake(
            name="row-and-column-sums-swapped",
            advice="The listener's number stood in the rows: its gradient sums over the row, the speaker's "
            "over the column.",
            replaces=gat_backward_with(swapped=True),
        ),
    ),
)

# --- reach and energy ------------------------------------------------------------------------------------------------


def hears_exactly(A: Array, layers: int) -> Array:
    walk = np.eye(len(np.asarray(A)))
    for _ in range(layers):
        walk = np.asarray(A, dtype=np.float64) @ walk
    return walk > 0


HEARS = Exercise(
    name="hears",
    title="How far a node hears",
    functions=("hears",),
    hints=(
        "With no layer at all a node knows only itself. What does one more layer add?",
        "Somebody is heard after k + 1 layers if a neighbour, or the node itself, heard them after k.",
        "Start from the identity, and multiply by (A > 0 or identity) once for each layer; booleans multiply "
        "with @ too.",
    ),
    checks=(
        numeric(
            "nodes at most k steps away",
            3,
            "hears",
            ref.within_hops,
            [
                Case("no layer", lambda rng: (undirected(rng, 4), 0)),
                Case("one layer, directed", lambda rng: (directed(rng, 5), 1)),
                Case("two layers on a path of six", lambda rng: (np.eye(6, k=1) + np.eye(6, k=-1), 2)),
                Case("six layers on a path of nine", lambda rng: (np.eye(9, k=1) + np.eye(9, k=-1), 6)),
            ],
        ),
        numeric(
            "one-way streets, and islands",
            2,
            "hears",
            ref.within_hops,
            [
                Case("a one-way path of five", lambda rng: (np.eye(5, k=1), 3)),
                Case("an isolated node", lambda rng: (with_isolated(rng, 5), 4)),
            ],
        ),
        unchanged(1, {"hears": lambda rng: (undirected(rng, 4), 2)}),
    ),
    mistakes=(
        Mistake(
            name="walks-of-exactly-k",
            advice="Nodes nearer than k steps are heard as well, and the node itself: add the identity to each step.",
            replaces={"hears": hears_exactly},
        ),
        Mistake(
            name="heard-by-instead-of-hears",
            advice="Row i is what node i hears; yours says by whom it is heard.",
            replaces={"hears": lambda A, layers: ref.within_hops(A, layers).T},
        ),
        Mistake(
            name="one-layer-too-many",
            advice="With 0 layers nobody hears anybody else: start from the identity.",
            replaces={"hears": lambda A, layers: ref.within_hops(A, layers + 1)},
        ),
        Mistake(
            name="neighbours-only",
            advice="Two layers reach the neighbours of neighbours; yours stops after one step.",
            replaces={"hears": lambda A, layers: ref.within_hops(A, min(layers, 1))},
        ),
    ),
)


def energy_from(matrix: Callable[[Array], Array]) -> Callable[[Array, Array], float]:
    def energy(x: Array, A: Array) -> float:
        (x,) = floats(x)
        return float((x * (matrix(np.asarray(A, dtype=np.float64)) @ x)).sum())

    return energy


ENERGY = Exercise(
    name="dirichlet_energy",
    title="Over-smoothing, measured",
    functions=("dirichlet_energy",),
    hints=(
        "What is left of x when what the neighbourhood agrees on is taken away?",
        "x minus P x, multiplied entry by entry with x, and everything added up.",
        "np.sum(x * (x - P @ x)) with P from normalize_adjacency.",
    ),
    checks=(
        numeric(
            "the energy of features on a graph",
            3,
            "dirichlet_energy",
            ref.dirichlet_energy,
            [
                Case("six nodes", lambda rng: (rng.normal(size=(6, 3)), undirected(rng, 6))),
                Case("the karate club", lambda rng: (rng.normal(size=(34, 2)), karate())),
            ],
        ),
        numeric(
            "nothing left to tell",
            2,
            "dirichlet_energy",
            ref.dirichlet_energy,
            [
                Case("a node alone", lambda rng: (rng.normal(size=(1, 3)), np.zeros((1, 1)))),
                Case(
                    "two nodes that agree, and differ", lambda rng: (np.array([[1.0, 1.0], [1.0, -1.0]]), 1 - np.eye(2))
                ),
            ],
        ),
        unchanged(1, {"dirichlet_energy": lambda rng: (rng.normal(size=(4, 2)), undirected(rng, 4))}),
    ),
    mistakes=(
        Mistake(
            name="energy-of-what-is-shared",
            advice="x * P x is what neighbours have in common; the energy is what is left, x * (x - P x).",
            replaces={"dirichlet_energy": energy_from(ref.symmetric_normalize)},
        ),
        Mistake(
            name="energy-of-the-difference-squared",
            advice="One factor is x itself: x * (x - P x), not the square of x - P x.",
            replaces={
                "dirichlet_energy": lambda x, A: float(
                    ((np.asarray(x, float) - ref.symmetric_normalize(A) @ np.asarray(x, float)) ** 2).sum()
                )
            },
        ),
        Mistake(
            name="energy-averaged",
            advice="The energy is a sum over all entries.",
            replaces={"dirichlet_energy": lambda x, A: ref.dirichlet_energy(x, A) / np.size(x)},
        ),
        Mistake(
            name="energy-without-normalising",
            advice="Use the normalised propagation matrix; with D - A high degrees dominate.",
            replaces={"dirichlet_energy": energy_from(lambda A: np.diag(A.sum(axis=1)) - A)},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """The karate club after training two graph convolutions on two labels, and how propagation smooths."""
    left, right = figure.subplots(1, 2)
    A = karate()
    P = np.asarray(student.normalize_adjacency(A))
    rng = np.random.default_rng(1)
    W1, b1 = 0.5 * rng.normal(size=(8, 34)), np.zeros(8)
    W2 = 0.5 * rng.normal(size=(2, 8))
    known = {0: 0, 33: 1}
    for _ in range(60):
        hidden, cache = items(student.call("gcn_layer", np.eye(34), P, W1, b1, keep=(1,)), ("out", "cache"))
        mixed = P @ np.asarray(hidden)
        logits = mixed @ W2.T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        dlogits = np.zeros_like(p)
        for node, label in known.items():
            dlogits[node] = (p[node] - np.eye(2)[label]) / len(known)
        _, dW1, db1 = items(student.gcn_layer_backward(P.T @ dlogits @ W2, cache), ("dx", "dW", "db"))
        W2 = W2 - 0.5 * dlogits.T @ mixed
        W1, b1 = W1 - 0.5 * np.asarray(dW1), b1 - 0.5 * np.asarray(db1)
    share = p[:, 1]
    _, vectors = np.linalg.eigh(np.eye(34) - P)
    place = vectors[:, 1:3]
    for i, j in zip(*np.nonzero(np.triu(A)), strict=True):
        left.plot(place[[i, j], 0], place[[i, j], 1], color="0.8", lw=0.7, zorder=0)
    officer = np.isin(np.arange(34), WITH_OFFICER)
    for truth, marker, name in ((False, "o", "went with the instructor"), (True, "s", "went with the officer")):
        chosen = officer == truth
        dots = left.scatter(
            *place[chosen].T,
            c=share[chosen],
            cmap="coolwarm",
            vmin=0,
            vmax=1,
            marker=marker,
            s=45,
            label=name,
            edgecolor="k",
            linewidth=0.5,
        )
    right_side = float(np.mean((share > 0.5) == officer))
    left.set_title(f"Two labels given, {right_side:.0%} found right")
    left.set_xlabel("position by the graph's own eigenvectors")
    left.set_xticks([])
    left.set_yticks([])
    left.legend(frameon=False, fontsize=8)
    figure.colorbar(dots, ax=left, shrink=0.8, label="probability of the officer's side")
    x = rng.normal(size=(34, 8))
    energies = []
    for _ in range(21):
        energies.append(float(student.dirichlet_energy(x, A)) / float((x**2).sum()))
        x = P @ x
    right.semilogy(range(21), energies, "o-")
    right.set_xlabel("number of propagations")
    right.set_ylabel("energy / squared size of the features")
    right.set_title("Over-smoothing: neighbours become alike")


CHAPTER = Chapter(
    id="ch328",
    slug="graph_networks",
    title="Graph Neural Networks",
    part="Advanced models",
    summary="Graph convolutions and graph attention, there and back, and what too many layers do.",
    builds_on=("ch306", "ch310", "ch321"),
    exercises=(NORMALIZE, GCN_LAYER, GCN_BACKWARD, AGGREGATE, GAT_LAYER, GAT_BACKWARD, HEARS, ENERGY),
    picture=Picture(title="Learning on a graph", draw=draw_picture),
)
