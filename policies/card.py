"""What a person reads before answering: drawn by our code from the action, every character visible, nothing cut."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from policies.action import Action, Command, FormField, Sheet
from policies.decision import Decision
from policies.dryrun import Preflight
from policies.mandate import Plan, PlannedStep
from policies.question import visible

Lines = tuple[tuple[str, str], ...]
_TITLES = {
    "file.read": "read {path}",
    "file.list": "list the files of this run",
    "file.write": "write {path}",
    "table.read": "read the table {path}",
    "table.write": "write the table {path}",
    "shell.run": "run a command in this run's folder",
    "browser.open": "open {url}",
    "browser.read": "read {url}",
    "browser.fill": "fill {control.name!r} on {url}",
    "browser.click": "press {control.name!r} on {url} ({does})",
    "browser.submit": "send a form to {target} ({does})",
    "browser.download": "download {target}",
    "browser.screenshot": "take a picture of {url}",
    "server.run": "run a command on {server}",
    "server.read": "read {path} on {server}",
    "server.write": "write {path} on {server}",
    "model.call": "ask the model {model} at {endpoint}",
    "tool.call": "call the tool {tool}",
}
_LABELS = {"url": "page", "target": "to", "pipelines": "command", "path": "file"}
_UNSAID = frozenset({"kind", "does", "encoding", "declaration", "declared_repeat", "sinks", "prompt_digest"})
"""Fields that the title says, or that tell a person nothing."""


def action_card(action: Action, decision: Decision) -> tuple[str, Lines]:
    """Title and (label, text) lines of an action. A form's or tool's own names stand after `field` or `argument`."""
    lines = [line for name in type(action).model_fields if name not in _UNSAID for line in _field(action, name)]
    if decision.planned is not None:
        lines.append(("planned", f"step {decision.planned} of the plan"))
    if decision.obligations.secrets:
        lines.append(("secrets", ", ".join(sorted(decision.obligations.secrets))))
    if decision.rules:
        lines.append(("rules", ", ".join(decision.rules)))
    lines.append(("why", decision.reason))
    title = _TITLES[action.kind].format_map(dict(action))
    return _one_line(title), tuple((label, text) for label, raw in lines for label, text in _visible(label, raw))


def plan_card(plan: Plan, preflight: Preflight, *, before: Plan | None = None, why: str = "") -> tuple[str, Lines]:
    """Title and lines of a plan: for each step what is pinned, how often, and what the policy says to it.

    Of a change: what the model gives as its reason, and which steps the plan accepted `before` does not have.
    """
    lines = [("summary", plan.summary)]
    lines += [("reason", why)] if why else []
    for step, row in zip(plan.steps, preflight.rows, strict=True):
        new = "NEW " if before is not None and step not in before.steps else ""
        lines.append((str(step.n), f"{new}{_planned(step)}: {row.verdict}"))
        if row.verdict in ("refused", "depends"):
            lines.append(("why", row.reason))
    lines += [("delivers", path) for path in plan.deliverables]
    flags = {"untrusted": "reads what strangers wrote", "private": "reads private data", "way_out": "can send"}
    lines.append(("reach", ", ".join(text for name, text in flags.items() if getattr(preflight, name)) or "nothing"))
    title = f"a plan of {len(plan.steps)} steps; questions expected: {preflight.questions_expected}"
    return title, tuple((label, text) for label, raw in lines for label, text in _visible(label, raw))


def command_text(pipelines: tuple[tuple[Command, ...], ...]) -> str:
    """Pipelines as a person would type them, quoted so that each argument can be told apart."""
    return " && ".join(" | ".join(_command(command) for command in pipeline) for pipeline in pipelines)


def _command(command: Command) -> str:
    words = [shlex.join(command.argv)]
    words += [f"< {shlex.quote(command.stdin)}"] if command.stdin is not None else []
    words += [f"{'>>' if command.append else '>'} {shlex.quote(command.stdout)}"] if command.stdout is not None else []
    return " ".join(words)


def _field(action: Action, name: str) -> Iterator[tuple[str, str]]:
    value = getattr(action, name)
    if name == "pipelines":
        yield "command", command_text(value)
    elif name == "control":
        yield "control", f"{value.role} {value.name!r}"
    elif name == "fields":
        yield from ((f"field {_one_line(f.name)}", f.value) for f in value if isinstance(f, FormField))
    elif name == "sheets":
        yield from (line for sheet in value for line in _sheet(sheet))
    elif name == "arguments":
        yield from ((f"argument {_one_line(k)}", _json(v)) for k, v in sorted(value.items()))
    elif value is not None:
        yield _LABELS.get(name, name.replace("_", " ")), str(value)


def _sheet(sheet: Sheet) -> Iterator[tuple[str, str]]:
    yield "sheet", f"{sheet.name}, {len(sheet.rows)} rows"
    yield "columns", _json(list(sheet.columns))
    yield from ((f"row {n}", _json(list(row))) for n, row in enumerate(sheet.rows, 1))


def _planned(step: PlannedStep) -> str:
    pins = step.pins.model_dump(mode="json", exclude_none=True, exclude={"pipelines"})
    words = [step.kind, *(f"{k}={v if isinstance(v, str) else _json(v)}" for k, v in pins.items())]
    if step.pins.pipelines:
        words.append(command_text(step.pins.pipelines))
    words.append(f"at most {step.at_most}" if step.at_most > 1 else "once")
    words += [f"one per row of step {step.per_row_of}"] if step.per_row_of is not None else []
    words += [f"if step {step.only_if.step} says {step.only_if.says!r}"] if step.only_if else []
    return ", ".join(words)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "⏎")


def _visible(label: str, text: str) -> Iterator[tuple[str, str]]:
    first, *rest = visible(text).split("\n")
    yield label, first
    yield from (("", line) for line in rest)
