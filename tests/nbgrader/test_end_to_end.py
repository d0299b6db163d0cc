"""The whole way with the real nbgrader: init, generate, five kinds of submissions, autograde, feedback, export."""

from __future__ import annotations

import ast
import csv
import hashlib
import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
from dlgrade.course import registry
from dlgrade.course.spec import Chapter, Mistake
from dlgrade.grading.grader import Grader
from dlgrade.grading.seeds import secret_seed
from dlgrade.grading.submissions import read
from dlgrade.nbgrader import course as courses
from dlgrade.sandbox.launch import Launcher

from .conftest import Course, Notebook, cell, code, results_of, with_cells

pytestmark = pytest.mark.slow

# three chapters and the first project that there is
CHAPTERS = [id for id in ("ch305", "ch306", "ch312") if id in registry.stems()]
CHAPTERS += [id for id in registry.stems() if id >= "ch334"][:1]

BY_HAND = {
    "ch334": ("kept-units-not-scaled", "def dropout_mask(shape, p, rng):\n    return (rng.random(shape) >= p) * 1.0"),
}

STUDENTS = ("solution", "stub", "mistake", "hang", "attack")

ATTACK = """
def attack(*args, **kwargs):
    import glob, sqlite3
    import numpy
    said = []
    others = glob.glob("{root}/autograded/*/*/*")
    for path in ["{root}/gradebook.db", "{root}/dlgrade.seed", "{root}/nbgrader_config.py", *others]:
        for mode in ("rb", "ab"):
            try:
                with open(path, mode) as file:
                    said.append(file.read() if mode == "rb" else file.write(b"x"))
            except OSError:
                pass
    try:
        sqlite3.connect("{root}/gradebook.db").execute("update grade set auto_score = 100").connection.commit()
    except sqlite3.Error:
        pass
    try:
        open("{root}/was_here", "w").close()
    except OSError:
        pass
    for name in ("allclose", "array_equal", "isclose", "testing"):
        setattr(numpy, name, lambda *a, **k: True)
    try:
        get_ipython().ast_transformers.append(None)
        said.append(In[-1])
    except NameError:
        pass
    print("100", said)
    return 100
"""


def mistaken(chapter: Chapter) -> tuple[str, Mistake]:
    """The code of a listed mistake, to stand in a cell of its own: written here, or the first that needs only NumPy."""
    if chapter.id in BY_HAND:
        name, source = BY_HAND[chapter.id]
        return source, next(m for e in chapter.exercises for m in e.mistakes if m.name == name)
    for exercise in chapter.exercises:
        for mistake in exercise.mistakes:
            sources = [_standing_alone(name, function) for name, function in mistake.replaces.items()]
            if all(sources):
                return "\n\n".join(sources), mistake
    raise AssertionError(f"{chapter.id} has no mistake that stands alone")


def _standing_alone(name: str, function: Any) -> str:
    """The source of a function under another name, without annotations; empty if it needs more than NumPy."""
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>" or function.__closure__:
        return ""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.name, definition.returns, definition.decorator_list = name, None, []
    for node in ast.walk(definition):
        if isinstance(node, ast.arg):
            node.annotation = None
    used = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)} & function.__globals__.keys()
    return ast.unparse(tree) if used <= {"np"} else ""


def to_hang(chapter: Chapter) -> str:
    """The function whose endless loop is waited for least: few others call it, and few checks."""
    text = registry.solution_file(chapter).read_text(encoding="utf-8")
    names = [e.functions[0] for e in chapter.exercises if not any(check.kind == "training" for check in e.checks)]
    asked = Counter(name for e in chapter.exercises for check in e.checks for name in check.functions)
    return min(names, key=lambda name: (len(re.findall(rf"\b{name}\(", text)), asked[name]))


