"""dlgrade: a graded deep-learning course in NumPy, and the grader that names your mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlgrade.selfstudy.jupyter import check as check

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`from dlgrade import check`, for notebooks, without loading it for everybody else."""
    if name == "check":
        from dlgrade.selfstudy.jupyter import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
