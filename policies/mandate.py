"""Plan and mandate: what the model intends, and what a person granted of it.

A plan is written before anything untrusted is read. Once accepted it becomes the run's mandate, which
shrinks by itself as effects are spent and grows only by another approval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from policies.action import (
    Action,
    Command,
    EffectClass,
    Name,
    Pipelines,
    Text,
    Value,
    WorkspacePath,
    canonical_json,
)
from policies.match.path import PathPattern, glob
from policies.match.url import UrlPattern, place
from policies.rows import Row, Table

_parsed = lru_cache(maxsize=1024)(UrlPattern.parse)


class Pins(Value):
    """The arguments of a planned step that are fixed; None leaves one open.

    `url` is a pattern: exact scheme, host and port, a path where `*` is one segment and `**` any rest.
    """

    url: Annotated[Text, AfterValidator(lambda text: _parsed(text) and text)] | None = None
    path: PathPattern | None = None
    server: Name | None = None
    pipelines: Pipelines | None = None
    fields: dict[str, str] | None = None
    tool: Name | None = None
    arguments: dict[str, JsonValue] | None = None

    @cached_property
    def place(self) -> UrlPattern | None:
        """The pinned url as a pattern."""
        return _parsed(self.url) if self.url is not None else None

    def fit(self, action: Action) -> bool:
        """True when every pinned argument stands in `action` as pinned; a pin it has no place for is False.

        An effect may carry a query only if the pin names it: the query travels with it.
        """
        return all(
            _PINNED[name](getattr(self, name), action) for name in Pins.model_fields if getattr(self, name) is not None
        )


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
    """One intended read or effect. `at_most` bounds it; `per_row_of` makes each effect that of one row of a table."""

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
    """How many rows the table has that a step produced, once known."""
    tables: dict[int, Table] = Field(default_factory=dict)
    """Those tables, where another step goes over their rows."""
    used: dict[int, tuple[Row, ...]] = Field(default_factory=dict)
    """The rows that a step was done for."""
    met: frozenset[int] = frozenset()
    """Steps whose `only_if` holds now."""
    hosts: frozenset[str] = frozenset()
    """Host names in the requester's own words: grounds for a sink."""

    def fit(self, action: Action, grounded: frozenset[str] = frozenset()) -> PlannedStep | None:
        """The first step that covers `action` and is not used up; reads use nothing up.

        Nothing fits before acceptance, before the rows a step counts on are known, for no row of them, or while
        its condition does not hold.
        """
        if self.accepted is None or self.accepted.plan_digest != self.plan.digest:
            return None
        return next(
            (
                s
                for s in self.plan.steps
                if s.kind == action.kind
                and self._open(s)
                and s.pins.fit(action)
                and (
                    s.per_row_of is None
                    or action.effect is EffectClass.READ
                    or self.row(s, action, grounded) is not None
                )
            ),
            None,
        )

    def row(self, step: PlannedStep, action: Action, grounded: frozenset[str] = frozenset()) -> Row | None:
        """The row that `action` is for, of those that the step was not done for yet; `grounded` as in `Request`."""
        table = self.tables.get(step.per_row_of) if step.per_row_of is not None else None
        return table.row_for(action, step.pins, self.used.get(step.n, ()), grounded) if table else None

    def _open(self, step: PlannedStep) -> bool:
        most = step.at_most
        if step.per_row_of is not None:
            most = min(most, self.rows.get(step.per_row_of, 0))
        return self.spent.get(step.n, 0) < most and (step.only_if is None or step.n in self.met)


def pinned(step: PlannedStep, action: Action) -> bool:
    """True when the step left nothing open about where `action` lands, so that its acceptance answers for it.

    A click is never pinned: what the control does is known only on the page. A tool without declared sinks
    must have every argument pinned.
    """
    pins, sinks = step.pins, {"url" if name == "target" else name for name in action.sink_fields}
    sinks |= {"pipelines", "tool"} & type(action).model_fields.keys()
    named = getattr(action, "sinks", ()) or getattr(action, "arguments", ())
    return (
        bool(sinks)
        and action.kind != "browser.click"
        and all(getattr(pins, name) is not None for name in sinks)
        and (pins.place is None or (pins.place.names_host is not None and pins.place.glob.literal))
        and (pins.path is None or glob(pins.path).literal)
        and set(named) <= (pins.arguments or {}).keys()
    )


def _url(pattern: str, action: Any) -> bool:
    url = getattr(action, "target", None) or getattr(action, "url", None)
    wanted = _parsed(pattern)
    if url is None or (place(url).query and wanted.query is None and action.effect is not EffectClass.READ):
        return False
    return wanted.matches(url)


def _path(pattern: str, action: Any) -> bool:
    return hasattr(action, "path") and glob(pattern).matches(action.path)


def _fields(wanted: dict[str, str], action: Any) -> bool:
    if action.kind == "browser.fill":
        return wanted == {action.control.name: action.value}
    given = [(f.name, f.value) for f in getattr(action, "fields", ())]
    return all([value for name, value in given if name == key] == [want] for key, want in wanted.items())


def _arguments(wanted: dict[str, JsonValue], action: Any) -> bool:
    given = getattr(action, "arguments", {})
    return all(k in given and canonical_json(given[k]) == canonical_json(want) for k, want in wanted.items())


def _same(field: str) -> Callable[[Any, Any], bool]:
    return lambda wanted, action: getattr(action, field, None) == wanted


_PINNED: dict[str, Callable[[Any, Any], bool]] = {
    "url": _url,
    "path": _path,
    "fields": _fields,
    "arguments": _arguments,
    **{name: _same(name) for name in ("server", "pipelines", "tool")},
}
