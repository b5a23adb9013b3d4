"""The world's child processes: in sessions of their own, known by pid and start time, ended whole.

A part called `name` has `<folder>/<name>.child` (who it is) and `<folder>/<name>.log` (what it printed).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import NamedTuple

from sandbox.practice.errors import PracticeError

ROOT = Path(__file__).resolve().parents[2]
"""Where `sandbox` can be imported from, in a checkout and in an installed package."""

MARK = "REMIT_PRACTICE_WORLD"
"""Environment variable that every process of a world carries; its value is the world's folder."""

PATIENCE_S = 10.0


class Child(NamedTuple):
    """One process for good: a pid may be reused, a pid with its start time (clock ticks since boot) not."""

    pid: int
    started: int


class _Process(NamedTuple):
    parent: int
    started: int
    dead: bool


def environment(folder: Path, path: str) -> dict[str, str]:
    """All that a process of the world in `folder` gets to see of the environment."""
    return {"PATH": path, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), MARK: str(folder)}


def python(module: str, *arguments: str | Path | int) -> list[str]:
    """The command that runs one of our modules; -P keeps the current folder out of its imports."""
    return [sys.executable, "-P", "-m", f"sandbox.practice.{module}", *map(str, arguments)]


def spawn(folder: Path, name: str, command: list[str]) -> None:
    """Start `command` detached as the part `name`."""
    output = (os.POSIX_SPAWN_OPEN, 1, f"{folder}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), output, (os.POSIX_SPAWN_DUP2, 1, 2)]
    variables = environment(folder, os.environ.get("PATH", os.defpath))
    pid = os.posix_spawn(command[0], command, variables, file_actions=actions, setsid=True)
    process = _look(pid)
    (folder / f"{name}.child").write_text(json.dumps(Child(pid, process.started if process else 0)))


def running(folder: Path, name: str) -> Child | None:
    """The part `name`, if that very process still runs."""
    with suppress(FileNotFoundError, ValueError):
        child = Child(*json.loads((folder / f"{name}.child").read_text()))
        return child if _alive(child) else None
    return None


def wait(folder: Path, name: str) -> None:
    """Return when `name` has printed that it listens; PracticeError if it ends or takes too long."""
    log, deadline = folder / f"{name}.log", time.monotonic() + PATIENCE_S
    while "Server listening" not in (printed := log.read_text(errors="replace")):
        if not running(folder, name) or time.monotonic() > deadline:
            last = (printed.strip().splitlines() or ["it printed nothing"])[-1]
            raise PracticeError(f"the practice part {name!r} did not start ({last}): bring the world down and up")
        time.sleep(0.005)


def end(folder: Path, name: str = "") -> None:
    """Kill the part `name` with its descendants; without a name, all that belongs to the world."""
    parts = [name] if name else [path.stem for path in folder.glob("*.child")]
    table = {pid: found for pid in _pids() if (found := _look(pid))}
    doomed = {child.pid for part in parts if (child := running(folder, part))}
    if not name:  # also what somebody left running on web-1, whoever its parent is now
        doomed |= {pid for pid in table if _marked(pid, folder)} - {os.getpid()}
    while more := {pid for pid, process in table.items() if process.parent in doomed} - doomed:
        doomed |= more
    victims = [Child(pid, table[pid].started) for pid in doomed if pid in table]
    for victim in filter(_alive, victims):
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while sum(map(_lingers, victims)):  # every one of them is asked, so that none stays a zombie
        if time.monotonic() > deadline:
            raise PracticeError("a process of the practice world cannot be killed: look at it with ps")
        time.sleep(0.005)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep two commands from changing one world at once; the lock is its parent folder, so no file is left."""
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def _alive(child: Child) -> bool:
    process = _look(child.pid)
    return process is not None and not process.dead and process.started == child.started


def _lingers(child: Child) -> bool:
    with suppress(ChildProcessError):  # not started by this process: init reaps it
        os.waitpid(child.pid, os.WNOHANG)
    return _alive(child)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _look(pid: int) -> _Process | None:
    with suppress(OSError):
        # The command name may hold spaces and brackets: fields are counted from the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return _Process(parent=int(fields[1]), started=int(fields[19]), dead=fields[0] in "ZX")
    return None


def _marked(pid: int, folder: Path) -> bool:
    with suppress(OSError):
        return f"{MARK}={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False
