"""What a run has done so far, read back from its ledger. Not for the hot path: it reads the whole chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agent.store.store import Store
from policies.action import ACTION, Action


def action_of(store: Store, run: str, seq: int) -> Action | None:
    """The action that was submitted under this number, if one was."""
    if store.records.submission(run, seq) is None:
        return None
    found = None
    for entry in store.ledger.entries(run):
        if entry.seq == seq and entry.event in ("asked", "intent", "denied"):
            found = entry.index
    body = store.ledger.body(run, found) if found is not None else None
    return ACTION.validate_python(body["action"]) if isinstance(body, dict) and "action" in body else None


def done_actions(store: Store, run: str, *, prefix: str, before: int) -> Iterator[tuple[int, Action]]:
    """The actions of some kinds that were carried out, in order, up to a number."""
    intents = {}
    for entry in store.ledger.entries(run):
        kind = str(entry.facts.get("kind", ""))
        if entry.event == "intent" and kind.startswith(prefix) and entry.seq < before:
            intents[entry.seq] = entry.index
        elif entry.event == "done" and entry.seq in intents:
            body = store.ledger.body(run, intents.pop(entry.seq))
            if isinstance(body, dict):
                yield entry.seq, ACTION.validate_python(body["action"])


def counted(store: Store, run: str) -> Counter[str]:
    """How often each event occurred."""
    return Counter(entry.event for entry in store.ledger.entries(run))


def refused_steps(store: Store, run: str) -> dict[int, str]:
    """The planned steps of which something was refused, by a person too, each with the reason given last."""
    planned, found = {}, {}
    for entry in store.ledger.entries(run):
        if entry.event in ("asked", "denied") and isinstance(step := entry.facts.get("planned"), int):
            planned[entry.seq] = step
        if entry.event == "denied" and entry.seq in planned:
            body = store.ledger.body(run, entry.index)
            found[planned[entry.seq]] = str(body.get("reason", "")) if isinstance(body, dict) else ""
    return found


def said_no(store: Store, run: str) -> int:
    """How often a person said no to an action."""
    denied = (e.facts.get("rules") for e in store.ledger.entries(run) if e.event == "denied")
    return sum(rules == ["person"] for rules in denied)


def failed_steps(store: Store, run: str) -> dict[int, str]:
    """The planned steps of which something failed or is not known, each with what was said of it last."""
    planned, found = {}, {}
    for entry in store.ledger.entries(run):
        if entry.event == "intent":
            planned[entry.seq] = entry.facts.get("planned")
        elif entry.event in ("failed", "unknown") and isinstance(step := planned.get(entry.seq), int):
            body = store.ledger.body(run, entry.index)
            found[step] = str(body.get("reason", "")) if isinstance(body, dict) else ""
    return found
