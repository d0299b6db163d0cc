"""Leaves folders and files that nobody may open, with names that are no text."""
import os

os.umask(0o777)
os.mkdir("locked")
os.mkdir(b"\xff\xfe\n")
open("file", "w").close()
open(b"\xf0\x28\x8c\x28", "w").close()
