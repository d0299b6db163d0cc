"""`python -m dlgrade` is `dlgrade`."""

from dlgrade.cli.main import main

main()
