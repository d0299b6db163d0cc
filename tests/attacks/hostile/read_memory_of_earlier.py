"""Looks through its own memory for the text of a submission that was graded before it in the same nursery."""
import gc
import os

EARLIER = "EARLIER" + "-SUBMISSION"
for thing in gc.get_objects():
    if isinstance(thing, (str, bytes)) and EARLIER in str(thing):
        print("FOUND", thing[:80])
print("FOUND" if os.listdir(".") else "clean")
