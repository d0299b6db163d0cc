"""Answers with messages that are small on the wire and large in memory: hundreds of thousands of empty dicts."""
import gc
import struct

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
bomb = b"l" + struct.pack("<I", 490_000) + b"m\0\0\0\0" * 490_000
type(worker).call = lambda self, *a: ("ok", bomb, [], [])
