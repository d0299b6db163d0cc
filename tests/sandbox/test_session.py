"""A submission's life in the sandbox: what each call can do to itself, and that it does nothing to the next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from dlgrade.sandbox.launch import Launcher, ProcessLauncher
from dlgrade.sandbox.protocol import Callback, Function, Handle
from dlgrade.sandbox.session import Call, Reply, Session, Source

CODE = """
import os, sys, time
import numpy as np

print("imported")
counter = 0

def double(x): return 2 * np.asarray(x)
def forward(x): return x * 2, {"cache": {1, 2}, "x": x}
def backward(cache): return cache["x"]
def loop():
    while True: pass
def sleep(): time.sleep(1000)
def leave(): os._exit(3)
def shout(n): print("y" * n); return 1
def in_place(x, y): y += 1; return x
def apply(f, x): return f(x) + f(2 * x)
def count():
    global counter
    counter += 1
    return counter
def nap(): time.sleep(0.2); return 1
def wide(n): return [0.0] * n
def odd(f): return [asked(f, value) for value in ([2**200], "x", [[1], [1, 2]], {}, np.nan)]
def asked(f, value):
    try:
        return f(value)
    except ValueError as error:
        return str(error)
def fill(n):
    for i in range(n):
        open(f"{i}.txt", "w").close()
    time.sleep(5)
def maze(n):
    os.umask(0o777 if n < 5 else 0)
    for _ in range(n):
        os.mkdir("d")
        if n > 5: os.chdir("d")
        else: break
    return os.getcwd()
def leftovers(): return os.listdir(".")
def overflow(): return np.exp(np.array([1e4]))
def divide(x): return 1 / x
def later(): raise NotImplementedError
def two(a, b): return a
def big(): return np.zeros((100_000, 100_000))
def deep(): return deep()
def environment(): return dict(os.environ)
class Counter:
    def __init__(self, start): self.n = start
    def step(self, by): self.n += by; return self.n
