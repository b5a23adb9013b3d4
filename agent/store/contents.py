"""What a run holds, sealed: its messages by position, its documents by name, the values of its handles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from agent.store import tables
from agent.store.database import Database
from agent.store.runs import Runs
from policies.action import canonical_json
from policies.redact.handle import Handle


class Messages:
    """The fragments of a run's conversation."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db, self._runs = database, runs

    def put(self, run: str, fragments: Mapping[int, bytes]) -> None:
        """Keep fragments, by position, replacing what stands there, all or nothing; StaleEpoch."""
        seal = self._runs.seal(run)
        with self._runs.changing(run):
            for at, fragment in fragments.items():
                sealed = seal.seal(fragment, "messages", run, str(at))
                self._db.put(tables.messages, run=run, position=at, message_sealed=sealed)

    def all(self, run: str) -> list[bytes]:
        """All fragments in order."""
        rows = self._db.find(tables.messages, "position message_sealed", order="position", run=run)
        return [self._runs.seal(run).open(sealed, "messages", run, str(at)) for at, sealed in rows]


class Documents:
    """JSON objects of a run, such as its task and its report."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db, self._runs = database, runs

    def put(self, run: str, name: str, value: Mapping[str, Any]) -> None:
        """Write or replace a document; StaleEpoch when this process lost the run."""
        with self._runs.changing(run):
            self.write(run, name, canonical_json(value))

    def get(self, run: str, name: str) -> dict[str, Any] | None:
        """The document, None when there is none."""
        sealed = self.sealed(run, name)
        return None if sealed is None else json.loads(self._runs.seal(run).open(sealed, "documents", run, name))

    def sealed(self, run: str, name: str) -> bytes | None:
        """The document as it is stored."""
        rows = self._db.find(tables.documents, "document_sealed", run=run, name=name)
        return rows[0][0] if rows else None

    def write(self, run: str, name: str, plain: bytes) -> None:
        """`put` for JSON that is made, inside a transaction."""
        sealed = self._runs.seal(run).seal(plain, "documents", run, name)
        self._db.put(tables.documents, run=run, name=name, document_sealed=sealed)


class RunHandles:
    """The `HandleVault` of one run."""

    def __init__(self, database: Database, runs: Runs, run: str) -> None:
        self._db, self._run, self._seal = database, run, runs.seal(run)
        self._values = dict(self._stored())

    def put(self, handle: Handle, type_: str, value: str) -> None:
        """Keep `value` under `handle`; it is on disk when this returns."""
        sealed = self._seal.seal(value.encode(), "handles", self._run, handle, type_)
        with self._db.writing():
            self._db.put(tables.handles, run=self._run, handle=handle, type=type_, value_sealed=sealed)
        self._values[handle] = value

    def get(self, handle: Handle) -> str | None:
        """The value, also one that another process has put since; None when the run never made the handle."""
        if handle not in self._values:
            self._values.update(self._stored(handle=handle))
        return self._values.get(handle)

    def values(self) -> Iterable[tuple[Handle, str]]:
        """Every handle with its value."""
        return tuple(self._values.items())

    def _stored(self, **wanted: Any) -> Iterable[tuple[Handle, str]]:
        for handle, type_, sealed in self._db.find(tables.handles, "handle type value_sealed", run=self._run, **wanted):
            yield Handle(handle), self._seal.open(sealed, "handles", self._run, handle, type_).decode()
