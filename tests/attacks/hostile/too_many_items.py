"""Answers with more items than a message may have, nested once more at the end."""
import gc
import struct

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
bomb = b"l" + struct.pack("<I", 600_000) + b"N" * 600_000
type(worker).call = lambda self, *a: ("ok", bomb, [], [])
