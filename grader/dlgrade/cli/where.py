"""`dlgrade` alone: where you are in the course, what is next, and how to go on."""

from __future__ import annotations

from pathlib import Path

import click


def where(ctx: click.Context) -> None:
    """Say where the student stands; outside of a workspace, how to begin."""
    from dlgrade.cli.here import file_of, look, position_in, show
    from dlgrade.course import registry
    from dlgrade.selfstudy import screens
    from dlgrade.selfstudy.workspace import find_root

    root = find_root(Path.cwd())
    if root is None:
        click.echo(ctx.get_help())
        return
    place = position_in(root)
    chapter = registry.chapter(place.current) if place.current else None
    show(screens.where(chapter, place, file_of(root, chapter) if chapter else "", *look()))
