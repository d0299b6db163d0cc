"""An autograder for Gradescope: a zip with the program that is running now, so that it grades there as it does here.

Gradescope runs `setup.sh` once, to make an image, and `run_autograder` in a fresh container for every submission. The
grader's own packages come from the package index, in the versions that are installed here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import dlreference

import dlgrade
from dlgrade.course import registry

# What grading a file and writing results.json imports, and nothing else.
PACKAGES = ("numpy", "msgspec")
_EPOCH = (2020, 1, 1, 0, 0, 0)

SETUP = """\
#!/usr/bin/env bash
# Runs once, when Gradescope builds the image: a Python that is new enough, and NumPy for it.
set -euo pipefail
apt-get update
for wanted in 3.12 3.13 3.11; do
  if apt-get install -y "python$wanted" "python$wanted-venv"; then break; fi
done
"python$wanted" -m venv /autograder/venv
/autograder/venv/bin/python -m pip install --only-binary :all: -r /autograder/source/requirements.txt
"""

RUN = """\
#!/usr/bin/env bash
# Runs for every submission. The two variables are for trying this out elsewhere.
set -euo pipefail
root="${AUTOGRADER_ROOT:-/autograder}"
cd "$root"
exec "${AUTOGRADER_PYTHON:-$root/venv/bin/python}" -I "$root/source/grade.py" "$root"
"""

GRADE = '''\
"""Grades /autograder/submission and writes /autograder/results/results.json."""

import sys
from pathlib import Path

root = Path(sys.argv[1])
sys.path.insert(0, str(root / "source" / "lib"))

from dlgrade.classroom.gradescope_run import main

main(root, chapter={chapter!r}, seed={seed!r}, visibility={visibility!r}, reveal={reveal!r})
'''


def build(chapter: str, *, secret: bytes | None, seed: int, visibility: str, reveal: bool) -> bytes:
    """The zip, the same bytes for the same sources. `secret` is a seed file's content, and outranks `seed`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "setup.sh", SETUP, 0o755)
        _add(archive, "run_autograder", RUN, 0o755)
        number = None if secret is not None else seed
        _add(archive, "grade.py", GRADE.format(chapter=chapter, seed=number, visibility=visibility, reveal=reveal))
        _add(archive, "requirements.txt", "".join(f"{name}=={version(name)}\n" for name in PACKAGES))
        if secret is not None:
            _add(archive, "seed", secret, 0o600)
        for name, path in sorted(_sources()):
            _add(archive, f"lib/{name}", path.read_bytes())
    return stream.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: str | bytes, mode: int = 0o644) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = mode << 16
    archive.writestr(info, data, zipfile.ZIP_DEFLATED)


def _sources() -> Iterator[tuple[str, Path]]:
    for package in (dlgrade, dlreference):
        assert package.__file__ is not None
        folder = Path(package.__file__).parent
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if path.is_file() and "__pycache__" not in path.parts and inside.parts[0] != "content":
                yield f"{folder.name}/{inside.as_posix()}", path
    for kind in ("exercises", "solutions"):
        for path in registry.content_folder(kind).glob("*.py"):
            yield f"dlgrade/content/{kind}/{path.name}", path
