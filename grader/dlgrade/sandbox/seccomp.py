"""seccomp: which system calls a process can make, as a filter the kernel runs on every call, without root.

`Documentation/userspace-api/seccomp_filter.rst`. The filter is a classic BPF program for one architecture. Python sees
a refused call as PermissionError.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dlgrade.sandbox.kernel import PR_GET_NAME, PR_SET_NAME, PR_SET_SECCOMP, PR_SET_VMA, demand, prctl

# Each entry is "name number-on-x86_64 number-on-aarch64", "-" where the architecture has no such call.
# Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
REFUSED_CALLS = {
    "the network; the pipe to the parent is open already, and read and write serve it": """
        socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, listen 50 201, accept 43 202, accept4 288 242,
        getsockname 51 204, getpeername 52 205, setsockopt 54 208, getsockopt 55 209, shutdown 48 210, sendto 44 206,
        sendmsg 46 211, sendmmsg 307 269, recvfrom 45 207, recvmsg 47 212, recvmmsg 299 243""",
    "new processes and programs": "fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, uselib 134 -",
    "signals to others, and leaving the process group that the parent kills": """
        kill 62 129, tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, pidfd_open 434 434,
        pidfd_getfd 438 438, pidfd_send_signal 424 424, setpgid 109 154, setsid 112 157""",
    "the memory of others": """
        ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440,
        process_mrelease 448 448, kcmp 312 272, get_robust_list 274 100, migrate_pages 256 238, move_pages 279 239,
        perf_event_open 298 241, userfaultfd 323 282""",
    "memory and messages that no limit counts": """
        memfd_create 319 279, memfd_secret 447 447, shmget 29 194, shmat 30 196, shmdt 67 197, shmctl 31 195,
        semget 64 190, semop 65 193, semtimedop 220 192, semctl 66 191, msgget 68 186, msgsnd 69 189, msgrcv 70 188,
        msgctl 71 187, mq_open 240 180, mq_unlink 241 181, mq_timedsend 242 182, mq_timedreceive 243 183,
        mq_notify 244 184, mq_getsetattr 245 185, io_setup 206 0, io_destroy 207 1, io_getevents 208 4,
        io_submit 209 2, io_cancel 210 3, io_pgetevents 333 292""",
    "parts of the kernel that no exercise needs": """
        io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, bpf 321 280, seccomp 317 277,
        add_key 248 217, request_key 249 218, keyctl 250 219, lookup_dcookie 212 18, syslog 103 116, sysfs 139 -,
        _sysctl 156 -, nfsservctl 180 42, ustat 136 -""",
    "identity and privilege": """
        setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setresuid 117 147, setresgid 119 149,
        setfsuid 122 151, setfsgid 123 152, setgroups 116 159, capset 126 91, personality 135 92, unshare 272 97,
        setns 308 268, lsm_set_self_attr 460 460""",
    "limits and priority": """
        setrlimit 160 164, setpriority 141 140, sched_setparam 142 118, sched_setscheduler 144 119,
        sched_setattr 314 274, sched_setaffinity 203 122, ioprio_set 251 30""",
    "mounts, roots and quotas": """
        mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, open_tree 428 428, move_mount 429 429,
        fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433, mount_setattr 442 442, statmount 457 457,
        listmount 458 458, swapon 167 224, swapoff 168 225, quotactl 179 60, quotactl_fd 443 443, acct 163 89""",
    "what Landlock does not watch on files": """
        chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, fchown 93 55, lchown 94 -,
        fchownat 260 54, utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88, setxattr 188 5, lsetxattr 189 6,
        fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, mknod 133 -, mknodat 259 33,
        truncate 76 45, name_to_handle_at 303 264, open_by_handle_at 304 265, inotify_init 253 -,
        inotify_init1 294 26, inotify_add_watch 254 27, inotify_rm_watch 255 28, fanotify_init 300 262,
        fanotify_mark 301 263, sync 162 81, syncfs 306 267""",
    "the machine": """
        reboot 169 142, kexec_load 246 104, kexec_file_load 320 294, init_module 175 105, finit_module 313 273,
        delete_module 176 106, create_module 174 -, get_kernel_syms 177 -, query_module 178 -, settimeofday 164 170,
        clock_settime 227 112, adjtimex 159 171, clock_adjtime 305 266, sethostname 170 161, setdomainname 171 162,
        vhangup 153 58, iopl 172 -, ioperm 173 -, modify_ldt 154 -""",
}
# Their arguments lie in memory, where a filter cannot look; on "no such call" the C library turns to the older call.
ABSENT_CALLS = "clone3 435 435, openat2 437 437"
CHECKED_CALLS = """
    clone 56 220, open 2 -, openat 257 56, fcntl 72 25, ioctl 16 29, prctl 157 167, tgkill 234 131, prlimit64 302 261"""
NEWEST_CALL = 462  # mseal, Linux 6.10: what came later was not judged, and is absent too

CLONE_THREAD = 0x00010000
CLONE_NAMESPACES = 0x7E020000
O_WRONLY, O_RDWR, O_ACCMODE, O_TRUNC = 0o1, 0o2, 0o3, 0o1000
# dup, descriptor flags, reading the status flags, locks. Not F_SETFL, F_SETOWN and F_SETSIG: together they send any
# signal to any process of the user. Not F_SETLEASE: it holds up whoever opens the file.
FCNTL_COMMANDS = (0, 1, 2, 3, 5, 6, 7, 36, 37, 38, 1030)
# TCGETS, TCGETS2 (isatty), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FICLONE
IOCTL_COMMANDS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x40049409)


class Check(NamedTuple):
    """A 32-bit word of a call's arguments, masked, must be one of `values`."""

    word: int  # offset in struct seccomp_data
    mask: int
    values: tuple[int, ...]


