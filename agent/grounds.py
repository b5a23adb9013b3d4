"""Whose words name a recipient in a run: the requester's, a trusted source's, or a person's who endorsed the value."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from agent.store.store import Store
from policies.action import Action, canonical_json
from policies.grounds import asked_in, recipients, stands_in, trusted_fields, words_of
from policies.labels import Integrity
from policies.ledger import Draft
from policies.outcome import Done, Observation
from policies.rules import Policy

_SOURCES, _ENDORSED = "sources", "endorsed"
_Told = tuple[tuple[str, ...], str]


class Grounds:
    """The grounds of one run. What a submission gave never changes, so it is read once."""

    def __init__(self, store: Store, run: str, task: str) -> None:
        self._store, self._run, self._task = store, run, task
        self._texts: dict[str, _Told] = {}

    def of(self, action: Action) -> frozenset[str]:
        """Those recipients of `action` that one of these named, each whole."""
        wanted = {value for values in recipients(action).values() for value in values}
        if not wanted:
            return frozenset()
        endorsed = self._store.documents.get(self._run, _ENDORSED) or {}
        named = {value for value in wanted if value in endorsed or stands_in(value, self._task)}
        for texts, asked in self._told():
            named |= {v for v in wanted if any(stands_in(v, text) for text in texts) and not stands_in(v, asked)}
        return frozenset(named)

    def note(self, policy: Policy, action: Action, seq: int, seen: Observation) -> None:
        """Keep that what submission `seq` gave is, or holds, the words of a trusted source. Again is the same."""
        whole = seen.label.integrity is Integrity.SOURCE
        fields = [] if whole else trusted_fields(policy.trust, action, seen.label, seen.data)
        if whole or fields:
            known = self._store.documents.get(self._run, _SOURCES) or {}
            told = {"kind": action.kind, "fields": fields, "asked": asked_in(action)}
            self._store.documents.put(self._run, _SOURCES, known | {str(seq): told})

    def _told(self) -> Iterable[_Told]:
        """The words of trusted sources so far, each with what it was asked."""
        for seq, told in (self._store.documents.get(self._run, _SOURCES) or {}).items():
            if seq not in self._texts:
                row = self._store.records.submission(self._run, int(seq))
                seen = row.outcome.observation if row and isinstance(row.outcome, Done) else None
                texts = words_of(told["kind"], told["fields"], seen.text, seen.data) if seen else ()
                self._texts[seq] = texts, told["asked"]
        return self._texts.values()


def endorse(store: Store, run: str, value: str, *, by: str, because: str, now: datetime) -> None:
    """Record that a person raised one value, written as the model sees it, to name a recipient in this run.

    It changes whose word the value is, not what may be done with it: rules, plan and limits hold as ever.
    """
    with store.runs.changing(run):
        known = store.documents.get(run, _ENDORSED) or {}
        told = {"by": by, "because": because, "at": now.isoformat()}
        store.documents.write(run, _ENDORSED, canonical_json(known | {value: told}))
        entry = Draft(event="endorsed", seq=0, facts={"by": by}, body={"value": value, "because": because})
        store.ledger.extend(run, [entry], epoch=None, now=now)
