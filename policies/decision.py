"""The answer of the policy: an effect, the rules behind it, a reason, and what must be kept to."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from pydantic import Field

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
    """How many must answer, and how long the question stands."""

    group: str | None = None
    """Part of the stored format; no rule that loads names one yet."""
    answers: int = Field(default=1, ge=1, le=9)
    within_s: int = Field(default=24 * 3600, ge=60)
    otherwise: str = "skip"


class Reservation(Value):
    """`amount` to be taken, with the intent, from what `key` may use in one window; never above `limit`."""

    key: str
    limit: int
    amount: int = 1
    window: str = "run"
    """`run`, `hour` or `day` (UTC calendar)."""


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
    ask: AskMode | None = None
    approvers: Approvers = Approvers()
    obligations: Obligations = Obligations()
    policy_digest: str = ""
