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
from policies.verifier import CHECKPOINT, ENTRY, GENESIS, Flaw, chain_fault, digest

VERSION = 1
__all__ = ["GENESIS", "Broken", "Checkpoint", "Draft", "Entry", "Event", "broken", "linked", "verify"]

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
    "erased",
    "endorsed",
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
        return digest(self.model_dump(mode="json"), ENTRY)


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


class Checkpoint(Value):
    """A signed place that a chain had reached. Checkpoints of all runs are one chain, so no run goes missing."""

    version: int = VERSION
    n: int
    """1, 2, 3 … over all runs."""
    at: datetime
    run: str
    length: int
    head: str
    prev: str
    """`hash` of the checkpoint before it."""
    key: str
    """Name of the key that signs."""
    hash: str = ""
    signature: str = ""
    """Ed25519, in hex, over `policies.verifier.statement(hash)`."""

    def computed(self) -> str:
        """The hash this checkpoint should have."""
        return digest(self.model_dump(mode="json"), CHECKPOINT)


class Broken(Value):
    """The first entry that does not hold, and why. Without a run it is a checkpoint, and `index` its number."""

    run: str
    index: int
    why: str


def broken(fault: Flaw | None) -> Broken | None:
    """What the verifier found, as a value of ours."""
    return None if fault is None else Broken(run=fault.run, index=fault.index, why=fault.why)


def verify(run: str, entries: Iterable[Entry], *, length: int, head: str) -> Broken | None:
    """None when the chain holds from genesis to the recorded head; else the first fault.

    `length` and `head` are the run row's own record, so that a cut-off tail is seen.
    """
    fault = chain_fault(run, (entry.model_dump(mode="json") for entry in entries), length=length, head=head)
    return broken(fault)
