"""The question to the policy: who wants what, under which mandate, influenced by what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from policies.action import Action
from policies.labels import TOP, Label
from policies.mandate import Mandate


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One submission. `(run, seq)` is its key for ever; `now` and `approved_by` arrive as facts."""

    run: str
    seq: int
    epoch: int
    """Number of this advance of the run; an older one may no longer cause effects."""
    action: Action
    principal: str
    mandate: Mandate | None
    """None only for the model call that writes the plan and for the owner's own probes."""
    now: datetime
    context: Label = TOP
    """The join of everything that was in view when this was proposed."""
    attended: bool = True
    turn: int = 0
    """Submissions of one turn are independent; their questions share a card."""
    started_at: datetime | None = None
    """When the run began, less its waits for people, for its limit of time; None for an owner's own probe."""
    grounded: frozenset[str] = frozenset()
    """Those recipients of the action which the requester, a trusted source or a person's endorsement named."""
    leaving: tuple[str, ...] = ()
    """Texts that leave with this action beside its own content: the new messages of a prompt."""
    approved_by: tuple[str, ...] = ()
    """Who said yes to exactly this digest, filled in by the gate."""

    @property
    def key(self) -> str:
        """The idempotency key, stable over repeats."""
        return f"{self.run}:{self.seq}"
