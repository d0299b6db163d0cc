"""The walls around a student's process.

The nursery builds them once (`build`) and every freshly forked, still single-threaded child goes behind them
(`Walls.enter`) before it runs a line of student code; there is no way back. None needs root. On Linux:

* the child dies with the nursery, and resource limits bound its CPU, memory, file size and open files;
* no new privileges, no capabilities (but the one to read), no core dumps;
* Landlock: files are read below a list of paths and written below a scratch folder; where the kernel knows how, also
  no TCP, no abstract Unix sockets, no signals to others (`landlock`);
* seccomp: calls that reach other processes, the network or the machine are refused (`seccomp`).

On other systems the process boundary remains, and on Unix the resource limits. What no wall here stops: `stat` of any
path, filling the disk with many small files, and as many threads as the address space holds.

This module and those it imports need the standard library only.
"""

import contextlib
import os
import signal
import sys
from typing import Literal, NamedTuple

from dlgrade.sandbox import landlock, seccomp
from dlgrade.sandbox.kernel import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    WallError,
    capabilities,
    demand,
    keep_capabilities,
    prctl,
)

if sys.platform != "win32":
    import resource

__all__ = ["Mode", "WallError", "Walls", "build", "python_paths"]

Mode = Literal["auto", "strict", "off"]
ResourceLimit = tuple[int, int, int]  # which, soft, hard

# Kept if held: where the grader runs as root, Python's files may belong to somebody else and be closed to others. It
# opens what Landlock allows and no more; its other use, open_by_handle_at, seccomp refuses.
CAP_DAC_READ_SEARCH = 1 << 2

PACKAGE_FOLDERS = ("site-packages", "dist-packages")  # where a wheel puts the grader and the reference
SYSTEM_PATHS = (
    *("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/usr/lib/locale"),
    *(os.devnull, "/dev/urandom"),
)
LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
# What the extension modules of the standard library and of NumPy link to. Only Debian has a folder of libraries alone;
# elsewhere they lie beside the folders in which Python packages are installed, and are picked out by name.
LIBRARY_NAMES = (
    *("ld-", "libc.", "libm.", "libmvec.", "libdl.", "libpthread.", "librt.", "libutil.", "libcrypt", "libintl."),
    *("libpython", "libffi", "libexpat", "libssl", "libsqlite3", "libmpdec", "libuuid"),
    *("libz.", "libzstd", "libbz2", "liblzma"),
    *("libgcc_s", "libstdc++", "libgfortran", "libquadmath", "libgomp", "libiomp", "libomp"),
    *("libopenblas", "libblas", "libcblas", "liblapack", "libflexiblas", "libmkl_"),
)


class Walls(NamedTuple):
    """What a child goes behind; made by `build`. It holds nothing secret."""

    names: str  # which walls stand: "landlock+seccomp", "landlock", "seccomp", "process" or "off"
    nursery: int  # the process whose death is the child's
    limits: tuple[ResourceLimit, ...]
    capabilities: int  # those of the nursery, bit n standing for capability n
    ruleset: int | None  # descriptor of the Landlock rules; the child needs it open
    filter: seccomp.Filter | None

    def enter(self) -> None:
        """Go behind the walls for good. To be called in a single-threaded child of the nursery.

        Raises WallError if a wall that `names` promises cannot be entered; the child must then run nothing.
        """
        if sys.platform == "linux":
            self._die_with_nursery()
        _set_limits(self.limits)
        if sys.platform == "linux" and self.names != "off":
            self._give_up_privileges()
            if self.ruleset is not None:
                landlock.restrict_self(self.ruleset)
            if self.filter is not None:
                seccomp.install(self.filter)

    def _die_with_nursery(self) -> None:
        demand(prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "The death signal could not be set")
        if os.getppid() != self.nursery:
            raise WallError("Walls are entered by children of the living process that built them.")

    def _give_up_privileges(self) -> None:
        if self.capabilities:
            keep_capabilities(self.capabilities & CAP_DAC_READ_SEARCH)
        demand(prctl(PR_SET_NO_NEW_PRIVS, 1), "New privileges could not be given up")
        # Closes /proc/PID/mem and the like to other students' processes, and spares the system a crash's core dump.
        demand(prctl(PR_SET_DUMPABLE, 0), "Core dumps could not be switched off")