def _argument(index: int, half: int = 0) -> int:
    """Offset in struct seccomp_data of an argument's low half, or high half; both machines are little-endian."""
    return 16 + 8 * index + 4 * half


EVERY_BIT = 0xFFFFFFFF
# An open that truncates must also ask to write: before ABI 3 Landlock let a read-only open cut a readable file short.
_HONEST_OPEN = (0, O_WRONLY, O_RDWR, O_TRUNC | O_WRONLY, O_TRUNC | O_RDWR)
CHECKS: dict[str, tuple[Check, ...]] = {
    "clone": (Check(_argument(0), CLONE_THREAD | CLONE_NAMESPACES, (CLONE_THREAD,)),),
    "open": (Check(_argument(1), O_ACCMODE | O_TRUNC, _HONEST_OPEN),),
    "openat": (Check(_argument(2), O_ACCMODE | O_TRUNC, _HONEST_OPEN),),
    "fcntl": (Check(_argument(1), EVERY_BIT, FCNTL_COMMANDS),),
    "ioctl": (Check(_argument(1), EVERY_BIT, IOCTL_COMMANDS),),
    "prctl": (Check(_argument(0), EVERY_BIT, (PR_SET_NAME, PR_GET_NAME, PR_SET_VMA)),),
    # One's own limits may be read, not set: root could raise them.
    "prlimit64": (
        Check(_argument(0), EVERY_BIT, (0,)),
        Check(_argument(2), EVERY_BIT, (0,)),
        Check(_argument(2, half=1), EVERY_BIT, (0,)),
    ),
}


class Architecture(NamedTuple):
    audit: int  # AUDIT_ARCH_*, which the kernel puts beside the call's number
    column: int  # in the tables above


ARCHITECTURES = {"x86_64": Architecture(0xC000003E, 0), "aarch64": Architecture(0xC00000B7, 1)}


def call_numbers(table: str, machine: str) -> dict[str, int]:
    """The calls of a table that `machine` has, by name."""
    column = ARCHITECTURES[machine].column
    entries = [entry.split() for entry in table.split(",")]
    return {name: int(numbers[column]) for name, *numbers in entries if numbers[column] != "-"}


# ------------------------------------------------------------------------------------------------------------------
# The filter

LOAD, AND, RETURN = 0x20, 0x54, 0x06
IF_EQUAL, IF_GREATER, IF_AT_LEAST = 0x15, 0x25, 0x35
Instruction = tuple[int, int, int, int]  # code, how far to jump if true, if false, operand

KILL: Instruction = (RETURN, 0, 0, 0x80000000)  # the whole process
ALLOW: Instruction = (RETURN, 0, 0, 0x7FFF0000)
REFUSE: Instruction = (RETURN, 0, 0, 0x00050000 | errno.EPERM)
ABSENT: Instruction = (RETURN, 0, 0, 0x00050000 | errno.ENOSYS)

