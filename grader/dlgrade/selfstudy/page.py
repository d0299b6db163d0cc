"""Gathering a student's page: bringing checks and pictures up to date, then what there is to tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from dlgrade import __version__
from dlgrade.course import outline, registry
from dlgrade.course.spec import Chapter
from dlgrade.grading.grader import Grader
from dlgrade.grading.seeds import PRACTICE_SEED, public_seed
from dlgrade.grading.submissions import Submission, SubmissionError, read
from dlgrade.report import course_page as out
from dlgrade.report.parts import next_exercise, untouched
from dlgrade.report.pictures import NoPicture, picture
from dlgrade.sandbox.launch import Launcher
from dlgrade.selfstudy import progress, workspace
from dlgrade.selfstudy.changes import fingerprints
from dlgrade.selfstudy.position import Position, position
from dlgrade.selfstudy.progress import CheckRow, Feedback, History
from dlgrade.selfstudy.screens import COURSE, chapter_status, numbers

Tell = Callable[[str], None]


class Chapters(msgspec.Struct):
    """What is known of the chapters that were begun."""

    feedback: dict[str, Feedback]
    notes: dict[str, str]
    pictures: dict[str, bytes]


class Renewal:
    """Bringing a workspace's chapters up to date. `tell` hears what takes a while, `warn` what cannot be kept."""

    def __init__(self, root: Path, launcher: Launcher, tell: Tell, warn: Tell) -> None:
        self.root, self.launcher, self.tell, self.warn = root, launcher, tell, warn
        self.found = Chapters({}, {}, {})
        self.keeps = True

    def run(self) -> Chapters:
        """Check what was changed since it was last checked, draw what has no picture yet. Raises `ProgressError`."""
        for id, stem in registry.stems().items():
            path = workspace.answer(self.root, stem)
            if path is not None and not workspace.untouched(path):
                self._one(registry.chapter(id), path)
        return self.found

    def _keep(self, action: Callable[[], None]) -> None:
        if self.keeps:
            try:
                action()
            except progress.ProgressError as error:
                self.keeps = False
                self.warn(f"progress is not kept: {error}")

    def _one(self, chapter: Chapter, path: Path) -> None:
        root, found = self.root, self.found
        known = progress.feedback(root, chapter)
        try:
            submission = read(path, chapter.stem)
            prints = fingerprints(chapter, submission.source)
        except (SubmissionError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            found.notes[chapter.id] = str(error)
            if known is not None:
                found.feedback[chapter.id] = known
            return
        if known is None or known.fingerprints != prints:
            self.tell(f"checking {chapter.id}")
            grader = Grader(chapter, public_seed(PRACTICE_SEED), self.launcher)
            result = grader.grade(submission.source, sha256=submission.sha256)
            if untouched(result):
                return  # the beginning of an earlier version
            self._keep(lambda: progress.record(root, chapter, result, prints, "report"))
            known = Feedback(result, prints)
        if untouched(known.result):
            return
        found.feedback[chapter.id] = known
        if drawn := self._picture(chapter, submission, prints):
            found.pictures[chapter.id] = drawn

    def _picture(self, chapter: Chapter, submission: Submission, prints: dict[str, str]) -> bytes:
        """The picture from this very code: the one that was kept, or a new one; empty where it cannot be drawn."""
        key = hashlib.blake2b("".join(prints.values()).encode(), digest_size=12).hexdigest()
        kept = progress.picture(self.root, chapter.id, key)
        if kept is not None:
            return kept
        self.tell(f"drawing {chapter.id}")
        try:
            drawn = picture(chapter, submission.source, self.launcher, format_name="png", dpi=144)
        except NoPicture:
            drawn = b""  # kept too: the same code will not draw it next time either
        self._keep(lambda: progress.keep_picture(self.root, chapter.id, key, drawn))
        return drawn


def recorded(root: Path) -> Chapters:
    """What was recorded, as it is: nothing is run. Raises `ProgressError`."""
    known = {id: progress.feedback(root, registry.chapter(id)) for id in registry.stems()}
    return Chapters({id: one for id, one in known.items() if one is not None and not untouched(one.result)}, {}, {})


def course_page(root: Path, found: Chapters, name: str, certificate: str) -> str:
    """The student's page. `certificate` is the file name of the certificate, if everything is solved."""
    history = progress.load(root)
    place = position(history)
    return out.render(
        out.CoursePage(
            course=COURSE,
            name=name,
            period=_period(history),
            facts=_facts(history, place),
            score=place.points,
            max_score=place.max_points,
            certificate=certificate,
            parts=tuple(_part(part, place, found) for part in outline.PARTS),
            built=tuple(
                out.built(id, registry.chapter(id).picture.title, png) for id, png in sorted(found.pictures.items())
            ),
            chart=out.chart(points_over_time(history)),
            met=_met(history, place),
            chapters=tuple(_section(id, place, found) for id in sorted({*found.feedback, *found.notes})),
            footer=f"Made by dlgrade {__version__} from the checks of your own code. Nothing in this page is fetched.",
        )
    )


def certificate_page(root: Path, name: str) -> str:
    """The certificate of somebody who solved every chapter."""
    history = progress.load(root)
    place = position(history)
    gave_up = [id for id in place.available if place.state(id).gave_up_at]
    days = {_local(row.at).date() for row in history.checks}
    hints = sum(event.kind == "hint" for event in history.events)
    note = "Graded by dlgrade on the student's own computer, with public checks: a record of work, no examination."
    if gave_up:
        note += f" The solution of {', '.join(gave_up)} was read before it was solved."
    last = max((place.state(id).solved_at for id in place.solved), default=progress.now())
    what = f"all {len(place.available)} chapters" if len(place.available) > 1 else "the chapter"
    return out.render_certificate(
        out.Certificate(
            course=COURSE,
            name=name,
            text=f"has written {what} by hand in NumPy, gradients and all; every function gives the right "
            f"answers. Finished on {_day(last)}.",
            parts=tuple(
                p for p in outline.PARTS if any(e.id in place.available for e in outline.CHAPTERS if e.part == p)
            ),
            facts=(
                (f"{place.points} / {place.max_points}", "points"),
                (str(len(days)), "day of work" if len(days) == 1 else "days of work"),
                (str(len(history.checks)), "checks"),
                (str(hints), "hint read" if hints == 1 else "hints read"),
            ),
            note=note,
        )
    )


def _facts(history: History, place: Position) -> tuple[out.Fact, ...]:
    days = {_local(row.at).date() for row in history.checks}
    hints = sum(event.kind == "hint" for event in history.events)
    return (
        (f"{place.points} / {place.max_points}", "points"),
        (f"{len(place.solved)} / {len(place.available)}", "chapters solved"),
        (str(len(history.checks)), "check" if len(history.checks) == 1 else "checks"),
        (str(len(days)), "day of work" if len(days) == 1 else "days of work"),
        (str(hints), "hint read" if hints == 1 else "hints read"),
    )


def _period(history: History) -> str:
    if not history.checks:
        return "Not begun yet"
    first, last = _day(history.checks[0].at), _day(history.checks[-1].at)
    return first if first == last else f"{first} to {last}"


def _part(part: str, place: Position, found: Chapters) -> out.Part:
    entries = [e for e in outline.CHAPTERS if e.part == part]
    return out.Part(
        title=part,
        numbers=numbers(entries),
        solved=sum(place.state(e.id).solved for e in entries),
        tiles=tuple(
            out.Tile(
                id=e.id,
                title=e.title,
                score=place.state(e.id).best,
                max_score=outline.POINTS,
                status=chapter_status(place.state(e.id)),
                here=e.id == place.current,
                anchor=e.id in found.feedback or e.id in found.notes,
            )
            for e in entries
        ),
    )


def _section(id: str, place: Position, found: Chapters) -> out.Section:
    state, known = place.state(id), found.feedback.get(id)
    result = known.result if known else None
    facts = [f"{state.checks} check{'' if state.checks == 1 else 's'}"]
    if state.solved:
        facts.append(f"solved on {_day(state.solved_at)}")
    if state.best > state.latest:
        facts.append(f"best so far {state.best}")
    if state.gave_up_at:
        facts.append(f"solution read on {_day(state.gave_up_at)}")
    going_on = next_exercise(result) if result is not None else None
    entry = outline.entry(id)
    return out.Section(
        id=id,
        title=entry.title if entry else id,
        score=state.latest,
        max_score=outline.POINTS,
        facts=" · ".join(facts),
        note=found.notes.get(id, ""),
        result=result,
        open=state.latest < outline.POINTS,
        opened=(going_on.name,) if going_on is not None else (),
    )


def _met(history: History, place: Position) -> tuple[out.Met, ...]:
    """The mistakes that checks recognised, those not mended yet first, then in the order they were met."""
    times: dict[tuple[str, str, str], int] = {}
    for row in history.checks:
        for exercise, state in row.exercises.items():
            for mistake in state.mistakes:
                times[row.chapter, exercise, mistake] = times.get((row.chapter, exercise, mistake), 0) + 1
    met = []
    for (id, exercise, mistake), count in times.items():
        now = place.state(id).exercises.get(exercise)
        again = f", in {count} checks" if count > 1 else ""
        advice = _advice(id, mistake)
        met.append(
            out.Met(
                name=mistake,
                advice=advice,
                where=f"{id} {exercise}{again}",
                mended=now is not None and now.status == "passed",
            )
        )
    return tuple(sorted(met, key=lambda one: one.mended))


def _advice(id: str, mistake: str) -> str:
    if id not in registry.stems():
        return ""
    known = (m for e in registry.chapter(id).exercises for m in e.mistakes if m.name == mistake)
    return next((m.advice for m in known), "")


def points_over_time(history: History) -> list[tuple[datetime, int]]:
    """The sum of the best scores after each check."""
    moments: list[tuple[datetime, int]] = []
    latest: dict[str, dict[str, int]] = {}
    best: dict[str, int] = {}
    for row in history.checks:
        latest[row.chapter] = _scores(row) if row.whole else {**latest.get(row.chapter, {}), **_scores(row)}
        best[row.chapter] = max(best.get(row.chapter, 0), sum(latest[row.chapter].values()))
        moments.append((_local(row.at), sum(best.values())))
    return moments


def _scores(row: CheckRow) -> dict[str, int]:
    return {name: state.score for name, state in row.exercises.items()}


def _local(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone()


def _day(at: str) -> str:
    moment = _local(at)
    return f"{moment.day} {moment:%B %Y}"
