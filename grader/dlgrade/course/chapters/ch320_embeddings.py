"""Checks of chapter 320: tables of vectors and their gradient, neighbours and analogies, skip-gram and its training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlreference import embeddings as ref
from dlreference.activations import sigmoid, softplus
from dlreference.losses import log_softmax, one_hot, softmax

from dlgrade.course.compare import Wrong, below, entry, holds, items, numbers, same
from dlgrade.course.kinds import (
    Case,
    GradientCase,
    Rng,
    case_of,
    gradient,
    numeric,
    prop,
    statistical,
    training,
    unchanged,
)
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.session import Call

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Lossy = tuple[Any, Params]


def floats(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def whole(value: Any) -> Array:
    return np.asarray(value, dtype=np.int64)


# --- lookup ----------------------------------------------------------------------------------------------------------


def looked_up(ids: Array, table: Array) -> Array:
    """The reference, with one error for every id outside of the table."""
    if np.any(whole(ids) < 0):
        raise IndexError("an id is negative")
    return ref.embedding_forward(whole(ids), table)


def look_anywhere(ids: Array, table: Array) -> Array:
    return floats(table)[whole(ids)]


def look_at_columns(ids: Array, table: Array) -> Array:
    return np.moveaxis(floats(table)[:, whole(ids)], 0, -1)


def look_from_one(ids: Array, table: Array) -> Array:
    looked_up(ids, table)
    return floats(table)[whole(ids) - 1]


def look_flat(ids: Array, table: Array) -> Array:
    return looked_up(np.ravel(whole(ids)), table)


def look_scaled(ids: Array, table: Array) -> Array:
    return looked_up(ids, table) * math.sqrt(np.shape(table)[1])


def look_clipped(ids: Array, table: Array) -> Array:
    return floats(table)[np.clip(whole(ids), 0, len(table) - 1)]


def lookup(rows: int, width: int, *shape: int) -> Any:
    """Draws (ids, table)."""
    return lambda rng: (rng.integers(rows, size=shape), rng.normal(size=(rows, width)))


def outside(*ids: Any) -> Any:
    return lambda rng: (np.array(ids, dtype=np.int64), rng.normal(size=(4, 3)))


@prop("an id outside of the table is refused", 2, "embedding_forward")
def refuses(student: Any, rng: Rng) -> None:
    for reason, draw in {"a negative id": outside(1, -1, 2), "an id of V": outside(0, 4)}.items():
        call = Call("embedding_forward", draw(rng))
        [reply] = student.batch([call])
        with case_of(reason, call):
            if reply.status == "error" and reply.detail.get("type") == "IndexError":
                continue
            if reply.status == "ok":
                raise Wrong("an IndexError is asked for here, but `embedding_forward` returned an answer.")
            student.answer(call, reply)


LOOKUP = Exercise(
    name="embedding_forward",
    title="Looking up rows of a table",
    functions=("embedding_forward",),
    hints=(
        "NumPy can take several rows at once, in any order and more than once. What goes in the square brackets?",
        "An array of ids as an index works for ids of any shape, and puts the table's second axis last. What is "
        "left to "
        "do is to look out for ids that are not there.",
        "Make arrays of both, raise IndexError if any id is below 0 or at least len(table), and return table[ids].",
    ),
    checks=(
        numeric(
            "the rows of the ids",
            5,
            "embedding_forward",
            looked_up,
            [
                Case("a sentence of five", lookup(7, 3, 5)),
                Case("a batch of sentences (2, 4)", lookup(6, 5, 2, 4)),
                Case("as many rows as columns", lookup(4, 4, 3)),
                Case("ids with three axes", lookup(5, 2, 2, 1, 3)),
                Case("a single id", lookup(5, 3, 1)),
                Case("plain lists", lambda rng: ([[1, 0], [2, 2]], rng.normal(size=(3, 2)).tolist())),
            ],
        ),
        refuses,
        unchanged(1, {"embedding_forward": lookup(5, 3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="negative-ids-accepted",
            advice="NumPy counts negative indices from the end, so that an id of -1 becomes the last word: refuse ids "
            "below 0.",
            replaces={"embedding_forward": look_anywhere},
        ),
        Mistake(
            name="columns-instead-of-rows",
            advice="A token is a row of the table, (V, d); yours takes columns.",
            replaces={"embedding_forward": look_at_columns},
        ),
        Mistake(
            name="ids-counted-from-one",
            advice="Ids are counted from 0: id 0 is the first row.",
            replaces={"embedding_forward": look_from_one},
        ),
        Mistake(
            name="shape-of-the-ids-lost",
            advice="The result has the shape of ids, and one axis more: (B, T) gives (B, T, d), not (B * T, d).",
            replaces={"embedding_forward": look_flat},
        ),
        Mistake(
            name="rows-scaled",
            advice="The rows come out as they are; the factor sqrt(d) belongs to the Transformer, not to the lookup.",
            replaces={"embedding_forward": look_scaled},
        ),
        Mistake(
            name="ids-clipped",
            advice="An id that is not there is an error; clipping it hides the error behind a wrong word.",
            replaces={"embedding_forward": look_clipped},
        ),
    ),
)

# --- gradient of the table -------------------------------------------------------------------------------------------

Backward = Callable[[Array, Array, int], Array]


def summed(dout: Array, ids: Array, n_rows: int) -> Array:
    return ref.embedding_backward(dout, whole(ids), n_rows)


def overwritten(dout: Array, ids: Array, n_rows: int) -> Array:
    dout = floats(dout)
    dtable = np.zeros((n_rows, dout.shape[-1]))
    dtable[whole(ids)] = dout
    return dtable


def first_kept(dout: Array, ids: Array, n_rows: int) -> Array:
    width = np.shape(dout)[-1]
    return overwritten(floats(dout).reshape(-1, width)[::-1], whole(ids).ravel()[::-1], n_rows)


def how_often(ids: Array, n_rows: int) -> Array:
    return np.maximum(np.bincount(whole(ids).ravel(), minlength=n_rows), 1)[:, None]


def averaged(dout: Array, ids: Array, n_rows: int) -> Array:
    return summed(dout, ids, n_rows) / how_often(ids, n_rows)


def over_places(dout: Array, ids: Array, n_rows: int) -> Array:
    return summed(dout, ids, n_rows) / np.size(ids)


def used_rows_only(dout: Array, ids: Array, n_rows: int) -> Array:
    return summed(dout, ids, n_rows)[np.unique(whole(ids))]


def transposed(dout: Array, ids: Array, n_rows: int) -> Array:
    return summed(dout, ids, n_rows).T


def rows_up_to_largest(dout: Array, ids: Array, n_rows: int) -> Array:
    return summed(dout, ids, n_rows)[: int(np.max(ids)) + 1]


def gradients_at(width: int, rows: int, *shape: int) -> Any:
    """Draws (dout, ids, n_rows)."""
    return lambda rng: (rng.normal(size=(*shape, width)), rng.integers(rows, size=shape), rows)


def repeated(rng: Rng) -> tuple[Any, ...]:
    """One id four times, one twice, one once, two not at all: the last row among them."""
    ids = rng.permutation([0, 2, 2, 2, 2, 3, 3])
    return rng.normal(size=(7, 3)), ids, 5


def no_repeats(rng: Rng) -> tuple[Any, ...]:
    return rng.normal(size=(4, 3)), rng.permutation(6)[:4], 6


@prop("backward is forward the other way round", 2, "embedding_forward", "embedding_backward")
def adjoint(student: Any, rng: Rng) -> None:
    ids, table = lookup(5, 3, 2, 6)(rng)
    dout = rng.normal(size=(2, 6, 3))
    out = numbers(student.embedding_forward(ids, table), (2, 6, 3), "the rows")
    dtable = numbers(student.embedding_backward(dout, ids, 5), (5, 3), "`dtable`")
    with case_of("a batch of sentences in which ids repeat"):
        # <lookup(table), dout> = <table, backward(dout)>, for the lookup is linear in the table.
        same(float((table * dtable).sum()), float((out * dout).sum()), "the sum of table * dtable, against out * dout,")


def lookup_gradient(name: str, points: int, cases: dict[str, Any]) -> Check:
    """The gradient of the student's own lookup."""

    def named(draw: Any) -> Any:
        def drawn(rng: Rng) -> dict[str, Any]:
            dout, ids, n_rows = draw(rng)
            return {"table": rng.normal(size=(n_rows, dout.shape[-1])), "ids": ids, "dout": dout}

        return drawn

    return gradient(
        name,
        points,
        ("embedding_forward", "embedding_backward"),
        [GradientCase(reason, named(draw)) for reason, draw in cases.items()],
        value=lambda student, inputs: student.embedding_forward(inputs["ids"], inputs["table"]),
        grads=lambda student, inputs: {
            "table": student.embedding_backward(inputs["dout"], inputs["ids"], len(inputs["table"]))
        },
        reference=lambda inputs: {"table": summed(inputs["dout"], inputs["ids"], len(inputs["table"]))},
        names={"table": "`dtable`"},
    )