def submissions(course: Course, chapter: Chapter) -> dict[str, Notebook]:
    source, release = course.notebook("source", chapter.id), course.notebook("release", chapter.id)
    wrong, _ = mistaken(chapter)
    slow = to_hang(chapter)
    names = {f.partition(".")[0] for e in chapter.exercises for f in e.functions}
    attack = ATTACK.replace("{root}", str(course.root)) + "\n" + "\n".join(f"{name} = attack" for name in names)
    attacker = with_cells(release, code(attack), code("attack()"))
    for forged in attacker["cells"]:
        marks = forged["metadata"].get("nbgrader", {})
        if marks.get("grade"):
            marks["points"] = 1000
            forged["source"] = "100"
            forged["outputs"] = [
                {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": "100"}}
            ]
    return {
        "solution": source,
        "stub": release,
        "mistake": with_cells(source, code(wrong)),
        "hang": with_cells(
            source, code(f"def {slow}(*args, **kwargs):\n    while True:\n        pass"), code("while True: pass")
        ),
        "attack": attacker,
    }


@pytest.fixture(scope="module")
def course(make_course: Callable[..., Course]) -> Course:
    made = make_course(CHAPTERS)
    for id in CHAPTERS:
        for student, notebook in submissions(made, registry.chapter(id)).items():
            made.submit(student, id, notebook)
    made.nbgrader("autograde", "*")
    made.nbgrader("generate_feedback", "*")
    made.nbgrader("export")
    return made


@pytest.fixture(scope="module")
def exported(course: Course) -> dict[tuple[str, str], float]:
    with (course.root / "grades.csv").open() as file:
        return {(row["assignment"], row["student_id"]): float(row["score"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("id", CHAPTERS)
@pytest.mark.parametrize("student", STUDENTS)
def test_the_gradebook_has_the_scores_of_dlgrade_check(
    course: Course, exported: dict[tuple[str, str], float], id: str, student: str
) -> None:
    path = course.root / "submitted" / student / id / f"{registry.stems()[id]}.ipynb"
    result = course.checked(path)
    assert course.scores(student, id) == results_of(result)
    assert course.total(student, id) == exported[id, student] == result["score"]


def test_dlgrade_grade_gives_a_class_the_same_scores(course: Course) -> None:
    seed, out = course.root / courses.SEED, course.root / "out"
    chapters = [word for id in CHAPTERS for word in ("--chapter", id)]
    run = course.dlgrade("grade", "submitted", *chapters, "--seed-file", seed, "--output", out, "--write", "csv")
    assert run.returncode in (0, 1), run.stderr
    with (out / "grades.csv").open() as file:
        scores = {(row["chapter"], row["student"]): float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {(id, student): course.total(student, id) for id in CHAPTERS for student in STUDENTS}


@pytest.mark.parametrize("id", CHAPTERS)
def test_what_each_submission_earns(course: Course, id: str) -> None:
    scores = {student: course.total(student, id) for student in STUDENTS}
    assert scores["solution"] == 100
    assert scores["stub"] == 0
    assert 0 < scores["mistake"] < 100
    assert 0 < scores["hang"] < 100
    assert scores["attack"] <= 10  # "the arguments are left as they were" is true of it


@pytest.mark.parametrize("id", CHAPTERS)
def test_feedback_shows_the_checks_the_mistake_and_the_advice(course: Course, id: str) -> None:
    page = course.feedback("mistake", id)
    _, mistake = mistaken(registry.chapter(id))
    assert "Recognised mistake" in page
    assert mistake.name in page
    assert mistake.advice.split("`")[0][:40] in page.replace("&#x27;", "'").replace("&quot;", '"')
    assert "took too long" in course.feedback("hang", id).lower()
    assert "still to do" in course.feedback("stub", id)


@pytest.mark.parametrize("id", CHAPTERS)
def test_no_hidden_number_enters_a_notebook_or_a_page(course: Course, nursery: Launcher, id: str) -> None:
    chapter = registry.chapter(id)
    grader = Grader(chapter, secret_seed(course.root / courses.SEED), nursery, reveal=True)
    hidden: set[str] = set()
    for student in ("mistake", "attack"):
        path = course.root / "submitted" / student / id / f"{chapter.stem}.ipynb"
        result = grader.grade(read(path, chapter.stem).source)
        hidden |= set(re.findall(r"\d\.\d{6,}", " ".join(c.message for e in result.exercises for c in e.checks)))
    assert hidden
    for student in STUDENTS:
        autograded = (course.root / "autograded" / student / id / f"{chapter.stem}.ipynb").read_text()
        assert not [number for number in hidden if number in autograded or number in course.feedback(student, id)]


def test_the_secret_is_nowhere_but_in_its_file(course: Course) -> None:
    seed = (course.root / courses.SEED).read_text().strip()
    assert len(seed) == 64
    assert (course.root / courses.SEED).stat().st_mode & 0o077 == 0
    for path in course.root.rglob("*"):
        if path.is_file() and path.name not in (courses.SEED, "gradebook.db"):
            assert seed not in path.read_text(encoding="utf-8", errors="replace"), path
    assert not list((course.root / "release").rglob(f"*{courses.SEED}*"))


def test_the_attack_left_no_trace(course: Course) -> None:
    assert not (course.root / "was_here").exists()
    for id in CHAPTERS:
        assert set(course.scores("stub", id).values()) == {0.0}
        graded = course.notebook("autograded", id, "attack")
        for exercise in registry.chapter(id).exercises:
            marks = cell(graded, f"{id}-{exercise.name}")
            assert marks["metadata"]["nbgrader"]["points"] == exercise.points
            assert "dlgrade.nbgrader" in "".join(marks["source"])


def test_the_same_seed_gives_the_same_notebooks_again(course: Course) -> None:
    def digests() -> dict[str, str]:
        files = sorted((course.root / "autograded").rglob("ch305*.ipynb"))
        return {str(f.parent): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if "hang" not in f.parts}

    before = digests()
    course.nbgrader("autograde", "ch305", "--force", "--CourseDirectory.student_id_exclude=hang")
    assert digests() == before


def test_graded_notebooks_need_no_hand(course: Course) -> None:
    with course.gradebook() as gradebook:
        for id in CHAPTERS:
            for submission in gradebook.assignment_submissions(id):
                assert not submission.needs_manual_grade
                assert submission.max_score == 100
