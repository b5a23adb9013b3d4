"""What came of a submission. Values, not exceptions; matched to the end."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from policies.action import Value
from policies.labels import Label


class Observation(Value):
    """What the model may see of a result: capped, redacted into handles, labelled."""

    text: str
    data: JsonValue = None
    """The structured result, if the executor has one; redacted like the text."""
    files: tuple[str, ...] = ()
    """Files of the run's folder that were made or changed."""
    rows: int | None = None
    """Number of rows, when the result is a table."""
    exit_code: int | None = None
    label: Label = Label()
    level: str | None = None
    """Confinement that was reached, when a child ran."""


class Done(Value):
    outcome: Literal["done"] = "done"
    observation: Observation


class Refused(Value):
    outcome: Literal["refused"] = "refused"
    rules: tuple[str, ...]
    reason: str
    instead: str = ""


class Waiting(Value):
    outcome: Literal["waiting"] = "waiting"
    question: str


class Failed(Value):
    outcome: Literal["failed"] = "failed"
    reason: str
    may_have_acted: bool = False


class Unknown(Value):
    """An intent without an outcome that nobody may repeat blindly."""

    outcome: Literal["unknown"] = "unknown"
    reason: str


Outcome = Annotated[Done | Refused | Waiting | Failed | Unknown, Field(discriminator="outcome")]
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