BACKWARD = Exercise(
    name="embedding_backward",
    title="The gradient of the table",
    functions=("embedding_backward",),
    hints=(
        "A row that was looked up twice has two places where it changes the loss. What does the chain rule do with two "
        "ways?",
        "Begin with zeros (V, d), and for every place add its gradient to the row of its id. Written as one "
        "indexed +=, "
        "that loses repeated ids.",
        "np.add.at(dtable, ids, dout) adds place by place, for ids of any shape.",
    ),
    checks=(
        lookup_gradient(
            "every id at most once",
            2,
            {"four different ids of six": no_repeats, "a single id": gradients_at(3, 5, 1)},
        ),
        lookup_gradient(
            "repeated ids add up",
            5,
            {
                "one id four times, two ids not at all": repeated,
                "ten places, three rows": gradients_at(4, 3, 10),
                "as many rows as columns": gradients_at(4, 4, 6),
            },
        ),
        numeric(
            "a batch of sentences",
            3,
            "embedding_backward",
            summed,
            [
                Case("ids (2, 6)", gradients_at(3, 5, 2, 6)),
                Case("ids (3, 1, 4)", gradients_at(2, 6, 3, 1, 4)),
                Case("every place the same word", lambda rng: (rng.normal(size=(2, 3, 4)), np.full((2, 3), 1), 3)),
                Case("plain lists", lambda rng: (rng.normal(size=(3, 2)).tolist(), [1, 1, 0], 2)),
            ],
            result="`dtable`",
        ),
        adjoint,
        numeric(
            "sizes from a millionth to a million, and float32",
            1,
            "embedding_backward",
            summed,
            [
                Case(
                    "gradients of very different sizes, ids repeated",
                    lambda rng: (10.0 ** rng.integers(-6, 7, size=(8, 3)), np.array([0, 1, 2, 3, 3, 2, 1, 0]), 5),
                ),
                Case(
                    "float32, to be added up in float64",
                    lambda rng: (rng.normal(size=(20, 3)).astype(np.float32), rng.integers(3, size=20), 4),
                ),
            ],
            result="`dtable`",
        ),
        unchanged(1, {"embedding_backward": repeated}),
    ),
    mistakes=(
        Mistake(
            name="repeated-ids-overwritten",
            advice="dtable[ids] = dout, and += as well, keep one of the places with the same id and lose the "
            "others: use "
            "np.add.at.",
            replaces={"embedding_backward": overwritten},
            variants=({"embedding_backward": first_kept},),
        ),
        Mistake(
            name="repeated-ids-averaged",
            advice="The gradients of all places with the same id are added, not averaged.",
            replaces={"embedding_backward": averaged},
        ),
        Mistake(
            name="divided-by-the-places",
            advice="dout is the gradient of a mean loss and has been divided already: only add here.",
            replaces={"embedding_backward": over_places},
        ),
        Mistake(
            name="unused-rows-left-out",
            advice="The gradient has the shape of the table: rows that nobody asked for get zeros, but they stay.",
            replaces={"embedding_backward": used_rows_only},
            variants=({"embedding_backward": rows_up_to_largest},),
        ),
        Mistake(
            name="table-gradient-transposed",
            advice="The gradient has the shape of the table, (V, d): one row a token.",
            replaces={"embedding_backward": transposed},
        ),
    ),
)

# --- cosine ----------------------------------------------------------------------------------------------------------


def dot_products(table: Array, query: Array) -> Array:
    return floats(table) @ floats(query)


def half_normalised(table: Array, query: Array) -> Array:
    table = floats(table)
    lengths = np.linalg.norm(table, axis=1)
    return table @ floats(query) / np.where(lengths == 0, 1, lengths)


def query_normalised(table: Array, query: Array) -> Array:
    query = floats(query)
    return floats(table) @ query / (np.linalg.norm(query) or 1.0)


def squared_lengths(table: Array, query: Array) -> Array:
    table, query = floats(table), floats(query)
    lengths = (table**2).sum(axis=1) * (query**2).sum()
    return table @ query / np.where(lengths == 0, 1, lengths)


def whole_length(table: Array, query: Array) -> Array:
    table, query = floats(table), floats(query)
    return table @ query / ((np.linalg.norm(table) * np.linalg.norm(query)) or 1.0)


def nan_for_zero(table: Array, query: Array) -> Array:
    table, query = floats(table), floats(query)
    with np.errstate(all="ignore"):
        return table @ query / (np.linalg.norm(table, axis=1) * np.linalg.norm(query))


def with_epsilon(table: Array, query: Array) -> Array:
    table, query = floats(table), floats(query)
    return table @ query / (np.linalg.norm(table, axis=1) * np.linalg.norm(query) + 1e-8)


def distances(table: Array, query: Array) -> Array:
    return -np.linalg.norm(floats(table) - floats(query), axis=1)


def cosine_distances(table: Array, query: Array) -> Array:
    return 1.0 - ref.cosine_similarity(table, query)


