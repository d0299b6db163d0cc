"""What an instructor asked for, made ready: chapters, rules, seed, and who handed in what."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from dlgrade.classroom.discover import Discovery, Layout, discover
from dlgrade.classroom.outputs import students
from dlgrade.classroom.policy import Policy, Times, read_policy, read_times
from dlgrade.classroom.versions import checks_version
from dlgrade.classroom.work import Setup
from dlgrade.course import registry
from dlgrade.grading.seeds import PRACTICE_SEED, Seed, public_seed, secret_seed
from dlgrade.report.rows import Reveal
from dlgrade.sandbox.launch import Mode


class PlanError(ValueError):
    """What was asked for does not fit together; the message is one sentence."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as the ledger keeps it for a regrade. A seed is named by its file, never written down."""

    folder: str
    chapters: tuple[str, ...] = ()
    seed: int | None = None
    seed_file: str = ""
    sandbox: Mode = "auto"
    layout: Layout = "auto"
    pattern: str = ""
    roster: str = ""
    policy: str = ""
    times: str = ""
    reveal: Reveal = "mistake"
    canvas: str = ""
    moodle: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Settings carried out up to the point where grading begins."""

    chapters: tuple[str, ...]
    policy: Policy
    times: Times
    seed: Seed
    discovery: Discovery
    checks: dict[str, str]
    setup: Setup

    @property
    def seed_name(self) -> str:
        """What the ledger calls the seed: a number, or a secret's fingerprint."""
        return self.seed.fingerprint if self.seed.secret else str(self.seed.number)


def plan(settings: Settings) -> Plan:
    """Make everything ready. Raises `PlanError`, `PolicyError`, `SeedError`, `TreeError` or `OutputError`."""
    policy = read_policy(Path(settings.policy) if settings.policy else None)
    chapters = tuple(dict.fromkeys(settings.chapters or policy.chapters))
    if not chapters:
        raise PlanError("say which chapter to grade: --chapter ch305, or chapters in the [class] table of dlgrade.toml")
    for id in chapters:
        registry.chapter(id)
    seed = _seed(settings)
    checks = {id: checks_version(id) for id in chapters}
    return Plan(
        chapters=chapters,
        policy=policy,
        times=read_times(Path(settings.times)) if settings.times else {},
        seed=seed,
        discovery=_discovery(settings, chapters),
        checks=checks,
        setup=Setup(seed.key, seed.number, settings.sandbox, settings.reveal == "values", checks),
    )


def _seed(settings: Settings) -> Seed:
    if settings.seed is not None and settings.seed_file:
        raise PlanError("give either --seed or --seed-file, not both")
    if settings.seed_file:
        return secret_seed(Path(settings.seed_file))
    return public_seed(PRACTICE_SEED if settings.seed is None else settings.seed)


def _discovery(settings: Settings, chapters: tuple[str, ...]) -> Discovery:
    try:
        if settings.pattern and "student" not in re.compile(settings.pattern).groupindex:
            raise PlanError("--student-pattern needs a group (?P<student>...)")
    except re.error as error:
        raise PlanError(f"--student-pattern is no regular expression: {error}") from None
    roster = students(Path(settings.roster)) if settings.roster else ()
    found = discover(Path(settings.folder), chapters, layout=settings.layout, pattern=settings.pattern, roster=roster)
    if not found.entries:
        raise PlanError(
            f"no submission was found in {settings.folder}; --student-pattern can say where the students are"
        )
    return found
