"""What the gate needs of others, as protocols: executors, the records, the clock, the redactor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import JsonValue

from policies.decision import Reservation
from policies.labels import Label
from policies.ledger import Draft
from policies.outcome import Outcome
from policies.permit import Permit
from policies.question import Question


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The time, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """An executor's result before redaction; `label` says where it came from."""

    text: str
    data: JsonValue = None
    files: tuple[str, ...] = ()
    rows: int | None = None
    exit_code: int | None = None
    label: Label = field(default_factory=Label)
    level: str | None = None
    tokens: int | None = None
    """Tokens a model call used, all tries together."""
    micros: int | None = None
    """What it cost, in millionths of the price's currency."""


class Executor(Protocol):
    """Carries out actions of its kinds. Raises ActionFailed; anything else is our bug: unknown."""

    kinds: frozenset[str]

    async def execute(self, permit: Permit) -> Raw:
        """Do the permitted action once."""

    async def probe(self, permit: Permit) -> Raw | None:
        """After a crash: the result if it happened, None if it certainly did not; ActionFailed if unclear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """The one row of a key `(run, seq)`. `outcome` is None while an intent is open; Waiting while asked."""

    run: str
    seq: int
    digest: str
    outcome: Outcome | None
    planned: int | None = None
    row: tuple[str, ...] | None = None
    """The row that `spend` uses up, where the step goes over the rows of a table; only on its way in."""


class Records(Protocol):
    """The store behind the gate. Raises RecordsUnavailable when it cannot read or write.

    Every method is one transaction.
    """

    def submission(self, run: str, seq: int) -> Submission | None:
        """The row of this key."""

    def commit(
        self,
        submission: Submission,
        entries: Sequence[Draft],
        *,
        epoch: int,
        question: Question | None = None,
        reserve: Sequence[Reservation] = (),
        give_back: Sequence[Reservation] = (),
        spend: int | None = None,
        unspend: int | None = None,
        now: datetime,
    ) -> None:
        """Write it all or nothing: the row, its ledger entries, the question, limits and the mandate.

        `question` is written or replaced by id. Raises StaleEpoch when `epoch` is not the run's current
        one, LimitReached when a reservation does not fit, and then writes nothing.
        """

    def open_question(self, run: str, turn: int) -> Question | None:
        """The still unanswered batch question of a turn, to which further rows may be added."""

    def question(self, id: str) -> Question | None:
        """A question by its id."""


class Redaction(Protocol):
    """What the gate needs of the redactor."""

    def redact_text(self, text: str) -> str:
        """`text` with every detected value as a handle, look-alikes escaped."""

    def redact_json(self, value: JsonValue) -> JsonValue:
        """The same for every string inside a JSON value, keys included."""

    def restore(self, text: str, allowed: frozenset[str]) -> str:
        """Handles of allowed types restored; RedactionError for any other."""

    def handle_types(self, text: str) -> frozenset[str]:
        """Types of the handles in `text`; RedactionError for a handle that this run never made."""

    def leaks(self, text: str) -> tuple[str, ...]:
        """Types of protected values that stand raw in `text`."""
