"""Forks as often as it can."""
import os

for _ in range(200):
    try:
        if os.fork() == 0:
            while True:
                pass
    except OSError as error:
        print(error.strerror)
        break
