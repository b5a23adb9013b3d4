"""Erasure: a value, or all contents of a run, destroyed for good, while the chain of digests still verifies.

A value lives in a run's vault of handles; texts hold its handle, so they tell nothing once it is gone. Where it
stands openly (the request as it was typed, an answer) it is cut out; a body of the ledger, whose digest is in the
chain, goes whole. That this was done is in the ledger: by handles, entry numbers and an HMAC, never the value.

The ciphertext itself is deleted, overwritten in the database file (SQLite's secure_delete) and taken out of its
log: a key kept beside it would be no safer than it. Not reached: backups, Postgres's own log, other files; and whoever
has a run's key can still test a guess against a handle, until the run itself is erased.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Table

from agent.errors import BadTask
from agent.store import tables
from agent.store.database import Database
from agent.store.ledger import Ledger
from agent.store.runs import Run, Runs, RunStatus
from agent.store.seal import Keys, Seal
from policies.action import canonical_json
from policies.ledger import Draft

ENDED = (RunStatus.DONE, RunStatus.FAILED, RunStatus.STOPPED)
CUT = "[erased]"
SHORTEST = 4
"""Letters and digits a value has at least: anything shorter stands in texts by chance."""
_Row = Callable[[str, Sequence[Any]], tuple[str, ...]]
_TEXTS: dict[str, tuple[str, tuple[str, ...], _Row]] = {
    # column of the sealed text, its primary key beside the run, and how the seal names the row
    "documents": ("document_sealed", ("name",), lambda run, key: ("documents", run, key[0])),
    "messages": ("message_sealed", ("position",), lambda run, key: ("messages", run, str(key[0]))),
    "questions": ("question_sealed", ("id",), lambda run, key: ("questions", key[0])),
    "submissions": ("outcome_sealed", ("seq",), lambda run, key: ("submissions", run, str(key[0]))),
}


_Changed = tuple[Table, str, dict[str, Any], bytes]


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What was, or would be, erased of one run."""

    run: str
    handles: tuple[str, ...] = ()
    bodies: tuple[int, ...] = ()
    """Entries whose bodies held the value openly."""
    texts: int = 0
    """Other stored texts that held it openly."""


