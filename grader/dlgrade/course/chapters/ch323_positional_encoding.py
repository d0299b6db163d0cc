"""Checks of chapter 323: sinusoidal, learned and rotary positions, linear biases, and what order does to attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from dlreference import positions as ref
from dlreference.attention import scaled_dot_product_attention

from dlgrade.course.compare import below, holds, items, numbers, same
from dlgrade.course.kinds import Case, GradientCase, Rng, case_of, gradient, numeric, prop, unchanged
from dlgrade.course.spec import Chapter, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback

Array = np.ndarray[Any, Any]


def encoding_with(angles: Callable[[int, int], Array]) -> Callable[[int, int], Array]:
    """An encoding whose table of angles, one column for each column, is another."""

    def encoding(n_positions: int, d_model: int) -> Array:
        table = angles(n_positions, d_model)
        return np.where(np.arange(d_model) % 2 == 0, np.sin(table), np.cos(table))

    return encoding


def angle_table(n_positions: int, d_model: int, base: float = 10000.0, first: int = 0) -> Array:
    pairs = np.arange(d_model) // 2
    return (first + np.arange(n_positions))[:, None] * base ** (-2 * pairs / d_model)


def pe_column_exponent(n_positions: int, d_model: int) -> Array:
    return np.arange(n_positions)[:, None] * 10000.0 ** (-np.arange(d_model) / d_model)


def pe_pair_exponent_halved(n_positions: int, d_model: int) -> Array:
    return np.arange(n_positions)[:, None] * 10000.0 ** (-(np.arange(d_model) // 2) / d_model)


def pe_column_doubled(n_positions: int, d_model: int) -> Array:
    return np.arange(n_positions)[:, None] * 10000.0 ** (-2 * np.arange(d_model) / d_model)


def pe_halves(n_positions: int, d_model: int) -> Array:
    right = ref.sinusoidal_encoding(n_positions, d_model)
    return np.concatenate([right[:, 0::2], right[:, 1::2]], axis=1)


def pe_swapped(n_positions: int, d_model: int) -> Array:
    table = angle_table(n_positions, d_model)
    return np.where(np.arange(d_model) % 2 == 0, np.cos(table), np.sin(table))


@prop("every row has the length sqrt(d/2)", 2, "positional_encoding")
def row_length(student: Any, rng: Rng) -> None:
    d = 2 * int(rng.integers(3, 20))
    table = numbers(student.positional_encoding(9, d), (9, d), "the encoding")
    same(np.linalg.norm(table, axis=1), np.full(9, np.sqrt(d / 2)), "the length of each row")
    holds(len(np.unique(np.round(table, 9), axis=0)) == 9, "two positions have the same encoding.")


POSITIONAL_ENCODING = Exercise(
    name="positional_encoding",
    title="The sinusoidal encoding",
    functions=("positional_encoding",),
    hints=(
        "How many different frequencies are there for d columns? Fewer than d.",
        "Make the table of angles first: positions down, frequencies across. Then sines and cosines take turns in the "
        "columns; slices with a step of two put them there.",
        "The frequencies are 10000 ** (-np.arange(0, d, 2) / d). For an odd d there are (d + 1) / 2 of them, "
        "and the last "
        "has only a sine: leave its column out of the cosines.",
    ),
    checks=(
        numeric(
            "sine and cosine share a frequency in each pair",
            11,
            "positional_encoding",
            ref.sinusoidal_encoding,
            [
                Case("five positions, eight columns", lambda rng: (5, 8)),
                Case("three positions, two columns", lambda rng: (3, 2)),
                Case("forty positions, six columns", lambda rng: (40, 6)),
            ],
        ),
        numeric(
            "an odd number of columns",
            6,
            "positional_encoding",
            ref.sinusoidal_encoding,
            [Case("seven columns", lambda rng: (4, 7)), Case("a single column", lambda rng: (3, 1))],
        ),
        numeric(
            "a single position",
            2,
            "positional_encoding",
            ref.sinusoidal_encoding,
            [Case("position 0 only", lambda rng: (1, 6))],
        ),
        row_length,
    ),
    mistakes=(
        Mistake(
            name="exponent-of-the-column",
            advice="Columns 2i and 2i + 1 share one frequency: the exponent counts pairs, 2i/d, not single columns.",
            replaces={"positional_encoding": encoding_with(pe_column_exponent)},
            variants=({"positional_encoding": encoding_with(pe_column_doubled)},),
        ),
        Mistake(
            name="exponent-without-two",
            advice="The exponent of pair i is 2i/d; with i/d the frequencies only come down to a hundredth.",
            replaces={"positional_encoding": encoding_with(pe_pair_exponent_halved)},
        ),
        Mistake(
            name="sines-then-cosines",
            advice="Sines and cosines take turns, column by column; yours has all sines first and then all cosines.",
            replaces={"positional_encoding": pe_halves},
        ),
        Mistake(
            name="positions-from-one",
            advice="Positions count from 0, so the first row is 0, 1, 0, 1, ...; yours begins at 1.",
            replaces={"positional_encoding": encoding_with(lambda t, d: angle_table(t, d, first=1))},
        ),
        Mistake(
            name="angles-in-degrees",
            advice="The angles are in radians, as np.sin takes them; there is nothing to convert.",
            replaces={"positional_encoding": encoding_with(lambda t, d: np.radians(angle_table(t, d)))},
        ),
        Mistake(
            name="sine-and-cosine-swapped",
            advice="The sine is on the even columns and the cosine on the odd ones.",
            replaces={"positional_encoding": pe_swapped},
        ),
        Mistake(
            name="base-of-a-thousand",
            advice="The base of the frequencies is 10000.",
            replaces={"positional_encoding": encoding_with(lambda t, d: angle_table(t, d, base=1000.0))},
        ),
    ),
)

# --- shift matrix ----------------------------------------------------------------------------------------------------


@prop("moves every encoding by k", 4, "shift_matrix")
def moves(student: Any, rng: Rng) -> None:
    d, k = 6, int(rng.integers(2, 9))
    table = ref.sinusoidal_encoding(20, d)
    matrix = numbers(student.shift_matrix(k, d), (d, d), "the matrix")
    same(table[:8] @ matrix.T, table[k : 8 + k], f"R_{k} @ encoding(position), for eight positions,")
    back = numbers(student.shift_matrix(-k, d), (d, d), "the matrix")
    same(back @ matrix, np.eye(d), f"R_-{k} @ R_{k}")


SHIFT_MATRIX = Exercise(
    name="shift_matrix",
    title="A shift is a rotation",
    functions=("shift_matrix",),
    hints=(
        "What do sin(a + b) and cos(a + b) become, in terms of the sines and cosines of a and b?",
        "Each pair of columns is turned by itself, so the matrix is zero outside of 2x2 blocks on the diagonal.",
        "The block of pair i has rows 2i and 2i + 1: cos and sin of k f_i in the first, minus sin and cos in "
        "the second.",
    ),
    checks=(
        numeric(
            "one block for each pair",
            9,
            "shift_matrix",
            ref.shift_matrix,
            [
                Case("one position on, six columns", lambda rng: (1, 6)),
                Case("five back, four columns", lambda rng: (-5, 4)),
                Case("far away, two columns", lambda rng: (1000, 2)),
            ],
        ),
        numeric("no shift is the identity", 2, "shift_matrix", ref.shift_matrix, [Case("k = 0", lambda rng: (0, 6))]),
        moves,
    ),
    mistakes=(
        Mistake(
            name="turned-backwards",
            advice="This matrix moves an encoding back by k: the sine in the first row of a block is plus, in "
            "the second minus.",
            replaces={"shift_matrix": lambda k, d: ref.shift_matrix(-k, d)},
        ),
        Mistake(
            name="one-frequency-for-all",
            advice="Every pair turns at its own frequency; yours turns all of them by the same angle.",
            replaces={"shift_matrix": lambda k, d: np.kron(np.eye(d // 2), ref.shift_matrix(k, 2))},
        ),
        Mistake(
            name="minus-sign-missing",
            advice="A turn has one minus sign: cos(a + b) is cos a cos b MINUS sin a sin b.",
            replaces={"shift_matrix": lambda k, d: np.where(np.tri(d, k=-1) > 0, -1.0, 1.0) * ref.shift_matrix(k, d)},
        ),
        Mistake(
            name="blocks-far-apart",
            advice="The two columns of a pair are neighbours; your blocks join column i with column i + d/2.",
            replaces={"shift_matrix": lambda k, d: _halves(ref.shift_matrix(k, d))},
        ),
    ),
)


def _halves(matrix: Array) -> Array:
    order = np.concatenate([np.arange(0, len(matrix), 2), np.arange(1, len(matrix), 2)])
    return matrix[np.ix_(order, order)]


# --- adding positions ------------------------------------------------------------------------------------------------


def table_case(batch: int, length: int, rows: int, d: int) -> Callable[[Rng], tuple[Array, Array]]:
    return lambda rng: (rng.normal(size=(batch, length, d)), rng.normal(size=(rows, d)))


def ap_per_batch(x: Array, table: Array) -> Array:
    x, table = np.asarray(x, dtype=np.float64), np.asarray(table, dtype=np.float64)
    return x + table[np.arange(len(x)) % len(table)][:, None]


def ap_multiplied(x: Array, table: Array) -> Array:
    return np.asarray(x) * np.asarray(table)[: np.shape(x)[1]]


def ap_last_rows(x: Array, table: Array) -> Array:
    return np.asarray(x) + np.asarray(table)[-np.shape(x)[1] :]


def ap_first_row(x: Array, table: Array) -> Array:
    return np.asarray(x) + np.asarray(table)[0]


def apb(dout: Array, table: Array) -> Any:
    return ref.learned_positions_backward(dout, len(table))


def apb_mean(dout: Array, table: Array) -> Any:
    dx, dtable = apb(dout, table)
    return dx, dtable / len(dx)


def apb_used_rows_only(dout: Array, table: Array) -> Any:
    dx, dtable = apb(dout, table)
    return dx, dtable[: np.shape(dout)[1]]


def apb_over_positions(dout: Array, table: Array) -> Any:
    dx, dtable = apb(dout, table)
    return dx, np.broadcast_to(dtable.sum(axis=0), dtable.shape)


def apb_first_sequence(dout: Array, table: Array) -> Any:
    return apb(dout, table)[0], apb(np.asarray(dout)[:1], table)[1]


def table_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = student.add_positions_backward(inputs["dout"], inputs["table"])
    return dict(zip(("x", "table"), items(answer, ("dx", "dtable")), strict=True))


def table_inputs(batch: int, length: int, rows: int, d: int) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, table = table_case(batch, length, rows, d)(rng)
        return {"x": x, "table": table, "dout": rng.normal(size=x.shape)}

    return draw


ADD_POSITIONS = Exercise(
    name="add_positions",
    title="A table of positions, fixed or learned",
    functions=("add_positions", "add_positions_backward"),
    hints=(
        "Which axis of x says where a token stands, and which one only says in which sequence?",
        "NumPy lines arrays up from the last axis, so (T, d) fits (B, T, d) by itself once the table is cut to T rows.",
        "Backward: x gets dout as it is. Row t of the table was added at position t of every sequence, so it "
        "gets the sum "
        "of dout over the batch there; make zeros of the table's shape first and fill the rows that were used.",
    ),
    checks=(
        numeric(
            "the same table for every sequence",
            5,
            "add_positions",
            ref.learned_positions_forward,
            [
                Case("two sequences of four tokens, a longer table", table_case(2, 4, 6, 3)),
                Case("as many sequences as tokens", table_case(3, 3, 3, 2)),
                Case("one token", table_case(1, 1, 5, 2)),
            ],
        ),
        gradient(
            "gradients of tokens and table",
            8,
            ("add_positions_backward",),
            [
                GradientCase("a table longer than the sequences", table_inputs(2, 4, 6, 3)),
                GradientCase("as many sequences as tokens", table_inputs(3, 3, 3, 2)),
                GradientCase("a batch of one", table_inputs(1, 2, 4, 3)),
            ],
            value=lambda student, inputs: student.add_positions(inputs["x"], inputs["table"]),
            grads=table_grads,
            reference=lambda i: dict(zip(("x", "table"), apb(i["dout"], i["table"]), strict=True)),
        ),
        unchanged(1, {"add_positions": table_case(2, 3, 4, 2), "add_positions_backward": table_case(2, 3, 4, 2)}),
    ),
    mistakes=(
        Mistake(
            name="positions-of-the-batch",
            advice="The position is the second axis; yours gives every token of a sequence the number of its sequence.",
            replaces={"add_positions": ap_per_batch},
        ),
        Mistake(
            name="positions-multiplied",
            advice="The encoding is added to the embedding, not multiplied with it.",
            replaces={"add_positions": ap_multiplied},
        ),
        Mistake(
            name="last-rows-of-the-table",
            advice="A sequence begins at position 0: use the first T rows of the table.",
            replaces={"add_positions": ap_last_rows},
        ),
        Mistake(
            name="one-row-for-all",
            advice="Every position has a row of its own; yours adds the first row everywhere.",
            replaces={"add_positions": ap_first_row},
        ),
        Mistake(
            name="table-gradient-averaged",
            advice="A row of the table served every sequence: its gradient is the sum over the batch, not the mean.",
            replaces={"add_positions_backward": apb_mean},
        ),
        Mistake(
            name="table-gradient-cut-short",
            advice="The gradient has the shape of the whole table; rows that were not used get zeros.",
            replaces={"add_positions_backward": apb_used_rows_only},
        ),
        Mistake(
            name="table-gradient-over-positions",
            advice="Sum over the batch only: each row of the table belongs to one position.",
            replaces={"add_positions_backward": apb_over_positions},
        ),
        Mistake(
            name="table-gradient-of-one-sequence",
            advice="All sequences of the batch used the table, not only the first.",
            replaces={"add_positions_backward": apb_first_sequence},
        ),
    ),
)

# --- rope ------------------------------------------------------------------------------------------------------------


def rope_case(*shape: int, scale: float = 1.0) -> Callable[[Rng], tuple[Array, Array]]:
    return lambda rng: (scale * rng.normal(size=shape), np.sort(rng.integers(0, 50, size=shape[-2])).astype(float))


def turned_by(angles: Callable[[Array, int], Array]) -> Callable[[Array, Array], Array]:
    """A rotation whose table of angles (T, d/2), a function of the positions and d, is another."""

    def rope(x: Array, positions: Array) -> Array:
        x = np.asarray(x, dtype=np.float64)
        table = angles(np.asarray(positions, dtype=np.float64)[:, None], x.shape[-1])
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * np.cos(table) - x[..., 1::2] * np.sin(table)
        out[..., 1::2] = x[..., 0::2] * np.sin(table) + x[..., 1::2] * np.cos(table)
        return out

    return rope


def rope_frequencies(d: int, factor: float = 2.0) -> Array:
    return 10000.0 ** (-factor * np.arange(d // 2) / d)


def rope_halves(x: Array, positions: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    d = x.shape[-1]
    order = np.arange(d).reshape(2, -1).T.ravel()
    out = np.empty_like(x)
    out[..., order] = ref.rope_forward(x[..., order], positions)
    return out


def rope_added(x: Array, positions: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    angles = np.asarray(positions, dtype=np.float64)[:, None] * rope_frequencies(x.shape[-1])
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(angles), -1)
    return x + table


def rope_overwritten(x: Array, positions: Array) -> Array:
    x = np.array(x, dtype=np.float64)
    angles = np.asarray(positions, dtype=np.float64)[:, None] * rope_frequencies(x.shape[-1])
    x[..., 0::2] = x[..., 0::2] * np.cos(angles) - x[..., 1::2] * np.sin(angles)
    x[..., 1::2] = x[..., 0::2] * np.sin(angles) + x[..., 1::2] * np.cos(angles)
    return x


def rope_positions_ignored(x: Array, positions: Array) -> Array:
    return ref.rope_forward(x)


@prop("a product depends on the distance only, and lengths stay", 4, "rope")
def relative(student: Any, rng: Rng) -> None:
    q, k = rng.normal(size=(1, 6)), rng.normal(size=(1, 6))
    products = []
    for m, n in ((7, 3), (24, 20), (4, 0)):
        turned_q = numbers(student.rope(q, [m]), (1, 6), "the turned query")
        turned_k = numbers(student.rope(k, [n]), (1, 6), "the turned key")
        same(np.linalg.norm(turned_q), np.linalg.norm(q), "the length of a turned query")
        products.append(float(turned_q[0] @ turned_k[0]))
    same(np.array(products), np.full(3, products[0]), "the product of a query with a key four positions before it")
    right = float(ref.rope_forward(q, [7])[0] @ ref.rope_forward(k, [3])[0])
    same(products[0], right, "the product of the query at 7 with the key at 3")


def rope_inputs(*shape: int, far: float = 0.0, back: float = 0.0) -> Callable[[Rng], dict[str, Any]]:
    def draw(rng: Rng) -> dict[str, Any]:
        x, positions = rope_case(*shape)(rng)
        return {"x": x + far, "positions": positions - back, "dout": rng.normal(size=shape)}

    return draw


def rope_grads(student: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    # The forward is asked too, so that a rotation that is wrong is told from a gradient that is.
    student.rope(inputs["x"], inputs["positions"])
    return {"x": student.rope_backward(inputs["dout"], inputs["positions"])}


ROPE = Exercise(
    name="rope",
    title="Rotary embedding, there and back",
    functions=("rope", "rope_backward"),
    hints=(
        "Think of each column pair as a point in a plane, and of the position as the angle it is turned by.",
        "The table of angles is (T, d/2) and lines up with the even and the odd columns, x[..., 0::2] and "
        "x[..., 1::2]. "
        "Write into a new array: the second formula still needs the old even columns.",
        "even * cos - odd * sin goes to the even columns, even * sin + odd * cos to the odd ones. Turning back "
        "is the same "
        "with negative positions, and that is all there is to the backward.",
    ),
    checks=(
        numeric(
            "each pair turned by its own angle",
            8,
            "rope",
            ref.rope_forward,
            [
                Case("queries (B, T, d)", rope_case(2, 3, 6)),
                Case("heads (B, H, T, d), as many as positions", rope_case(2, 4, 4, 8)),
                Case("one sequence (T, d)", rope_case(5, 4)),
                Case("fractional and negative positions", lambda rng: (rng.normal(size=(3, 4)), [-2.5, 0.0, 0.5])),
            ],
        ),
        numeric(
            "whole numbers and float32 are accepted, float64 comes back",
            1,
            "rope",
            ref.rope_forward,
            [
                Case("an array of whole numbers", lambda rng: (rng.integers(-9, 10, size=(3, 4)), np.arange(3))),
                Case(
                    "a float32 array", lambda rng: (rng.normal(size=(2, 3, 4)).astype(np.float32), np.arange(1.0, 4.0))
                ),
            ],
        ),
        relative,
        gradient(
            "the gradient turns back",
            10,
            ("rope", "rope_backward"),
            [
                GradientCase("queries (B, T, d)", rope_inputs(2, 3, 6)),
                GradientCase("heads (B, H, T, d)", rope_inputs(2, 2, 4, 4)),
                GradientCase("one sequence (T, d), negative and fractional positions", rope_inputs(4, 6, back=25.5)),
                GradientCase("numbers far from zero", rope_inputs(1, 3, 4, far=1e6)),
            ],
            value=lambda student, inputs: student.rope(inputs["x"], inputs["positions"]),
            grads=rope_grads,
            reference=lambda i: {"x": ref.rope_backward(i["dout"], i["positions"])},
        ),
        unchanged(1, {"rope": rope_case(2, 3, 4), "rope_backward": rope_case(2, 3, 4)}),
    ),
    mistakes=(
        Mistake(
            name="rope-turned-backwards",
            advice="The minus sign belongs to the even columns: even * cos - odd * sin. Yours turns the other way.",
            replaces={"rope": lambda x, positions: ref.rope_backward(x, positions)},
        ),
        Mistake(
            name="rope-pairs-across-halves",
            advice="A pair is two neighbouring columns, 2i and 2i + 1; yours pairs column i with column i + d/2.",
            replaces={"rope": rope_halves},
        ),
        Mistake(
            name="rope-frequencies-without-two",
            advice="Pair i has the frequency 10000^(-2i/d); yours has 10000^(-i/d).",
            replaces={"rope": turned_by(lambda p, d: p * rope_frequencies(d, 1.0))},
        ),
        Mistake(
            name="rope-one-frequency",
            advice="Every pair has a frequency of its own; yours turns all by the position itself.",
            replaces={"rope": turned_by(lambda p, d: p * np.ones(d // 2))},
        ),
        Mistake(
            name="rope-in-degrees",
            advice="The angles are in radians, as np.sin and np.cos take them.",
            replaces={"rope": turned_by(lambda p, d: np.radians(p * rope_frequencies(d)))},
        ),
        Mistake(
            name="encoding-added-not-turned",
            advice="RoPE does not add an encoding, it turns what is there: lengths must stay as they are.",
            replaces={"rope": rope_added},
        ),
        Mistake(
            name="even-columns-overwritten",
            advice="The odd columns need the even ones as they were: write the results into a new array.",
            replaces={"rope": rope_overwritten},
        ),
        Mistake(
            name="rope-positions-ignored",
            advice="Use the positions that are given; they need not be 0, 1, 2, ...",
            replaces={"rope": rope_positions_ignored},
        ),
        Mistake(
            name="rope-backward-forwards",
            advice="The gradient is turned back, by minus the angle; yours is turned once more in the same direction.",
            replaces={"rope_backward": lambda dout, positions: ref.rope_forward(dout, positions)},
        ),
        Mistake(
            name="rope-backward-does-nothing",
            advice="A rotation changes the direction of gradients too: the backward has to turn them back.",
            replaces={"rope_backward": lambda dout, positions: np.array(dout, dtype=np.float64)},
        ),
    ),
)

# --- rotary attention inputs -----------------------------------------------------------------------------------------


def rotate(q: Array, k: Array, v: Array) -> Any:
    return ref.rope_forward(q), ref.rope_forward(k), np.asarray(v, dtype=np.float64)


def rotate_case(batch: int, tq: int, tk: int, d: int, dv: int) -> Callable[[Rng], tuple[Array, ...]]:
    return lambda rng: tuple(rng.normal(size=s) for s in ((batch, tq, d), (batch, tk, d), (batch, tk, dv)))


ROTATE = Exercise(
    name="rotate_attention_inputs",
    title="What is turned, and what is not",
    functions=("rotate_attention_inputs",),
    hints=(
        "Two of the three are compared with each other; the third is only handed over.",
        "Call rope with positions 0, 1, ... up to the length of each sequence; queries and keys may differ in length.",
        "rope on q with np.arange(Tq), rope on k with np.arange(Tk), and v as it came.",
    ),
    checks=(
        numeric(
            "queries and keys are turned, values are not",
            5,
            "rotate_attention_inputs",
            rotate,
            [
                Case("more keys than queries", rotate_case(2, 3, 5, 4, 4)),
                Case("values of another width", rotate_case(1, 2, 2, 4, 3)),
            ],
        ),
        unchanged(1, {"rotate_attention_inputs": rotate_case(1, 2, 3, 4, 4)}),
    ),
    mistakes=(
        Mistake(
            name="values-turned-too",
            advice="The values are handed over, not compared: they are not turned.",
            replaces={
                "rotate_attention_inputs": lambda q, k, v: (
                    *rotate(q, k, v)[:2],
                    ref.rope_forward(v) if np.shape(v)[-1] % 2 == 0 else np.asarray(v),
                )
            },
        ),
        Mistake(
            name="keys-not-turned",
            advice="Both sides of the comparison are turned, keys as well as queries; else the product depends "
            "on one position.",
            replaces={"rotate_attention_inputs": lambda q, k, v: (ref.rope_forward(q), np.asarray(k), np.asarray(v))},
        ),
        Mistake(
            name="rotated-from-one",
            advice="Positions count from 0: the first token is not turned at all.",
            replaces={
                "rotate_attention_inputs": lambda q, k, v: (
                    ref.rope_forward(q, 1 + np.arange(np.shape(q)[1])),
                    ref.rope_forward(k, 1 + np.arange(np.shape(k)[1])),
                    np.asarray(v),
                )
            },
        ),
    ),
)

# --- alibi -----------------------------------------------------------------------------------------------------------


def alibi_with(change: Callable[[Array, Array, Array], Array], slopes: Any = None) -> Callable[[int, int], Array]:
    """A bias made by `change(slopes (H, 1, 1), back (T, T), causal bias)`."""

    def bias(n_heads: int, length: int) -> Array:
        s = (ref.alibi_slopes(n_heads) if slopes is None else slopes(n_heads))[:, None, None]
        back = np.arange(length)[:, None] - np.arange(length)
        return change(s, back, np.where(back >= 0, -s * back, -np.inf))

    return bias


ALIBI = Exercise(
    name="alibi_bias",
    title="Linear biases",
    functions=("alibi_bias",),
    hints=(
        "Draw the table for one head and three positions. What stands on the diagonal, and what below it?",
        "The table of distances is a column of query positions minus a row of key positions. Each head "
        "multiplies it with "
        "its own slope.",
        "Slopes (H, 1, 1) times distances (T, T) broadcast to (H, T, T); then minus, and np.where puts -inf "
        "where the key "
        "comes after the query.",
    ),
    checks=(
        numeric(
            "slopes and distances",
            10,
            "alibi_bias",
            ref.alibi_bias,
            [
                Case("four heads, five positions", lambda rng: (4, 5)),
                Case("eight heads, eight positions", lambda rng: (8, 8)),
                Case("one head", lambda rng: (1, 3)),
            ],
        ),
        numeric("a single position", 2, "alibi_bias", ref.alibi_bias, [Case("T = 1", lambda rng: (2, 1))]),
    ),
    mistakes=(
        Mistake(
            name="alibi-sign",
            advice="Distance costs: the bias is minus slope times distance; yours rewards keys that are far away.",
            replaces={"alibi_bias": alibi_with(lambda s, back, bias: np.where(back >= 0, s * back, -np.inf))},
        ),
        Mistake(
            name="alibi-not-causal",
            advice="A key after the query gets -inf, so that its weight is exactly zero; yours only gets a "
            "finite bias.",
            replaces={"alibi_bias": alibi_with(lambda s, back, bias: -s * np.abs(back))},
            variants=({"alibi_bias": alibi_with(lambda s, back, bias: -s * back)},),
        ),
        Mistake(
            name="alibi-transposed",
            advice="Queries are the rows and keys the columns; your triangle is the other way round.",
            replaces={"alibi_bias": alibi_with(lambda s, back, bias: np.swapaxes(bias, -1, -2))},
        ),
        Mistake(
            name="alibi-heads-from-zero",
            advice="The heads count from 1: the first slope is 2^(-8/H), not 1.",
            replaces={"alibi_bias": alibi_with(lambda s, back, bias: bias, lambda n: 2.0 ** (-8.0 * np.arange(n) / n))},
        ),
        Mistake(
            name="alibi-one-slope",
            advice="Every head has its own slope; yours are all alike.",
            replaces={"alibi_bias": alibi_with(lambda s, back, bias: bias, lambda n: np.full(n, 2.0 ** (-8.0 / n)))},
        ),
        Mistake(
            name="alibi-minus-a-billion",
            advice="Forbidden is minus infinity: a large number is still a score.",
            replaces={"alibi_bias": alibi_with(lambda s, back, bias: np.where(np.isinf(bias), -1e9, bias))},
        ),
    ),
)

# --- order sensitivity -----------------------------------------------------------------------------------------------


def self_attention(x: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return scaled_dot_product_attention(x, x, x)[0]


def with_positions(x: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return self_attention(x + ref.sinusoidal_encoding(*x.shape))


def sensitivity(f: Any, x: Array, order: Array) -> float:
    x = np.asarray(x, dtype=np.float64)
    return float(np.max(np.abs(np.asarray(f(x[order])) - np.asarray(f(x))[order])))


def os_not_reordered(f: Any, x: Array, order: Array) -> float:
    x = np.asarray(x, dtype=np.float64)
    return float(np.max(np.abs(np.asarray(f(x[order])) - np.asarray(f(x)))))


def os_signed(f: Any, x: Array, order: Array) -> float:
    x = np.asarray(x, dtype=np.float64)
    return float(np.max(np.asarray(f(x[order])) - np.asarray(f(x))[order]))


def os_mean(f: Any, x: Array, order: Array) -> float:
    x = np.asarray(x, dtype=np.float64)
    return float(np.mean(np.abs(np.asarray(f(x[order])) - np.asarray(f(x))[order])))


def os_inverse(f: Any, x: Array, order: Array) -> float:
    x = np.asarray(x, dtype=np.float64)
    return float(np.max(np.abs(np.asarray(f(x[order])) - np.asarray(f(x))[np.argsort(order)])))


@prop("attention alone does not notice the order", 3, "order_sensitivity", alone=False)
def blind(student: Any, rng: Rng) -> None:
    x, order = rng.normal(size=(6, 4)), np.array([2, 0, 5, 1, 3, 4])
    found = numbers(student.order_sensitivity(Callback(self_attention, "f"), x, order), (), "the sensitivity")
    size = float(found)
    below(
        size if size >= 0 else np.inf,
        1e-9,
        "self-attention without positions treats its tokens as a set, so its sensitivity is zero up to rounding.",
        f"Got {size:.3g}.",
    )


@prop("with positions it does, and by how much", 5, "order_sensitivity")
def sees(student: Any, rng: Rng) -> None:
    x = rng.normal(size=(6, 4))
    for order in (np.array([2, 0, 5, 1, 3, 4]), np.array([1, 2, 3, 4, 5, 0]), np.array([0, 2, 1, 3, 4, 5])):
        for reason, f in {
            "attention with positions": with_positions,
            "the same with the sign turned round": lambda s: -with_positions(s),
            "two of its four columns": lambda s: with_positions(s)[:, 1:3],
            "a ten-millionth of it": lambda s: 1e-7 * with_positions(s),
        }.items():
            with case_of(reason):
                found = student.order_sensitivity(Callback(f, "f"), x, order)
                same(found, sensitivity(f, x, order), "the sensitivity")


ORDER_SENSITIVITY = Exercise(
    name="order_sensitivity",
    title="Does it notice the order?",
    functions=("order_sensitivity",),
    hints=(
        "Two ways to the same place: shuffle and then apply f, or apply f and then shuffle.",
        "x[order] shuffles the tokens. Shuffle the answer of f(x) in the same way before you compare.",
        "The largest absolute difference between f(x[order]) and f(x)[order], as one number.",
    ),
    checks=(blind, sees),
    mistakes=(
        Mistake(
            name="answer-not-shuffled",
            advice="The answers come back in shuffled order too: compare f(x[order]) with f(x)[order], not with f(x).",
            replaces={"order_sensitivity": os_not_reordered},
        ),
        Mistake(
            name="sensitivity-without-absolute-value",
            advice="A difference can be negative: take absolute values before the maximum.",
            replaces={"order_sensitivity": os_signed},
        ),
        Mistake(
            name="sensitivity-averaged",
            advice="The largest difference is asked for; a mean makes it look smaller.",
            replaces={"order_sensitivity": os_mean},
        ),
        Mistake(
            name="shuffled-back-instead",
            advice="Shuffle the answer with the same order, not with its inverse.",
            replaces={"order_sensitivity": os_inverse},
        ),
    ),
)


def draw_picture(student: Any, figure: Any) -> None:
    """The encoding, how alike positions are, and what ALiBi takes off."""
    left, middle, right = figure.subplots(1, 3)
    table = np.asarray(student.positional_encoding(64, 48))
    image = left.imshow(table, aspect="auto", cmap="RdBu", vmin=-1, vmax=1)
    left.set_xlabel("column")
    left.set_ylabel("position")
    left.set_title("Sinusoidal encoding")
    figure.colorbar(image, ax=left, shrink=0.8)
    d = 64
    distances = np.arange(0, 65)
    encoding = np.asarray(student.positional_encoding(65, d))
    middle.plot(distances, encoding @ encoding[0] / (d / 2), label="sinusoidal: cosine similarity")
    q = np.tile(np.ones(d) / np.sqrt(d), (65, 1))
    turned = np.asarray(student.rope(q, distances))
    middle.plot(distances, turned @ q[0], label="RoPE: product of equal vectors", ls="--")
    middle.set_xlabel("distance (positions)")
    middle.set_ylabel("similarity")
    middle.set_title("Near positions are alike")
    # Room for the legend above the curves.
    middle.set_ylim(top=1.14)
    middle.legend(frameon=False, fontsize=8)
    bias = np.asarray(student.alibi_bias(8, 33))
    for head in range(8):
        right.plot(np.arange(33), bias[head, 32, ::-1], color=f"C{head}", label=f"head {head + 1}")
    right.set_ylim(-8, 0.3)
    right.set_xlabel("distance back (positions)")
    right.set_ylabel("added to the score")
    right.set_title("ALiBi: distance costs")
    right.legend(edgecolor="none", framealpha=1.0, fontsize=7, ncols=2)


CHAPTER = Chapter(
    id="ch323",
    slug="positional_encoding",
    title="Positional Encoding",
    part="Architectures",
    summary="Telling attention where a token stands: sines, learned tables, rotations, linear biases.",
    builds_on=("ch321", "ch322"),
    exercises=(POSITIONAL_ENCODING, SHIFT_MATRIX, ADD_POSITIONS, ROPE, ROTATE, ALIBI, ORDER_SENSITIVITY),
    picture=Picture(title="Where a token stands", draw=draw_picture),
)
