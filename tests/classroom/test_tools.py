"""What an instructor hands to other systems: Gradescope's zip, workflows, the pytest plugin, converted results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from dlgrade.classroom.versions import checks_version

ROOT = Path(__file__).parents[2]
SOLUTION = ROOT / "solutions" / "ch305_loss_functions.py"


# --- Gradescope -------------------------------------------------------------------------------------------------------


@pytest.fixture
def container(tmp_path: Path, dlgrade) -> Path:
    """Gradescope's folders, the autograder unpacked in them."""
    (tmp_path / "secret").write_text("a long enough secret for a test")
    dlgrade("gradescope", "build", "--chapter", "ch305", "--seed-file", "secret", "--output", "auto.zip", status=0)
    root = tmp_path / "autograder"
    (root / "submission").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "auto.zip") as archive:
        assert {"setup.sh", "run_autograder"} <= set(archive.namelist())
        assert not [name for name in archive.namelist() if "__pycache__" in name or name.startswith("/")]
        archive.extractall(root / "source")
        for name in ("setup.sh", "run_autograder"):
            assert archive.getinfo(name).external_attr >> 16 & 0o111
            (root / "source" / name).chmod(0o755)
    return root


def autograde(root: Path, **env: str) -> dict[str, object]:
    # What the image does not have cannot be imported: only what requirements.txt names.
    (root / "bin").mkdir(exist_ok=True)
    python = root / "bin" / "python"
    blocked = "click, rich, jinja2, matplotlib = None, None, None, None"
    python.write_text(
        f"#!{sys.executable}\n"
        "import runpy, sys\n"
        f"for name in {[n.strip() for n in blocked.partition('=')[0].split(',')]!r}: sys.modules[name] = None\n"
        "sys.argv = sys.argv[2:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        [root / "source" / "run_autograder"],
        env={**os.environ, "AUTOGRADER_ROOT": str(root), "AUTOGRADER_PYTHON": str(python), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads((root / "results" / "results.json").read_text())
    return found


def test_the_autograder_grades_as_we_do(container: Path, tmp_path: Path, dlgrade) -> None:
    slip = SOLUTION.read_text().replace("grad = 2.0 * error / error.size", "grad = error / error.size")
    (container / "submission" / "my_ch305.py").write_text(slip)
    result = autograde(container)
    here = dlgrade("check", "ch305", "--file", container / "submission" / "my_ch305.py", "--seed-file", "secret")
    assert f"{result['score']} / 100" in here.stdout
    assert not (container / "source" / "seed").exists()
    assert result["extra_data"]["chapters"][0]["seed"] == "secret"  # type: ignore[index]
    for script in ("setup.sh", "run_autograder"):
        subprocess.run(["bash", "-n", container / "source" / script], check=True)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("essay.txt", b"x", "there is no file for ch305 among essay.txt"),
        ("ch305.py", b"\xff\xfe", "not UTF-8"),
        ("a.py", b"", "is empty"),
    ],
)
def test_a_submission_that_cannot_be_graded_scores_0_and_says_why(
    container: Path, name: str, data: bytes, said: str
) -> None:
    (container / "submission" / name).write_bytes(data)
    result = autograde(container)
    assert result["score"] == 0
    assert said in str(result["output"])


def test_the_zip_is_the_same_each_time(tmp_path: Path, dlgrade) -> None:
    for name in ("a.zip", "b.zip"):
        run = dlgrade("gradescope", "build", "--chapter", "ch305", "--seed", 5, "--output", name, status=0)
        assert "every student can work out the inputs" in run.stderr
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


