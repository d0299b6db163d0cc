"""Prints its environment and, through /proc, those of the processes that made it, for keys and seeds."""
import os

print("FOUND" if any("PATH" in name or "HOME" in name for name in os.environ) else "nothing")
for pid in (os.getppid(), TARGET["grader"]):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            print("FOUND", b"PATH=" in file.read())
    except OSError as error:
        print(error)
