"""Sends every signal it can to another process of the same user, by every call that sends one."""
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
victim = TARGET["victim"]
for act in (
    lambda: os.kill(victim, signal.SIGKILL),
    lambda: os.killpg(victim, signal.SIGKILL),
    lambda: signal.pidfd_send_signal(os.pidfd_open(victim), signal.SIGKILL),
    lambda: os.kill(-1, 0),
):
    try:
        act()
    except OSError as error:
        print(error.strerror)
print(libc.tgkill(victim, victim, 9), libc.tkill(victim, 9) if hasattr(libc, "tkill") else "")