# --- workflows --------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    slip = SOLUTION.read_text().replace("grad = 2.0 * error / error.size", "grad = error / error.size")
    (folder / "ch305_loss_functions.py").write_text(slip)
    return folder


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """An environment in which `dlgrade` and `pip install` do what they would in a fresh image."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "dlgrade").write_text(f'#!/bin/sh\nexec {sys.executable} -m dlgrade "$@"\n')
    (folder / "dlgrade").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **more}


def block(workflow: str, start: str) -> str:
    """The shell script under a `run: |` of a workflow."""
    text = workflow[workflow.index(start) :]
    lines = text[text.index("run: |\n") + 7 :].splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines if not line.strip() or line.startswith(" " * indent))


@pytest.mark.parametrize("secret", ["", "a secret that is long enough"])
def test_github(repository: Path, tmp_path: Path, dlgrade, secret: str) -> None:
    dlgrade("ci", "init", "github", "--chapter", "305", status=0)
    workflow = (tmp_path / ".github" / "workflows" / "dlgrade.yml").read_text()
    assert "pip install dlgrade==" in workflow
    assert "SEED: ${{ secrets.DLGRADE_SEED }}" in workflow
    run = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block(workflow, "name: Grade")],
        cwd=repository,
        env=environment(
            tmp_path, SEED=secret, RUNNER_TEMP=str(tmp_path), GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md")
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stderr
    assert re.search(r"^::notice title=ch305 Loss Functions::9\d of 100 points", run.stdout, re.M)
    assert "::error file=" in run.stdout
    assert "mse-gradient-without-2" in (tmp_path / "summary.md").read_text()


def test_gitlab(repository: Path, tmp_path: Path, dlgrade) -> None:
    dlgrade("ci", "init", "gitlab", "--chapter", "ch305", status=0)
    text = (tmp_path / ".gitlab-ci.yml").read_text()
    script = [line.strip()[2:] for line in text[text.index("script:") : text.index("artifacts:")].splitlines()[1:]]
    assert script[0].startswith("python -m pip install dlgrade==")
    run = subprocess.run(
        ["bash", "-e", "-c", "\n".join(script[1:])],
        cwd=repository,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stderr
    assert "mse-gradient-without-2" in run.stdout
    suite = ET.parse(repository / "junit.xml").getroot()
    assert int(suite.attrib["failures"]) > 0


CLASSROOM = {
    "CLASSROOM": "dl-2026",
    "ASSIGNMENT": "losses",
    "SUBMISSION_TAG": "submission/1",
    "COMMIT_URL": "https://github.com/x/y/commit/1",
    "RELEASE_URL": "https://github.com/x/y/releases/1",
}


@pytest.mark.parametrize("there", [True, False])
def test_classroom50(repository: Path, tmp_path: Path, dlgrade, there: bool) -> None:
    dlgrade("ci", "init", "classroom50", "--chapter", "ch305", "--output", "autograder.py", status=0)
    if not there:
        (repository / "ch305_loss_functions.py").unlink()
    run = subprocess.run(
        [sys.executable, tmp_path / "autograder.py"],
        cwd=repository,
        env=environment(tmp_path, **CLASSROOM),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads((repository / "result.json").read_text())
    assert result["schema"] == "classroom50/result/v1"
    assert result["max-score"] == sum(test["max-score"] for test in result["tests"]) == 100
    assert result["score"] == sum(test["score"] for test in result["tests"])
    assert all(isinstance(test["score"], int) for test in result["tests"])
    if there:
        assert 80 < result["score"] < 100
        assert "mse-gradient-without-2" in (repository / "release-body.md").read_text()
    else:
        assert result["score"] == 0
        assert "there is no ch305_loss_functions.py" in result["tests"][0]["output"]


def test_a_workflow_is_not_overwritten(dlgrade) -> None:
    dlgrade("ci", "init", "gitlab", "--chapter", "ch305", status=0)
    assert "is there already" in dlgrade("ci", "init", "gitlab", "--chapter", "ch305", status=2).stderr
    dlgrade("ci", "init", "gitlab", "--chapter", "ch305,ch306", "--force", status=0)


# --- converted results ------------------------------------------------------------------------------------------------


def test_a_saved_result_converts_to_what_check_would_have_written(repository: Path, tmp_path: Path, dlgrade) -> None:
    file = repository / "ch305_loss_functions.py"
    dlgrade("check", "ch305", "--file", file, "--format", "json", "--output", "r.json", status=1)
    assert json.loads(dlgrade("convert", "r.json", "--format", "json", status=1).stdout) == json.loads(
        (tmp_path / "r.json").read_text()
    )
    markdown = dlgrade("check", "ch305", "--file", file, "--format", "markdown").stdout
    assert dlgrade("convert", "r.json", "--format", "markdown", status=1).stdout == markdown
    for _ in range(2):
        dlgrade("convert", "r.json", "--format", "markdown", "--append", "--output", "s.md", status=1)
    assert (tmp_path / "s.md").read_text() == markdown * 2
    (tmp_path / "bad.json").write_text('{"chapter": 3}')
    assert "no result of" in dlgrade("convert", "bad.json", status=2).stderr
    assert "cannot be read" in dlgrade("convert", "nowhere.json", status=2).stderr


# --- pytest -----------------------------------------------------------------------------------------------------------


def run_pytest(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, args)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_check_is_a_test_item(repository: Path) -> None:
    file = repository / "ch305_loss_functions.py"
    run = run_pytest(repository, "--dlgrade", "ch305", "--dlgrade-file", file, "-v")
    assert run.returncode == 1
    assert re.search(r"[1-9] failed, \d\d passed", run.stdout)
    assert "Recognised mistake: mse-gradient-without-2" in run.stdout
    assert "Traceback" not in run.stdout
    right = run_pytest(repository, "--dlgrade", "305", "--dlgrade-file", SOLUTION, "--junitxml", "j.xml")
    assert right.returncode == 0, right.stdout
    cases = ET.parse(repository / "j.xml").getroot().iter("testcase")
    points = [p.attrib["value"] for case in cases for p in case.iter("property") if p.attrib["name"] == "points"]
    assert sum(map(int, points)) == 100


def test_one_exercise_by_keyword_and_others_own_tests_stay_out(repository: Path) -> None:
    (repository / "test_own.py").write_text("def test_own():\n    assert False\n")
    run = run_pytest(repository, "--dlgrade", "ch305", "--dlgrade-file", ".", "-k", "huber")
    assert run.returncode == 0, run.stdout
    assert "passed" in run.stdout
    both = run_pytest(repository, "test_own.py", "--dlgrade", "ch305", "--dlgrade-file", ".", "-k", "huber or own")
    assert "1 failed" in both.stdout
    idle = run_pytest(repository, "test_own.py")
    assert "1 failed in" in idle.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--dlgrade", "ch999"), "there is no chapter"),
        (("--dlgrade", "ch305", "--dlgrade-file", "nowhere.py"), "there is no file"),
        (("--dlgrade", "ch305", "--dlgrade-file", ".", "--dlgrade-seed", "1", "--dlgrade-seed-file", "x"), "not both"),
    ],
)
def test_wrong_input_is_a_usage_error(repository: Path, args: tuple[str, ...], said: str) -> None:
    run = run_pytest(repository, *args)
    assert run.returncode == 4
    assert said in run.stderr


# --- the version of the checks ----------------------------------------------------------------------------------------


def version_with(tmp_path: Path, edit: tuple[str, str, str] | None, chapter: str = "ch305") -> str:
    """The version in a copy of the sources with one file edited."""
    import shutil

    copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
    for name in ("grader", "reference", "solutions"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    if edit:
        path = copy / edit[0]
        path.write_text(path.read_text().replace(edit[1], edit[2], 1))
    code = f"from dlgrade.classroom.versions import checks_version; print(checks_version({chapter!r}))"
    path = os.pathsep.join(str(copy / name) for name in ("grader", "reference"))
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_version_changes_with_what_determines_a_score_and_nothing_else(tmp_path: Path) -> None:
    plain = version_with(tmp_path, None)
    assert re.fullmatch("[0-9a-f]{16}", plain)
    same = [
        ("grader/dlgrade/report/text.py", "", "# a comment\n"),
        ("grader/dlgrade/cli/grade.py", "", "# a comment\n"),
        ("reference/dlreference/cartpole.py", "", "# a comment\n"),
        ("grader/dlgrade/course/chapters/ch306_backpropagation.py", "", "# a comment\n"),
    ]
    other = [
        ("grader/dlgrade/course/chapters/ch305_loss_functions.py", "", "# a comment\n"),
        ("grader/dlgrade/course/compare.py", "", "# a comment\n"),
        ("grader/dlgrade/sandbox/worker.py", "", "# a comment\n"),
        ("reference/dlreference/losses.py", "", "# a comment\n"),
        ("solutions/ch305_loss_functions.py", "", "# a comment\n"),
        ("grader/dlgrade/__init__.py", "0.1.0", "0.1.1"),
    ]
    assert {version_with(tmp_path, edit) for edit in same} == {plain}
    changed = [version_with(tmp_path, edit) for edit in other]
    assert plain not in changed
    assert len(set(changed)) == len(changed)


def test_the_version_is_the_same_twice() -> None:
    first = checks_version("ch305")
    checks_version.cache_clear()
    assert checks_version("ch305") == first
