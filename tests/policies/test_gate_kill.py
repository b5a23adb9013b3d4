"""Real processes: killed around a real effect, and racing for what is limited."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from policies.action import Repeat
from policies.outcome import Done, Failed, Refused, Waiting
from policies.permit import Permit
from policies.ports import Raw
from tests.policies.gating import Bench, tool

POINTS = 20
_TRACED = ("/policies/gate.py", "/agent/store/", "/tests/policies/test_gate_kill.py")


class Appending:
    """Its effect is one line in a file, on disk when it is there."""

    kinds = frozenset({"tool.call"})

    def __init__(self, file: Path) -> None:
        self._file = file

    async def execute(self, permit: Permit) -> Raw:
        permit.redeem(permit.action_type)
        line = f"{permit.key}\n".encode()
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line)
        os.fsync(descriptor)
        os.close(descriptor)
        return Raw(text="appended")

    async def probe(self, permit: Permit) -> Raw | None:
        return Raw(text="it is there") if permit.key in _lines(self._file) else None


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _fork(child: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads; the child uses none of them
        pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child()
        finally:
            os._exit(code)
    return pid


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _submit_until(bench: Bench, file: Path, repeat: Repeat, kill_at: int) -> int:
    """Submit in this process, counting lines of ours; at `kill_at` it is killed. Gives the count."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not any(part in frame.f_code.co_filename for part in _TRACED):
            return None
        if event == "line":
            lines += 1
            if lines == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    bench.under(bench.policy, hands=(Appending(file),))
    request = bench.request(tool(repeat=repeat))
    sys.settrace(trace)
    try:
        asyncio.run(bench.gate.submit(request))
    finally:
        sys.settrace(None)
    return lines


def _all_lines(home: Path, repeat: Repeat) -> int:
    """How many lines of ours an undisturbed submission runs."""
    reader, writer = os.pipe()
    bench = Bench(home)
    bench.accept()
    run = bench.run
    bench.close()

    def child() -> int:
        os.write(writer, str(_submit_until(Bench(home, run=run), home / "effects-0", repeat, -1)).encode())
        return 0

    assert _ended(_fork(child)) == 0
    os.close(writer)
    with os.fdopen(reader) as told:
        return int(told.read())


@pytest.mark.parametrize("repeat", [Repeat.NEVER, Repeat.PROBE])
def test_killed_at_twenty_points_around_an_effect_it_is_done_once_or_a_person_is_asked(home, repeat):
    whole = _all_lines(home, repeat)
    seen = set()
    for point in range(POINTS):
        bench = Bench(home)
        bench.accept()
        run, file = bench.run, home / f"effects-{repeat}-{point}"
        bench.close()
        kill_at = 1 + point * (whole - 1) // (POINTS - 1)
        pid = _fork(lambda run=run, file=file, at=kill_at: _submit_until(Bench(home, run=run), file, repeat, at))
        assert _ended(pid) == -signal.SIGKILL
        seen.add(_recovered(Bench(home, run=run), file, repeat))
    once, asked = ("done", 1, True), ("asked", 1, False)
    assert once in seen
    if repeat is Repeat.NEVER:
        assert asked in seen
    assert seen <= {once, asked, ("asked", 0, False), ("failed", 0, True)}


def _recovered(bench: Bench, file: Path, repeat: Repeat) -> tuple[str, int, bool]:
    """What the next process makes of it: how it ended, how often it happened, and whether that is final."""
    bench.under(bench.policy, hands=(Appending(file),))
    assert bench.store.ledger.verify(bench.run) is None
    outcome = asyncio.run(bench.submit(tool(repeat=repeat)))
    happened, events = len(_lines(file)), bench.events()
    assert happened <= 1
    assert bench.store.ledger.verify(bench.run) is None
    assert events.index("intent") == 0
    assert bench.spent() == (0 if isinstance(outcome, Failed) else 1)
    if isinstance(outcome, Waiting):
        assert repeat is Repeat.NEVER
        assert bench.question(outcome).about == "unknown"
        bench.answer(outcome, bool(happened))
        told = asyncio.run(bench.submit(tool(repeat=repeat)))
        assert isinstance(told, Done if happened else Failed)
        assert bench.spent() == happened == len(_lines(file))
    bench.close()
    kind = {Waiting: "asked", Done: "done", Failed: "failed"}[type(outcome)]
    return kind, happened, not isinstance(outcome, Waiting)


def test_twenty_processes_that_race_for_a_limit_of_five_get_five(home):
    file, runs = home / "raced", []
    for _ in range(20):
        bench = Bench(home)
        bench.accept()
        runs.append(bench.run)
        bench.close()
    start, go = os.pipe()

    def child(run: str) -> int:
        os.close(go)
        os.read(start, 1)  # until all are there
        bench = Bench(home, run=run)
        bench.under(bench.policy, hands=(Appending(file),))
        outcome = asyncio.run(bench.submit(tool("five")))
        return {Done: 0, Refused: 1}.get(type(outcome), 2)

    pids = [_fork(lambda run=run: child(run)) for run in runs]
    os.close(start)
    os.close(go)
    codes = sorted(_ended(pid) for pid in pids)
    assert codes == [0] * 5 + [1] * 15
    assert len(_lines(file)) == 5


@pytest.mark.parametrize(("name", "most"), [("once", 1), ("go", 20)])
def test_threads_that_race_for_a_planned_step_get_no_more_than_it_has(home, name, most):
    first = Bench(home)
    first.accept()
    file, racers = home / f"raced-{name}", most + 5
    mandate = first.store.mandates.get(first.run)
    ready, outcomes = threading.Barrier(racers), []

    def race(seq: int) -> None:
        bench = first.another()
        bench.under(first.policy, hands=(Appending(file),))
        request = bench.request(tool(name, seq), seq, mandate=mandate)
        ready.wait()
        outcomes.append(asyncio.run(bench.gate.submit(request)))
        bench.close()

    threads = [threading.Thread(target=race, args=(seq,)) for seq in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done"] * most + ["Refused"] * 5
    assert len(_lines(file)) == most == first.spent(name)
    assert first.store.ledger.verify(first.run) is None
    first.close()
