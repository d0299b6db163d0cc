"""Landlock: which files a process and all it starts can open, without root.

Linux 5.13 and later, `Documentation/userspace-api/landlock.rst`. The rules are made once; entering them costs one call.
"""

import ctypes
import os
import stat
import struct

from dlgrade.sandbox.kernel import demand, syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture we know
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
REFER, TRUNCATE = 1 << 13, 1 << 14
# No symbolic links, sockets, pipes or devices in the scratch folder: the parent may look into it afterwards.
SCRATCH_RIGHTS = READ_FILE | READ_DIR | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
FILE_ONLY_RIGHTS = READ_FILE | WRITE_FILE | TRUNCATE

# An ABI knows the first so many of the file rights 0 to 15. All that it knows are handled, that is, refused unless
# granted. Executing a program (right 0) is granted nowhere; mapping a shared library is not executing.
FILE_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
FILE_RIGHTS_SINCE = 16
TCP_RIGHTS = 0b11  # bind and connect, from ABI 4
SCOPES = 0b11  # abstract Unix sockets and signals, from ABI 6


def offered_abi() -> int:
    """The version of Landlock this kernel offers; 0 if it has none or does not let us."""
    return max(0, syscall(CREATE_RULESET, 0, 0, CREATE_RULESET_VERSION))


def landlock_ruleset(abi: int, readable: list[str], listable: list[str], scratch: str | None) -> int:
    """A ruleset descriptor, closed on exec, that grants what is listed and nothing else.

    `readable` files are read, `readable` folders read and listed with all that is below; `listable` folders are only
    listed, with all that is below; `scratch` is read and written. `/dev/null` takes what is written to it. Paths that
    do not exist are skipped. Raises WallError if the kernel refuses.
    """
    handled = (1 << FILE_RIGHTS_OF_ABI.get(abi, FILE_RIGHTS_SINCE)) - 1
    attributes = struct.pack("=QQQ", handled, TCP_RIGHTS if abi >= 4 else 0, SCOPES if abi >= 6 else 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = syscall(CREATE_RULESET, ctypes.addressof(buffer), len(attributes), 0)
    demand(ruleset, "Landlock refused a ruleset")
    try:
        for path in readable:
            _grant(ruleset, path, READ_FILE | READ_DIR)
        for path in listable:
            _grant(ruleset, path, READ_DIR)
        _grant(ruleset, os.devnull, READ_FILE | WRITE_FILE)
        if scratch is not None:
            _grant(ruleset, scratch, SCRATCH_RIGHTS & handled)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def restrict_self(ruleset: int) -> None:
    """Enter the rules for good and close the descriptor. Needs no new privileges, and a process of one thread."""
    demand(syscall(RESTRICT_SELF, ruleset, 0), "Landlock could not be entered")
    os.close(ruleset)


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            rights &= FILE_ONLY_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, target))
        result = syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.addressof(rule))
        demand(result, f"Landlock refused the rule for {path}")
    finally:
        os.close(target)
