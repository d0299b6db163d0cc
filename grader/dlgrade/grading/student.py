"""What a check calls: the student's functions in the sandbox, or trusted code in this process behind the same face.

Both keep a transcript of the calls and their replies, which is what recognising a mistake compares.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

from dlgrade.course.compare import Failure, describe
from dlgrade.grading.results import Status
from dlgrade.sandbox.protocol import Callback, Function, Handle, encode
from dlgrade.sandbox.session import Call, Reply, Session, Source, answer_callback, read_reply
from dlgrade.sandbox.worker import Worker

SHOWN_ELEMENTS = 12
SHOWN_KEYS = 8


class StudentFailure(Failure):
    """A call that gave no answer: `status` is the check's, `text` says why, `values` quotes what the code said."""

    def __init__(self, status: Status, text: str, values: str = "") -> None:
        super().__init__(text, values)
        self.status: Status = status


class Student:
    """Functions to call by name: `student.softmax(x)`, `student.call("softmax", x)`, `student.batch([...])`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.transcript: list[tuple[Call, Reply]] = []
        self.cpu_s = 3.0
        self.signatures: dict[str, str] = {}

    def _replies(self, calls: Sequence[Call]) -> list[Reply]:
        raise NotImplementedError

    def batch(self, calls: Sequence[Call]) -> list[Reply]:
        """A reply for every call, whatever became of it; `answer` turns a reply into a value."""
        replies = self._replies(calls)
        self.transcript += zip(calls, replies, strict=True)
        return replies

    def call(
        self,
        function: str,
        *args: Any,
        keep: bool | tuple[int, ...] = False,
        on: Handle | None = None,
        **kwargs: Any,
    ) -> Any:
        """The answer of one call, as plain data; raises `StudentFailure` where there is none."""
        call = Call(function, args, kwargs, keep, on)
        [reply] = self.batch([call])
        return self.answer(call, reply)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    @property
    def changed(self) -> tuple[int, ...]:
        """The arguments that the last call modified, by number."""
        return self.transcript[-1][1].changed

    @property
    def warned(self) -> tuple[str, ...]:
        """The warnings that the last call gave."""
        return self.transcript[-1][1].warned

    def answer(self, call: Call, reply: Reply) -> Any:
        """The value of a reply; raises `StudentFailure` with a sentence if there is none."""
        if reply.status == "ok":
            return reply.value
        failure = explain(call, reply, self)
        failure.call = call
        raise failure

    def argument_name(self, call: Call, index: int) -> str:
        """What the student's file calls an argument."""
        if index >= len(call.args):
            return f"`{list(call.kwargs)[index - len(call.args)]}`"
        names = self.parameters.get(call.function, [])
        return f"`{names[index]}`" if index < len(names) else f"number {index + 1}"

    @property
    def parameters(self) -> dict[str, list[str]]:
        """Parameter names of the exercise's functions, to speak of arguments by name."""
        return {name: [p.split("=")[0].strip() for p in text.split(",")] for name, text in self.signatures.items()}


class SandboxStudent(Student):
    """A submission running in the sandbox."""

    def __init__(self, session: Session, signatures: dict[str, str]) -> None:
        super().__init__(session.source)
        self.session, self.signatures = session, signatures

    def _replies(self, calls: Sequence[Call]) -> list[Reply]:
        return self.session.run(calls, cpu_s=self.cpu_s)


