"""Connects to a port of this machine, to send out what it has seen."""
import socket

with socket.create_connection(("127.0.0.1", TARGET["port"]), timeout=2) as out:
    out.sendall(b"inputs")
