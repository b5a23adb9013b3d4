"""The ledger as tables: one chain of entries per run, the bodies sealed beside it, a signed record of its head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from agent.errors import StoreUnreadable
from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.runs import Runs, taken
from agent.store.seal import Keys
from policies.action import canonical_json
from policies.ledger import Broken, Checkpoint, Draft, Entry, linked, verify
from policies.ledger import broken as as_broken
from policies.verifier import EVERY, GENESIS, Flaw, checkpoint_fault, covered_fault, signer

_TIP = 2
"""The row of the canary's table that seals which checkpoint is the last."""
_ENTRY = [column.name for column in tables.entries.c]


class Ledger:
    """Appends to chains, reads them and checks them."""

    def __init__(self, database: Database, keys: Keys, runs: Runs) -> None:
        self._db, self._keys, self._runs = database, keys, runs

    def record(self, run: str, drafts: Sequence[Draft], *, epoch: int, now: datetime) -> None:
        """Add entries that belong to no submission, such as a run's beginning and end; StaleEpoch."""
        with self._db.writing():
            self.extend(run, drafts, epoch=epoch, now=now)

    def extend(self, run: str, drafts: Sequence[Draft], *, epoch: int | None, now: datetime) -> None:
        """`record` inside a transaction; None stands for the run's present epoch.

        A clock that went back is held at the time of the last entry.
        """
        current, length, prev, last_at = self._runs.row(run, "epoch length head head_at", lock=True)
        if epoch not in (None, current):
            raise taken(run)
        at = max(stamp(now), last_at)
        for index, draft in enumerate(drafts, length):
            entry = linked(draft, run=run, index=index, prev=prev, at=datetime.fromisoformat(at))
            self._db.add(
                tables.entries,
                **{"run": run, "index": index, "version": entry.version, "at": at, "event": entry.event},
                **{"seq": entry.seq, "facts": canonical_json(entry.facts).decode(), "body_digest": entry.body_digest},
                **{"prev": prev, "hash": entry.hash},
            )
            if draft.body is not None:
                sealed = self._runs.seal(run).seal(canonical_json(draft.body), "bodies", run, str(index))
                self._db.add(tables.bodies, **{"run": run, "index": index, "body_sealed": sealed})
            prev = entry.hash
        length += len(drafts)
        mark = self._keys.sign(run, str(length), prev)
        self._db.change(tables.runs, {"id": run}, length=length, head=prev, head_at=at, head_mark=mark)
        ends = any(draft.event in ("ended", "erased") for draft in drafts)
        before = length - len(drafts)
        if drafts and (ends or before == 0 or (before - 1) // EVERY < (length - 1) // EVERY):
            self.attest(run, length, prev, at)

    def attest(self, run: str, length: int, head: str, at: str) -> None:
        """Sign, inside a transaction, where the run's chain is, as the next checkpoint of all."""
        last, prev = self._last(lock=True)
        told = {"n": last + 1, "at": at, "run": run, "length": length, "head": head, "prev": prev, "key": ""}
        signed = self._keys.attest(Checkpoint.model_validate(told))
        row = {name: getattr(signed, name) for name in Checkpoint.model_fields} | {"at": at}
        self._db.add(tables.checkpoints, **row)
        tip = self._keys.wrap(f"{signed.n} {signed.hash}".encode(), "tip")
        self._db.put(tables.canary, id=_TIP, canary_sealed=tip)

    def attest_all(self, at: datetime) -> None:
        """Sign where every chain is: once, when a store of an older version is opened."""
        with self._db.writing():
            for run, (length, head) in self.heads().items():
                if length:
                    self.attest(run, length, head, stamp(at))

    def public(self) -> dict[str, str]:
        """The public keys, in hex by name, that checkpoints are signed with."""
        return self._keys.public()

    def checkpoints(self, **of: Any) -> list[Checkpoint]:
        """The checkpoints in order, of a run if one is given, unchecked."""
        names = [*Checkpoint.model_fields]
        rows = self._db.find(tables.checkpoints, " ".join(names), order="n", **of)
        return [Checkpoint.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    def last(self) -> tuple[int, str]:
        """Number and hash of the last checkpoint."""
        return self._last()

    def active(self, since: datetime) -> list[str]:
        """The runs whose chains grew since then, oldest first."""
        rows = self._db.find(tables.runs, "id head_at length", order="created_at id")
        return [run for run, at, length in rows if length and at >= stamp(since)]

    def verify_checkpoints(self, noted: str = "") -> Broken | None:
        """The first checkpoint that does not hold or whose run is gone, or None.

        `noted`: the hash of one that must be there, so that a store that was set back as a whole is found.
        """
        with self._db.writing():
            last, _ = tip = self._last()
            rows, known = self.checkpoints(), self.heads()
        told = [row.model_dump(mode="json") for row in rows]
        fault = checkpoint_fault(told, signer(self._keys.public()))
        if fault is None and tip != ((rows[-1].n, rows[-1].hash) if rows else (0, GENESIS)):
            fault = Flaw("", min(last, len(rows)) + 1, "the last checkpoints are missing")
        if fault is None and noted and noted not in {row.hash for row in rows}:
            fault = Flaw("", last + 1, "the checkpoint that was noted is missing: the store was set back")
        gone = next((row.run for row in rows if row.run not in known), None)
        if fault is None and gone is not None:
            fault = Flaw(gone, 0, "the whole run is missing")
        return as_broken(fault)

    def _last(self, *, lock: bool = False) -> tuple[int, str]:
        """Number and hash of the last checkpoint, as sealed where nobody without the key can set it back."""
        if lock:  # a row that is always there, so that on Postgres one signs after the other
            self._db.find(tables.canary, "id", lock=True, id=1)
        for (sealed,) in self._db.find(tables.canary, "canary_sealed", id=_TIP):
            n, last = self._keys.unwrap(sealed, "tip").decode().split(" ")
            return int(n), last
        return 0, GENESIS

    def entries(self, run: str) -> list[Entry]:
        """The run's chain as it is stored, unchecked; StoreUnreadable for a row that is no entry."""
        entries, whole = self._parsed(run)
        if not whole:
            raise StoreUnreadable(f"entry {len(entries)} of run {run!r} was changed; see: remit audit verify")
        return entries

    def heads(self) -> dict[str, tuple[int, str]]:
        """The recorded length and head of every chain, oldest run first."""
        rows = self._db.find(tables.runs, "id length head", order="created_at id")
        return {run: (length, head) for run, length, head in rows}

    def body(self, run: str, index: int) -> JsonValue:
        """The body of an entry, None when it has none; StoreUnreadable when it was erased or changed."""
        for (sealed,) in self._db.find(tables.bodies, "body_sealed", run=run, index=index):
            return self._opened(run, index, sealed)
        return None

    def bodies(self, run: str) -> dict[int, JsonValue]:
        """The bodies of the run's entries by index, without those that were erased or changed."""
        found: dict[int, JsonValue] = {}
        for index, sealed in self._db.find(tables.bodies, "index body_sealed", run=run):
            with suppress(StoreUnreadable):
                found[index] = self._opened(run, index, sealed)
        return found

    def verify(self, run: str) -> Broken | None:
        """The first entry of the run that does not hold, or None: chain, signed head, and bodies not erased."""
        with self._db.writing():  # so that nothing is added between the reads
            length, head, mark, key = self._runs.row(run, "length head head_mark data_key", lock=True)
            entries, whole = self._parsed(run)
            bodies = dict(self._db.find(tables.bodies, "index body_sealed", run=run))
        broken = verify(run, entries, length=length, head=head)
        if broken and broken.index == len(entries) and not whole:
            broken = Broken(run=run, index=broken.index, why="it is no entry any more")
        gone = _erased(entries)
        for entry in entries[: broken.index if broken else None] if key is not None else ():
            if entry.index in gone and entry.index not in bodies:
                continue
            if why := self._body_fault(entry, bodies.get(entry.index)):
                return Broken(run=run, index=entry.index, why=why)
        if broken is None and not self._keys.signed(mark, run, str(length), head):
            return Broken(run=run, index=length, why="the record of where the chain ends was changed")
        if broken is None:
            signed = [c.model_dump(mode="json") for c in self.checkpoints(run=run)]
            fault = covered_fault(run, [entry.model_dump(mode="json") for entry in entries], signed)
            broken = as_broken(fault)
        return broken

    def _parsed(self, run: str) -> tuple[list[Entry], bool]:
        """The entries up to the first row that is none, and whether that was all."""
        entries: list[Entry] = []
        for row in self._db.find(tables.entries, " ".join(_ENTRY), order="index", run=run):
            values = dict(zip(_ENTRY, row, strict=True))
            try:
                entries.append(Entry.model_validate(values | {"facts": json.loads(values["facts"])}))
            except ValueError:
                return entries, False
        return entries, True

    def _opened(self, run: str, index: int, sealed: bytes) -> JsonValue:
        body: JsonValue = json.loads(self._runs.seal(run).open(sealed, "bodies", run, str(index)))
        return body

    def _body_fault(self, entry: Entry, sealed: bytes | None) -> str | None:
        if sealed is None:
            return "its body is missing" if entry.body_digest else None
        try:
            body = self._opened(entry.run, entry.index, sealed)
        except StoreUnreadable:
            return "its body was changed"
        held = hashlib.sha256(canonical_json(body)).hexdigest() == entry.body_digest
        return None if held else "its body is not the one it was recorded with"


def _erased(entries: Sequence[Entry]) -> set[int]:
    """Entries whose bodies were erased, as the chain itself says."""
    listed = (entry.facts.get("bodies") for entry in entries if entry.event == "erased")
    return {index for indices in listed if isinstance(indices, list) for index in indices if isinstance(index, int)}
