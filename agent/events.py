"""What a run tells whoever watches it, as it happens. Watching never changes a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from policies.action import Action
from policies.outcome import Outcome
from policies.question import Question

Kind = Literal["plan", "thinking", "started", "outcome", "question", "verified", "trouble", "ended"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened; texts hold handles, never protected values."""

    kind: Kind
    text: str = ""
    action: Action | None = None
    outcome: Outcome | None = None
    question: Question | None = None
    step: int | None = None
    """Number of the planned step it belongs to."""
    steps: int = 0
    tokens: int = 0
    money_micros: int = 0
    """What the run has used so far, money in millionths of the price's currency."""
    more: dict[str, str] = field(default_factory=dict)


Watcher = Callable[[Event], None]


def nobody(_: Event) -> None:
    """The watcher that looks away."""