class Erasure:
    """Finds and destroys values and runs in a store."""

    def __init__(self, database: Database, keys: Keys, runs: Runs, ledger: Ledger) -> None:
        self._db, self._keys, self._runs, self._ledger = database, keys, runs, ledger

    def value(self, values: Sequence[str], *, by: str, now: datetime, only_tell: bool = False) -> list[Erased]:
        """Erase one subject, known by these values, in every run; what was found in which.

        Raises BadTask, before anything is erased, for a value that is too short and for a run that holds it and has
        not ended: it could write the value anew.
        """
        subject = _Subject(values)
        found = []
        for run in self._all():
            told = self._found(run, subject)
            if told.handles or told.bodies or told.texts:
                found.append((run, told))
        for run, _ in found if not only_tell else ():
            if run.status not in ENDED:
                raise BadTask(f"run {run.id!r} has not ended and could write the value anew; stop it: remit stop")
        for run, told in found if not only_tell else ():
            facts: dict[str, JsonValue] = {"subject": self._mark(subject), "by": by, "handles": [*told.handles]}
            facts |= {"bodies": [*told.bodies], "texts": told.texts}
            with self._runs.changing(run.id):
                self._cut(run, subject, told)
                self._ledger.extend(run.id, [Draft(event="erased", seq=0, facts=facts)], epoch=None, now=now)
        return [told for _, told in found]

    def run(self, run: str, *, by: str, now: datetime) -> None:
        """Erase all contents of a run; BadTask when it has not ended."""
        if self._runs.get(run).status not in ENDED:
            raise BadTask(f"run {run!r} has not ended; stop it first: remit stop")
        with self._runs.changing(run):
            self._ledger.extend(run, [Draft(event="erased", seq=0, facts={"run": True, "by": by})], epoch=None, now=now)
        self._runs.erase(run)

    def scrub(self) -> bool:
        """Take what was erased off the disk; False while another process still reads the database's log."""
        return self._db.scrub()

    def _all(self) -> list[Run]:
        kept = [
            name for name, key in self._db.find(tables.runs, "id data_key", order="created_at id") if key is not None
        ]
        return [self._runs.get(run) for run in kept]

    def _found(self, run: Run, subject: _Subject) -> Erased:
        seal = self._runs.seal(run.id)
        handles = []
        for handle, type_, sealed in self._db.find(tables.handles, "handle type value_sealed", run=run.id):
            if subject.is_value(seal.open(sealed, "handles", run.id, handle, type_).decode()):
                handles.append(handle)
        bodies = [index for index, body in self._ledger.bodies(run.id).items() if subject.cut(body) != body]
        changed = sum(1 for _ in self._changed(run.id, seal, subject)) + (subject.text(run.title) != run.title)
        return Erased(run=run.id, handles=tuple(handles), bodies=tuple(sorted(bodies)), texts=changed)

    def _cut(self, run: Run, subject: _Subject, told: Erased) -> None:
        seal = self._runs.seal(run.id)
        for handle in told.handles:
            self._db.remove(tables.handles, run=run.id, handle=handle)
        for index in told.bodies:
            self._db.remove(tables.bodies, run=run.id, index=index)
        for table, column, key, sealed in [*self._changed(run.id, seal, subject)]:
            self._db.change(table, key, **{column: sealed})
        title = seal.seal(subject.text(run.title).encode(), "runs", run.id, "title")
        self._db.change(tables.runs, {"id": run.id}, title_sealed=title)

    def _changed(self, run: str, seal: Seal, subject: _Subject) -> Iterator[_Changed]:
        """Rows whose text holds the subject: table, column, key, and the text without it, sealed."""
        for name, (column, key_names, row) in _TEXTS.items():
            table = tables.METADATA.tables[name]
            for *key, sealed in self._db.find(table, f"{' '.join(key_names)} {column}", run=run):
                if sealed is None:
                    continue
                plain = seal.open(sealed, *row(run, key))
                if (cut := subject.stored(plain)) != plain:
                    at = {"run": run, **dict(zip(key_names, key, strict=True))}
                    yield table, column, at, seal.seal(cut, *row(run, key))

    def _mark(self, subject: _Subject) -> str:
        """The same for the same subject, and nobody without the home's key can tell which."""
        return self._keys.sign("subject", *sorted(subject.plain)).rpartition("|")[2][:16]


class _Subject:
    """Values that are one person or thing, recognised in any spelling with other blanks, hyphens, width or case."""

    def __init__(self, values: Sequence[str]) -> None:
        self.plain = {_plain(value) for value in values}
        if not self.plain or any(len(value) < SHORTEST for value in self.plain):
            raise BadTask(f"a value to be erased has at least {SHORTEST} letters or digits; give it whole")
        spelled = (r"[\W_]{0,3}".join(map(re.escape, value)) for value in sorted(self.plain, key=len, reverse=True))
        self._anywhere = re.compile("|".join(spelled), re.IGNORECASE)

    def is_value(self, value: str) -> bool:
        return _plain(value) in self.plain

    def text(self, text: str) -> str:
        wide = unicodedata.normalize("NFKC", text)
        if self._anywhere.search(text):
            return self._anywhere.sub(CUT, text)
        return self._anywhere.sub(CUT, wide) if self._anywhere.search(wide) else text

    def stored(self, plain: bytes) -> bytes:
        """A stored text without the subject: its very bytes when it does not hold it."""
        try:
            value = json.loads(plain)
        except ValueError:
            return self.text(plain.decode(errors="replace")).encode()
        cut = self.cut(value)
        return plain if cut == value else canonical_json(cut)

    def cut(self, value: JsonValue) -> JsonValue:
        """The value with `[erased]` wherever the subject stands in a string or a number, keys too."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.cut(item) for item in value]
            case dict():
                return {self.text(key): self.cut(item) for key, item in value.items()}
            case bool() | None:
                return value
        return CUT if self._anywhere.fullmatch(str(value)) else value


def _plain(value: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", value).casefold() if c.isalnum())
