"""Whose words name a recipient in a run: the requester's, a trusted source's, or a person's who endorsed the value."""

from __future__ import annotations

from agent.store.store import Store
from policies.action import Action, canonical_json
from policies.grounds import recipients, stands_in, trusted_fields
from policies.labels import Integrity
from policies.outcome import Done, Observation
from policies.rules import Policy

_SOURCES = "sources"


class Grounds:
    """The grounds of one run. What a submission gave never changes, so it is read once."""

    def __init__(self, store: Store, run: str, task: str) -> None:
        self._store, self._run, self._task = store, run, task
        self._texts: dict[str, tuple[str, ...]] = {}

    def of(self, action: Action) -> frozenset[str]:
        """Those recipients of `action` that one of these named, each whole."""
        wanted = {value for values in recipients(action).values() for value in values}
        if not wanted:
            return frozenset()
        texts = [self._task, *self._told()]
        return frozenset(value for value in wanted if any(stands_in(value, text) for text in texts))

    def note(self, policy: Policy, action: Action, seq: int, seen: Observation) -> None:
        """Keep that what submission `seq` gave is, or holds, the words of a trusted source. Again is the same."""
        whole = seen.label.integrity is Integrity.SOURCE
        fields = [] if whole else trusted_fields(policy.trust, action, seen.label, seen.data)
        if whole or fields:
            known = self._store.documents.get(self._run, _SOURCES) or {}
            self._store.documents.put(self._run, _SOURCES, known | {str(seq): fields})

    def _told(self) -> list[str]:
        """The words of trusted sources so far."""
        for seq, fields in (self._store.documents.get(self._run, _SOURCES) or {}).items():
            if seq not in self._texts:
                row = self._store.records.submission(self._run, int(seq))
                outcome = row.outcome if row else None
                self._texts[seq] = _words(outcome.observation, fields) if isinstance(outcome, Done) else ()
        return [text for texts in self._texts.values() for text in texts]


def _words(seen: Observation, fields: list[str]) -> tuple[str, ...]:
    if not fields:
        return (seen.text,)
    data = seen.data if isinstance(seen.data, dict) else {}
    return tuple(canonical_json(data[name]).decode() for name in fields if name in data)
