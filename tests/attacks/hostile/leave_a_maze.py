"""Leaves folders nested thousands deep, so that who cleans up after it runs out of stack or of path."""
import os

for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
