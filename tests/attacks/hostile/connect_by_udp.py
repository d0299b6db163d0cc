"""Sends a datagram to this machine, and to a name server."""
import socket

out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.sendto(b"inputs", ("127.0.0.1", TARGET["udp port"]))
