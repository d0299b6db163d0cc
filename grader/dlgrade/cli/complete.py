"""What a shell can complete in arguments. Everything is imported when it is asked for, so that commands stay quick."""

from __future__ import annotations

from typing import Any


def complete_chapter(ctx: Any, param: Any, incomplete: str) -> list[Any]:
    """Chapters for shell completion, with their titles."""
    from click.shell_completion import CompletionItem

    from dlgrade.course import outline, registry

    there = [e for e in outline.CHAPTERS if e.id in registry.stems()]
    return [CompletionItem(e.id, help=e.title) for e in there if e.id.startswith(incomplete)]


def complete_exercise(ctx: Any, param: Any, incomplete: str) -> list[str]:
    """Exercises of the chapter named before, for shell completion."""
    from dlgrade.course import registry

    known = registry.stems()
    id = registry.chapter_id(ctx.params.get("chapter") or "")
    return [e.name for e in registry.chapter(id).exercises if e.name.startswith(incomplete)] if id in known else []


def complete_target(ctx: Any, param: Any, incomplete: str) -> list[Any]:
    """What `check` takes: chapters, `all`, and after a colon a chapter's exercises."""
    from click.shell_completion import CompletionItem

    name, colon, exercise = incomplete.partition(":")
    if colon:
        ctx.params["chapter"] = name
        return [CompletionItem(f"{name}:{e}") for e in complete_exercise(ctx, param, exercise)]
    every = [CompletionItem("all")] if "all".startswith(incomplete) else []
    files = [CompletionItem(incomplete, type="file")] if incomplete and not incomplete.startswith("ch") else []
    return complete_chapter(ctx, param, incomplete) + every + files
