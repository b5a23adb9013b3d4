"""The model's plan: how it is asked for, and how its words become a `Plan`.

The model names tools and pins arguments; our code turns them into action kinds and typed pins. What cannot
be pinned stays open and is judged when it is proposed.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from policies.action import canonical_url
from policies.mandate import CommandSays, Condition, FileHas, PageShows, Pins, Plan, PlannedStep, Postcondition
from tools.catalog import CHANGE_TOOL, KIND_OF, PLAN_TOOL, Catalog, Parser, function, schema_of, sentence
from tools.errors import ToolError


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExpectWords(_Words):
    """How our code can check the step afterwards: a file, a page or a looking command."""

    check: Literal["file", "page", "command"]
    path: str | None = None
    columns: list[str] = []
    min_rows: Annotated[int, Field(ge=0)] = 0
    url: str | None = None
    server: str | None = None
    command: str | None = None
    text: str | None = None


class OnlyIfWords(_Words):
    """The step runs only if the latest result of an earlier step says this word."""

    step: int
    says: str


class StepWords(_Words):
    """One step: what it does and the arguments that are fixed now."""

    title: str
    tool: str
    url: str | None = None
    path: str | None = None
    server: str | None = None
    command: str | None = None
    fields: dict[str, str] | None = None
    arguments: dict[str, JsonValue] | None = None
    at_most: Annotated[int, Field(ge=1, le=1000)] = 1
    per_row_of: int | None = None
    only_if: OnlyIfWords | None = None
    expect: ExpectWords | None = None


class PlanWords(_Words):
    """The plan for the task, written before anything is read. Url paths may hold * (one part) and ** (any rest)."""

    summary: str
    steps: Annotated[list[StepWords], Field(min_length=1, max_length=40)]
    deliverables: list[str] = []


class ChangeWords(_Words):
    """Further steps that the task turned out to need. A person sees them before they count."""

    why: str
    steps: Annotated[list[StepWords], Field(min_length=1, max_length=20)]


def plan_tool() -> JsonValue:
    """The tool by which the model hands in its plan."""
    return function(PLAN_TOOL, PlanWords.__doc__ or "", schema_of(PlanWords))


def change_tool() -> JsonValue:
    """The tool by which the model proposes further steps."""
    return function(CHANGE_TOOL, ChangeWords.__doc__ or "", schema_of(ChangeWords))


def plan_of(arguments: dict[str, JsonValue], catalog: Catalog, parse: Parser) -> Plan:
    """The typed plan; ToolError with a sentence for the model."""
    try:
        words = PlanWords.model_validate(arguments)
        steps = tuple(_step(n, w, catalog, parse) for n, w in enumerate(words.steps, 1))
        return Plan(summary=words.summary, steps=steps, deliverables=tuple(words.deliverables))
    except ValidationError as error:
        raise ToolError(f"the plan is not usable: {sentence(error)}") from None


def changed_plan(plan: Plan, arguments: dict[str, JsonValue], catalog: Catalog, parse: Parser) -> Plan:
    """`plan` with the proposed steps added at its end; what was granted keeps its numbers."""
    try:
        words = ChangeWords.model_validate(arguments)
        more = tuple(_step(n, w, catalog, parse) for n, w in enumerate(words.steps, len(plan.steps) + 1))
        return Plan(summary=plan.summary, steps=(*plan.steps, *more), deliverables=plan.deliverables)
    except ValidationError as error:
        raise ToolError(f"the change is not usable: {sentence(error)}") from None


def hosts_in(text: str) -> frozenset[str]:
    """Host names that stand in a person's own words, as grounds for a sink."""
    found = re.findall(r"(?<![\w@.-])(?:https?://)?((?:[a-z0-9-]+\.)+[a-z][a-z0-9-]+)(?![\w@-])", text.lower())
    return frozenset(h for h in found if not h.endswith((".xlsx", ".csv", ".txt", ".md", ".json", ".pdf", ".log")))


def _step(n: int, words: StepWords, catalog: Catalog, parse: Parser) -> PlannedStep:
    own = words.tool in catalog.own_names
    kind = "tool.call" if own else KIND_OF.get(words.tool)
    if kind is None:
        known = ", ".join((*KIND_OF, *catalog.own_names))
        raise ToolError(f"step {n}: there is no tool {words.tool!r}; plan with: {known}")
    if words.url is not None:
        # a pattern is a url once its wildcards are letters
        canonical_url(words.url.replace("*", "x"))
    for earlier in (words.per_row_of, words.only_if.step if words.only_if else None):
        if earlier is not None and not 1 <= earlier < n:
            raise ToolError(f"step {n} refers to step {earlier}, which is not before it")
    try:
        pins = Pins(
            url=words.url,
            path=words.path,
            server=words.server,
            pipelines=parse(words.command, glob=None) if words.command else None,
            fields=words.fields,
            tool=words.tool if own else None,
            arguments=words.arguments if own else None,
        )
        return PlannedStep(
            n=n,
            title=words.title,
            kind=kind,
            pins=pins,
            at_most=words.at_most,
            per_row_of=words.per_row_of,
            only_if=Condition(**words.only_if.model_dump()) if words.only_if else None,
            expect=_expect(words.expect, parse) if words.expect else None,
        )
    except (ValidationError, ToolError) as error:
        said = sentence(error) if isinstance(error, ValidationError) else str(error)
        raise ToolError(f"step {n}: {said}") from None


def _expect(words: ExpectWords, parse: Parser) -> Postcondition:
    match words.check:
        case "file":
            if not words.path:
                raise ToolError("expect with check=file needs a path")
            return FileHas(path=words.path, columns=tuple(words.columns), min_rows=words.min_rows)
        case "page":
            if not words.url or not words.text:
                raise ToolError("expect with check=page needs url and text")
            return PageShows(url=words.url, text=words.text)
        case "command":
            if not words.command or not words.text:
                raise ToolError("expect with check=command needs command and text")
            return CommandSays(server=words.server, pipelines=parse(words.command, glob=None), text=words.text)