def vectors(rows: int, width: int, scale: float = 1.0) -> Any:
    """Draws (table, query), the rows of very different lengths."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        lengths = rng.permutation(np.geomspace(0.2, 5.0, rows))[:, None]
        return scale * lengths * rng.normal(size=(rows, width)), scale * rng.normal(size=width)

    return draw


def some_zero(rng: Rng) -> tuple[Any, ...]:
    table, query = vectors(5, 3)(rng)
    table[[1, 4]] = 0.0
    return table, query


def zero_query(rng: Rng) -> tuple[Any, ...]:
    return vectors(4, 3)(rng)[0], np.zeros(3)


COSINE = Exercise(
    name="cosine_similarity",
    title="Alike in direction",
    functions=("cosine_similarity",),
    hints=(
        "One matrix product gives the dot products with all rows. Then every one of them must be divided by two "
        "lengths.",
        "The lengths of the rows are the roots of the sums of squares along axis 1: (V,) numbers, which line up "
        "with the "
        "dot products.",
        "Divide table @ query by the rows' lengths times the query's. Where that product is 0, put 1 in its "
        "place before "
        "you divide, for instance with np.where.",
    ),
    checks=(
        numeric(
            "cosine with every row",
            4,
            "cosine_similarity",
            ref.cosine_similarity,
            [
                Case("six rows of different lengths", vectors(6, 4)),
                Case("as many rows as columns", vectors(3, 3)),
                Case("a single row", vectors(1, 5)),
                Case("plain lists", lambda rng: tuple(a.tolist() for a in vectors(3, 2)(rng))),
            ],
        ),
        numeric(
            "vectors of zeros have no direction",
            2,
            "cosine_similarity",
            ref.cosine_similarity,
            [Case("two rows of zeros", some_zero), Case("a query of zeros", zero_query)],
        ),
        numeric(
            "tiny and huge vectors, and float32",
            1,
            "cosine_similarity",
            ref.cosine_similarity,
            [
                Case("entries of about a millionth", vectors(4, 3, 1e-6)),
                Case("entries of about a million-millionth", vectors(4, 3, 1e-12)),
                Case("entries of a million", vectors(4, 3, 1e6)),
                Case("float32 arrays", lambda rng: tuple(a.astype(np.float32) for a in vectors(4, 3)(rng))),
            ],
        ),
        unchanged(1, {"cosine_similarity": vectors(4, 3)}),
    ),
    mistakes=(
        Mistake(
            name="dot-product-for-cosine",
            advice="A long vector has large dot products with everything: divide by both lengths.",
            replaces={"cosine_similarity": dot_products},
        ),
        Mistake(
            name="only-one-length-divided-out",
            advice="The cosine divides by both lengths, the row's and the query's.",
            replaces={"cosine_similarity": half_normalised},
            variants=({"cosine_similarity": query_normalised},),
        ),
        Mistake(
            name="squared-lengths",
            advice="A length is the square ROOT of the sum of squares.",
            replaces={"cosine_similarity": squared_lengths},
        ),
        Mistake(
            name="length-of-the-whole-table",
            advice="Every row is divided by its own length: np.linalg.norm needs axis=1.",
            replaces={"cosine_similarity": whole_length},
        ),
        Mistake(
            name="nan-for-zero-vectors",
            advice="A vector of zeros has length 0, and 0 / 0 is nan: the similarity is 0 there.",
            replaces={"cosine_similarity": nan_for_zero},
        ),
        Mistake(
            name="epsilon-in-the-denominator",
            advice="A small constant added to the lengths is not small beside tiny vectors; treat zero by itself.",
            replaces={"cosine_similarity": with_epsilon},
        ),
        Mistake(
            name="distance-for-cosine",
            advice="This is a distance; the cosine looks at the direction alone.",
            replaces={"cosine_similarity": distances},
            variants=({"cosine_similarity": cosine_distances},),
        ),
    ),
)

# --- neighbours ------------------------------------------------------------------------------------------------------

Similarity = Callable[[Array, Array], Array]


def neighbours(table: Array, query: Array, k: int = 1, exclude: Sequence[int] = ()) -> Array:
    return ref.nearest_neighbours(table, query, k, [int(v) for v in exclude])


def neighbours_with(
    similarity: Similarity = ref.cosine_similarity,
    *,
    excludes: bool = True,
    order: Callable[[Array], Array] = lambda s: np.argsort(-s, kind="stable"),
    cut_first: bool = False,
    extra: int = 0,
) -> Callable[..., list[int]]:
    """Neighbours by another similarity, or in another order."""

    def nearest(table: Array, query: Array, k: int = 1, exclude: Sequence[int] = ()) -> list[int]:
        ranking = [int(v) for v in order(similarity(table, query))]
        if cut_first:
            ranking = ranking[:k]
        return [v for v in ranking if not (excludes and v in exclude)][: k + extra]

    return nearest


def similarities_of_neighbours(table: Array, query: Array, k: int = 1, exclude: Sequence[int] = ()) -> Array:
    return ref.cosine_similarity(table, query)[neighbours(table, query, k, exclude)]


def asked(rows: int, width: int, k: int, *exclude: int) -> Any:
    return lambda rng: (*vectors(rows, width)(rng), k, tuple(exclude))


def without_best(rng: Rng) -> tuple[Any, ...]:
    """The two best of all are excluded."""
    table, query = vectors(8, 3)(rng)
    return table, query, 3, tuple(int(v) for v in neighbours(table, query, 2))


def ties(rng: Rng) -> tuple[Any, ...]:
    """Rows along the axes, their lengths powers of two: equal cosines are equal to the last digit."""
    table = np.array([[0.0, 4.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0], [-1.0, 0.0], [4.0, 0.0], [0.0, 0.5]])
    return table, np.array([2.0, 0.0]), 6


def many_ties(rng: Rng) -> tuple[Any, ...]:
    """The same with so many rows that a sort which need not keep the order of equals does not keep it."""
    table, query, _ = ties(rng)
    return np.tile(table, (12, 1)), query, 50


NEAREST = Exercise(
    name="nearest",
    title="Nearest neighbours",
    functions=("nearest",),
    hints=(
        "You know how similar every row is. What you want is not the sorted similarities, but who they belong to.",
        "np.argsort gives ids, the smallest number first: sort the negative similarities. Then drop the excluded "
        "ids, and "
        "only then cut off after k.",
        "np.argsort(-similarities, kind='stable') keeps equals in the order of their ids. Go through it, keep the ids "
        "that are not in exclude, and return the first k of them.",
    ),
    checks=(
        numeric(
            "the most similar rows, best first",
            3,
            "nearest",
            neighbours,
            [
                Case("the nearest of eight", asked(8, 3, 1)),
                Case("the four nearest of nine", asked(9, 4, 4)),
                Case("all of them", asked(6, 3, 6)),
                Case("the two nearest of ten, in two dimensions", asked(10, 2, 2)),
                Case("without k: the nearest alone", vectors(7, 3)),
            ],
            result="the list of ids",
        ),
        numeric(
            "excluded ids take no part",
            3,
            "nearest",
            neighbours,
            [
                Case("the two best excluded", without_best),
                Case("three ids excluded, all others asked for", asked(7, 3, 4, 0, 3, 6)),
                Case("more asked for than are left", asked(5, 3, 5, 1, 2)),
                Case("half of twelve ids excluded", asked(12, 3, 6, 0, 2, 4, 6, 8, 10)),
            ],
            result="the list of ids",
        ),
        numeric(
            "of equals the lower id comes first",
            2,
            "nearest",
            neighbours,
            [Case("three rows in the same direction", ties), Case("36 rows in the same direction", many_ties)],
            result="the list of ids",
        ),
    ),
    mistakes=(
        Mistake(
            name="neighbours-by-dot-product",
            advice="By the dot product, long vectors are near to everything: rank by the cosine.",
            replaces={"nearest": neighbours_with(dot_products)},
        ),
        Mistake(
            name="neighbours-by-distance",
            advice="Rank by the cosine: two vectors of the same direction are alike, whatever their lengths.",
            replaces={"nearest": neighbours_with(distances)},
        ),
        Mistake(
            name="least-similar-first",
            advice="argsort puts the smallest first, and the best neighbour has the largest cosine: sort the negative.",
            replaces={"nearest": neighbours_with(order=lambda s: np.argsort(s, kind="stable"))},
        ),
        Mistake(
            name="ties-by-the-higher-id",
            advice="Turning a sorted list round also turns round those that are equal: sort the negative similarities, "
            "with kind='stable'.",
            replaces={"nearest": neighbours_with(order=lambda s: np.argsort(s, kind="stable")[::-1])},
        ),
        Mistake(
            name="ties-in-any-order",
            advice="np.argsort keeps the order of equals only if it is told so: use kind='stable'.",
            replaces={"nearest": neighbours_with(order=lambda s: np.argsort(-s))},
        ),
        Mistake(
            name="exclude-ignored",
            advice="The `exclude` argument is not used: these ids take no part.",
            replaces={"nearest": neighbours_with(excludes=False)},
        ),
        Mistake(
            name="cut-before-excluding",
            advice="Drop the excluded ids first and cut off after k then; otherwise too few are left.",
            replaces={"nearest": neighbours_with(cut_first=True)},
        ),
        Mistake(
            name="similarities-returned",
            advice="The ids of the neighbours are asked for, not their similarities.",
            replaces={"nearest": similarities_of_neighbours},
        ),
        Mistake(
            name="one-neighbour-too-many",
            advice="k neighbours are asked for, and yours are k + 1.",
            replaces={"nearest": neighbours_with(extra=1)},
        ),
    ),
)

# --- analogies -------------------------------------------------------------------------------------------------------


def right_analogy(table: Array, a: int, b: int, c: int) -> int:
    return int(ref.analogy(table, a, b, c)[0])


def analogy_with(
    target: Callable[[Array, Array, Array], Array] = lambda a, b, c: b - a + c,
    *,
    similarity: Similarity = ref.cosine_similarity,
    excludes: Callable[[int, int, int], tuple[int, ...]] = lambda a, b, c: (a, b, c),
    unit: bool = False,
) -> dict[str, Any]:
    """An analogy with another target, similarity, or rule of what is excluded."""

    def analogy(table: Array, a: int, b: int, c: int) -> int:
        table = floats(table)
        if unit:
            table = table / np.linalg.norm(table, axis=1, keepdims=True)
        query = target(table[a], table[b], table[c])
        return neighbours_with(similarity)(table, query, 1, excludes(a, b, c))[0]

    return {"analogy": analogy}


def parallelograms(rng: Rng) -> tuple[Any, ...]:
    """Pairs that differ by the same short step, so that c itself is nearest to the sum, and long vectors nearby."""
    start = 2.0 + rng.normal(size=(5, 4))
    step = 0.6 * rng.normal(size=4)
    table = np.stack([start, start + step + 0.02 * rng.normal(size=(5, 4))], axis=1).reshape(10, 4)
    table *= np.geomspace(1.0, 3.0, 10)[rng.permutation(10)][:, None] ** 0.2
    first, second = rng.permutation(5)[:2]
    return table, int(2 * first), int(2 * first + 1), int(2 * second)


def scattered(rng: Rng) -> tuple[Any, ...]:
    """Rows of very different lengths in few dimensions: any other rule soon picks another row."""
    table, _ = vectors(12, 3)(rng)
    return table, *(int(v) for v in rng.permutation(12)[:3])


def nearest_is(which: int) -> Any:
    """Draws a question whose sum lies nearest to the word with this place in it."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        while True:
            table, a, b, c = scattered(rng)
            if neighbours(table, table[b] - table[a] + table[c])[0] == (a, b, c)[which]:
                return table, a, b, c

    return draw


@prop("a word of the question is never the answer", 3, "analogy")
def never_asked(student: Any, rng: Rng) -> None:
    short, other = "a short step from a to b, so that c is nearest to itself", "twelve words in three dimensions"
    calls = [(short, Call("analogy", parallelograms(rng))) for _ in range(6)]
    calls += [(other, Call("analogy", draw(rng))) for draw in (nearest_is(1), nearest_is(2), *[scattered] * 10)]
    replies = student.batch([call for _, call in calls])
    for (reason, call), reply in zip(calls, replies, strict=True):
        with case_of(reason, call):
            got = numbers(student.answer(call, reply), (), "the answer")
            holds(float(got) not in call.args[1:], "the answer is one of the three words of the question.")
            same(got, right_analogy(*call.args), "the answer")


