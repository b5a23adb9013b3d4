"""The rows of runs: their state, who works on them under which epoch, and the key of their contents."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from agent.errors import NoSuchRun, RunBusy, StoreUnreadable
from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.seal import Keys, Seal, new_key
from policies.errors import StaleEpoch
from policies.ledger import GENESIS
from policies.ports import Clock


class RunStatus(StrEnum):
    """Where a run stands."""

    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    """It waits for a person, or for something a person must repair."""
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run's row. The store keeps the fields from `epoch` on; a new run has their defaults."""

    id: str
    created_at: datetime
    principal: str
    title: str
    """Empty once the run's contents are erased."""
    policy_digest: str
    graph_version: int
    status: RunStatus = RunStatus.READY
    epoch: int = 0
    """Number of the last advance; 0 before the first."""
    owner: str | None = None
    lease_until: datetime | None = None
    stop_requested: bool = False
    length: int = 0
    head: str = GENESIS
    worked_ms: int = 0
    """How long it was worked on, all advances together; waiting for people does not count."""
    steps: int = 0
    """Actions that were begun, this and the next two as the limits of the run count them."""
    tokens: int = 0
    money_micros: int = 0
    questions: int = 0


class Used(NamedTuple):
    """What a run has used; money in millionths of the price's currency."""

    steps: int
    tokens: int
    money_micros: int


