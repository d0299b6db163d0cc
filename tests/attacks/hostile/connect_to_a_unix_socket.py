"""Connects to a Unix socket by its path and to another by its abstract name."""
import socket

for address in (TARGET["socket"], "\0" + TARGET["abstract"]):
    try:
        with socket.socket(socket.AF_UNIX) as out:
            out.settimeout(2)
            out.connect(address)
            out.sendall(b"inputs")
    except OSError as error:
        print(error.strerror)