ANALOGY = Exercise(
    name="analogy",
    title="Analogies",
    functions=("analogy",),
    hints=(
        "The step from a to b is a difference of two rows. Where do you get to, if you take that step from c?",
        "Ask `nearest` for the neighbour of that point, and tell it which three ids may not answer.",
        "The query is table[b] - table[a] + table[c]; exclude is (a, b, c); the answer is the first id of the list.",
    ),
    checks=(
        numeric(
            "the nearest to b - a + c",
            5,
            "analogy",
            right_analogy,
            [
                *[Case("twelve words in three dimensions", scattered)] * 12,
                Case("the sum lies nearest to b", nearest_is(1)),
                Case("the sum lies nearest to c", nearest_is(2)),
            ],
            result="the answer",
        ),
        never_asked,
    ),
    mistakes=(
        Mistake(
            name="query-words-not-excluded",
            advice="The words of the question lie near the sum themselves: exclude a, b and c.",
            replaces=analogy_with(excludes=lambda a, b, c: ()),
        ),
        Mistake(
            name="only-c-excluded",
            advice="All three words of the question are excluded, a and b as well as c.",
            replaces=analogy_with(excludes=lambda a, b, c: (c,)),
        ),
        Mistake(
            name="step-taken-backwards",
            advice="The step goes from a to b: b - a, added to c.",
            replaces=analogy_with(lambda a, b, c: a - b + c),
        ),
        Mistake(
            name="c-subtracted-instead-of-a",
            advice="a is to b as c is to the answer: the step is b - a, and it starts at c.",
            replaces=analogy_with(lambda a, b, c: a + b - c),
        ),
        Mistake(
            name="a-not-subtracted",
            advice="The step from a to b is b - a: what a and b have in common must go.",
            replaces=analogy_with(lambda a, b, c: b + c),
        ),
        Mistake(
            name="analogy-by-dot-product",
            advice="Rank by the cosine; by the dot product the longest vectors always win.",
            replaces=analogy_with(similarity=dot_products),
        ),
        Mistake(
            name="analogy-by-distance",
            advice="Rank by the cosine, not by the distance: only the direction counts.",
            replaces=analogy_with(similarity=distances),
        ),
        Mistake(
            name="rows-normalised-first",
            advice="The rows are taken as they are; brought to length one first, they make another sum.",
            replaces=analogy_with(unit=True),
        ),
    ),
)

# --- skip-gram pairs -------------------------------------------------------------------------------------------------


def pairs_of(tokens: Array, window: int) -> Array:
    return ref.skipgram_pairs(whole(tokens), window)


def pairs_with(near: Callable[[int, int, int, int], bool], *, swap: bool = False, places: bool = False) -> Any:
    """Pairs of the positions i, j for which `near(i, j, n, window)`."""

    def pairs(tokens: Array, window: int) -> Array:
        t = whole(tokens)
        n = len(t)
        found = [(i, j) for i in range(n) for j in range(n) if near(i, j, n, window)]
        found = [(j, i) for i, j in found] if swap else found
        return whole(found if places else [(t[i], t[j]) for i, j in found]).reshape(-1, 2)

    return {"skipgram_pairs": pairs}


def around(i: int, j: int, n: int, window: int) -> bool:
    return i != j and abs(i - j) <= window


def by_offset(tokens: Array, window: int) -> Array:
    t = whole(tokens)
    offsets = [o for o in range(-window, window + 1) if o]
    found = [(t[i], t[i + o]) for o in offsets for i in range(len(t)) if 0 <= i + o < len(t)]
    return whole(found).reshape(-1, 2)


def different_words(tokens: Array, window: int) -> Array:
    pairs = pairs_of(tokens, window)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def without_doubles(tokens: Array, window: int) -> Array:
    return whole(list(dict.fromkeys(map(tuple, pairs_of(tokens, window).tolist())))).reshape(-1, 2)


SENTENCES: dict[str, Any] = {
    "nine different words, window 2": lambda rng: (rng.permutation(30)[:9], 2),
    "seven words, window 1": lambda rng: (rng.permutation(20)[:7], 1),
    "words that come again, next to each other too": lambda rng: (np.array([4, 4, 1, 4, 2, 1, 4]), 2),
    "a window longer than the sentence": lambda rng: (rng.permutation(20)[:4], 10),
    "two words": lambda rng: (rng.permutation(9)[:2], 3),
    "a plain list, window 3": lambda rng: (rng.integers(50, size=8).tolist(), 3),
}


def rows_sorted(pairs: Array) -> Array:
    return pairs[np.lexsort(pairs.T[::-1])]


@prop("which pairs there are", 7, "skipgram_pairs")
def which_pairs(student: Any, rng: Rng) -> None:
    for reason, draw in SENTENCES.items():
        tokens, window = draw(rng)
        got = student.skipgram_pairs(tokens, window)
        with case_of(reason, student.transcript[-1][0]):
            want = pairs_of(tokens, window)
            found = numbers(got, None, "the list of pairs")
            holds(found.ndim == 2 and found.shape[1] == 2, "the pairs should be an array of shape (P, 2).")
            holds(
                len(found) == len(want),
                f"there should be {len(want)} pairs, but there are {len(found)}.",
            )
            same(rows_sorted(found), rows_sorted(floats(want)), "the list of pairs, sorted,")


@prop("a single word has no pairs", 1, "skipgram_pairs", alone=False)
def no_pairs(student: Any, rng: Rng) -> None:
    got = numbers(student.skipgram_pairs([5], 2), None, "the list of pairs")
    holds(got.size == 0, "a sentence of one word has no pairs.")


PAIRS = Exercise(
    name="skipgram_pairs",
    title="Pairs of words that stand near each other",
    functions=("skipgram_pairs",),
    hints=(
        "Write down all pairs of a sentence of four words with a window of 2. Which positions can be the context "
        "of the "
        "first word?",
        "Two loops: over the positions of the centre, all of them, and over those of the context. Where must the "
        "second "
        "loop start and stop so that it does not leave the sentence?",
        "For centre i, the context j runs from max(0, i - window) to min(N - 1, i + window), and skips j == i. Collect "
        "(tokens[i], tokens[j]), and make an array of shape (-1, 2).",
    ),
    checks=(
        which_pairs,
        numeric(
            "in the order asked for",
            3,
            "skipgram_pairs",
            pairs_of,
            [Case(reason, draw) for reason, draw in SENTENCES.items()],
            result="the list of pairs",
        ),
        no_pairs,
        unchanged(1, {"skipgram_pairs": lambda rng: (rng.integers(9, size=6), 2)}),
    ),
    mistakes=(
        Mistake(
            name="centre-paired-with-itself",
            advice="The window includes the centre's own position: leave it out, or every word learns to predict "
            "itself.",
            replaces=pairs_with(lambda i, j, n, w: abs(i - j) <= w),
        ),
        Mistake(
            name="ends-of-the-sentence-skipped",
            advice="Words near the ends are centres too; they only have fewer neighbours.",
            replaces=pairs_with(lambda i, j, n, w: around(i, j, n, w) and w <= i < n - w),
        ),
        Mistake(
            name="window-wraps-around",
            advice="A negative position counts from the end of the sentence: stop at its ends.",
            replaces=pairs_with(lambda i, j, n, w: i != j and min((i - j) % n, (j - i) % n) <= w),
            variants=(pairs_with(lambda i, j, n, w: around(i, j, n, w) or (i != j and i + n - j <= w)),),
        ),
        Mistake(
            name="context-on-one-side-only",
            advice="The window reaches to both sides of the centre.",
            replaces=pairs_with(lambda i, j, n, w: around(i, j, n, w) and j > i),
            variants=(pairs_with(lambda i, j, n, w: around(i, j, n, w) and j < i),),
        ),
        Mistake(
            name="window-one-too-short",
            advice="A position exactly `window` away is still inside; mind that range stops before its end.",
            replaces=pairs_with(lambda i, j, n, w: i != j and -w <= j - i < w),
            variants=(pairs_with(lambda i, j, n, w: i != j and abs(i - j) < w),),
        ),
        Mistake(
            name="window-one-too-long",
            advice="Positions more than `window` away are outside.",
            replaces=pairs_with(lambda i, j, n, w: i != j and abs(i - j) <= w + 1),
        ),
        Mistake(
            name="centre-and-context-swapped",
            advice="The pairs are right, but each has its context first: the centre comes first, and the rows go "
            "by it.",
            replaces=pairs_with(around, swap=True),
        ),
        Mistake(
            name="positions-instead-of-ids",
            advice="These are positions in the sentence; the ids of the words that stand there are asked for.",
            replaces=pairs_with(around, places=True),
        ),
        Mistake(
            name="pairs-in-another-order",
            advice="The pairs are right, but their order is not: by the centre's position first, then by the "
            "context's.",
            replaces={"skipgram_pairs": by_offset},
        ),
        Mistake(
            name="equal-words-skipped",
            advice="Compare positions and not words: the same word at another position is a context like any other.",
            replaces={"skipgram_pairs": different_words},
        ),
        Mistake(
            name="repeated-pairs-dropped",
            advice="A pair that comes twice counts twice: how often words meet is what is to be learned.",
            replaces={"skipgram_pairs": without_doubles},
        ),
    ),
)

