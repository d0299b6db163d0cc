"""Results to be written: a good, a mixed and an empty submission, a broken file, a course; and the golden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dlgrade.grading.results import (
    ChapterResult,
    CheckResult,
    CourseResult,
    ExerciseResult,
    Status,
    course_result,
    exercise_result,
)

GOLDEN = Path(__file__).parent / "golden"

# Everything that text could steer: terminal, XML, HTML, build log, reading direction, C strings, Markdown fences.
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 ]]> <script>alert(1)</script>\n"
    "::error::owned\n"
    "##[error]owned ##vso[task.complete]\n"
    "NUL \x00 bidi \u202eevil\u2066 C1 \x9b31m CR \rover [bold red]markup[/] @everyone\n"
    "````\n</details>\n```\n| a | b |\r\n\tlast \udce9 \ufffe"
)


def make_check(
    name: str, points: int, status: Status = "passed", message: str = "", mistake: str = "", advice: str = ""
) -> CheckResult:
    score = points if status == "passed" else 0
    return CheckResult(
        name=name,
        kind="numeric",
        score=score,
        max_score=points,
        status=status,
        message=message,
        mistake=mistake,
        advice=advice,
    )


def make_chapter(
    exercises: tuple[ExerciseResult, ...], *, number: str = "ch305", title: str = "Loss Functions", **rest: object
) -> ChapterResult:
    facts: dict[str, object] = {
        "dlgrade": "0.1.0",
        "file": f"exercises/{number}_loss_functions.py",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "seed": 7,
        "sandbox": "landlock+seccomp",
        "duration_s": 0.09,
    }
    return ChapterResult(
        chapter=number,
        title=title,
        score=sum(e.score for e in exercises),
        max_score=sum(e.max_score for e in exercises),
        exercises=exercises,
        **(facts | rest),  # type: ignore[arg-type]
    )


def _mse() -> ExerciseResult:
    return exercise_result("mse", (make_check("value", 6), make_check("gradient", 6), make_check("batch of one", 3)))


def _softmax() -> ExerciseResult:
    advice = (
        "exp of a large logit overflows to infinity, and infinity over infinity is nan: "
        "subtract each slice's maximum first."
    )
    huge = make_check(
        "huge logits",
        4,
        "failed",
        "On logits of ten thousand: softmax(x=[[10000, 10000, 0], [-10000, 0, -10000]])\n"
        "The result is nan at index [0, 0], where a finite number is right (2 of 6 entries are wrong).\n"
        "Expected 0.5.",
        "no-max-shift",
        advice,
    )
    shift = make_check(
        "a constant added to all logits changes nothing",
        4,
        "failed",
        "On logits around a thousand: softmax(x=<array (4, 3)>)\n"
        "The result is wrong in 3 of 12 entries, first at index [0, 2].\n"
        "Expected 0.6652409558, got nan. Look at the exponentials.",
        "no-max-shift",
        advice,
    )
    precise = make_check(
        "float64 comes back",
        4,
        "failed",
        "The result is wrong in every entry, first at index [0, 0].\n"
        "Expected 0.9564563678, got 0.9564563632 (off by 4.64e-09, relative error 4.8e-09).",
    )
    axis = make_check(
        "axis 0", 2, "failed", "softmax(x=<array (4, 3)>, axis=0)\nThe result should have the shape (4, 3)."
    )
    checks = (make_check("shape", 2), make_check("rows sum to one", 4), huge, shift, precise, axis)
    return exercise_result("softmax", checks, stdout="max is 10000.0\nRuntimeWarning: overflow encountered in exp\n")


def _cross_entropy() -> ExerciseResult:
    def raised(case: str) -> str:
        return (
            f"On {case}: cross_entropy(logits=<array (6, 5)>, targets=[0, 0, 4, 3, 3, 0])\n"
            "`cross_entropy` raised IndexError.\n"
            "IndexError: index 4 is out of bounds for axis 0 with size 3\n"
            "  line 71, in cross_entropy: return -log_p[labels].mean()"
        )

    checks = (
        make_check("value", 8, "error", raised("six rows and five classes")),
        make_check("batch of one", 4, "error", raised("one row")),
        make_check("gradient", 10, "skipped", "Not tried until this passes: value."),
        make_check("one-hot labels agree", 3, "skipped", "Not tried until this passes: value."),
    )
    return exercise_result("cross_entropy", checks)


def _hostile() -> ExerciseResult:
    checks = (
        make_check("value", 5, "refused", HOSTILE),
        make_check("stays inside its time", 5, "timeout", "stopped after 3 s of CPU time"),
        make_check("survives", 5, "crashed", "the process ended with signal 11"),
    )
    return exercise_result("huber", checks, stdout="\n".join(f"step {i}" for i in range(14)) + "\n" + HOSTILE)


def _kl() -> ExerciseResult:
    return exercise_result("kl_divergence", (make_check("value", 15, "missing", "`kl_divergence` is still to do."),))


@pytest.fixture
def mixed() -> ChapterResult:
    exercises = (_mse(), _softmax(), _cross_entropy(), _hostile(), _kl())
    return make_chapter(
        exercises, file="exercises/ch305_\x1b[31m\u202e]]>loss|`functions`\udce9.py", stdout="imported\n"
    )


@pytest.fixture
def good() -> ChapterResult:
    names = ("mse", "bce_with_logits", "softmax", "cross_entropy", "huber", "gradient_check")
    points = (15, 20, 20, 25, 10, 10)
    return make_chapter(
        tuple(
            exercise_result(n, (make_check("value", p - 4), make_check("gradient", 4)))
            for n, p in zip(names, points, strict=True)
        )
    )


@pytest.fixture
def empty() -> ChapterResult:
    names = ("mse", "bce_with_logits", "softmax", "cross_entropy", "huber", "gradient_check")
    points = (15, 20, 20, 25, 10, 10)
    return make_chapter(
        tuple(
            exercise_result(
                n,
                (
                    make_check("value", p - 4, "missing", f"`{n}` is still to do."),
                    make_check("gradient", 4, "missing", f"`{n}` is still to do."),
                ),
            )
            for n, p in zip(names, points, strict=True)
        )
    )


@pytest.fixture
def broken() -> ChapterResult:
    absent = "There is no `softmax` in the file. The file stopped before: see above."
    problem = "The file could not be read at line 12: SyntaxError: invalid syntax"
    return make_chapter((exercise_result("softmax", (make_check("value", 100, "missing", absent),)),), problem=problem)


@pytest.fixture
def halfway() -> ChapterResult:
    """A file that stopped after its first functions, which were graded all the same."""
    absent = "There is no `huber` in the file. The file stopped before: see above."
    huber = exercise_result("huber", (make_check("value", 15, "missing", absent),))
    problem = "The file stopped at line 24: NameError: name 'undefined' is not defined"
    return make_chapter((_mse(), _softmax(), huber), problem=problem)


@pytest.fixture
def course(good: ChapterResult, mixed: ChapterResult, empty: ChapterResult) -> CourseResult:
    secret = make_chapter(
        (_mse(), _softmax()),
        number="ch306",
        title="Backpropagation from Scratch",
        seed="secret",
        seed_fingerprint="5e1f",
    )
    later = make_chapter(empty.exercises, number="ch307", title="Optimisation: SGD and Momentum")
    return course_result((good, secret, later))


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare with a golden file; `DLGRADE_UPDATE_GOLDEN=1` writes it instead, for the reader of the diff to judge."""

    def compare(name: str, written: str) -> None:
        path = GOLDEN / name
        if os.environ.get("DLGRADE_UPDATE_GOLDEN") == "1":
            path.write_text(written, encoding="utf-8", newline="")
        assert path.read_text(encoding="utf-8") == written

    return compare


@pytest.fixture(scope="session")
def check() -> Callable[..., CheckResult]:
    return make_check


@pytest.fixture(scope="session")
def chapter() -> Callable[..., ChapterResult]:
    return make_chapter


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE
