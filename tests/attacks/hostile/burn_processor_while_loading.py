"""Never gets past its first line."""
while True:
    pass
