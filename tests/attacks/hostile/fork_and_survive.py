"""Forks twice and leaves a daemon behind that would write into the results later."""
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1.0)
        with open(os.path.join(TARGET["folder"], "survived"), "w") as file:
            file.write("alive")
        time.sleep(60)
    os._exit(0)
