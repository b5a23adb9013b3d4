"""The state of a run between two steps: plain JSON, small, with a version.

Texts, plans and results live in the store; the state only says where the run stands.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from pydantic import JsonValue

GRAPH_VERSION = 1
"""Raised when node names or state keys change their meaning; another version parks the run."""


class PendingCall(TypedDict):
    """One tool call of the current turn. `seq` is its submission, None while it has none."""

    id: str
    name: str
    arguments: dict[str, JsonValue] | None
    fault: str | None
    repaired: bool
    seq: int | None
    done: bool
    waits_for: str | None
    """Id of the question it waits for."""


class State(TypedDict):
    """Where the run stands. `label` is the join of everything read so far, as JSON."""

    version: int
    run: str
    seq: int
    """Next submission."""
    turn: int
    """Number of the model's turn; its calls share a card."""
    messages: int
    calls: list[PendingCall]
    label: dict[str, JsonValue]
    faults: int
    """Unusable turns in a row."""
    same: int
    """Turns running in which the model asked for the same calls."""
    checking: int
    """Next planned step whose postcondition is to be checked; 0 while the model works."""
    trouble: NotRequired[str | None]
    """Why the run must be held, in one sentence."""
    end: NotRequired[str | None]
    """How it ended: done, rejected, failed, previewed."""


def fresh(run: str) -> State:
    """The state a run begins with."""
    return State(
        version=GRAPH_VERSION,
        run=run,
        seq=1,
        turn=0,
        messages=0,
        calls=[],
        label={},
        faults=0,
        same=0,
        checking=0,
        trouble=None,
        end=None,
    )