class LocalStudent(Student):
    """Trusted code in this process: the solution, with some functions replaced by a mistake's.

    Arguments and answers pass through the wire format and the worker's own `call`, so that it answers exactly as a
    student's process would.
    """

    def __init__(self, source: Source, code: CodeType, replaces: dict[str, Callable[..., Any]] | None = None) -> None:
        super().__init__(source)
        self.worker = Worker(_NOWHERE)
        self.worker.special = self._special  # type: ignore[method-assign]
        self.worker.filename = source.filename
        self.worker.namespace = {"__name__": source.module}
        exec(code, self.worker.namespace)
        self.worker.namespace.update(replaces or {})
        self.callbacks: list[Callback] = []

    def _special(self, kind: str, content: Any) -> Any:
        if kind == "callback":
            return self._callback(self.callbacks[content[0]])
        return Worker.special(self.worker, kind, content)

    def _callback(self, callback: Callback) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            _, value, error = answer_callback(callback, args, kwargs)
            if error:
                raise ValueError(error)
            return value

        return function

    def _number(self, value: Any) -> None:
        if type(value) is Callback:
            value.id = len(self.callbacks)
            self.callbacks.append(value)
        elif isinstance(value, (tuple, list)):
            for item in value:
                self._number(item)

    def _replies(self, calls: Sequence[Call]) -> list[Reply]:
        return [self._one(call) for call in calls]

    def _one(self, call: Call) -> Reply:
        self._number((*call.args, *call.kwargs.values()))
        arguments = encode((call.args, call.kwargs))
        on = None if call.on is None else self.worker.kept[call.on.id]
        with np.errstate(all="warn", under="ignore"):
            outcome = self.worker.call(call.function, arguments, call.keep, on)
        return read_reply(*outcome)


class _Nowhere:
    """Stands where a worker's channel would be; trusted code prints nowhere."""

    def recv(self, _: int) -> bytes:
        raise RuntimeError("there is no channel")

    send = recv


_NOWHERE: Any = _Nowhere()


def signatures_of(source: str) -> dict[str, str]:
    """The parameters, as written, of every top-level function of a trusted source and every method of its classes."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = ast.unparse(node.args)
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    found[method.name] = ast.unparse(method.args).removeprefix("self").removeprefix(", ")
    return found


def explain(call: Call, reply: Reply, student: Student) -> StudentFailure:
    """Why a call gave no answer, for the student."""
    detail, name = reply.detail, call.function
    if reply.status == "missing":
        return StudentFailure("missing", _missing(call, detail))
    if reply.status == "error":
        return _raised(call, detail, student)
    if reply.status == "refused":
        where = str(detail.get("where", "the result"))
        what = str(detail.get("what", "no plain data"))
        text = f"`{name}` returned no plain numbers: {where} is {what}."
        return StudentFailure("refused", f"{text} Return numbers, NumPy arrays, or tuples, lists and dicts of them.")
    if reply.status == "timeout":
        seconds, clock = f"{detail.get('limit_s', 0):g} seconds", detail.get("clock")
        if clock in ("total cpu", "total wall"):
            return StudentFailure(
                "timeout", f"`{name}` was not waited for: the file has taken more than {seconds} in all."
            )
        limit = f"{seconds} of {'computing' if clock == 'cpu' else 'waiting'}"
        return StudentFailure("timeout", f"`{name}` was stopped after {limit}. Is there a loop that does not end?")
    if reply.status == "lost":
        return StudentFailure("skipped", f"`{name}` needs a value from an earlier call, whose process ended.")
    return StudentFailure("crashed", _crash(name, detail))


def _missing(call: Call, detail: dict[str, Any]) -> str:
    if detail.get("absent"):
        return f"There is no `{str(detail['absent'])[:60]}` in the file."
    if "builtin" in detail:
        trace = detail.get("trace")
        inner = trace[-1][1] if type(trace) is list and trace and type(trace[-1]) is tuple else call.function
        if inner != call.function and type(inner) is str:
            return f"`{call.function}` calls `{inner[:60]}`, which is still to do."
        return f"`{call.function}` is still to do."
    return f"`{call.function}` is not a function in this file: is the name used again for something else?"


def _raised(call: Call, detail: dict[str, Any], student: Student) -> StudentFailure:
    kind = builtin_error(detail)
    if "signature" in detail:
        asked = student.signatures.get(call.function, "")
        return StudentFailure(
            "error",
            f"`{call.function}` cannot be called like this: the exercise asks for `{call.function}({asked})`.",
            f"Yours is `{call.function}{str(detail['signature'])[:200]}`.",
        )
    if kind in ("SystemExit", "KeyboardInterrupt"):
        return StudentFailure("error", f"`{call.function}` ended the program (it calls exit) instead of returning.")
    text = f"`{call.function}` raised {kind or 'an error of its own kind'}."
    return StudentFailure("error", text, _trace_text(detail, student))


def builtin_error(detail: dict[str, Any]) -> str:
    """The name of Python's own error that a reply speaks of; empty for any other name, which code may choose freely."""
    name = detail.get("type")
    known = getattr(builtins, name, None) if type(name) is str and detail.get("builtin") is True else None
    return known.__name__ if isinstance(known, type) and issubclass(known, BaseException) else ""


