"""Fuzzing what the grader reads from a student's process, beyond tests/sandbox/test_protocol.py.

Bytes are made by a grammar that knows the wire format and abuses it, so that they get past the first tag. Whatever they
are, the decoder refuses or yields plain data in memory bounded by their number, the session has a reply for every
call, and comparing an answer ends in a sentence.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from dlgrade.course.compare import Failure, items, numbers, same
from dlgrade.grading.diagnose import same_value
from dlgrade.grading.student import SandboxStudent, StudentFailure
from dlgrade.sandbox import session as sessions
from dlgrade.sandbox.launch import Ended
from dlgrade.sandbox.protocol import Callback, ProtocolError, decode, encode, frame
from dlgrade.sandbox.session import Call, Reply, Session, Source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# Empty dicts cost most: five bytes on the wire, a dict and a place in a list in memory.
BYTES_PER_BYTE, CONSTANT = 40, 200_000

COUNTS = st.sampled_from([0, 1, 2, 3, 7, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1])
AXES = st.sampled_from([0, 1, 2, 3, 5, 2**16, 2**31, 2**32, 2**40, 2**63, 2**64 - 1])
CODES = st.sampled_from(
    [b"f8 ", b"f4 ", b"f2 ", b"i8 ", b"u1 ", b"b1 ", b"c16", b"c8 ", b"O  ", b"V8 ", b"\xff\xff\xff"]
)


def array_head(code: bytes, axes: list[int], data: bytes) -> bytes:
    return b"a" + code + bytes([len(axes) % 256]) + b"".join(struct.pack("<Q", n) for n in axes) + data


LEAVES = st.one_of(
    st.sampled_from([b"N", b"T", b"F", b"z", b"", b"I\x00", b"I\xff"]),
    st.builds(lambda n: b"i" + struct.pack("<q", n), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda x: b"d" + struct.pack("<d", x), st.floats()),
    st.builds(lambda n, data: b"I" + bytes([n]) + data, st.integers(0, 255), st.binary(max_size=140)),
    st.builds(
        lambda tag, n, data: tag + struct.pack("<I", n) + data, st.sampled_from([b"s", b"b"]), COUNTS, st.binary()
    ),
    st.builds(lambda tag, data: tag + struct.pack("<I", len(data)) + data, st.sampled_from([b"s", b"b"]), st.binary()),
    st.builds(array_head, CODES, st.lists(AXES, max_size=18), st.binary(max_size=64)),
    st.builds(lambda n: b"h" + struct.pack("<I", n), COUNTS),
    st.builds(lambda tag, n: tag + struct.pack("<I", n) + b"s\1\0\0\0f", st.sampled_from([b"f", b"k", b"g"]), COUNTS),
    st.binary(max_size=12),
)
BYTES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda tag, parts: tag + struct.pack("<I", len(parts)) + b"".join(parts),
            st.sampled_from([b"l", b"t"]),
            st.lists(inner, max_size=5),
        ),
        st.builds(
            lambda parts: b"m" + struct.pack("<I", len(parts)) + b"".join(b"s\1\0\0\0" + b"k" + p for p in parts),
            st.lists(inner, max_size=3),
        ),
        st.builds(
            lambda tag, n, part: tag + struct.pack("<I", n) + part, st.sampled_from([b"l", b"t", b"m"]), COUNTS, inner
        ),
        st.builds(lambda part, depth: b"l\1\0\0\0" * depth + part, inner, st.integers(1, 60)),
    ),
    max_leaves=10,
)

ARRAYS = hnp.arrays(
    st.sampled_from(["?", "i1", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**900), 2**900), st.floats(), st.text(), st.binary(), ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers(-9, 9)), inner, max_size=4),
    ),
    max_leaves=8,
)


@given(BYTES)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_abused_bytes_are_refused_or_small(data: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(ProtocolError):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= CONSTANT + BYTES_PER_BYTE * len(data)


@pytest.mark.parametrize(
    "piece", [b"m\0\0\0\0", b"l\0\0\0\0", b"s\0\0\0\0", b"ab1 \x00\x01", b"d" + b"\0" * 8, b"I\x01\x7f", b"N"]
)
def test_the_most_that_bytes_can_cost(piece: bytes) -> None:
    data = b"l" + struct.pack("<I", 20_000) + piece * 20_000
    tracemalloc.start()
    try:
        value = decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(value) == 20_000
    assert peak <= CONSTANT + BYTES_PER_BYTE * len(data)


def test_refused_messages_leave_nothing_behind() -> None:
    bad = [b"l\2\0\0\0" + b"d" + b"\0" * 8, b"a" + b"f8 \x01" + struct.pack("<Q", 9), b"l\1\0\0\0" * 40 + b"N"]

    def refuse(times: int) -> None:
        for _ in range(times):
            for data in bad:
                with pytest.raises(ProtocolError):
                    decode(data)

    refuse(5)
    tracemalloc.start()
    try:
        refuse(5)
        before, _ = tracemalloc.get_traced_memory()
        refuse(300)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 50_000


class Scripted:
    """A launcher whose processes have written all that they will ever write, and end."""

    walls, pid = "process", 0

    def __init__(self, written: bytes) -> None:
        self.written = written

    def spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        loaded = encode(("reply", 1, "ok", {"failed": None, "names": ["f"], "np_is_numpy": True}, [], []))
        theirs.sendall(frame(loaded) + self.written)
        theirs.close()
        return ours

    def reap(self) -> Ended:
        return Ended(code=3)

    def close(self) -> None: ...


ODD = st.one_of(
    PLAIN, st.sampled_from(["ok", "error", "missing", "refused", "passed", "reply", "callback", "stdout", 2, 3])
)
DETAIL = st.dictionaries(
    st.sampled_from(
        ["type", "builtin", "message", "trace", "signature", "where", "what", "absent", "status", "limit_s"]
    ),
    st.one_of(ODD, st.lists(st.tuples(ODD, ODD), max_size=3), st.sampled_from(["ValueError", "exit", "print"])),
)
MESSAGES = st.one_of(
    st.tuples(
        st.just("reply"),
        st.sampled_from([2, 3, 1, 99]),
        st.sampled_from(["ok", "error", "missing", "refused", "crashed"]),
        st.one_of(DETAIL, BYTES, PLAIN.map(encode)),
        st.lists(ODD, max_size=3),
        st.lists(ODD, max_size=3),
    ),
    st.tuples(
        st.just("callback"),
        st.sampled_from([0, 1, -1]),
        st.tuples(ODD, ODD),
        st.dictionaries(st.text(), ODD, max_size=1),
    ),
    st.tuples(st.just("stdout"), ODD),
    st.lists(ODD, max_size=6).map(tuple),
)


def sent(messages: list[Any], tail: bytes) -> bytes:
    parts = []
    for message in messages:
        with contextlib.suppress(ValueError):
            parts.append(frame(encode(message)))
    return (b"".join(parts) + tail)[:60_000]


@given(st.lists(MESSAGES, max_size=4), st.one_of(st.just(b""), BYTES, BYTES.map(frame)))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_session_has_a_reply_for_every_call(messages: list[Any], tail: bytes) -> None:
    launched: Any = Scripted(sent(messages, tail))
    restarts, sessions.MAX_RESTARTS = sessions.MAX_RESTARTS, 2
    try:
        with Session(launched, Source(("def f(): pass",), "f.py", "f")) as opened:
            student = SandboxStudent(opened, {"f": "x"})
            calls = [Call("f", (Callback(lambda x, y: np.asarray(x) * 2, "g"),)), Call("f", (1.0,))]
            replies = student.batch(calls)
            said = opened.take_stdout()
    finally:
        sessions.MAX_RESTARTS = restarts
    assert len(replies) == len(calls)
    assert type(said) is str
    for call, reply in zip(calls, replies, strict=True):
        text, values = explained(student, call, reply)
        assert text.endswith((".", "?"))
        assert len(text) + len(values) < 20_000


def explained(student: SandboxStudent, call: Call, reply: Reply) -> tuple[str, str]:
    """What is said of a reply."""
    try:
        student.answer(call, reply)
    except StudentFailure as failure:
        return failure.text, failure.values
    return "It is an answer.", ""


WANTED: list[Any] = [
    *(None, True, "text", 1.5, np.zeros((2, 3)), np.zeros(0), np.arange(3), [1.0, 2.0]),
    *((1.0, np.zeros(2)), {"W1": np.zeros((2, 2)), "b1": np.zeros(2)}, [np.zeros(2), {"k": 1.0}]),
]


@given(PLAIN)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_answer_is_right_or_wrong_in_words(answer: Any) -> None:
    with np.errstate(all="ignore"):
        for want in WANTED:
            with contextlib.suppress(Failure):
                same(answer, want)
            assert same_value(answer, want) in (True, False)
        for read in (lambda: numbers(answer, (2, 3)), lambda: numbers(answer), lambda: items(answer, ("a", "b"))):
            with contextlib.suppress(Failure):
                read()
