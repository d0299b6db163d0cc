"""`dlgrade status`: the map of the course, with points."""

from __future__ import annotations

import click


@click.command("status")
def command() -> int:
    """Show the map of the course with your points, and what the next chapter builds on."""
    from dlgrade.cli.here import look, position_in, root_here, show
    from dlgrade.selfstudy.screens import status

    show(status(position_in(root_here()), *look()))
    return 0