# --- skip-gram with a softmax ----------------------------------------------------------------------------------------


def tables(rng: Rng, words: int, width: int, scale: float = 1.0) -> Params:
    return {name: scale * rng.normal(size=(words, width)) for name in ("W_in", "W_out")}


def a_batch(words: int, width: int, pairs: int, scale: float = 1.0) -> Any:
    """Draws (centers, contexts, params); no context is its centre."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        centers = rng.integers(words, size=pairs)
        return centers, (centers + rng.integers(1, words, size=pairs)) % words, tables(rng, words, width, scale)

    return draw


# So small an input against so large weights is of ordinary size inside, but bends within any step of a difference.
STEEP = 3e3


def steep(draw: Any) -> Any:
    """The same pairs and the same scores, of tiny vectors in one table and huge ones in the other."""

    def drawn(rng: Rng) -> tuple[Any, ...]:
        *args, params = draw(rng)
        return *args, {"W_in": params["W_in"] / STEEP, "W_out": STEEP * params["W_out"]}

    return drawn


def by_softmax(centers: Array, contexts: Array, params: Params) -> Lossy:
    return ref.skipgram_softmax(whole(centers), whole(contexts), params)


def softmax_with(
    *,
    gather: Backward = summed,
    dscores: Callable[[Array, Array], Array] = lambda p, t: (p - t) / len(p),
    loss: Callable[[Array, Array], Any] = lambda log_p, t: -np.sum(t * log_p) / len(t),
    log_p: Callable[[Array], Array] = log_softmax,
    swapped: bool = False,
    other_way: bool = False,
    tied: bool = False,
) -> dict[str, Any]:
    """The softmax loss, with one thing done another way."""

    def skipgram(centers: Array, contexts: Array, params: Params) -> Lossy:
        centers, contexts = whole(centers), whole(contexts)
        if other_way:
            centers, contexts = contexts, centers
        w_in, w_out = floats(params["W_in"]), floats(params["W_in" if tied else "W_out"])
        v, t = w_in[centers], one_hot(contexts, len(w_out))
        logs = log_p(v @ w_out.T)
        d = dscores(np.exp(logs), t)
        grads = {"W_in": gather(d @ w_out, centers, len(w_in)), "W_out": d.T @ v}
        return loss(logs, t), dict(zip(grads, list(grads.values())[:: -1 if swapped else 1], strict=True))

    return {"skipgram_softmax": skipgram}


def naive_log(scores: Array) -> Array:
    with np.errstate(all="ignore"):
        e = np.exp(scores)
        return np.log(e / e.sum(axis=1, keepdims=True))


def log_plus_epsilon(scores: Array) -> Array:
    return np.log(softmax(scores) + 1e-12)


def log_down_columns(scores: Array) -> Array:
    return log_softmax(scores, axis=0)


def huge_scores(rng: Rng) -> tuple[Any, ...]:
    """Scores of plus and minus ten thousand, some pairs confidently wrong."""
    params = {
        "W_in": np.array([[100.0, 0.0], [0.0, 100.0], [-100.0, 0.0]]),
        "W_out": np.array([[100.0, 0.0], [0.0, 100.0], [0.0, -100.0]]),
    }
    return np.array([0, 0, 1, 2, 1]), np.array([0, 1, 2, 0, 1]), params


def loss_check(name: str, points: int, function: str, right: Any, cases: dict[str, Any]) -> Check:
    return numeric(name, points, function, right, [Case(r, d) for r, d in cases.items()], pick=0, result="the loss")


def grads_check(
    name: str, points: int, function: str, right: Any, cases: dict[str, Any], wanted: Sequence[str] = ("W_in", "W_out")
) -> Check:
    """A gradient check of the tables that are `wanted`; the parameters are the last argument."""

    def value(student: Any, inputs: dict[str, Any]) -> Any:
        return items(student.call(function, *inputs["args"], inputs["params"]), ("loss", "grads"))[0]

    def grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        answer = student.call(function, *inputs["args"], inputs["params"])
        with case_of("", student.transcript[-1][0]):
            found = items(answer, ("loss", "grads"))[1]
            return {f"params.{key}": entry(found, key, "`grads`") for key in wanted}

    def reference(inputs: dict[str, Any]) -> dict[str, Any]:
        found = right(*inputs["args"], inputs["params"])[1]
        return {f"params.{key}": found[key] for key in wanted}

    def named(draw: Any) -> Any:
        def drawn(rng: Rng) -> dict[str, Any]:
            *args, params = draw(rng)
            return {"args": args, "params": params}

        return drawn

    return gradient(
        name,
        points,
        (function,),
        [GradientCase(reason, named(draw)) for reason, draw in cases.items()],
        value=value,
        grads=grads,
        reference=reference,
    )


SOFTMAX_CASES: dict[str, Any] = {
    "four pairs, seven words": a_batch(7, 3, 4),
    "ten pairs of four words, in which centres repeat": a_batch(4, 3, 10),
    "a single pair": a_batch(5, 2, 1),
    "as many pairs as words as dimensions": a_batch(4, 4, 4),
}

SOFTMAX = Exercise(
    name="skipgram_softmax",
    title="Skip-gram with a softmax",
    functions=("skipgram_softmax",),
    hints=(
        "With the rows of W_in as inputs and W_out as weights, this is a linear layer with a cross-entropy "
        "behind it. You "
        "have written both before.",
        "Look up v (B, d); the scores are v @ W_out.T, (B, V). From the gradient at the scores, dscores, go back "
        "through "
        "the product: to v and to W_out.",
        "dscores is (softmax minus one-hot) / B. The gradient of W_out is dscores.T @ v; that of v is dscores @ W_out, "
        "and embedding_backward gathers it into the gradient of W_in.",
    ),
    checks=(
        loss_check("loss is the mean over the pairs", 4, "skipgram_softmax", by_softmax, SOFTMAX_CASES),
        grads_check("gradient of W_out", 3, "skipgram_softmax", by_softmax, SOFTMAX_CASES, ("W_out",)),
        grads_check("gradient of W_in", 3, "skipgram_softmax", by_softmax, SOFTMAX_CASES, ("W_in",)),
        loss_check(
            "huge scores: the loss is exact", 1, "skipgram_softmax", by_softmax, {"scores of ten thousand": huge_scores}
        ),
        grads_check(
            "gradients are computed, not approximated",
            2,
            "skipgram_softmax",
            by_softmax,
            {
                "scores of ten thousand": huge_scores,
                "vectors of length about ten": a_batch(5, 3, 6, 6.0),
                "tiny vectors in W_in, huge ones in W_out": steep(a_batch(4, 2, 5)),
            },
        ),
        unchanged(1, {"skipgram_softmax": a_batch(5, 3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="repeated-centres-lost",
            advice="A centre that comes twice collects both gradients: use embedding_backward for W_in.",
            replaces=softmax_with(gather=overwritten),
            variants=({"embedding_backward": overwritten},),
        ),
        Mistake(
            name="tables-swapped-in-the-gradients",
            advice="The gradients of W_in and W_out have changed places: W_in's is gathered by the centres.",
            replaces=softmax_with(swapped=True),
        ),
        Mistake(
            name="gradient-not-divided-by-the-pairs",
            advice="The loss is a mean over the pairs, so its gradient carries the same 1 / B.",
            replaces=softmax_with(dscores=lambda p, t: p - t),
        ),
        Mistake(
            name="loss-summed-over-the-pairs",
            advice="The loss is a mean over the pairs; yours is their sum.",
            replaces=softmax_with(dscores=lambda p, t: p - t, loss=lambda log_p, t: -np.sum(t * log_p)),
            variants=(softmax_with(loss=lambda log_p, t: -np.sum(t * log_p)),),
        ),
        Mistake(
            name="loss-averaged-over-the-words-too",
            advice="np.mean over all (B, V) entries divides by V as well; the mean is over the B pairs.",
            replaces=softmax_with(loss=lambda log_p, t: -np.mean(t * log_p)),
            variants=(softmax_with(dscores=lambda p, t: (p - t) / p.size, loss=lambda log_p, t: -np.mean(t * log_p)),),
        ),
        Mistake(
            name="score-gradient-sign",
            advice="The gradient at the scores is softmax minus one-hot; yours is the other way round.",
            replaces=softmax_with(dscores=lambda p, t: (t - p) / len(p)),
        ),
        Mistake(
            name="softmax-over-the-pairs",
            advice="The probabilities of one pair, over all words, sum to one: the softmax runs along the rows of the "
            "scores.",
            replaces=softmax_with(log_p=log_down_columns),
        ),
        Mistake(
            name="scores-not-shifted",
            advice="exp of a large score overflows: subtract each row's maximum, and stay with logarithms.",
            replaces=softmax_with(log_p=naive_log),
        ),
        Mistake(
            name="epsilon-in-the-logarithm",
            advice="log(p + 1e-12) is never below -27.6, however wrong the guess: take the logarithm of the sum "
            "instead.",
            replaces=softmax_with(log_p=log_plus_epsilon),
        ),
        Mistake(
            name="centre-guessed-from-the-context",
            advice="Skip-gram guesses the context from the centre: v is W_in at the CENTRE.",
            replaces=softmax_with(other_way=True),
        ),
        Mistake(
            name="one-table-for-both",
            advice="The scores are made with W_out; yours uses W_in on both sides.",
            replaces=softmax_with(tied=True),
        ),
    ),
)

# --- negative sampling -----------------------------------------------------------------------------------------------


def by_sampling(centers: Array, contexts: Array, negatives: Array, params: Params) -> Lossy:
    return ref.skipgram_negative_sampling(whole(centers), whole(contexts), whole(negatives), params)


def sampled(words: int, width: int, pairs: int, k: int, scale: float = 1.0) -> Any:
    """Draws (centers, contexts, negatives, params)."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        centers, contexts, params = a_batch(words, width, pairs, scale)(rng)
        return centers, contexts, rng.integers(words, size=(pairs, k)), params

    return draw


