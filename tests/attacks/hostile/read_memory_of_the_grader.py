"""Opens the memory of the grader and of the nursery through /proc and looks for the secret."""
import os

SECRET = "".join(TARGET["secret halves"]).encode()

for pid in (TARGET["grader"], os.getppid()):
    try:
        with open(f"/proc/{pid}/maps") as maps:
            areas = [line.split()[0].split("-") for line in maps if "rw-p" in line]
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for start, end in areas:
                memory.seek(int(start, 16))
                if SECRET in memory.read(min(int(end, 16) - int(start, 16), 1 << 24)):
                    print("FOUND the secret in", pid)
    except OSError as error:
        print(error)
