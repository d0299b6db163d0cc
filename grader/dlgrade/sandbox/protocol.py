"""The wire between grader and student process: plain data only, in a typed binary form that cannot execute.

A value is one tag byte and its content. Exact built-in types and plain numeric arrays travel; everything else is
refused by the encoder with a `NotPlain` that says, in the student's terms, what it met and where. The decoder trusts
nothing: it checks tag, count, depth, dtype, shape and length before it allocates.

    N T F            None, True, False          l t m    list, tuple, dict (string or integer keys)
    i I              int64, larger integer      a        array: dtype, shape, bytes in C order
    d c              float64, complex128        h        handle: a value that stays with the student's process
    s b              text, bytes                f k g    to the student only: function by name, callback, generator
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MAX_DEPTH = 32
MAX_ITEMS = 500_000
MAX_BYTES = 64 * 1024 * 1024
MAX_INT_BYTES = 128
MAX_NDIM = 16

DTYPES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"))

_U8 = struct.Struct("<B")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_C128 = struct.Struct("<dd")


ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def ordinal(index: int) -> str:
    """The word for a place counted from 0, as people count: "first" for 0."""
    return ORDINALS[index] if index < len(ORDINALS) else f"{index + 1}th"


class NotPlain(ValueError):
    """A value that may not travel; `where` is its path inside the answer, `what` says what it is."""

    def __init__(self, where: str, what: str) -> None:
        self.where, self.what = where, what
        super().__init__(f"{where} is {what}")


class ProtocolError(ValueError):
    """Bytes that are no valid message; `items` values had been read of them."""

    items = 0


class Handle:
    """A value kept in the student's process, known here by a number."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:
        self.id = id

    def __eq__(self, other: object) -> bool:
        return type(other) is Handle and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return "<kept value>"


class Function:
    """One of the student's own functions, passed to another of them by name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Callback:
    """A function of the grader that the student's code may call; it runs here, and only its values cross."""

    __slots__ = ("function", "id", "name")

    def __init__(self, function: Callable[..., Any] | None, name: str = "f", id: int = 0) -> None:
        self.function, self.name, self.id = function, name, id

    def __repr__(self) -> str:
        return self.name


def _dtype_code(dtype: np.dtype[Any]) -> str:
    return "b1" if dtype.kind == "b" else f"{dtype.kind}{dtype.itemsize}"


def _extent(shape: Sequence[int]) -> int:
    """The entries of an array, an axis of length 0 aside: what is computed along the others can be as large as this."""
    return math.prod(n for n in shape if n)


def _array_name(value: np.ndarray[Any, Any]) -> str:
    return f"an array of dtype {value.dtype}"


