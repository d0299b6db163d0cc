"""`python -m dlgrade` is `dlgrade`."""

from dlgrade.cli.entry import main

main()
