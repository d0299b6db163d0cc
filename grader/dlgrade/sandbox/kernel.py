"""Calls into the Linux kernel that Python's standard library does not offer, and what is said when one fails.

Importable everywhere, callable on Linux only. The C functions are bound, with their types, when the module is imported:
a freshly forked child that had to look them up would pay for it.
"""

import ctypes
import os
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
PR_SET_VMA = 0x53564D41

_CAPABILITY_VERSION_3 = 0x20080522

if sys.platform == "linux":
    _libc = ctypes.CDLL(None, use_errno=True)
    _prctl, _syscall, _capget, _capset = _libc.prctl, _libc.syscall, _libc.capget, _libc.capset
    _prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    _syscall.argtypes = [ctypes.c_long] * 5
    _syscall.restype = ctypes.c_long
    _capget.argtypes = _capset.argtypes = [ctypes.c_char_p] * 2


class WallError(Exception):
    """A wall that was asked for cannot stand here. The message is one sentence for whoever started the grader."""


def demand(result: int, complaint: str) -> None:
    """Raise WallError with the system's reason if a call failed."""
    if result < 0:
        raise WallError(f"{complaint}: {os.strerror(ctypes.get_errno())}.")


def prctl(option: int, argument: int, more: int = 0) -> int:
    """`prctl(2)`: -1 and an errno for `demand` on failure."""
    return _prctl(option, argument, more, 0, 0)


def syscall(number: int, first: int, second: int, third: int = 0, fourth: int = 0) -> int:
    """`syscall(2)`: -1 and an errno for `demand` on failure."""
    return _syscall(number, first, second, third, fourth)


def capabilities() -> int:
    """The capabilities this process may use, bit n standing for capability n; 0 for an ordinary user."""
    data = ctypes.create_string_buffer(24)
    demand(_capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data), "Capabilities could not be read")
    _, permitted_low, _, _, permitted_high, _ = struct.unpack("=6I", data.raw)
    return permitted_low | permitted_high << 32


def keep_capabilities(kept: int) -> None:
    """Give up all capabilities but `kept`, all of which must be held and numbered below 32."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    demand(_capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)), "Capabilities could not be given up")
