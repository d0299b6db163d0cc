"""Looks up a name that carries an input, so that whoever serves the name hears it."""
import socket

print("FOUND", socket.getaddrinfo("0-5.inputs.invalid", 80))