def build(
    *, mode: Mode, readable: list[str], scratch: str | None, memory_bytes: int, file_bytes: int, cpu_s: int
) -> Walls:
    """Probe the system and prepare the walls.

    `mode` "auto" takes what is there, "strict" raises WallError unless Landlock and seccomp both stand, "off" leaves
    the death signal and the resource limits. `readable` is what student code may read (see `python_paths`; symbolic
    links are followed), `scratch` the one folder it may write. `memory_bytes` bounds the address space, `file_bytes`
    each file, `cpu_s` the CPU seconds of a child (SIGXCPU then, SIGKILL a second later).
    """
    ruleset = filter = None
    if sys.platform == "linux" and mode != "off":
        ruleset = _landlock_if_offered(readable, scratch)
        filter = _seccomp_if_offered()
    walls = {"Landlock": ruleset, "seccomp": filter}
    missing = [name for name, wall in walls.items() if wall is None]
    if mode == "strict" and missing:
        raise WallError(
            f"The strict sandbox needs Landlock and seccomp; this system has no {' and no '.join(missing)}."
        )
    standing = "+".join(name.lower() for name in walls if name not in missing)
    return Walls(
        names="off" if mode == "off" else standing or "process",
        nursery=os.getpid(),
        limits=_resource_limits(memory_bytes, file_bytes, cpu_s),
        capabilities=capabilities() if sys.platform == "linux" else 0,
        ruleset=ruleset,
        filter=filter,
    )


def _landlock_if_offered(readable: list[str], scratch: str | None) -> int | None:
    abi = landlock.offered_abi()
    if abi > 0:
        with contextlib.suppress(WallError):
            # Importing lists the library's folders; names of installed packages may show, their contents do not.
            return landlock.landlock_ruleset(abi, readable, _standard_library(), scratch)
    return None


def _seccomp_if_offered() -> seccomp.Filter | None:
    machine = seccomp.offered_machine()
    return None if machine is None else seccomp.prepare(machine)


# What a student's process reads


def python_paths() -> list[str]:
    """What a student's process must be able to read: standard library, shared libraries, NumPy, time zones.

    Nothing in the list contains installed packages other than NumPy: the grader and the reference stay out of reach.
    Some paths may not exist on this system; `build` skips those.
    """
    library = [path for folder in _standard_library() for path in _without_packages(folder)]
    return list(dict.fromkeys([*library, *_shared_libraries(), *_numpy_folders(), *SYSTEM_PATHS]))


def _standard_library() -> list[str]:
    """The folders of standard-library modules; some systems keep the compiled ones elsewhere."""
    compiled = [path for path in sys.path if os.path.basename(path) == "lib-dynload"]
    return [os.path.dirname(os.__file__), *compiled]


def _without_packages(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in _names(folder) if name not in PACKAGE_FOLDERS]


def _shared_libraries() -> list[str]:
    multiarch: str = getattr(sys.implementation, "_multiarch", "")
    found = []
    for folder in dict.fromkeys(map(os.path.realpath, [*LIBRARY_FOLDERS, os.path.join(sys.base_prefix, "lib")])):
        for name in _names(folder):
            if name == multiarch or (".so" in name and name.startswith(LIBRARY_NAMES)):
                found.append(os.path.join(folder, name))
    return found


def _numpy_folders() -> list[str]:
    import numpy  # the nursery has it already

    folder = os.path.dirname(numpy.__file__)
    return [folder, folder + ".libs"]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


# Resource limits


def _resource_limits(memory_bytes: int, file_bytes: int, cpu_s: int) -> tuple[ResourceLimit, ...]:
    """The limits to set, none above the hard limit that already holds."""
    if sys.platform == "win32":
        return ()
    wanted = {
        "RLIMIT_AS": (memory_bytes, memory_bytes),
        "RLIMIT_CPU": (cpu_s, cpu_s + 1),
        "RLIMIT_FSIZE": (file_bytes, file_bytes),
        "RLIMIT_NOFILE": (64, 64),
        "RLIMIT_CORE": (0, 0),
    }
    limits = []
    for name, (soft, hard) in wanted.items():
        which = getattr(resource, name, None)
        if which is not None:
            ceiling = resource.getrlimit(which)[1]
            if ceiling != resource.RLIM_INFINITY:
                hard = min(hard, ceiling)
            limits.append((which, min(soft, hard), hard))
    return tuple(limits)


def _set_limits(limits: tuple[ResourceLimit, ...]) -> None:
    if sys.platform == "win32":
        return
    for which, soft, hard in limits:
        try:
            resource.setrlimit(which, (soft, hard))
        except (OSError, ValueError) as error:
            # macOS refuses some of these (an address space smaller than what is mapped); Linux has no reason to.
            if sys.platform == "linux":
                raise WallError(f"A resource limit could not be set: {error}.") from error
