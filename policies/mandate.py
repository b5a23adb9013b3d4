"""Plan and mandate: what the model intends, and what a person granted of it.

A plan is written before anything untrusted is read. Once accepted it becomes the run's mandate, which
shrinks by itself as effects are spent and grows only by another approval.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from policies.action import (
    Command,
    Name,
    Pipelines,
    Text,
    Value,
    WorkspacePath,
    canonical_json,
)


class Pins(Value):
    """The arguments of a planned step that are fixed; None leaves one open.

    `url` is a pattern: exact scheme, host and port, a path where `*` is one segment and `**` any rest.
    """

    url: Text | None = None
    path: Text | None = None
    server: Name | None = None
    pipelines: Pipelines | None = None
    fields: dict[str, str] | None = None
    tool: Name | None = None
    arguments: dict[str, JsonValue] | None = None


class FileHas(Value):
    """A file of the run's folder exists, with these columns and at least so many rows."""

    check: Literal["file"] = "file"
    path: WorkspacePath
    columns: tuple[Text, ...] = ()
    min_rows: Annotated[int, Field(ge=0)] = 0


class PageShows(Value):
    """A page shows a text."""

    check: Literal["page"] = "page"
    url: Text
    text: Annotated[Text, Field(min_length=1)]


class CommandSays(Value):
    """A looking command on a server (or in the run's folder) prints a text as a whole word."""

    check: Literal["command"] = "command"
    server: Name | None = None
    pipelines: tuple[tuple[Command, ...], ...]
    text: Annotated[Text, Field(min_length=1)]


Postcondition = Annotated[FileHas | PageShows | CommandSays, Field(discriminator="check")]


class Condition(Value):
    """A step may run only after the latest result of step `step` held `says` as a whole word."""

    step: int
    says: Annotated[Text, Field(min_length=1)]


class PlannedStep(Value):
    """One intended read or effect. `at_most` bounds it; `per_row_of` bounds it further by a table's rows."""

    n: Annotated[int, Field(ge=1)]
    title: Text
    kind: str
    """An action kind, such as `browser.submit`."""
    pins: Pins = Pins()
    at_most: Annotated[int, Field(ge=1, le=1000)] = 1
    per_row_of: int | None = None
    only_if: Condition | None = None
    expect: Postcondition | None = None


class Plan(Value):
    """The effects the model intends, in order, with what it will deliver."""

    summary: Text
    steps: Annotated[tuple[PlannedStep, ...], Field(max_length=40)]
    deliverables: tuple[WorkspacePath, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical form; an acceptance binds it."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()


class Acceptance(Value):
    """Who granted the plan, when, under which policy; `by` is `rule:<id>` when a rule did."""

    by: Text
    at: datetime
    plan_digest: str
    policy_digest: str


class Mandate(Value):
    """What a run may do: an accepted plan less what is spent."""

    plan: Plan
    accepted: Acceptance | None = None
    spent: dict[int, int] = Field(default_factory=dict)
    rows: dict[int, int] = Field(default_factory=dict)
    """Rows of the table that a step produced, once known."""
    met: frozenset[int] = frozenset()
    """Steps whose `only_if` holds now."""
    hosts: frozenset[str] = frozenset()
    """Host names in the requester's own words: grounds for a sink."""