def many_negatives(rng: Rng) -> tuple[Any, ...]:
    """Negatives that repeat within a pair, and that are the context or the centre."""
    centers, contexts, params = a_batch(4, 3, 3)(rng)
    return (
        centers,
        contexts,
        np.stack([contexts, contexts, centers, (contexts + 1) % 4, (contexts + 1) % 4], axis=1),
        params,
    )


def huge_samples(rng: Rng) -> tuple[Any, ...]:
    centers, contexts, params = huge_scores(rng)
    return centers, contexts, np.array([[1, 2], [0, 0], [1, 2], [0, 1], [2, 1]]), params


def sampling_with(
    *,
    gather_in: Backward = summed,
    gather_out: Backward = summed,
    negative_sign: float = 1.0,
    negative_slope: float = 1.0,
    weight: Callable[[int], float] = lambda k: 1.0,
    positive: float = 1.0,
    positive_slope_in: float = 1.0,
    negative_slope_in: float = 1.0,
    divides: Callable[[int], float] = float,
    loss_divides: Callable[[int], float] = float,
    swapped: bool = False,
    naive: bool = False,
    other_way: bool = False,
) -> dict[str, Any]:
    """The sampled loss, with one thing done another way."""

    def skipgram(centers: Array, contexts: Array, negatives: Array, params: Params) -> Lossy:
        centers, contexts, negatives = whole(centers), whole(contexts), whole(negatives)
        if other_way:
            centers, contexts = contexts, centers
        w_in, w_out = floats(params["W_in"]), floats(params["W_out"])
        batch, k = negatives.shape
        v, words = w_in[centers], np.concatenate([contexts[:, None], negatives], axis=1)
        u = w_out[words]
        scores = np.einsum("bkd,bd->bk", u, v)
        sign = np.concatenate([[-1.0], np.full(k, negative_sign)])
        weights = np.concatenate([[positive], np.full(k, weight(k))])
        if naive:
            with np.errstate(all="ignore"):
                losses = -np.log(1 / (1 + np.exp(sign * scores)))
        else:
            losses = softplus(sign * scores)
        slope = weights * sign * sigmoid(sign * scores) / divides(batch)
        slope[:, 1:] *= negative_slope
        per_in = np.concatenate([[positive_slope_in], np.full(k, negative_slope_in)])
        dv = np.einsum("bk,bkd->bd", slope * per_in, u)
        du = slope[:, :, None] * v[:, None]
        grads = {"W_in": gather_in(dv, centers, len(w_in)), "W_out": gather_out(du, words, len(w_out))}
        loss = (weights * losses).sum() / loss_divides(batch)
        return loss, dict(zip(grads, list(grads.values())[:: -1 if swapped else 1], strict=True))

    return {"skipgram_negative_sampling": skipgram}


def one(batch: int) -> float:
    return 1.0


SAMPLED_CASES: dict[str, Any] = {
    "four pairs, three negatives, seven words": sampled(7, 3, 4, 3),
    "eight pairs of four words, in which centres and negatives repeat": sampled(4, 3, 8, 5),
    "a single pair with a single negative": sampled(5, 2, 1, 1),
    "all sizes equal": sampled(4, 4, 4, 4),
    "a negative drawn twice, and one that is the true context": many_negatives,
}

SAMPLING = Exercise(
    name="skipgram_negative_sampling",
    title="Skip-gram with negative sampling",
    functions=("skipgram_negative_sampling",),
    hints=(
        "For every pair there are K + 1 questions with the answer yes or no: is this word its context? It is yes "
        "once, and "
        "no K times.",
        "Each question is a binary cross-entropy from a logit, the score u . v; the gradient at a score is "
        "sigmoid(s) - 1 "
        "for the context and sigmoid(s) for a negative, over B.",
        "Put contexts and negatives side by side, (B, K + 1), and look up u (B, K + 1, d). The gradient of v "
        "sums dscores "
        "times u over the K + 1 words; that of u is dscores times v. embedding_backward gathers both.",
    ),
    checks=(
        loss_check("loss is the mean over the pairs", 4, "skipgram_negative_sampling", by_sampling, SAMPLED_CASES),
        grads_check("gradient of W_out", 3, "skipgram_negative_sampling", by_sampling, SAMPLED_CASES, ("W_out",)),
        grads_check("gradient of W_in", 3, "skipgram_negative_sampling", by_sampling, SAMPLED_CASES, ("W_in",)),
        loss_check(
            "huge scores: the loss is exact",
            1,
            "skipgram_negative_sampling",
            by_sampling,
            {"scores of ten thousand": huge_samples},
        ),
        grads_check(
            "gradients are computed, not approximated",
            2,
            "skipgram_negative_sampling",
            by_sampling,
            {
                "scores of ten thousand": huge_samples,
                "vectors of length about ten": sampled(5, 3, 4, 3, 6.0),
                "tiny vectors in W_in, huge ones in W_out": steep(sampled(4, 2, 4, 2)),
            },
        ),
        unchanged(1, {"skipgram_negative_sampling": sampled(5, 3, 4, 2)}),
    ),
    mistakes=(
        Mistake(
            name="negatives-with-the-wrong-sign",
            advice="A negative should have a LOW score: its loss is -log sigmoid(-u . v), with a minus inside.",
            replaces=sampling_with(negative_sign=-1.0),
        ),
        Mistake(
            name="gradient-of-the-negatives-with-the-wrong-sign",
            advice="The derivative of -log sigmoid(-s) is plus sigmoid(s): the step away from a negative lowers its "
            "score.",
            replaces=sampling_with(negative_slope=-1.0),
        ),
        Mistake(
            name="negatives-averaged",
            advice="The K negatives are summed, not averaged.",
            replaces=sampling_with(weight=lambda k: 1.0 / k),
        ),
        Mistake(
            name="context-left-out",
            advice="The true context is part of the loss too: -log sigmoid(u . v).",
            replaces=sampling_with(positive=0.0),
        ),
        Mistake(
            name="negatives-left-out",
            advice="The negatives are part of the loss too; without them every score would just grow.",
            replaces=sampling_with(weight=lambda k: 0.0),
        ),
        Mistake(
            name="centre-moved-by-the-context-only",
            advice="v meets the negatives as well: its gradient sums over all K + 1 words.",
            replaces=sampling_with(negative_slope_in=0.0),
        ),
        Mistake(
            name="centre-moved-by-the-negatives-only",
            advice="v meets the true context as well: its gradient sums over all K + 1 words.",
            replaces=sampling_with(positive_slope_in=0.0),
        ),
        Mistake(
            name="repeated-words-lost",
            advice="A word that comes more than once, as a centre, a context or a negative, collects every "
            "gradient: use "
            "embedding_backward.",
            replaces=sampling_with(gather_in=overwritten, gather_out=overwritten),
            variants=(
                sampling_with(gather_in=overwritten),
                sampling_with(gather_out=overwritten),
                {"embedding_backward": overwritten},
            ),
        ),
        Mistake(
            name="sampled-tables-swapped",
            advice="The gradients of W_in and W_out have changed places: W_in's is gathered by the centres.",
            replaces=sampling_with(swapped=True),
        ),
        Mistake(
            name="sampled-gradient-not-averaged",
            advice="The loss is a mean over the pairs, so its gradient carries the same 1 / B.",
            replaces=sampling_with(divides=one),
        ),
        Mistake(
            name="sampled-loss-summed",
            advice="The loss is a mean over the pairs; yours is their sum.",
            replaces=sampling_with(divides=one, loss_divides=one),
            variants=(sampling_with(loss_divides=one),),
        ),
        Mistake(
            name="logarithm-of-a-sigmoid",
            advice="A score of 10,000 makes the sigmoid exactly 0 or 1, and its logarithm infinite: use np.logaddexp.",
            replaces=sampling_with(naive=True),
        ),
        Mistake(
            name="sampled-centre-and-context-swapped",
            advice="v is W_in at the centre, u is W_out at the context; yours has them the other way round.",
            replaces=sampling_with(other_way=True),
        ),
    ),
)