def this_process() -> str:
    """The owner string of this process: `host:pid:start`, with the start time from `/proc` (0 if unknown)."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid()) or 0}"


_COLUMNS = [f.name for f in fields(Run) if f.name not in Used._fields]
_NAMES = [*("title_sealed" if name == "title" else name for name in _COLUMNS), "data_key"]
_newest = select(*(tables.runs.c[name] for name in _NAMES)).order_by(tables.runs.c.created_at.desc())
_LIST = _newest.limit(bindparam("most"))
_LIST_STATUS = _newest.where(tables.runs.c.status == bindparam("wanted")).limit(bindparam("most"))


class Runs:
    """Creates, finds, claims and ends runs. One object per process: it knows the epochs it has claimed."""

    def __init__(self, database: Database, keys: Keys, clock: Clock) -> None:
        self._db, self._keys, self._clock = database, keys, clock
        self._held: dict[str, int] = {}
        self._seals: dict[str, Seal] = {}

    def create(self, run: Run) -> None:
        """Write a new run with a data key of its own."""
        key = new_key()
        row = asdict(run) | {
            "created_at": stamp(run.created_at),
            "status": run.status.value,
            "stop_requested": int(run.stop_requested),
            "title_sealed": Seal(key).seal(run.title.encode(), "runs", run.id, "title"),
            "data_key": self._keys.wrap(key, "runs", run.id, "key"),
            "head_at": stamp(run.created_at),
            "head_mark": self._keys.sign(run.id, str(run.length), run.head),
        }
        for name in ("title", *Used._fields):
            del row[name]
        with self._db.writing():
            self._db.add(tables.runs, **row)

    def get(self, run: str) -> Run:
        """The run; NoSuchRun when there is none."""
        return self._read(self.row(run, " ".join(_NAMES)))

    def list(self, limit: int = 50, status: RunStatus | None = None) -> Sequence[Run]:
        """The newest runs first."""
        if status is None:
            return [self._read(row) for row in self._db.all(_LIST, most=limit)]
        return [self._read(row) for row in self._db.all(_LIST_STATUS, most=limit, wanted=status.value)]

    def set_status(self, run: str, status: RunStatus) -> None:
        """Note where the run stands. STOPPED also settles a request to stop."""
        with self.changing(run):
            settled = {"stop_requested": 0} if status is RunStatus.STOPPED else {}
            self._db.change(tables.runs, {"id": run}, status=status.value, **settled)

    def used(self, run: str) -> Used:
        """What the run has taken of its own limits by now; a call under way counts with the most it may use."""
        rows = dict(self._db.find(tables.counters, "key used", window=f"run {run}"))
        return Used(*(rows.get(f"run:{run}:{unit}", 0) for unit in ("steps", "tokens", "micros")))

    def claim(self, run: str, owner: str, lease_s: float) -> int:
        """The run's next epoch, for this process alone until the lease ends.

        RunBusy when the lease of another advance stands, unless its process was on this host and is gone.
        """
        now = self._clock.now()
        with self._db.writing():
            epoch, holder, until = self.row(run, "epoch owner lease_until", lock=True)
            if holder and until > stamp(now) and not _gone(holder):
                raise RunBusy(f"run {run!r} is worked on by {holder!r} until {until[:19]} UTC; wait, or stop it first")
            until = stamp(now + timedelta(seconds=lease_s))
            self._db.change(tables.runs, {"id": run}, epoch=epoch + 1, owner=owner, lease_until=until)
        self._held[run] = int(epoch) + 1
        return self._held[run]

    def renew(self, run: str, epoch: int, lease_s: float, *, worked_ms: int) -> None:
        """Keep the run for `lease_s` from now, worked on for so long in all; StaleEpoch when another process has it."""
        until = stamp(self._clock.now() + timedelta(seconds=lease_s))
        with self._db.writing():
            if not self._db.change(tables.runs, {"id": run, "epoch": epoch}, lease_until=until, worked_ms=worked_ms):
                raise taken(run)

    def release(self, run: str, epoch: int, *, worked_ms: int | None = None) -> None:
        """Let others claim the run, worked on for so long in all; nothing when one of them already has."""
        values: dict[str, Any] = {"owner": None, "lease_until": None}
        if worked_ms is not None:
            values["worked_ms"] = worked_ms
        with self._db.writing():
            mine = self._db.change(tables.runs, {"id": run, "epoch": epoch}, **values)
        if mine and self._held.get(run) == epoch:
            del self._held[run]

    def request_stop(self, run: str) -> None:
        """Ask whoever works on the run, in any process, to stop it."""
        with self._db.writing():
            self.row(run, "id")
            self._db.change(tables.runs, {"id": run}, stop_requested=1)

    def stop_requested(self, run: str) -> bool:
        """True when somebody asked that this run be stopped."""
        return bool(self.row(run, "stop_requested")[0])

    def erase(self, run: str) -> None:
        """Destroy the run's data key: its contents can never be read again, its chain still verifies."""
        with self.changing(run):
            self._db.change(tables.runs, {"id": run}, data_key=None)
        self._seals.pop(run, None)
        self._db.scrub()

    @contextmanager
    def changing(self, run: str) -> Iterator[None]:
        """A write transaction on this run; StaleEpoch when this process claimed it and lost it since."""
        with self._db.writing():
            (epoch,) = self.row(run, "epoch", lock=True)
            if self._held.get(run, epoch) != epoch:
                raise taken(run)
            yield

    def row(self, run: str, names: str, *, lock: bool = False) -> Sequence[Any]:
        """Columns of the run's row; `lock` keeps them as they are until the transaction ends. NoSuchRun."""
        for row in self._db.find(tables.runs, names, lock=lock, id=run):
            return row  # type: ignore[no-any-return]
        raise NoSuchRun(f"there is no run {run!r}; see them with: remit runs list")

    def seal(self, run: str) -> Seal:
        """The key of the run's contents; StoreUnreadable when it was erased."""
        if run not in self._seals:
            (wrapped,) = self.row(run, "data_key")
            if wrapped is None:
                raise StoreUnreadable(f"the contents of run {run!r} were erased; only its ledger remains")
            self._seals[run] = Seal(self._keys.unwrap(wrapped, "runs", run, "key"))
        return self._seals[run]

    def _read(self, row: Sequence[Any]) -> Run:
        values = dict(zip(_NAMES, row, strict=True))
        run, until, sealed = values["id"], values["lease_until"], values.pop("title_sealed")
        kept = values.pop("data_key") is not None
        values["title"] = self.seal(run).open(sealed, "runs", run, "title").decode() if kept else ""
        values |= self.used(run)._asdict()
        values["created_at"] = datetime.fromisoformat(values["created_at"])
        values["lease_until"] = datetime.fromisoformat(until) if until else None
        values["status"], values["stop_requested"] = RunStatus(values["status"]), bool(values["stop_requested"])
        if values["status"] is RunStatus.RUNNING and (not values["owner"] or _gone(values["owner"])):
            values["status"] = RunStatus.PARKED  # its process was killed: it goes on when it is resumed
        return Run(**values)


def taken(run: str) -> StaleEpoch:
    """The error of a process that lost its run."""
    return StaleEpoch(f"run {run!r} was taken over by another process; this one must stop")


def _gone(owner: str) -> bool:
    """True when the owner was on this host and its process certainly is not there any more."""
    host, pid, start = [*owner.rsplit(":", 2), "", ""][:3]
    known = host == socket.gethostname() and pid.isdigit() and start.isdigit() and start != "0"
    return known and _started(int(pid)) != int(start)


def _started(pid: int) -> int | None:
    """When a process began, in ticks since boot (field 22 of `/proc/PID/stat`); None when it is not there."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
