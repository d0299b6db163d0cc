"""Looks for the files of other students: by name, through its own folder, through links."""
import glob
import os

for path in (TARGET["next student"], *glob.glob("../dlgrade-*/*")):
    try:
        with open(path) as file:
            print("FOUND", path, file.read()[:80])
    except OSError as error:
        print(error)
for make in (os.link, os.symlink):
    try:
        make(TARGET["next student"], "stolen")
        with open("stolen") as file:
            print("FOUND", file.read()[:80])
    except OSError as error:
        print(error)
