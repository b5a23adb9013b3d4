"""The rows of runs: their state, who works on them under which epoch, and the key of their contents."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from agent.errors import NoSuchRun, RunBusy, StoreUnreadable
from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.seal import Keys, Seal, new_key
from policies.errors import StaleEpoch
from policies.ledger import GENESIS
from policies.ports import Clock

_runs = tables.runs.c


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
    """A run's row. The fields from `epoch` on are kept by the store; `create` takes their defaults."""

    id: str
    created_at: datetime
    principal: str
    title: str
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
    steps: int = 0
    tokens: int = 0
    money_micros: int = 0
    questions: int = 0


def this_process() -> str:
    """The owner string of this process: `host:pid:start`, with the start time from `/proc` (0 if unknown)."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid()) or 0}"


_COLUMNS = [
    *(_runs.id, _runs.created_at, _runs.principal, _runs.title_sealed, _runs.policy_digest),
    *(_runs.graph_version, _runs.status, _runs.epoch, _runs.owner, _runs.lease_until, _runs.stop_requested),
    *(_runs.length, _runs.head, _runs.steps, _runs.tokens, _runs.money_micros, _runs.questions),
    _runs.data_key,
]
_NAMES = [column.name for column in _COLUMNS]
_TAKEN = "run {0!r} was taken over by another process; this one must stop"
_THIS = _runs.id == bindparam("run")
_MINE = _runs.epoch == bindparam("mine")
_CREATE = insert(tables.runs)
_GET = select(*_COLUMNS).where(_THIS)
_LIST = select(*_COLUMNS).order_by(_runs.created_at.desc(), _runs.id).limit(bindparam("most"))
_LIST_STATUS = _LIST.where(_runs.status == bindparam("wanted"))
_LEASE = select(_runs.epoch, _runs.owner, _runs.lease_until).where(_THIS).with_for_update()
_CLAIM = (
    update(tables.runs)
    .where(_THIS)
    .values(epoch=bindparam("next"), owner=bindparam("by"), lease_until=bindparam("until"))
)
_RENEW = update(tables.runs).where(_THIS, _MINE, _runs.owner.is_not(None)).values(lease_until=bindparam("until"))
_RELEASE = update(tables.runs).where(_THIS, _MINE).values(owner=None, lease_until=None)
_EPOCH = select(_runs.epoch).where(_THIS).with_for_update()
_STATUS = update(tables.runs).where(_THIS).values(status=bindparam("new"))
_STOP = update(tables.runs).where(_THIS).values(stop_requested=bindparam("new"))
_STOPPING = select(_runs.stop_requested).where(_THIS)
_COUNT = (
    update(tables.runs)
    .where(_THIS)
    .values({c: c + bindparam(f"more_{c.name}") for c in (_runs.steps, _runs.tokens, _runs.money_micros)})
)
_DATA_KEY = select(_runs.data_key).where(_THIS)
_ERASE = update(tables.runs).where(_THIS).values(data_key=None)


class Runs:
    """Creates, finds, claims and ends runs. One object per process: it knows the epochs it has claimed."""

    def __init__(self, database: Database, keys: Keys, clock: Clock) -> None:
        self._db, self._keys, self._clock = database, keys, clock
        self._held: dict[str, int] = {}
        self._seals: dict[str, Seal] = {}

    def create(self, run: Run) -> None:
        """Write a new run with a data key of its own."""
        key = new_key()
        seal = self._seals[run.id] = Seal(key)
        with self._db.writing():
            self._db.do(
                _CREATE,
                **{"id": run.id, "created_at": stamp(run.created_at), "principal": run.principal},
                **{"title_sealed": seal.seal(run.title.encode(), "runs", run.id, "title")},
                **{"policy_digest": run.policy_digest, "graph_version": run.graph_version},
                **{"status": run.status.value, "stop_requested": 0, "epoch": 0, "owner": None, "lease_until": None},
                **{"data_key": self._keys.wrap(key, "runs", run.id, "key"), "length": 0, "head": GENESIS},
                **{"head_at": stamp(run.created_at), "head_mark": self._keys.sign(run.id, "0", GENESIS), "plan": None},
                **{"steps": 0, "tokens": 0, "money_micros": 0, "questions": 0},
            )

    def get(self, run: str) -> Run:
        """The run; NoSuchRun when there is none."""
        return self._read(found(self._db.one(_GET, run=run), run))

    def list(self, limit: int = 50, status: RunStatus | None = None) -> Sequence[Run]:
        """The newest runs first."""
        statement, wanted = (_LIST, {}) if status is None else (_LIST_STATUS, {"wanted": status.value})
        return [self._read(row) for row in self._db.all(statement, most=limit, **wanted)]

    def set_status(self, run: str, status: RunStatus) -> None:
        """Note where the run stands. STOPPED also settles a request to stop."""
        with self.changing(run):
            self._db.do(_STATUS, run=run, new=status.value)
            if status is RunStatus.STOPPED:
                self._db.do(_STOP, run=run, new=0)

    def count(self, run: str, *, steps: int = 0, tokens: int = 0, money_micros: int = 0) -> None:
        """Add to what the run has used, for display; limits are the gate's reservations."""
        with self.changing(run):
            self._db.do(_COUNT, run=run, more_steps=steps, more_tokens=tokens, more_money_micros=money_micros)

    def claim(self, run: str, owner: str, lease_s: float) -> int:
        """The run's next epoch, for this process alone until the lease ends.

        RunBusy when the lease of another advance stands, unless its process was on this host and is gone.
        """
        now = self._clock.now()
        with self._db.writing():
            epoch, holder, until = found(self._db.one(_LEASE, run=run), run)
            if holder and until > stamp(now) and not _gone(holder):
                why = f"run {run!r} is being worked on by {holder!r} until {until[:19]} UTC; wait, or stop it first"
                raise RunBusy(why)
            until = stamp(now + timedelta(seconds=lease_s))
            self._db.do(_CLAIM, run=run, next=epoch + 1, by=owner, until=until)
        self._held[run] = int(epoch) + 1
        return self._held[run]

    def renew(self, run: str, epoch: int, lease_s: float) -> None:
        """Keep the run for `lease_s` from now; StaleEpoch when another process has it."""
        with self._db.writing():
            until = stamp(self._clock.now() + timedelta(seconds=lease_s))
            if not self._db.do(_RENEW, run=run, mine=epoch, until=until):
                raise StaleEpoch(_TAKEN.format(run))

    def release(self, run: str, epoch: int) -> None:
        """Let others claim the run; nothing when it was already taken over."""
        with self._db.writing():
            if self._db.do(_RELEASE, run=run, mine=epoch) and self._held.get(run) == epoch:
                del self._held[run]

    def request_stop(self, run: str) -> None:
        """Ask whoever works on the run, in any process, to stop it."""
        with self._db.writing():
            if not self._db.do(_STOP, run=run, new=1):
                found(None, run)

    def stop_requested(self, run: str) -> bool:
        """True when somebody asked that this run be stopped."""
        return bool(found(self._db.one(_STOPPING, run=run), run)[0])

    def erase(self, run: str) -> None:
        """Destroy the run's data key: its contents can never be read again, its chain still verifies."""
        with self.changing(run):
            self._db.do(_ERASE, run=run)
        self._seals.pop(run, None)
        self._db.scrub()

    @contextmanager
    def changing(self, run: str) -> Iterator[None]:
        """A write transaction on this run; StaleEpoch when this process claimed it and lost it since."""
        with self._db.writing():
            (epoch,) = found(self._db.one(_EPOCH, run=run), run)
            if self._held.get(run, epoch) != epoch:
                raise StaleEpoch(_TAKEN.format(run))
            yield

    def seal(self, run: str) -> Seal:
        """The key of the run's contents; StoreUnreadable when it was erased."""
        seal = self._seals.get(run)
        if seal is None:
            (wrapped,) = found(self._db.one(_DATA_KEY, run=run), run)
            if wrapped is None:
                raise StoreUnreadable(f"the contents of run {run!r} were erased; only its ledger remains")
            seal = self._seals[run] = Seal(self._keys.unwrap(wrapped, "runs", run, "key"))
        return seal

    def _read(self, row: Sequence[Any]) -> Run:
        values = dict(zip(_NAMES, row, strict=True))
        run, until, sealed = values["id"], values["lease_until"], values.pop("title_sealed")
        erased = values.pop("data_key") is None
        return Run(
            **values
            | {
                "title": "" if erased else self.seal(run).open(sealed, "runs", run, "title").decode(),
                "created_at": datetime.fromisoformat(values["created_at"]),
                "lease_until": datetime.fromisoformat(until) if until else None,
                "status": RunStatus(values["status"]),
                "stop_requested": bool(values["stop_requested"]),
            }
        )


def found(row: Sequence[Any] | None, run: str) -> Sequence[Any]:
    """The row of a run; NoSuchRun when there is none."""
    if row is None:
        raise NoSuchRun(f"there is no run {run!r}; see them with: remit runs list")
    return row


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
