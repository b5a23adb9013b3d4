"""The ledger as tables: one chain of entries per run, the bodies sealed beside it, a signed record of its head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue
from sqlalchemy import bindparam, insert, select, update

from agent.errors import StoreUnreadable
from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.runs import Runs, found
from agent.store.seal import Keys
from policies.action import canonical_json
from policies.errors import StaleEpoch
from policies.ledger import Broken, Draft, Entry, linked, verify

_runs, _entries, _bodies = tables.runs.c, tables.entries.c, tables.bodies.c
_HEAD = (
    select(_runs.epoch, _runs.length, _runs.head, _runs.head_at, _runs.plan)
    .where(_runs.id == bindparam("run"))
    .with_for_update()
)
_MOVE_HEAD = (
    update(tables.runs)
    .where(_runs.id == bindparam("run"))
    .values(
        length=bindparam("new_length"),
        head=bindparam("new_head"),
        head_at=bindparam("new_at"),
        head_mark=bindparam("new_mark"),
    )
)
_RECORDED = select(_runs.length, _runs.head, _runs.head_mark, _runs.data_key).where(_runs.id == bindparam("run"))
_HEADS = select(_runs.id, _runs.length, _runs.head).order_by(_runs.created_at, _runs.id)
_ADD = insert(tables.entries)
_ADD_BODY = insert(tables.bodies)
_ALL = select(*_entries).where(_entries.run == bindparam("run")).order_by(_entries["index"])
_BODIES = select(_bodies["index"], _bodies.body_sealed).where(_bodies.run == bindparam("run"))
_BODY = _BODIES.where(_bodies["index"] == bindparam("at"))
_NAMES = [column.name for column in _entries]


class Head(NamedTuple):
    """Where a run's chain stands, read inside the transaction that goes on from it."""

    epoch: int
    length: int
    digest: str
    at: str
    plan: str | None


class Ledger:
    """Appends to chains, reads them and checks them."""

    def __init__(self, database: Database, keys: Keys, runs: Runs) -> None:
        self._db, self._keys, self._runs = database, keys, runs

    def record(self, run: str, drafts: Sequence[Draft], *, epoch: int, now: datetime) -> None:
        """Add entries that belong to no submission, such as a run's beginning and end; StaleEpoch."""
        with self._db.writing():
            self.extend(run, self.head(run, epoch), drafts, now)

    def head(self, run: str, epoch: int | None = None) -> Head:
        """The run's head, inside a transaction; StaleEpoch unless `epoch` is the current one or None."""
        head = Head(*found(self._db.one(_HEAD, run=run), run))
        if epoch not in (None, head.epoch):
            raise StaleEpoch(f"run {run!r} was taken over by another process; this one must stop")
        return head

    def extend(self, run: str, head: Head, drafts: Sequence[Draft], now: datetime) -> None:
        """Add entries after `head`, inside a transaction. A clock that went back is held at the last entry."""
        length, digest, at = head.length, head.digest, max(stamp(now), head.at)
        moment = datetime.fromisoformat(at)
        for draft in drafts:
            entry = linked(draft, run=run, index=length, prev=digest, at=moment)
            self._db.do(
                _ADD,
                **{"run": run, "index": length, "version": entry.version, "at": at, "event": entry.event},
                **{"seq": entry.seq, "facts": canonical_json(entry.facts).decode(), "body_digest": entry.body_digest},
                **{"prev": digest, "hash": entry.hash},
            )
            if draft.body is not None:
                body = self._runs.seal(run).seal(canonical_json(draft.body), "bodies", run, str(length))
                self._db.do(_ADD_BODY, **{"run": run, "index": length, "body_sealed": body})
            length, digest = length + 1, entry.hash
        mark = self._keys.sign(run, str(length), digest)
        self._db.do(_MOVE_HEAD, run=run, new_length=length, new_head=digest, new_at=at, new_mark=mark)

    def entries(self, run: str) -> list[Entry]:
        """The run's chain as it is stored, unchecked; StoreUnreadable for a row that is no entry."""
        found_entries, readable = self._parsed(run)
        if not readable:
            raise StoreUnreadable(f"entry {len(found_entries)} of run {run!r} was changed; see: remit audit verify")
        return found_entries

    def heads(self) -> dict[str, tuple[int, str]]:
        """The recorded length and head of every chain, oldest run first."""
        return {run: (length, head) for run, length, head in self._db.all(_HEADS)}

    def body(self, run: str, index: int) -> JsonValue:
        """The body of an entry, None when it has none; StoreUnreadable when erased or changed."""
        row = self._db.one(_BODY, run=run, at=index)
        return None if row is None else self._opened(run, index, row[1])

    def verify(self, run: str) -> Broken | None:
        """The first entry of the run that does not hold, or None: chain, signed head, and bodies not erased."""
        with self._db.reading():
            length, head, mark, key = found(self._db.one(_RECORDED, run=run), run)
            entries, readable = self._parsed(run)
            bodies = dict(self._db.all(_BODIES, run=run))
        broken = verify(run, entries, length=length, head=head)
        if broken and broken.index == len(entries) and not readable:
            broken = Broken(run=run, index=broken.index, why="it is no entry any more")
        for entry in entries[: broken.index if broken else None] if key is not None else ():
            if why := self._body_fault(entry, bodies.get(entry.index)):
                return Broken(run=run, index=entry.index, why=why)
        if broken is None and not self._keys.signed(mark, run, str(length), head):
            return Broken(run=run, index=length, why="the record of where the chain ends was changed")
        return broken

    def export(self, run: str) -> Iterator[str]:
        """The chain as lines of JSON: the entries without their bodies, then the signed head."""
        length, head, mark, _ = found(self._db.one(_RECORDED, run=run), run)
        yield from (entry.model_dump_json() for entry in self.entries(run))
        yield json.dumps({"run": run, "length": length, "head": head, "mark": mark})

    def _parsed(self, run: str) -> tuple[list[Entry], bool]:
        """The entries up to the first row that cannot be read, and whether there is none such."""
        entries: list[Entry] = []
        for row in self._db.all(_ALL, run=run):
            values = dict(zip(_NAMES, row, strict=True))
            try:
                entries.append(Entry.model_validate(values | {"facts": json.loads(values["facts"])}))
            except ValueError:
                return entries, False
        return entries, True

    def _opened(self, run: str, index: int, sealed: bytes) -> JsonValue:
        body: JsonValue = json.loads(self._runs.seal(run).open(sealed, "bodies", run, str(index)))
        return body

    def _body_fault(self, entry: Entry, sealed: bytes | None) -> str | None:
        if (sealed is None) != (entry.body_digest is None):
            return "its body is missing" if sealed is None else "it has a body that is not its own"
        if sealed is None:
            return None
        try:
            body = self._opened(entry.run, entry.index, sealed)
        except StoreUnreadable:
            return "its body was changed"
        held = hashlib.sha256(canonical_json(body)).hexdigest() == entry.body_digest
        return None if held else "its body is not the one it was recorded with"