NUMBER_WORD, ARCHITECTURE_WORD = 0, 4
LAST_NUMBER = 0xFFFFFFFF
X32_BIT = 0x40000000  # x86_64 answers to a second set of numbers from here on
MODE_FILTER = 2


class Branch(NamedTuple):
    """What to do with the calls `first` to `last`; the block ends by returning a verdict."""

    first: int
    last: int
    block: list[Instruction]


def seccomp_program(machine: str, pid: int) -> bytes:
    """The filter for process `pid` on `machine` ("x86_64" or "aarch64"), as an array of struct sock_filter.

    `tgkill`, by which a process aborts itself, is allowed towards `pid` alone.
    """
    checked = call_numbers(CHECKED_CALLS, machine)
    own_signals = [Check(_argument(0), EVERY_BIT, (pid,))]
    branches = [Branch(NEWEST_CALL + 1, X32_BIT - 1, [ABSENT]), Branch(X32_BIT, LAST_NUMBER, [REFUSE])]
    for name, number in checked.items():
        branches.append(Branch(number, number, _if_all(CHECKS.get(name, own_signals))))
    for number in call_numbers(ABSENT_CALLS, machine).values():
        branches.append(Branch(number, number, [ABSENT]))
    refused = [number for table in REFUSED_CALLS.values() for number in call_numbers(table, machine).values()]
    for first, last in _runs(refused):
        branches.append(Branch(first, last, [REFUSE]))
    start = [
        (LOAD, 0, 0, ARCHITECTURE_WORD),
        (IF_EQUAL, 1, 0, ARCHITECTURES[machine].audit),
        KILL,
        (LOAD, 0, 0, NUMBER_WORD),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in [*start, *_decision(sorted(branches))])


def _decision(branches: list[Branch]) -> list[Instruction]:
    """Find a call's branch by halving. The kernel walks the filter once for each of its calls, so short ways count."""
    if len(branches) > 4:
        middle = len(branches) // 2
        lower = _decision(branches[:middle])
        return [(IF_AT_LEAST, len(lower), 0, branches[middle].first), *lower, *_decision(branches[middle:])]
    steps: list[Instruction] = []
    for first, last, block in branches:
        steps += [(IF_AT_LEAST, 0, len(block) + 1, first), (IF_GREATER, len(block), 0, last), *block]
    return [*steps, ALLOW]


def _if_all(checks: Sequence[Check]) -> list[Instruction]:
    """Allow if all checks hold, else refuse."""
    block: list[Instruction] = []
    for word, mask, values in checks:
        block += [(LOAD, 0, 0, word), (AND, 0, 0, mask)]
        block += [(IF_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
        block.append(REFUSE)
    return [*block, ALLOW]


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Numbers as runs of neighbours, `(first, last)`."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


class Filter(NamedTuple):
    """A filter laid out in memory as the kernel reads it, but for the process it is for."""

    program: ctypes.Array[ctypes.c_char]
    header: ctypes.Array[ctypes.c_char]  # struct sock_fprog: how many instructions, and where
    pid_at: int  # offset in the program of the number of the process


def prepare(machine: str) -> Filter:
    """Lay out the filter for `machine`, so that a child only has to fill in its number."""
    placeholder = LAST_NUMBER - 1
    program = seccomp_program(machine, placeholder)
    memory = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
    pid_at = program.index(struct.pack("=I", placeholder))
    return Filter(memory, ctypes.create_string_buffer(header, len(header)), pid_at)


def install(filter: Filter) -> None:
    """Put this process behind the filter for good. Needs no new privileges, and a process of one thread."""
    struct.pack_into("=I", filter.program, filter.pid_at, os.getpid())
    demand(prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(filter.header)), "seccomp refused the filter")


def offered_machine() -> str | None:
    """The machine to write a filter for, or None if the kernel takes none or we have no table for the machine."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES or sys.maxsize < 2**32:
        return None
    # A kernel with filters finds fault with the address of this one, a kernel without them with the request.
    prctl(PR_SET_SECCOMP, MODE_FILTER, 0)
    return machine if ctypes.get_errno() == errno.EFAULT else None
