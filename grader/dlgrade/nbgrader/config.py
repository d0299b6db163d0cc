"""What a course's `nbgrader_config.py` asks for: our two steps among nbgrader's own."""

from __future__ import annotations

from typing import Any

RESTORE = "dlgrade.nbgrader.restore.RestoreCells"
GRADE = "dlgrade.nbgrader.grading.IsolatedGrading"

# nbgrader's own steps, by name: naming them here spares every nbgrader command the import of them all.
_STEPS = "nbgrader.preprocessors"
SANITIZE = [
    f"{_STEPS}.{name}"
    for name in ("ClearOutput", "DeduplicateIds", "OverwriteKernelspec", "OverwriteCells", "CheckCellMetadata")
]
AUTOGRADE = [
    f"{_STEPS}.Execute",
    f"{_STEPS}.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    *(f"{_STEPS}.{name}" for name in ("LimitOutput", "SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")),
]


def isolate(c: Any) -> None:
    """Grade dlgrade's notebooks in its sandbox; all others are graded by nbgrader's kernel, as before.

    Call it after any change of your own to `Autograde.sanitize_preprocessors` or `Autograde.autograde_preprocessors`:
    their other steps stay as they are.
    """
    sanitize = _steps(c, "sanitize_preprocessors", SANITIZE)
    autograde = _steps(c, "autograde_preprocessors", AUTOGRADE)
    kept = [step for step in autograde if _name(step) not in ("Execute", "IsolatedGrading")]
    c.Autograde.sanitize_preprocessors = [RESTORE, *(step for step in sanitize if _name(step) != "RestoreCells")]
    c.Autograde.autograde_preprocessors = [GRADE, *kept]


def _steps(c: Any, name: str, default: list[Any]) -> list[Any]:
    """The steps that a course has set, or those of nbgrader."""
    if name not in c.Autograde:
        return default
    chosen = c.Autograde[name]
    # An `append` to a setting that has no value yet is kept by traitlets for later, and applied to the default.
    return list(chosen.get_value(list(default)) if hasattr(chosen, "get_value") else chosen)


def _name(step: Any) -> str:
    return step.rpartition(".")[2] if isinstance(step, str) else getattr(step, "__name__", "")
