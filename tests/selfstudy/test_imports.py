"""`dlgrade check` stays quick: what it does not need it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"IPython", "jinja2", "matplotlib", "nbformat", "pytest", "rich", "watchfiles"}


def loaded(code: str, cwd: Path) -> set[str]:
    """The heavy packages that are loaded after running some code in a fresh interpreter."""
    ask = f"{code}\nimport sys; print('LOADED', *sorted({HEAVY!r} & {{n.split('.')[0] for n in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", ask], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split()[1:])


def command(*arguments: str) -> str:
    return (
        f"import sys; sys.argv = ['dlgrade', *{arguments!r}]\n"
        "from dlgrade.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert left.code in (0, 1), left.code"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "ch305"),
        (),
        ("status",),
        ("next",),
        ("hint", "ch305", "mse"),
        ("export",),
        ("--help",),
        ("check", "--help"),
    ],
)
def test_what_commands_load(root: Path, arguments: tuple[str, ...]) -> None:
    assert loaded(command(*arguments), root) == set()


def test_a_check_outside_of_a_workspace_loads_no_database(root: Path, tmp_path: Path) -> None:
    code = command("check", "ch305", "--file", str(root / "exercises"))
    assert loaded(f"{code}\nassert 'sqlite3' not in sys.modules", tmp_path) == set()


def test_importing_the_package_loads_nothing(tmp_path: Path) -> None:
    code = "import dlgrade, sys\nassert not [n for n in sys.modules if n.startswith('dlgrade.')], sys.modules"
    assert loaded(f"{code}\nassert 'numpy' not in sys.modules", tmp_path) == set()
