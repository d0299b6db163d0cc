"""The wire format: what is plain travels unchanged, the rest is refused in words, no bytes can hurt the decoder."""

from __future__ import annotations

import contextlib
import math
import struct

import numpy as np
import pytest
from dlgrade.sandbox import protocol
from dlgrade.sandbox.protocol import Callback, Function, Handle, NotPlain, ProtocolError, decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ARRAYS = hnp.arrays(
    st.sampled_from(["?", "i1", "<i8", "u2", "<f4", "<f8", ">f8", "<c16", "f2"]),
    hnp.array_shapes(min_dims=0, max_dims=4, max_side=4, min_side=0),
)
KEYS = st.one_of(st.text(max_size=8), st.integers(-(2**63), 2**63 - 1))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    ARRAYS,
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


def equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, (float, complex)):
        return type(a) is type(b) and (a == b or repr(a) == repr(b))
    return type(a) is type(b) and a == b


@given(VALUES)
def test_plain_values_come_back_equal(value: object) -> None:
    assert equal(value, decode(encode(value)))


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_a_value_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode(data)


@given(VALUES, st.data())
@settings(max_examples=300)
def test_corrupted_messages_are_a_value_or_a_protocol_error(value: object, data: st.DataObject) -> None:
    good = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    with contextlib.suppress(ProtocolError):
        decode(bytes(good[:cut]))


@pytest.mark.parametrize(
    "data",
    [
        b"l\xff\xff\xff\xff",
        b"af8 \x02" + struct.pack("<QQ", 1 << 40, 1 << 40),
        b"af8 \x02" + struct.pack("<QQ", 0, 1 << 60),
        b"af8 \x02" + struct.pack("<QQ", 0, 1 << 24),
        b"aO  \x00",
        b"af8 \x20",
        b"ab1 \x01" + struct.pack("<Q", 1) + b"\x02",
        b"I\xff" + b"\0" * 255,
        b"m\x02\0\0\0" + encode("a") + b"N" + encode("a") + b"N",
        b"m\x01\0\0\0dAAAAAAAAN",
        b"s\x02\0\0\0\xff\xff",
        b"NN",
        b"",
        b"g" + encode((1, 1, 0, 0)),
        b"f" + encode("os.system"),
        b"k\0\0\0\0" + encode("f"),
        b"l\x01\0\0\0" * 100 + b"N",
    ],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


class Liar(np.ndarray):
    """A subclass that could answer comparisons as it likes."""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros(2).view(Liar), "Liar, a subclass of numpy.ndarray"),
        (np.matrix([[1.0]]), "matrix, a subclass"),
        (np.ma.array([1.0], mask=[True]), "MaskedArray, a subclass"),
        (np.array([None]), "object array"),
        (np.array(["a"]), "dtype <U1"),
        (np.array([(1, 2.0)], dtype="i4,f8"), "dtype"),
        ({1, 2}, "a set"),
        (len, "parentheses"),
        ({1.5: 2}, "key of type float"),
        (np.broadcast_to(0.0, (10**5, 10**5)), "larger than 64 MiB"),
        (np.zeros((0, 10**8)), "larger than 64 MiB"),
        (10**1000, "thousand bits"),
        (type("D", (dict,), {})(), "type D"),
        (type("F", (float,), {})(), "type F"),
        (iter([1]), "list_iterator"),
    ],
)
def test_what_is_not_plain_is_refused_in_words(value: object, words: str) -> None:
    with pytest.raises(NotPlain) as refusal:
        encode((1.0, value), where="the result")
    assert words in str(refusal.value)
    assert "the second item of the result" in str(refusal.value) or "it is larger" in str(refusal.value)


def test_a_list_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotPlain, match="levels deep"):
        encode(loop)


def test_a_generator_goes_to_the_student_and_not_back() -> None:
    rng = np.random.default_rng(5)
    rng.normal(size=3)
    copy = decode(encode(rng), specials=lambda kind, content: content)
    assert copy.normal() == rng.normal()
    with pytest.raises(NotPlain, match="random generator"):
        encode(rng, student=True)


def test_specials_go_through_the_resolver() -> None:
    seen = []
    decode(encode((Handle(3), Function("relu"), Callback(None, "f", 9))), specials=lambda *a: seen.append(a))
    assert seen == [("handle", 3), ("function", "relu"), ("callback", (9, "f"))]


def test_numpy_scalars_become_arrays_without_axes() -> None:
    assert decode(encode(np.float64(2.5))).shape == ()
    assert decode(encode(np.longdouble(2.5))).dtype == np.float64
    assert math.isnan(decode(encode(np.nan)))


def test_announced_lengths_are_bounded() -> None:
    with pytest.raises(ProtocolError, match="too large"):
        protocol.frame_length(struct.pack("<Q", 1 << 40))
