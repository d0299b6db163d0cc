"""`dlgrade next`: what comes next, and what it builds on."""

from __future__ import annotations

import click


@click.command("next")
def command() -> int:
    """Show the chapter to go on with: what it is about, what it builds on, its exercises, the file to write in."""
    from dlgrade.cli.here import file_of, look, position_in, root_here, show
    from dlgrade.course import registry
    from dlgrade.selfstudy import screens

    root = root_here()
    place = position_in(root)
    paint, width = look()
    if place.current is None:
        show(screens.finished(place, paint))
        return 0
    chapter = registry.chapter(place.current)
    file = file_of(root, chapter)
    show(screens.card(chapter, place, file, paint, width, full=True))
    show(["", screens.next_step(chapter, place.state(chapter.id), file, paint)])
    return 0
