"""The ledger: what happened, as a chain of entries that cannot be changed unseen.

Entries hold digests; bodies lie beside them, encrypted, and may be destroyed without breaking the chain.
Each entry's hash covers its canonical JSON and the hash before it. This file knows no database: rows come
through a port.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from policies.action import Value, canonical_json

VERSION = 1
GENESIS = "0" * 64
"""`prev` of a run's first entry."""

Event = Literal[
    "run",
    "plan",
    "allowed",
    "denied",
    "asked",
    "answered",
    "intent",
    "done",
    "failed",
    "unknown",
    "repeated",
    "verified",
    "ended",
]


class Draft(Value):
    """An entry before it has its place. `body` never enters the chain, only its digest does."""

    event: Event
    seq: int
    facts: dict[str, JsonValue]
    """Digests, rule ids, effect, level: nothing that a person wrote or a page showed."""
    body: JsonValue = None


class Entry(Value):
    """One link. `hash` covers all other fields."""

    version: int = VERSION
    run: str
    index: int
    """0, 1, 2 … within the run: a gap shows."""
    at: datetime
    event: Event
    seq: int
    facts: dict[str, JsonValue]
    body_digest: str | None
    prev: str
    hash: str

    def computed(self) -> str:
        """The hash this entry should have."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", exclude={"hash"}))).hexdigest()


def linked(draft: Draft, *, run: str, index: int, prev: str, at: datetime) -> Entry:
    """`draft` as the next entry of a run's chain."""
    body_digest = None if draft.body is None else hashlib.sha256(canonical_json(draft.body)).hexdigest()
    entry = Entry(
        run=run,
        index=index,
        at=at,
        event=draft.event,
        seq=draft.seq,
        facts=draft.facts,
        body_digest=body_digest,
        prev=prev,
        hash="",
    )
    return entry.model_copy(update={"hash": entry.computed()})


class Broken(Value):
    """The first entry that does not hold, and why."""

    run: str
    index: int
    why: str


def verify(run: str, entries: Iterable[Entry], *, length: int, head: str) -> Broken | None:
    """None when the chain holds from genesis to the recorded head; else the first fault.

    `length` and `head` are the run row's own record, so that a cut-off tail is seen.
    """
    prev, index, last_at = GENESIS, -1, None
    for index, entry in enumerate(entries):
        if entry.index != index or entry.run != run:
            return Broken(run=run, index=index, why=f"entry {index} is missing or out of place")
        if entry.prev != prev:
            return Broken(run=run, index=index, why="it does not follow the entry before it")
        if entry.computed() != entry.hash:
            return Broken(run=run, index=index, why="its content was changed")
        if last_at is not None and entry.at < last_at:
            return Broken(run=run, index=index, why="its time lies before the entry before it")
        prev, last_at = entry.hash, entry.at
    if index + 1 != length or prev != head:
        return Broken(run=run, index=index + 1, why=f"the chain ends after {index + 1} of {length} entries")
    return None