# --- drawing negatives -----------------------------------------------------------------------------------------------

# The chance of any one event below is at most MISS, by Hoeffding's inequality: a share among n independent draws is off
# by t or more with a chance of at most 2 exp(-2 n t^2).
MISS = 1e-12
DRAWS = (4000, 5)
COUNTS = (1000.0, 0.0, 100.0, 10.0, 400.0, 1.0)


def band(draws: int) -> float:
    return math.sqrt(math.log(2 / MISS) / (2 * draws))


def drawn_with(weights: Callable[[Array], Array], *, rows_alike: bool = False) -> dict[str, Any]:
    def draw(counts: Array, shape: Any, rng: Rng) -> Array:
        w = floats(weights(floats(counts)))
        if not rows_alike:
            return rng.choice(len(w), size=shape, p=w / w.sum())
        return np.broadcast_to(rng.choice(len(w), size=tuple(shape)[1:], p=w / w.sum()), shape).copy()

    return {"draw_negatives": draw}


def not_normalised(counts: Array, shape: Any, rng: Rng) -> Array:
    return rng.choice(len(counts), size=shape, p=floats(counts) ** 0.75)


def always_the_same(counts: Array, shape: Any, rng: Rng) -> Array:
    w = floats(counts) ** 0.75
    return np.random.default_rng(0).choice(len(w), size=shape, p=w / w.sum())


def ids_of(student: Any, counts: Sequence[float], shape: tuple[int, ...], rng: Rng) -> Array:
    got = numbers(student.draw_negatives(counts, shape, rng), shape, "the ids")
    with case_of("", student.transcript[-1][0]):
        holds(
            bool(((got == np.round(got)) & (got >= 0) & (got < len(counts))).all()),
            f"the ids should be whole numbers from 0 to {len(counts) - 1}.",
        )
    return got


# One event for each of the six words, and one for each pair of columns: the share of rows in which they are equal.
@statistical("drawn by the counts to the power 0.75", 4, "draw_negatives", false_alarm=16 * MISS)
def shares(student: Any, rng: Rng) -> None:
    order = rng.permutation(len(COUNTS))
    counts = floats(COUNTS)[order]
    ids = ids_of(student, counts.tolist(), DRAWS, np.random.default_rng(int(rng.integers(1 << 62))))
    want = ref.negative_sampling_distribution(counts)
    found = np.array([(ids == w).mean() for w in range(len(counts))])
    with case_of(f"{ids.size} draws among {len(counts)} words", student.transcript[-1][0]):
        worst = int(np.abs(found - want).argmax())
        holds(
            bool(np.abs(found - want).max() <= band(ids.size)),
            "how often each word is drawn does not fit its count to the power 0.75.",
            f"Word {worst}, with a count of {counts[worst]:g}, has the share {found[worst]:.3f}; its probability is "
            f"{want[worst]:.3f}.",
        )
        holds(not (ids == int(np.argmin(counts))).any(), "a word with a count of 0 must never be drawn.")
        # Two independent draws are equal with the chance sum p^2.
        twins = [(ids[:, i] == ids[:, j]).mean() for i in range(5) for j in range(i)]
        holds(
            bool(np.abs(np.array(twins) - (want**2).sum()).max() <= band(len(ids))),
            "the draws of one row depend on each other: every single draw should be independent.",
        )


@prop("shape, and the same rng gives the same draw", 2, "draw_negatives")
def same_rng(student: Any, rng: Rng) -> None:
    counts = rng.integers(1, 50, size=40).tolist()
    for shape in ((6, 5), (3,), (2, 3, 4)):
        own = np.random.default_rng(int(rng.integers(1 << 62)))
        first, second = (ids_of(student, counts, shape, copy.deepcopy(own)) for _ in range(2))
        with case_of("the same generator twice", student.transcript[-1][0]):
            same(second, first, "the second draw, compared with the first,")
    # Two draws of 60 among 40 words, of which none has more than a fifth: equal by chance with 0.2 ** 60.
    drawn = [ids_of(student, [10] * 40, (60,), np.random.default_rng(int(rng.integers(1 << 62)))) for _ in range(2)]
    with case_of("two different generators", student.transcript[-1][0]):
        holds(
            not np.array_equal(drawn[0], drawn[1]),
            "another generator should give another draw: use the `rng` argument.",
        )


NEGATIVES = Exercise(
    name="draw_negatives",
    title="Drawing negatives",
    functions=("draw_negatives",),
    hints=(
        "Raise the counts to the power, and ask what they must sum to before they are probabilities.",
        "A NumPy generator has a method that draws from 0..V-1 with given probabilities, in any shape.",
        "Divide counts**0.75 by its sum, and call rng.choice with the number of words, size=shape and p=these "
        "probabilities.",
    ),
    checks=(shares, same_rng),
    mistakes=(
        Mistake(
            name="drawn-by-the-counts-themselves",
            advice="The power 0.75 is missing: it takes something from the frequent words and gives it to the "
            "rare ones.",
            replaces=drawn_with(lambda counts: counts),
        ),
        Mistake(
            name="all-words-equally-likely",
            advice="The counts are not used: frequent words are drawn more often.",
            replaces=drawn_with(np.ones_like),
            variants=(drawn_with(lambda counts: (counts > 0) * 1.0),),
        ),
        Mistake(
            name="probabilities-that-do-not-sum-to-one",
            advice="The powers of the counts are no probabilities yet: divide them by their sum.",
            replaces={"draw_negatives": not_normalised},
        ),
        Mistake(
            name="square-root-of-the-counts",
            advice="The power is 0.75, not one half.",
            replaces=drawn_with(np.sqrt),
        ),
        Mistake(
            name="one-added-to-the-counts",
            advice="A word that never comes has probability 0: take the counts as they are.",
            replaces=drawn_with(lambda counts: (counts + 1) ** 0.75),
        ),
        Mistake(
            name="the-same-negatives-for-every-pair",
            advice="Every single draw is independent: draw the whole shape, not one row for all pairs.",
            replaces=drawn_with(lambda counts: counts**0.75, rows_alike=True),
        ),
        Mistake(
            name="generator-of-its-own",
            advice="The randomness must come from the `rng` argument; yours starts a generator of its own.",
            replaces={"draw_negatives": always_the_same},
        ),
    ),
)

# --- training --------------------------------------------------------------------------------------------------------


def trained(
    pairs: Array,
    n_words: int,
    dim: int,
    steps: int,
    lr: float,
    rng: Rng,
    *,
    climbs: bool = False,
    after: bool = False,
    stale: bool = False,
    order: tuple[str, str] = ("W_in", "W_out"),
    scale: float = 0.1,
    only: tuple[str, ...] = ("W_in", "W_out"),
) -> tuple[Params, Array]:
    """The reference, or one thing done another way."""
    pairs, rng = whole(pairs), copy.deepcopy(rng)
    drawn = {name: scale * rng.normal(size=(n_words, dim)) for name in order}
    params = {name: drawn[name] for name in ("W_in", "W_out")}
    losses, first = [], None
    for _ in range(steps):
        loss, grads = by_softmax(pairs[:, 0], pairs[:, 1], params)
        first = first or grads
        moved = (-lr if climbs else lr) * 1.0
        used = first if stale else grads
        params = {name: w - moved * used[name] if name in only else w for name, w in params.items()}
        losses.append(by_softmax(pairs[:, 0], pairs[:, 1], params)[0] if after else loss)
    return params, np.array(losses)


def training_with(**changes: Any) -> dict[str, Any]:
    return {"train_skipgram": lambda *args: trained(*args, **changes)}


