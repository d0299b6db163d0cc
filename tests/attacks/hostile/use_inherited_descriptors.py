"""Tries every descriptor it was born with: reads, writes, asks who is at the other end, changes folders."""
import os
import socket

for fd in range(3, 256):
    for act in (
        lambda: os.write(fd, b""),
        lambda: os.listdir(fd),
        lambda: os.fchdir(fd),
        lambda: socket.socket(fileno=os.dup(fd)).sendall(b""),
        lambda: os.pread(fd, 10, 0),
    ):
        try:
            print(fd, act())
        except OSError:
            pass
