"""Leaves links out of its folder, named pipes and sockets, for a cleaner to follow or to hang on."""
import os
import stat

for act in (
    lambda: os.symlink(TARGET["folder"], "link"),
    lambda: os.symlink("/", "root"),
    lambda: os.mkfifo("pipe"),
    lambda: os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    lambda: os.link(TARGET["next student"], "hard"),
):
    try:
        act()
        print("FOUND a way")
    except OSError as error:
        print(error.strerror)