def a_training(words: int, dim: int, pairs: int, steps: int, lr: float, unused: int = 0) -> Any:
    """Draws all arguments; the last `unused` words are in no pair."""

    def draw(rng: Rng) -> tuple[Any, ...]:
        chosen = np.stack(a_batch(words - unused, dim, pairs)(rng)[:2], axis=1)
        return chosen, words, dim, steps, lr, np.random.default_rng(int(rng.integers(1 << 62)))

    return draw


TRAININGS = [
    Case("five words, three dimensions, six steps", a_training(5, 3, 8, 6, 0.5)),
    Case("four words, four dimensions", a_training(4, 4, 10, 4, 1.0)),
    Case("a single step", a_training(6, 2, 5, 1, 0.3)),
    Case("two words that are in no pair", a_training(6, 3, 7, 3, 0.5, unused=2)),
]

# The nouns of the small language: 2k + g is of kind k and gender g. a is to b as c is to d.
QUESTIONS = [
    (2 * k + g, 2 * k + 1 - g, 2 * other + g, 2 * other + 1 - g)
    for k in range(4)
    for other in range(4)
    for g in range(2)
    if k != other
]


def sentences(count: int, rng: Rng) -> Array:
    """Thing, noun, pronoun, as the given toy_corpus makes them; drawn again until every noun occurs."""
    while True:
        kind, gender = rng.integers(4, size=count), rng.integers(2, size=count)
        if len(np.unique(2 * kind + gender)) == 8:
            return np.stack([8 + kind, 2 * kind + gender, 12 + gender], axis=1)


@training("analogies of the small language", 3, "train_skipgram", cpu_s=40.0)
def analogies_emerge(student: Any, rng: Rng) -> None:
    """Of 300 runs of the reference, 299 got all 24 analogies right, and one 23."""
    pairs = np.concatenate([pairs_of(sentence, 1) for sentence in sentences(40, rng)])
    own = np.random.default_rng(int(rng.integers(1 << 62)))
    params, _ = items(student.train_skipgram(pairs, 14, 8, 100, 2.0, own), ("params", "losses"))
    with case_of("14 words, 40 sentences, 8 dimensions, 100 steps with lr = 2", student.transcript[-1][0]):
        table = numbers(entry(params, "W_in", "`params`"), (14, 8), "`params['W_in']`")
        holds(bool(np.isfinite(table).all()), "`params['W_in']` is not finite.")
        right = sum(right_analogy(table, a, b, c) == d for a, b, c, d in QUESTIONS)
        below(
            len(QUESTIONS) - right,
            4,
            "at least 20 of the 24 analogies between the nouns should come out right with the trained vectors.",
            f"{right} did.",
        )


TRAIN = Exercise(
    name="train_skipgram",
    title="Learning word vectors",
    functions=("train_skipgram",),
    hints=(
        "It is the training loop that you know: loss and gradients, note down the loss, take a step, again.",
        "The columns of pairs are the centres and the contexts. Both tables move in every step, by lr times their "
        "gradients, each under its own name.",
        "Draw W_in, then W_out. In each step call skipgram_softmax(pairs[:, 0], pairs[:, 1], params), keep the "
        "loss, and "
        "build a new dict of table minus lr times gradient.",
    ),
    checks=(
        numeric("losses before each step", 2, "train_skipgram", trained, TRAININGS, pick=1, result="`losses`"),
        numeric("tables after training", 2, "train_skipgram", trained, TRAININGS, pick=0, result="`params`"),
        analogies_emerge,
        unchanged(1, {"train_skipgram": a_training(4, 2, 5, 2, 0.5)}),
    ),
    mistakes=(
        Mistake(
            name="training-climbs",
            advice="The gradient points uphill: subtract lr times the gradient.",
            replaces=training_with(climbs=True),
        ),
        Mistake(
            name="loss-after-the-step",
            advice="Entry i of the losses is the loss before step i: note it down before the tables move.",
            replaces=training_with(after=True),
        ),
        Mistake(
            name="gradients-of-the-first-step",
            advice="The gradients belong to the tables they were computed with: compute them anew in every step.",
            replaces=training_with(stale=True),
        ),
        Mistake(
            name="tables-drawn-in-the-other-order",
            advice="W_in is drawn first, then W_out.",
            replaces=training_with(order=("W_out", "W_in")),
        ),
        Mistake(
            name="tables-start-at-another-size",
            advice="The tables begin with a standard deviation of 0.1.",
            replaces=training_with(scale=1.0),
            variants=(training_with(scale=0.01),),
        ),
        Mistake(
            name="tables-start-at-zero",
            advice="With both tables at zero all gradients are zero, and nothing ever moves.",
            replaces=training_with(scale=0.0),
        ),
        Mistake(
            name="only-one-table-trained",
            advice="Both tables are parameters, and both must move.",
            replaces=training_with(only=("W_in",)),
            variants=(training_with(only=("W_out",)),),
        ),
    ),
)


# --- picture ---------------------------------------------------------------------------------------------------------


NOUNS = ("king", "queen", "man", "woman", "boy", "girl", "actor", "actress")
WORDS = (*NOUNS, "crown", "work", "school", "stage", "he", "she")


def draw_picture(student: Any, figure: Any) -> None:
    """The loss as it falls, the trained nouns in the plane where they differ most, and which words are alike."""
    rng = np.random.default_rng(320)
    pairs = np.concatenate([floats(student.skipgram_pairs(s, 1)) for s in sentences(80, rng)]).astype(np.int64)
    params, losses = student.train_skipgram(pairs, len(WORDS), 8, 100, 2.0, rng)
    table = floats(params["W_in"])
    curve, plane, alike = figure.subplots(1, 3, width_ratios=(0.75, 1.15, 1.3))

    # No model can do better than the shares with which the contexts follow their centres.
    counts = np.zeros((len(WORDS), len(WORDS)))
    np.add.at(counts, (pairs[:, 0], pairs[:, 1]), 1.0)
    shares = counts[pairs[:, 0], pairs[:, 1]] / counts.sum(axis=1)[pairs[:, 0]]
    curve.plot(floats(losses), color="C0", label="your training")
    curve.axhline(math.log(len(WORDS)), color="0.6", ls=":", label="guessing: ln 14")
    curve.axhline(float(-np.log(shares).mean()), color="0.4", ls="--", label="the best possible")
    curve.set_xlabel("step")
    curve.set_ylabel("mean cross-entropy (nats)")
    curve.legend(frameon=False, fontsize=7)
    curve.set_title("Loss", fontsize=10)

    nouns = table[:8] - table[:8].mean(axis=0)
    gender = nouns[1::2].mean(axis=0) - nouns[0::2].mean(axis=0)
    gender /= np.linalg.norm(gender)
    rest = nouns - np.outer(nouns @ gender, gender)
    # Of the directions in the plane where the kinds differ most, the one in which no two kinds fall together.
    first, second = np.linalg.svd(rest)[2][:2]
    turns = [np.cos(t) * first + np.sin(t) * second for t in np.linspace(0, np.pi, 60)]
    kinds = max(turns, key=lambda d: float(np.diff(np.sort((rest[0::2] + rest[1::2]) @ d)).min()))
    points = np.stack([nouns @ kinds, nouns @ gender], axis=1)
    for k in range(4):
        he, she = points[2 * k], points[2 * k + 1]
        plane.plot(*np.stack([he, she], axis=1), color=f"C{k}", lw=1.2)
        for (x, y), word, lift in ((he, WORDS[2 * k], -12), (she, WORDS[2 * k + 1], 6)):
            plane.plot(x, y, "o", color=f"C{k}", ms=5)
            plane.annotate(word, (x, y), (0, lift), textcoords="offset points", ha="center", fontsize=8)
    plane.margins(0.2)
    plane.set_xlabel("a direction that tells the kinds apart")
    plane.set_ylabel("direction from he-nouns to she-nouns")
    plane.set_title("Your nouns, each pair\nwith its step", fontsize=10)

    cosines = np.stack([floats(student.cosine_similarity(table, row)) for row in table])
    image = alike.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    alike.set_xticks(range(len(WORDS)), WORDS, rotation=90, fontsize=7)
    alike.set_yticks(range(len(WORDS)), WORDS, fontsize=7)
    figure.colorbar(image, ax=alike, shrink=0.8, label="cosine")
    alike.set_title("Which of your vectors are alike", fontsize=10)


CHAPTER = Chapter(
    id="ch320",
    slug="embeddings",
    title="Embeddings and Representation Learning",
    part="Architectures",
    summary="Tables of vectors and their gradients, neighbours and analogies, and skip-gram trained until they emerge.",
    builds_on=("ch305", "ch306", "ch307"),
    exercises=(LOOKUP, BACKWARD, COSINE, NEAREST, ANALOGY, PAIRS, SOFTMAX, SAMPLING, NEGATIVES, TRAIN),
    picture=Picture(title="What your word vectors have learned", draw=draw_picture),
)
