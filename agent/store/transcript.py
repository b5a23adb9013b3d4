"""What a run has written: its messages by position, and its documents by name, all sealed."""

from __future__ import annotations

import json

from pydantic import JsonValue
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from agent.store import tables
from agent.store.database import Database
from agent.store.runs import Runs
from policies.action import canonical_json

_messages, _documents = tables.messages.c, tables.documents.c
_put_message = insert(tables.messages)
_PUT_MESSAGE = _put_message.on_conflict_do_update(
    index_elements=["run", "position"], set_={"message_sealed": _put_message.excluded.message_sealed}
)
_MESSAGES = (
    select(_messages.position, _messages.message_sealed)
    .where(_messages.run == bindparam("of"))
    .order_by(_messages.position)
)
_put_document = insert(tables.documents)
_PUT_DOCUMENT = _put_document.on_conflict_do_update(
    index_elements=["run", "name"], set_={"document_sealed": _put_document.excluded.document_sealed}
)
_DOCUMENT = select(_documents.document_sealed).where(
    _documents.run == bindparam("of"), _documents.name == bindparam("called")
)


class Messages:
    """The fragments of a run's conversation."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db, self._runs = database, runs

    def append_message(self, run: str, position: int, fragment: bytes) -> None:
        """Keep a fragment at a position, replacing what a lost advance left there; StaleEpoch."""
        sealed = self._runs.seal(run).seal(fragment, "messages", run, str(position))
        with self._runs.changing(run):
            self._db.do(_PUT_MESSAGE, run=run, position=position, message_sealed=sealed)

    def messages(self, run: str) -> list[bytes]:
        """All fragments in order."""
        seal = self._runs.seal(run)
        return [seal.open(sealed, "messages", run, str(at)) for at, sealed in self._db.all(_MESSAGES, of=run)]


class Documents:
    """JSON documents of a run: task, plan, acceptance, report."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db, self._runs = database, runs

    def put(self, run: str, name: str, value: JsonValue) -> None:
        """Write or replace a document; StaleEpoch when this process lost the run."""
        with self._runs.changing(run):
            self.write(run, name, value)

    def get(self, run: str, name: str) -> JsonValue:
        """The document, None when there is none."""
        row = self._db.one(_DOCUMENT, of=run, called=name)
        if row is None:
            return None
        return json.loads(self._runs.seal(run).open(row[0], "documents", run, name))  # type: ignore[no-any-return]

    def write(self, run: str, name: str, value: JsonValue) -> None:
        """`put`, inside a transaction that somebody else began."""
        sealed = self._runs.seal(run).seal(canonical_json(value), "documents", run, name)
        self._db.do(_PUT_DOCUMENT, run=run, name=name, document_sealed=sealed)
