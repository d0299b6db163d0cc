"""Sends arrays whose heads lie: axes that overflow when multiplied, types with objects in them, bytes missing."""
import gc
import struct

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
BOMBS = iter([
    b"af8 \x02" + struct.pack("<QQ", 2**32, 2**32),
    b"aO  \x01" + struct.pack("<Q", 1) + b"\0" * 8,
    b"aV8 \x01" + struct.pack("<Q", 1) + b"\0" * 8,
    b"af8 \xff" + b"\1" * 2040,
    b"af8 \x01" + struct.pack("<Q", 1000) + b"\0" * 8,
    b"ab1 \x01" + struct.pack("<Q", 8) + b"\x07" * 8,
])
type(worker).call = lambda self, *a: ("ok", next(BOMBS), [], [])
