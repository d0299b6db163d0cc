"""`dlgrade report`: the page of your progress and of what you built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dlgrade.cli.errors import InputError

CERTIFICATE = "certificate.html"


@click.command("report")
@click.option("--output", type=click.Path(path_type=Path), help="The page  [default: report.html in the workspace]")
@click.option("--name", help="Your name, instead of the one in dlgrade.toml.")
@click.option("--no-check", is_flag=True, help="Show what was recorded; check nothing again, draw nothing.")
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
@click.option("--sandbox", type=click.Choice(["auto", "strict", "off"]), default="auto", show_default=True)
def command(output: Path | None, name: str | None, no_check: bool, open_it: bool, sandbox: Any) -> int:
    """Make one page with your progress, what the checks say of each exercise, and the pictures of what you built.

    Chapters that changed since they were last checked are checked again. When all are solved, a certificate comes with
    the page.
    """
    from dlgrade.cli.files import write_whole
    from dlgrade.cli.here import near, one_sentence, position_in, root_here, settings
    from dlgrade.selfstudy import page

    root = root_here()
    output = output or root / "report.html"
    name = settings(root).name if name is None else name
    with one_sentence():
        found = page.recorded(root) if no_check else _up_to_date(root, sandbox)
        certificate = CERTIFICATE if position_in(root).all_done else ""
        if certificate:
            write_whole(output.with_name(certificate), page.certificate_page(root, name))
        write_whole(output, page.course_page(root, found, name, certificate))
    for path in (output, output.with_name(certificate)) if certificate else (output,):
        click.echo(near(path))
    if open_it:
        click.launch(output.resolve().as_uri())
    return 0


def _up_to_date(root: Path, sandbox: Any) -> Any:
    from dlgrade.cli.here import warn
    from dlgrade.sandbox.launch import SandboxError, launcher
    from dlgrade.selfstudy.page import Renewal

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K  {text}")
            sys.stderr.flush()

    try:
        started = launcher(sandbox)
        try:
            return Renewal(root, started, tell, warn).run()
        finally:
            started.close()
            tell("")
    except SandboxError as error:
        raise InputError(str(error)) from None
