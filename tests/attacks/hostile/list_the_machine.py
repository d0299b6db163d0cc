"""Walks the whole file system and prints what it finds in homes, mounts and temporary folders."""
import os

for top in ("/", "/root", "/home", "/tmp", "/etc", "/proc", "/sys", os.path.expanduser("~")):
    for folder, _, files in os.walk(top):
        print("FOUND", folder, files[:3])
        break
