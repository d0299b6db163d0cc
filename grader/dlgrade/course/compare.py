"""Comparing what a student's function returned with what is right, and saying the difference in words.

A difference is raised as `Wrong`. Its `text` speaks of shapes, places and kinds of error; its `values` quotes numbers,
and is left out of reports that must not reveal them. Every comparison also yields a ratio, the error as a multiple of
the tolerance: it tells whether a check is loose (`dlgrade author verify`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from dlgrade.sandbox.protocol import ordinal

RTOL = 1e-9
ATOL = 1e-10

_ratios: ContextVar[list[float] | None] = ContextVar("ratios", default=None)


class Failure(Exception):
    """Why a check is not passed. `reason` names the case and `call` the call; the check fills both in."""

    def __init__(self, text: str, values: str = "") -> None:
        super().__init__(text)
        self.text, self.values = text, values
        self.reason = ""
        self.call: Any = None


class Wrong(Failure):
    """An answer that is not right. `ratio` is its error in tolerances, infinite where no number says it."""

    def __init__(self, text: str, values: str = "", ratio: float = math.inf) -> None:
        super().__init__(text, values)
        self.ratio = ratio


@contextlib.contextmanager
def measured() -> Iterator[list[float]]:
    """Collect the ratios of all comparisons made inside."""
    ratios: list[float] = []
    token = _ratios.set(ratios)
    try:
        yield ratios
    finally:
        _ratios.reset(token)


def _note(ratio: float) -> None:
    ratios = _ratios.get()
    if ratios is not None:
        ratios.append(ratio)


def holds(condition: bool, text: str, values: str = "") -> None:
    """Raise `Wrong` with this sentence unless the condition is true."""
    if not condition:
        raise Wrong(text, values)


def below(value: float, limit: float, text: str, values: str = "") -> None:
    """Raise `Wrong` unless `value <= limit`; the ratio of the two is noted as for a comparison."""
    ratio = value / limit if limit else math.inf
    if not value <= limit:
        raise Wrong(text, values, ratio if ratio == ratio else math.inf)
    _note(ratio)


def same(got: Any, want: Any, what: str = "the result", *, rtol: float = RTOL, atol: float = ATOL) -> None:
    """Raise `Wrong` unless `got` equals `want`: numbers within `atol + rtol * |want|`, structures item by item.

    `want` may be a number, text, None, an array, or tuples, lists and dicts of these. Lists of numbers count as arrays.
    """
    what = _named(what)
    if want is None or isinstance(want, (str, bool, np.bool_)):
        _same_plain(got, want, what)
    elif isinstance(want, dict):
        _same_dict(got, want, what, rtol, atol)
    elif isinstance(want, tuple) or (isinstance(want, list) and not _is_numbers(want)):
        holds(
            type(got) in (tuple, list) and len(got) == len(want),
            f"{what} should be {describe(want)}, but is {describe(got)}.",
        )
        for i, (g, w) in enumerate(zip(got, want, strict=True)):
            same(g, w, f"the {ordinal(i)} item of {what}", rtol=rtol, atol=atol)
    else:
        _same_array(got, np.asarray(want), what, rtol, atol)


def numbers(got: Any, shape: tuple[int, ...] | None = None, what: str = "the result") -> np.ndarray[Any, Any]:
    """The answer as a float64 array; raises `Wrong` unless it is real numbers of this shape."""
    what = _named(what)
    array = _as_array(got, what, shape == ())
    if shape is not None and array.shape != shape:
        raise Wrong(f"{what} should {_shaped(shape)}, but {_came(array.shape)}.")
    return array.astype(np.float64)


def items(got: Any, names: tuple[str, ...], what: str = "the result") -> tuple[Any, ...]:
    """The answer as a tuple of that many items; raises `Wrong` that names what they should be."""
    if type(got) not in (tuple, list) or len(got) != len(names):
        raise Wrong(f"{_named(what)} should be a tuple ({', '.join(names)}), but is {describe(got)}.")
    return tuple(got)


def entry(got: Any, key: str, what: str = "the result") -> Any:
    """The value of a key of a returned dict; raises `Wrong` if it is not there."""
    what = _named(what)
    holds(type(got) is dict, f"{what} should be a dict, but is {describe(got)}.")
    holds(key in got, f"{what} has no key {key!r}; it has {_keys(got)}.")
    return got[key]


def describe(value: Any) -> str:
    """What a value is, in a few words and without its numbers."""
    if value is None:
        return "None (is a return statement missing?)"
    if isinstance(value, np.ndarray):
        return "a single number" if value.ndim == 0 else f"an array of shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} item{'s' * (len(value) != 1)}"
    if isinstance(value, dict):
        return f"a dict with {_keys(value)}"
    names = {bool: "a truth value", int: "a whole number", float: "a single number", str: "text", complex: "complex"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


def number_text(value: Any) -> str:
    """A number as a report quotes it."""
    return format(float(value), ".6g")


def _named(what: str) -> str:
    """A bare name, of a variable, is quoted: it is no word to begin a sentence with."""
    return f"`{what}`" if what.isidentifier() else what


def _keys(value: dict[Any, Any]) -> str:
    keys = [repr(key)[:40] for key in list(value)[:12]]
    return ("the keys " if len(keys) != 1 else "the key ") + ", ".join(keys) if keys else "no keys"


def _is_numbers(value: list[Any] | tuple[Any, ...]) -> bool:
    return all(type(item) in (int, float) for item in value)


def _same_plain(got: Any, want: Any, what: str) -> None:
    if isinstance(got, np.ndarray) and got.ndim == 0 and got.dtype == bool:
        got = bool(got)
    if type(got) is not type(want) and not (isinstance(want, (bool, np.bool_)) and type(got) is bool):
        expected = "None" if want is None else describe(want if isinstance(want, str) else bool(want))
        raise Wrong(f"{what} should be {expected}, but is {describe(got)}.")
    if got != want:
        raise Wrong(f"{what} is not the right {'text' if isinstance(want, str) else 'truth value'}.", _got(got, want))


def _same_dict(got: Any, want: dict[Any, Any], what: str, rtol: float, atol: float) -> None:
    holds(type(got) is dict, f"{what} should be a dict with {_keys(want)}, but is {describe(got)}.")
    missing = [key for key in want if key not in got]
    holds(not missing, f"{what} lacks {_keys(dict.fromkeys(missing))}; it has {_keys(got)}.")
    extra = [key for key in got if key not in want]
    holds(not extra, f"{what} has {_keys(dict.fromkeys(extra))}, which should not be there.")
    for key, value in want.items():
        place = f"{what[:-1]}[{key!r}]`" if what.endswith("`") else f"{what}[{key!r}]"
        same(got[key], value, place, rtol=rtol, atol=atol)


def _as_array(got: Any, what: str, scalar: bool) -> np.ndarray[Any, Any]:
    expected = "a single number" if scalar else "an array of numbers"
    if got is None or isinstance(got, (str, dict, bytes)):
        raise Wrong(f"{what} should be {expected}, but is {describe(got)}.")
    if isinstance(got, (tuple, list)):
        got = _from_list(got, what)
    try:
        array = np.asarray(got)
    except (TypeError, ValueError, OverflowError):
        raise Wrong(f"{what} should be {expected}, but is {describe(got)}.") from None
    if array.dtype.kind == "c":
        raise Wrong(f"{what} holds complex numbers; real numbers are expected.")
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{what} should be {expected}, but is {describe(got)}.")
    return array


def _from_list(got: Any, what: str) -> Any:
    try:
        array = np.array(got)
        # To NumPy, whole numbers beyond 64 bits are objects.
        return np.array(got, dtype=np.float64) if array.dtype.kind == "O" and _is_numbers(got) else array
    except (TypeError, ValueError, OverflowError):
        raise Wrong(f"{what} is {describe(got)} that cannot be read as one array of numbers.") from None


def _shaped(shape: tuple[int, ...]) -> str:
    return f"have shape {shape}" if shape else "be a single number"


def _came(shape: tuple[int, ...]) -> str:
    return f"came back with shape {shape}" if shape else "came back as a single number"


def _got(got: Any, want: Any) -> str:
    return f"Expected {want!r:.80}, got {got!r:.80}."


def _same_array(got: Any, want: np.ndarray[Any, Any], what: str, rtol: float, atol: float) -> None:
    array = _as_array(got, what, want.ndim == 0)
    if array.shape != want.shape:
        hint = ""
        if array.ndim == 2 and array.shape == want.shape[::-1]:
            hint = " It looks transposed."
        elif array.size == want.size and want.ndim:
            hint = " The count of numbers is right, their arrangement is not."
        raise Wrong(f"{what} should {_shaped(want.shape)}, but {_came(array.shape)}.{hint}")
    if want.size == 0:
        return
    g, w = array.astype(np.float64), want.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.abs(g - w)
        tolerance = atol + rtol * np.abs(w)
        ratio = error / tolerance
    ratio = np.where((g == w) | (np.isnan(g) & np.isnan(w)), 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    worst = float(ratio.max())
    if worst <= 1:
        _note(worst)
        return
    bad = ratio > 1
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    text, values = _explain(array, g, w, bad, first, what)
    raise Wrong(text, values, worst)


def _explain(
    array: np.ndarray[Any, Any],
    g: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bad: np.ndarray[Any, Any],
    first: tuple[Any, ...],
    what: str,
) -> tuple[str, str]:
    """The sentence about a wrong array, and the one that quotes its first wrong entry."""
    place = "" if not first else f" at index [{', '.join(str(int(i)) for i in first)}]"
    # What is spoken of may be one thing or several, "the result" or "the weights": a colon goes with both.
    entries = f"{what.rstrip(',')}:"
    got, want = float(g[first]), float(w[first])
    if not math.isfinite(got) and math.isfinite(want):
        text = f"{what} is {got}, where a finite number is right."
        if first:
            text = f"{entries} {got}{place}, where a finite number is right ({_count(bad)} wrong)."
        return text, f"Expected {number_text(want)}."
    text = f"{entries} {_count(bad)} wrong, first{place}." if first else f"{what} is not the right number."
    values = f"Expected {want:.10g}, got {got:.10g}"
    if math.isfinite(got) and math.isfinite(want):
        values += f" (off by {abs(got - want):.3g}"
        values += f", relative error {abs(got - want) / abs(want):.2g})" if want else ")"
    return text + _pattern(array, g, w), values + "."


def _count(bad: np.ndarray[Any, Any]) -> str:
    wrong = int(bad.sum())
    if wrong == bad.size:
        return "every entry is"
    return f"{wrong} of {bad.size} entries {'is' if wrong == 1 else 'are'}"


def _pattern(array: np.ndarray[Any, Any], g: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> str:
    """What all entries have in common with the right ones, if anything: a factor, an offset, lost digits."""
    if not (np.isfinite(g).all() and np.isfinite(w).all()):
        return ""
    scale = float(np.abs(w).max())
    if np.abs(g - w).max() <= 1e-5 * scale:
        if array.dtype.itemsize < 8:
            return f" It is right to about 7 digits only: it was computed in {array.dtype}, and float64 is asked for."
        return (
            " It is close, but not exact: look for a small constant added, a step that is only approximate, or float32 "
            "on the way."
        )
    if not g.any():
        return " All of it is zero."
    if (scale and w.size > 1) or w.ndim == 0:
        factor = float((g * w).sum() / (w * w).sum()) if scale else 0.0
        if abs(factor - 1) > 1e-3 and np.abs(g - factor * w).max() <= 1e-9 * abs(factor) * scale:
            if abs(factor + 1) < 1e-9:
                return " The sign is the other way round."
            return f" {'It is' if w.ndim == 0 else 'Each is'} {_factor(factor)} the right value."
    if w.size > 2 and np.ptp(g - w) <= 1e-9 * scale:
        return " Each is off by the same amount."
    return ""


def _factor(factor: float) -> str:
    for whole in range(2, 1025):
        if abs(factor - whole) < 1e-9 * whole:
            return f"{whole} times"
        if abs(factor * whole - 1) < 1e-9:
            return f"1/{whole} of"
    return f"{factor:.4g} times"
