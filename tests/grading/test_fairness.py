"""A right answer in another form is right: arrays in Fortran order, read-only, or as lists; numbers as arrays."""

from __future__ import annotations

import pytest
from dlgrade.course import registry
from dlgrade.course.compare import Failure
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import Grader
from dlgrade.grading.seeds import public_seed
from dlgrade.grading.student import SandboxStudent
from dlgrade.sandbox.launch import Launcher
from dlgrade.sandbox.session import Session, Source

SEED = 11

# Put below a solution: what is called from outside answers in another form; among themselves its functions do not.
OTHERWISE = """

import functools as _functools

def _other(value):
    if isinstance(value, dict):
        return dict(zip(value, map(_other, value.values())))
    if type(value) in (tuple, list) and not {deep}:
        return value
    if type(value) in (tuple, list):
        return type(value)(_other(item) for item in value)
    if isinstance(value, (np.ndarray, np.floating)):
        return ({change})(value)
    return value

_inside = []

def _otherwise(function):
    @_functools.wraps(function)
    def called(*args, **kwargs):
        if _inside:
            return function(*args, **kwargs)
        _inside.append(function)
        try:
            return _other(function(*args, **kwargs))
        finally:
            _inside.pop()
    return called

for _name in {names}:
    globals()[_name] = _otherwise(globals()[_name])
"""

FORMS = {
    "Fortran order": ("lambda a: np.asfortranarray(a) if a.ndim else np.asarray(a)", True),
    "strided views": ("lambda a: np.stack([a, a], axis=-1)[..., 0]", True),
    "lists": ("lambda a: a.tolist()", False),
}


def functions(chapter: Chapter) -> list[str]:
    return sorted({f for e in chapter.exercises for f in e.functions if "." not in f})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("id", registry.stems())
def test_another_form_scores_the_same(id: str, form: str, nursery: Launcher) -> None:
    chapter = registry.chapter(id)
    change, deep = FORMS[form]
    text = registry.solution_file(chapter).read_text(encoding="utf-8")
    text += OTHERWISE.format(names=functions(chapter), change=change, deep=deep)
    grader = Grader(chapter, public_seed(SEED), nursery)
    with Session(nursery, Source((text,), "answer.py", chapter.stem)) as session:
        session.start()
        assert not session.loaded.get("failed"), session.loaded
        for exercise in chapter.exercises:
            for check in exercise.checks:
                if check.kind != "training":
                    student = SandboxStudent(session, grader.signatures)
                    try:
                        check.run(student, grader.prepare(exercise, check))
                    except Failure as failure:
                        pytest.fail(f"{exercise.name}: {check.name}: {failure.text} {failure.values}")
