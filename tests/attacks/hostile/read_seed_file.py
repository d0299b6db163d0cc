"""Opens the instructor's seed file."""
with open(TARGET["seed file"], "rb") as file:
    print("FOUND", file.read())
