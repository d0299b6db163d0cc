"""Sends what only the grader may send: generators, functions by name, callbacks; and handles that nobody kept."""
import gc
import struct

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
BOMBS = iter([
    b"g" + b"t\x04\0\0\0" + b"i\0\0\0\0\0\0\0\0" * 4,
    b"f" + b"s\x09\0\0\0os.system",
    b"k\0\0\0\0" + b"s\x01\0\0\0f",
    *(b"h" + struct.pack("<I", id) for id in (0, 1, 1_000_001, 4_294_967_295)),
])
type(worker).call = lambda self, *a: ("ok", next(BOMBS, b"h\1\0\0\0"), [], [])
