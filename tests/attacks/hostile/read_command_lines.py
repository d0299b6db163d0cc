"""Lists every process of the machine with its command line and open files."""
import os

for pid in os.listdir("/proc"):
    if pid.isdigit():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            print("FOUND", file.read()[:100])
        print(os.listdir(f"/proc/{pid}/fd"))
