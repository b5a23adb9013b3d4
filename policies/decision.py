"""The answer of the policy: an effect, the rules behind it, a reason, and what must be kept to."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

from pydantic import Field, model_validator

from policies.action import Value


class Effect(IntEnum):
    """ALLOW < ASK < DENY: the strictest that matches wins."""

    ALLOW = 0
    ASK = 1
    DENY = 2


class AskMode(StrEnum):
    """How a person is asked: with the plan, on one card for a step, or one by one."""

    PLAN = "plan"
    BATCH = "batch"
    EACH = "each"


class Approvers(Value):
    """Who and how many must answer, and how long the question stands."""

    groups: tuple[str, ...] = ()
    """Every answer must come from somebody who is in all of these."""
    not_requester: bool = False
    answers: int = Field(default=1, ge=1, le=9)
    within_s: int = Field(default=24 * 3600, ge=60)
    otherwise: str = "skip"

    @model_validator(mode="before")
    @classmethod
    def _as_stored_before(cls, given: Any) -> Any:
        """Cards were stored with one `group`, which no rule that loaded could name."""
        if isinstance(given, dict) and "group" in given:
            given = dict(given)
            group = given.pop("group")
            given.setdefault("groups", (group,) if group else ())
        return given

    @property
    def anyone(self) -> bool:
        """True when one answer of whoever has access is enough."""
        return not self.groups and not self.not_requester and self.answers == 1


class Reservation(Value):
    """`amount` to be taken, with the intent, from what `key` may use in one window; never above `limit`."""

    key: str
    limit: int
    amount: int = 1
    window: str = "run"
    """`run`, `hour`, `day`, `week` or `month` (UTC calendar, ISO weeks)."""
    unit: str = ""
    scale: int = 1
    """How many of `amount` are one of what people count."""
    by: str = ""
    """Counts apart for this value."""
    members: tuple[str, ...] = ()
    """If given, each that is new in the window takes one, instead of `amount`."""


class Obligations(Value):
    """What holds while the action is carried out."""

    restore: frozenset[str] = frozenset()
    """Types of handles that may be opened at this sink."""
    secrets: frozenset[str] = frozenset()
    """Names of the secrets this action may use."""
    least_level: str = "namespaces"
    reservations: tuple[Reservation, ...] = ()


class Decision(Value):
    """`planned` is the plan's step this spends; `ask` and `approvers` tell how to ask on ASK."""

    effect: Effect
    rules: tuple[str, ...] = ()
    reason: str
    instead: str = ""
    """What would be allowed, when the effect is DENY."""
    planned: int | None = None
    row: tuple[str, ...] | None = None
    """The row of a table that this is for, where the step goes over its rows."""
    ask: AskMode | None = None
    approvers: Approvers = Approvers()
    obligations: Obligations = Obligations()
    policy_digest: str = ""