"""


@pytest.fixture(params=["nursery", "process"])
def started(request: pytest.FixtureRequest, nursery: Launcher) -> Iterator[Launcher]:
    if request.param == "nursery":
        yield nursery
    else:
        launcher = ProcessLauncher("auto")
        yield launcher
        launcher.close()


@pytest.fixture
def session(started: Launcher) -> Iterator[Session]:
    with Session(started, Source((CODE,), "student.py", "student")) as opened:
        yield opened


@pytest.fixture
def ask(session: Session) -> Callable[..., Reply]:
    return lambda name, *args, **more: session.run([Call(name, args, **more)], cpu_s=0.4)[0]


def test_answers_come_in_order(session: Session) -> None:
    replies = session.run([Call("double", (i,)) for i in range(300)], cpu_s=1)
    assert [int(r.value) for r in replies] == [2 * i for i in range(300)]


def test_large_arrays_both_ways(ask: Callable[..., Reply]) -> None:
    x = np.arange(2_000_000.0)
    assert np.array_equal(ask("double", x).value, 2 * x)


def test_a_kept_value_stays_and_comes_back(ask: Callable[..., Reply]) -> None:
    out, cache = ask("forward", np.ones(3), keep=(1,)).value
    assert np.array_equal(out, 2 * np.ones(3))
    assert isinstance(cache, Handle)
    assert np.array_equal(ask("backward", cache).value, np.ones(3))


def test_methods_of_a_kept_object(ask: Callable[..., Reply]) -> None:
    counter = ask("Counter", 5, keep=True).value
    assert ask("step", 2, on=counter).value == 7
    assert ask("step", 2, on=counter).value == 9


def test_callbacks_cross_the_channel(ask: Callable[..., Reply]) -> None:
    assert ask("apply", Callback(lambda x: x**2, "square"), 3.0).value == 45.0
    assert ask("apply", Function("double"), np.array([1.0])).value == 6.0
    failed = ask("apply", Callback(lambda x: x @ np.ones((7, 7)), "product"), np.ones(3))
    assert failed.detail["type"] == "ValueError"
    assert "product cannot be evaluated" in failed.detail["message"]


def test_changed_arguments_are_numbered(ask: Callable[..., Reply]) -> None:
    assert ask("in_place", np.ones(2), np.ones(2)).changed == (1,)
    assert ask("double", np.ones(2)).changed == ()


def test_warnings_are_quoted(ask: Callable[..., Reply]) -> None:
    assert "overflow" in ask("overflow").warned[0]


def test_errors_name_the_students_lines_only(ask: Callable[..., Reply]) -> None:
    reply = ask("divide", 0)
    assert reply.status == "error"
    assert reply.detail["type"] == "ZeroDivisionError"
    assert [name for _, name in reply.detail["trace"]] == ["divide"]


@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("later", (), "missing"),
        ("absent", (), "missing"),
        ("counter", (), "missing"),
        ("two", (1,), "error"),
        ("big", (), "error"),
        ("deep", (), "error"),
        ("loop", (), "timeout"),
        ("leave", (), "crashed"),
    ],
)
def test_a_bad_call_costs_itself_only(
    ask: Callable[..., Reply], name: str, args: tuple[object, ...], status: str
) -> None:
    assert ask(name, *args).status == status
    assert int(ask("double", 4).value) == 8


def test_a_crash_ends_kept_values_and_later_calls_still_run(session: Session) -> None:
    [kept] = session.run([Call("forward", (np.ones(2),), keep=(1,))], cpu_s=1)
    calls = [Call("leave"), Call("backward", (kept.value[1],)), Call("double", (1,)), Call("leave"), Call("count")]
    assert [r.status for r in session.run(calls, cpu_s=1)] == ["crashed", "lost", "ok", "crashed", "ok"]


def test_endless_crashes_end(session: Session) -> None:
    replies = session.run([Call("leave")] * 40, cpu_s=1)
    assert len(replies) == 40
    assert {r.status for r in replies} == {"crashed"}


def test_output_is_captured_and_bounded(session: Session) -> None:
    session.run([Call("shout", (10,)), Call("shout", (10_000_000,))], cpu_s=5)
    text = session.take_stdout()
    assert text.startswith("imported\n" + "y" * 10)
    assert len(text) < 200_000
    assert "dropped" in text


def test_each_submission_starts_afresh(started: Launcher) -> None:
    for _ in range(2):
        with Session(started, Source((CODE + "\nsys.modules['np'] = 1\nnp.pi = 3",), "s.py", "s")) as opened:
            assert opened.run([Call("count")], cpu_s=1)[0].value == 1
    with Session(started, Source(("import numpy as np\ndef f(): return np.pi",), "s.py", "s")) as opened:
        assert opened.run([Call("f")], cpu_s=1)[0].value == pytest.approx(np.pi)


def test_the_environment_holds_nothing_of_the_graders(
    ask: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_SEED", "1234")
    assert "SECRET_SEED" not in ask("environment").value


def test_sleeping_is_stopped_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    monkeypatch.setattr("dlgrade.sandbox.session.wall_limit", lambda cpu_s: 0.5)
    [reply] = session.run([Call("sleep")], cpu_s=1)
    assert (reply.status, reply.detail["clock"]) == ("timeout", "wall")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("while True: pass", "timeout"),
        ("import os; os._exit(0)", "crashed"),
        ("import os; os.kill(os.getpid(), 9)", None),
        ("raise SystemExit", None),
        ("def f(:", None),
        ("1/0", None),
    ],
)
def test_a_file_that_does_not_load(
    nursery: Launcher, monkeypatch: pytest.MonkeyPatch, code: str, status: str | None
) -> None:
    monkeypatch.setattr("dlgrade.sandbox.session.LOAD_CPU_S", 0.3)
    with Session(nursery, Source((code,), "s.py", "s")) as opened:
        [reply] = opened.run([Call("f")], cpu_s=1)
    assert reply.status == (status or "missing")


def test_cells_of_a_notebook_fail_alone(nursery: Launcher) -> None:
    cells = ("import matplotlib.pyplot as plt", "def f(): return 1", "plt.plot([1])", "def g(): return 2")
    with Session(nursery, Source(cells, "n.ipynb", "n")) as opened:
        assert [r.value for r in opened.run([Call("f"), Call("g")], cpu_s=1)] == [1, 2]


def test_a_submission_does_not_idle_for_ever(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    monkeypatch.setattr("dlgrade.sandbox.session.MAX_IDLE_S", 1.0)
    monkeypatch.setattr("dlgrade.sandbox.session.IDLE_PER_CPU", 0.0)
    replies = session.run([Call("nap")] * 12, cpu_s=1)
    assert (replies[0].status, replies[-1].status) == ("ok", "timeout")
    assert replies[-1].detail["clock"] == "total wall"
    assert session.run([Call("double", (1,))], cpu_s=1)[0].status == "timeout"


def test_values_are_counted_over_the_whole_submission(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    monkeypatch.setattr("dlgrade.sandbox.session.MAX_VALUES", 5000)
    assert [r.status for r in session.run([Call("wide", (1500,))] * 2, cpu_s=1)] == ["ok", "ok"]
    replies = session.run([Call("wide", (1500,))] * 4, cpu_s=1)
    assert replies[-1].status == "crashed"
    assert replies[-1].detail["flood"] is True


def test_what_a_check_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    monkeypatch.setattr("dlgrade.sandbox.session.MAX_KEPT_BYTES", 100_000)
    calls = [Call("double", (np.zeros(5000),))] * 2
    assert [r.status for r in session.run(calls, cpu_s=1)] == ["ok", "ok"]
    session.begin_check()
    assert [r.status for r in session.run(calls, cpu_s=1)] == ["ok", "ok"]
    assert session.run(calls, cpu_s=1)[-1].detail["flood"] is True


def test_a_callback_survives_odd_arguments(ask: Callable[..., Reply]) -> None:
    reply = ask("odd", Callback(lambda x: np.asarray(x) * 2, "twice"))
    assert reply.status == "ok"
    assert "twice gives nothing there that can be passed on: an object array" in reply.value[0]
    assert "twice" in reply.value[1]


@pytest.mark.skipif(sys.platform != "linux", reason="the nursery is Linux's")
def test_a_full_scratch_folder_ends_its_process(nursery: Launcher) -> None:
    with Session(nursery, Source((CODE,), "s.py", "s")) as opened:
        [reply, *_] = opened.run([Call("fill", (5000,)), Call("leftovers")], cpu_s=4)
        assert (reply.status, reply.detail["full"], opened.killed) == ("crashed", True, False)
        assert opened.run([Call("leftovers")], cpu_s=1)[0].value == []


@pytest.mark.skipif(sys.platform != "linux", reason="the nursery is Linux's")
@pytest.mark.parametrize("depth", [1, 20, 1500])
def test_a_maze_in_the_scratch_folder_is_cleared(nursery: Launcher, depth: int) -> None:
    for name, args in (("maze", (depth,)), ("leftovers", ())):
        with Session(nursery, Source((CODE,), "s.py", "s")) as opened:
            [reply] = opened.run([Call(name, args)], cpu_s=4)
    assert reply.value == []


def test_a_process_killed_by_somebody_else_is_known(session: Session) -> None:
    assert session.run([Call("leave")], cpu_s=1)[0].status == "crashed"
    assert session.killed is False
    session.run([Call("double", (1,))], cpu_s=1)
    assert session.run([Call("loop")], cpu_s=0.1)[0].status == "timeout"
    assert session.killed is False


@pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
def test_the_nursery_names_its_walls(nursery: Launcher) -> None:
    assert nursery.walls in ("landlock+seccomp", "landlock", "seccomp", "process")