def _trace_text(detail: dict[str, Any], student: Student) -> str:
    """The error and the student's own lines that it came through."""
    message = str(detail.get("message", ""))
    shown = [f"{detail.get('type', 'Error')}: {message}" if message else str(detail.get("type", "Error"))]
    lines = student.source.text.splitlines()
    trace = detail.get("trace")
    for step in trace if type(trace) is list else []:
        if type(step) is tuple and len(step) == 2 and type(step[0]) is int and 0 < step[0] <= len(lines):
            shown.append(f"  line {step[0]}, in {str(step[1])[:60]}: {lines[step[0] - 1].strip()[:160]}")
    return "\n".join(shown)


def _crash(name: str, detail: dict[str, Any]) -> str:
    if detail.get("forged"):
        text = f"`{name}` gave no answer: its process sent something that is none."
        return f"{text} Leave the process's files and pipes alone."
    if detail.get("flood"):
        return f"`{name}` sent more than the grader takes: answers, or calls of the functions that it was given."
    if detail.get("full"):
        return f"`{name}` ended its process: it wrote too many files, or too large ones."
    if detail.get("restarts"):
        return f"`{name}` was not run: the file's process ended too often before."
    if detail.get("signal"):
        return f"`{name}` ended its process (signal {detail['signal']}): a crash in compiled code, or too much memory."
    return f"`{name}` ended its process with exit code {detail.get('code', 0)} instead of returning."


def described(call: Call, student: Student, *, values: bool) -> str:
    """A call as text: small arguments with their numbers if `values`, others by shape."""
    names = student.parameters.get(call.function, [])
    shown = []
    for i, value in enumerate(call.args):
        text = _argument(value, values)
        shown.append(f"{names[i]}={text}" if i < len(names) else text)
    shown += [f"{name}={_argument(value, values)}" for name, value in call.kwargs.items()]
    return f"{call.function}({', '.join(shown)})"


def _argument(value: Any, values: bool) -> str:
    if isinstance(value, (Handle, Callback, Function)):
        return repr(value)
    if callable(value) or inspect.isclass(value):
        return "..."
    if isinstance(value, np.random.Generator):
        return "rng"
    if isinstance(value, np.ndarray) and value.ndim:
        if values and value.size <= SHOWN_ELEMENTS:
            return _argument(value.tolist(), values)
        return f"<array {value.shape}>"
    if isinstance(value, dict):
        small = values and sum(np.size(item) for item in value.values()) <= SHOWN_ELEMENTS
        entries = [f"{key!r}: {_argument(item, small)}" for key, item in list(value.items())[:SHOWN_KEYS]]
        return "{" + ", ".join([*entries, *(["..."] if len(value) > SHOWN_KEYS else [])]) + "}"
    if isinstance(value, (list, tuple)):
        if len(value) > SHOWN_ELEMENTS or sum(isinstance(item, dict) for item in value) > 1:
            return f"<{describe(value).removeprefix('a ')}>"
        inner = ", ".join(_argument(item, values) for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, (bool, str)) or value is None:
        return repr(value)
    return format(float(value), ".5g") if values or isinstance(value, int) else "..."
