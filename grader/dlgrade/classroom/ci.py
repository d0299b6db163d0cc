"""Files that make a forge grade every push: GitHub Actions, GitLab CI, Classroom 50."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

GITHUB = """\
# Grades every push, and says what went wrong where: annotations in the files changed, a summary on the run's page.
# In a student's own repository this is practice: whoever can change this file can read every secret that it uses.
name: dlgrade
on: [push, pull_request]
permissions:
  contents: read
jobs:
  grade:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install the grader
        run: python -m pip install {install}
      - name: Grade
        env:
          SEED: ${{{{ secrets.DLGRADE_SEED }}}}
        run: |
          seed=()
          if [ -n "$SEED" ]; then
            printf '%s' "$SEED" > "$RUNNER_TEMP/seed"
            seed=(--seed-file "$RUNNER_TEMP/seed")
          fi
          unset SEED
          status=0
          result="$RUNNER_TEMP/result.json"
          dlgrade check {chapters} --file . "${{seed[@]}}" --format json --output "$result" || status=$?
          if [ -f "$result" ]; then
            dlgrade convert "$result" --format github || true
            dlgrade convert "$result" --format markdown --append --output "$GITHUB_STEP_SUMMARY" || true
          fi
          exit "$status"
"""

GITLAB = """\
# Grades every push; the checks show as tests in merge requests and pipelines.
# In a student's own project this is practice: whoever can change this file can read every variable that it uses.
dlgrade:
  image: python:3.12
  timeout: 20 minutes
  script:
    - python -m pip install {install}
    - status=0
    - dlgrade check {chapters} --file . --format json --output result.json || status=$?
    - if [ -f result.json ]; then dlgrade convert result.json --format junit --output junit.xml || true; fi
    - if [ -f result.json ]; then dlgrade convert result.json || true; fi
    - exit $status
  artifacts:
    when: always
    reports:
      junit: junit.xml
    paths:
      - result.json
"""

CLASSROOM50 = '''\
"""Classroom 50's autograder for {names}: grades the checkout, writes result.json and release-body.md.

It lives beside the classroom, not in a student's repository, so no student changes it. Put a file called `seed` next to
it only if the files of your classroom are not public: without one, inputs are drawn from the practice seed.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

CHAPTERS = {chapter_list!r}
INSTALL = {install!r}
HERE = Path(__file__).resolve().parent


def grader() -> list[str]:
    """The command, installed first where it is not there yet."""
    try:
        import dlgrade  # noqa: F401
    except ImportError:
        folder = tempfile.mkdtemp(prefix="dlgrade-")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, INSTALL]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        os.environ["PYTHONPATH"] = folder
    return [sys.executable, "-m", "dlgrade"]


def nothing(why: str) -> str:
    """The result of a submission that could not be graded: a zero that says why."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    points = 100 * len(CHAPTERS)
    test = {{"test-name": "submission", "passed": False, "score": 0, "max-score": points, "output": why}}
    return json.dumps(
        {{
            "schema": "classroom50/result/v1",
            "classroom": os.environ["CLASSROOM"],
            "assignment": os.environ["ASSIGNMENT"],
            "submission": os.environ["SUBMISSION_TAG"],
            "commit": os.environ["COMMIT_URL"],
            "release": os.environ["RELEASE_URL"],
            "review": os.environ.get("REVIEW_URL") or os.environ["COMMIT_URL"],
            "datetime": now,
            "score": 0,
            "max-score": points,
            "tests": [test],
        }},
        indent=2,
    )


def main() -> int:
    command = grader()
    result = Path(tempfile.mkdtemp(prefix="dlgrade-")) / "result.json"
    seed = ["--seed-file", str(HERE / "seed")] if (HERE / "seed").is_file() else []
    run = subprocess.run(
        [*command, "check", *CHAPTERS, "--file", ".", *seed, "--format", "json", "--output", str(result)],
        stderr=subprocess.PIPE,
        text=True,
    )
    if run.returncode == 2:
        Path("result.json").write_text(nothing(run.stderr.strip()), encoding="utf-8")
        return 0
    if run.returncode not in (0, 1):
        sys.stderr.write(run.stderr)
        return 1
    for name, path in (("classroom50", "result.json"), ("markdown", "release-body.md")):
        done = subprocess.run([*command, "convert", str(result), "--format", name, "--output", path])
        if done.returncode not in (0, 1):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
'''

FILES = {
    "github": ".github/workflows/dlgrade.yml",
    "gitlab": ".gitlab-ci.yml",
    "classroom50": "autograder.py",
}
_TEMPLATES = {"github": GITHUB, "gitlab": GITLAB, "classroom50": CLASSROOM50}


def workflow(forge: str, chapters: Sequence[str], install: str) -> str:
    """The file for a forge that grades `chapters` with the grader that pip installs as `install`."""
    quoted = install if forge == "classroom50" else shlex.quote(install)
    return _TEMPLATES[forge].format(
        chapters=" ".join(chapters), chapter_list=list(chapters), names=", ".join(chapters), install=quoted
    )
