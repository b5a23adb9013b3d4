"""The values behind a run's handles, sealed in the store and kept in memory for the redactor."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from agent.store import tables
from agent.store.database import Database
from agent.store.runs import Runs
from policies.redact.handle import Handle

_handles = tables.handles.c
_PUT = insert(tables.handles).on_conflict_do_nothing()
_ALL = select(_handles.handle, _handles.type, _handles.value_sealed).where(_handles.run == bindparam("of"))
_ONE = _ALL.where(_handles.handle == bindparam("named"))


class RunHandles:
    """The `HandleVault` of one run."""

    def __init__(self, database: Database, runs: Runs, run: str) -> None:
        self._db, self._run, self._seal = database, run, runs.seal(run)
        self._values = {
            handle: self._open(handle, type_, sealed) for handle, type_, sealed in self._db.all(_ALL, of=run)
        }

    @property
    def run_key(self) -> bytes:
        """The key under which this run's handles are made; it goes when the run's contents are erased."""
        return self._seal.derived("handles")

    def put(self, handle: Handle, type_: str, value: str) -> None:
        """Keep `value` under `handle`; it is on disk when this returns."""
        sealed = self._seal.seal(value.encode(), "handles", self._run, handle, type_)
        with self._db.writing():
            self._db.do(_PUT, run=self._run, handle=handle, type=type_, value_sealed=sealed)
        self._values[handle] = value

    def get(self, handle: Handle) -> str | None:
        """The value, also one that another process has put since; None when the run never made the handle."""
        if handle not in self._values and (row := self._db.one(_ONE, of=self._run, named=handle)):
            self._values[handle] = self._open(*row)
        return self._values.get(handle)

    def values(self) -> Iterable[tuple[Handle, str]]:
        """Every handle with its value."""
        return tuple(self._values.items())

    def _open(self, handle: str, type_: str, sealed: bytes) -> str:
        return self._seal.open(sealed, "handles", self._run, handle, type_).decode()