class _Encoder:
    def __init__(self, student: bool) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.items = 0
        self.student = student

    def put(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_BYTES:
            raise NotPlain("it", f"larger than {MAX_BYTES >> 20} MiB")
        self.parts.append(data)

    def value(self, value: Any, where: str, depth: int) -> None:
        self.items += 1
        if depth > MAX_DEPTH:
            raise NotPlain(where, f"nested more than {MAX_DEPTH} levels deep")
        if self.items > MAX_ITEMS:
            raise NotPlain(where, f"more than {MAX_ITEMS:,} separate values")
        kind = type(value)
        if value is None:
            self.put(b"N")
        elif kind is bool:
            self.put(b"T" if value else b"F")
        elif kind is int:
            self.integer(value, where)
        elif kind is float:
            self.put(b"d" + _F64.pack(value))
        elif kind is complex:
            self.put(b"c" + _C128.pack(value.real, value.imag))
        elif kind is str:
            data = value.encode("utf-8", "replace")
            self.put(b"s" + _U32.pack(len(data)) + data)
        elif kind is bytes:
            self.put(b"b" + _U32.pack(len(value)) + value)
        elif kind is list or kind is tuple:
            self.put((b"l" if kind is list else b"t") + _U32.pack(len(value)))
            for i, item in enumerate(value):
                self.value(item, f"the {ordinal(i)} item of {where}", depth + 1)
        elif kind is dict:
            self.mapping(value, where, depth)
        elif kind is np.ndarray:
            self.array(value, where)
        elif isinstance(value, np.generic) and kind.__module__ == "numpy":
            self.array(np.asarray(value), where)
        else:
            self.special(value, kind, where)

    def integer(self, value: int, where: str) -> None:
        if -(1 << 63) <= value < 1 << 63:
            self.put(b"i" + _I64.pack(value))
            return
        length = value.bit_length() // 8 + 1
        if length > MAX_INT_BYTES:
            raise NotPlain(where, "an integer of more than a thousand bits")
        self.put(b"I" + _U8.pack(length) + value.to_bytes(length, "little", signed=True))

    def mapping(self, value: dict[Any, Any], where: str, depth: int) -> None:
        self.put(b"m" + _U32.pack(len(value)))
        for key, item in value.items():
            if type(key) is not str and type(key) is not int:
                raise NotPlain(where, f"a dict with a key of type {type(key).__name__}; keys are strings or integers")
            self.value(key, f"a key of {where}", depth + 1)
            self.value(item, f"{where}[{key!r:.40}]", depth + 1)

    def array(self, value: np.ndarray[Any, Any], where: str) -> None:
        code = _dtype_code(value.dtype)
        if value.dtype.kind in "fc" and code not in DTYPES:  # long double
            value = value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
            code = _dtype_code(value.dtype)
        if code not in DTYPES:
            what = "an object array, not an array of numbers" if value.dtype.kind == "O" else _array_name(value)
            raise NotPlain(where, what)
        if _extent(value.shape) * value.itemsize > MAX_BYTES:
            raise NotPlain(where, f"an array of shape {value.shape}, larger than {MAX_BYTES >> 20} MiB")
        data = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        head = code.ljust(3).encode() + _U8.pack(value.ndim) + b"".join(_U64.pack(n) for n in value.shape)
        self.put(b"a" + head + data.tobytes())

    def special(self, value: Any, kind: type, where: str) -> None:
        if kind is Handle:
            self.put(b"h" + _U32.pack(value.id))
        elif kind is Function:
            self.put(b"f")
            self.value(value.name, where, 0)
        elif kind is Callback:
            self.put(b"k" + _U32.pack(value.id))
            self.value(value.name, where, 0)
        elif kind is np.random.Generator and type(value.bit_generator) is np.random.PCG64 and not self.student:
            state = value.bit_generator.state
            self.put(b"g")
            numbers = (state["state"]["state"], state["state"]["inc"], state["has_uint32"], state["uinteger"])
            self.value(numbers, where, 0)
        elif isinstance(value, np.ndarray):
            raise NotPlain(where, f"a {kind.__name__}, a subclass of numpy.ndarray")
        else:
            raise NotPlain(where, _describe(value, kind))


def _describe(value: Any, kind: type) -> str:
    if callable(value) and hasattr(value, "__name__"):
        return "a function or class, not its result (are the call's parentheses missing?)"
    names = {"set": "a set", "generator": "a generator", "Generator": "a random generator", "range": "a range"}
    return names.get(kind.__name__, f"an object of type {kind.__name__}")


def encode(value: Any, *, where: str = "it", student: bool = False) -> bytes:
    """Bytes of a plain value. `student=True` on the student's side, where generators may not be sent back.

    Raises `NotPlain` for anything that is not plain data.
    """
    encoder = _Encoder(student)
    encoder.value(value, where, 0)
    return b"".join(encoder.parts)


class _Decoder:
    def __init__(self, data: bytes | memoryview, *, specials: Callable[[str, Any], Any] | None) -> None:
        self.data = memoryview(data)
        self.at = 0
        self.items = 0
        self.specials = specials

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if end > len(self.data):
            raise ProtocolError("the message ends too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def count(self) -> int:
        number: int = _U32.unpack(self.take(4))[0]
        if number > len(self.data) - self.at:
            raise ProtocolError("a count is larger than the message")
        return number

    def text(self) -> str:
        try:
            return str(self.take(self.count()), "utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError("text is not UTF-8") from error

    def value(self, depth: int) -> Any:
        self.items += 1
        if depth > MAX_DEPTH:
            raise ProtocolError("nested too deep")
        if self.items > MAX_ITEMS:
            raise ProtocolError("too many values")
        tag = bytes(self.take(1))
        if tag == b"d":
            return _F64.unpack(self.take(8))[0]
        if tag == b"a":
            return self.array()
        if tag == b"i":
            return _I64.unpack(self.take(8))[0]
        if tag == b"s":
            return self.text()
        if tag == b"t":
            return tuple([self.value(depth + 1) for _ in range(self.count())])
        if tag == b"l":
            return [self.value(depth + 1) for _ in range(self.count())]
        if tag == b"m":
            return self.mapping(depth)
        if tag == b"N":
            return None
        if tag == b"T":
            return True
        if tag == b"F":
            return False
        if tag == b"c":
            return complex(*_C128.unpack(self.take(16)))
        if tag == b"b":
            return bytes(self.take(self.count()))
        if tag == b"I":
            length = _U8.unpack(self.take(1))[0]
            if length > MAX_INT_BYTES:
                raise ProtocolError("an integer is too large")
            return int.from_bytes(self.take(length), "little", signed=True)
        return self.special(tag)

    def mapping(self, depth: int) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for _ in range(self.count()):
            key = self.value(depth + 1)
            if type(key) is not str and type(key) is not int:
                raise ProtocolError("a key is neither text nor integer")
            if key in result:
                raise ProtocolError("a key comes twice")
            result[key] = self.value(depth + 1)
        return result

    def array(self) -> np.ndarray[Any, Any]:
        code = bytes(self.take(3)).decode("latin-1").rstrip()
        if code not in DTYPES:
            raise ProtocolError("an array has a dtype that may not travel")
        ndim = _U8.unpack(self.take(1))[0]
        if ndim > MAX_NDIM:
            raise ProtocolError("an array has too many axes")
        shape = [_U64.unpack(self.take(8))[0] for _ in range(ndim)]
        dtype = np.dtype("?" if code == "b1" else "<" + code)
        if _extent(shape) * dtype.itemsize > MAX_BYTES:
            raise ProtocolError("an array is too large")
        size = math.prod(shape)
        flat = np.frombuffer(self.take(size * dtype.itemsize), dtype=dtype)
        if code == "b1" and size and flat.view(np.uint8).max() > 1:
            raise ProtocolError("a truth value is neither 0 nor 1")
        return flat.reshape(shape).copy()

    def special(self, tag: bytes) -> Any:
        if tag == b"h":
            handle = Handle(_U32.unpack(self.take(4))[0])
            return handle if self.specials is None else self.specials("handle", handle.id)
        if self.specials is None:
            raise ProtocolError("unknown tag")
        if tag == b"f":
            return self.specials("function", self.value(MAX_DEPTH))
        if tag == b"k":
            id = _U32.unpack(self.take(4))[0]
            return self.specials("callback", (id, self.value(MAX_DEPTH)))
        if tag == b"g":
            return _generator(self.value(MAX_DEPTH - 1))
        raise ProtocolError("unknown tag")


def _generator(numbers: tuple[int, int, int, int]) -> np.random.Generator:
    state, inc, has_uint32, uinteger = numbers
    bits = np.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": inc},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)


def decode(data: bytes | memoryview, *, specials: Callable[[str, Any], Any] | None = None) -> Any:
    """The value in `data`, all of it. `specials` resolves handles, functions and callbacks on the student's side.

    Raises `ProtocolError` for anything else than one whole valid value.
    """
    return counted(data, specials=specials)[0]


def counted(data: bytes | memoryview, *, specials: Callable[[str, Any], Any] | None = None) -> tuple[Any, int]:
    """What `decode` gives, and the number of separate values in it."""
    decoder = _Decoder(data, specials=specials)
    try:
        value = decoder.value(0)
        if decoder.at != len(decoder.data):
            raise ProtocolError("bytes are left over")
    except ProtocolError as error:
        error.items = decoder.items
        raise
    return value, decoder.items


def frame(payload: bytes) -> bytes:
    """A message as it goes onto the channel: its length, then itself."""
    return _U64.pack(len(payload)) + payload


def frame_length(head: bytes) -> int:
    """The length announced by a frame's first eight bytes; raises `ProtocolError` if it is too large."""
    length: int = _U64.unpack(head)[0]
    if length > MAX_BYTES + 1024:
        raise ProtocolError("a message is too large")
    return length


HEAD = _U64.size
