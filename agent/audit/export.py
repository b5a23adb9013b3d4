"""The ledger as JSON lines, for other tools: to keep, to check with another program, to judge by another policy.

Format 1. Every line is one JSON object in UTF-8; `type` says which:

- `export`, always first: `format` 1, `at`, `decisions` (True: without contents), `whole` (True: every run of the
  store), and `keys`: the public halves (hex) of the Ed25519 keys that sign checkpoints, by their names.
- `run`, before the entries of its run: `run`, `created_at`, `principal`, `policy` (digest), `length`, `head`.
- `entry`, in the order of the chain: the fields of `policies.ledger.Entry` (`run`, `index`, `version`, `at`, `event`,
  `seq`, `facts`, `body_digest`, `prev`, `hash`; `hash` is SHA-256 over the canonical JSON of those fields without
  `hash`: sorted keys, no spaces, UTF-8), and
    - `body`: what the entry was recorded with; left out with `decisions`, and when it has none or was erased;
    - `replay`, where the event is `intent`, `asked` or `denied` and it is about an action (below);
    - `plan`, where the event is `plan`: the plan that was accepted; `facts.plan` is its digest.
- `checkpoint`, at the end: `policies.ledger.Checkpoint`, the signed places that chains had reached.

`replay` holds what a decision was made from:

- `action`: its canonical JSON, `ACTION.validate_python` takes it. `whole`: False when contents were masked or
  redacted; `facts.action` is the digest of the original all the same.
- `context`: a `Label` as JSON (`integrity` number, `readers` list or null, `origins` list) of what was in view.
- `grounded`: those recipients that the requester, a trusted source or an endorsement named (a list).
- `attended`, `turn`, `approved_by` (a list; those whose yes was counted), `started_at` (or null).
- `mandate`: null, or `plan` (digest, of a `plan` line before it in the run), `accepted` (bool), `spent` and `rows`
  ({step: count}), `met` and `hosts` (lists). The tables that steps per row go over are contents, and are not here:
  that a row was left is told by `facts.planned` alone, the step that covered the action then. With masked contents
  the plan's own digest is another one.
- `missing`: names of those of the above that were not recorded, by an older version or as the run was erased; then
  they are null here, and must be taken as not known, never as empty.
- what was decided stands in `facts`: `decision` (allow, ask, deny), `rules`, `policy` (digest), `planned`,
  `principal`, `kind`, `effect`, `integrity`. When it was is `at`.

Masked contents: texts that only travel (a file's text, cells of a table, values of fields, arguments of a tool that
are no sinks) and a plan's words become `‹10 hex digits› ⟦handles⟧`: handles stay, and equal texts of a run stay equal,
so that a pinned value still fits. Paths, urls, commands and short numbers (for limits on sums) stay as they are.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from agent.errors import StoreUnreadable
from agent.store.store import Store
from policies.ledger import Entry
from policies.redact.handle import handles_in

FORMAT = 1
DECIDED = ("intent", "asked", "denied")
"""Events about an action that was judged."""
_FACTS = ("context", "grounded", "attended", "turn", "started_at", "mandate")
_NUMBER = re.compile(r"[-+]?[\d,.]{1,12}")
Line = dict[str, Any]
Mask = Callable[[str], str]


def lines(store: Store, runs: Sequence[str] | None, *, at: datetime, decisions: bool) -> Iterator[Line]:
    """Every line of the export of these runs; of all with None."""
    known = store.ledger.heads()
    wanted = [*known] if runs is None else [run for run in known if run in runs]
    head = {"type": "export", "format": FORMAT, "at": at.isoformat(), "decisions": decisions}
    yield head | {"whole": len(wanted) == len(known), "keys": store.ledger.public()}
    for name in wanted:
        run = store.runs.get(name)
        about = {"created_at": run.created_at.isoformat(), "principal": run.principal, "policy": run.policy_digest}
        length, end = known[name]
        yield {"type": "run", "run": name, **about, "length": length, "head": end}
        yield from _entries(store, name, length, decisions)
    for checkpoint in store.ledger.checkpoints():
        yield {"type": "checkpoint", **checkpoint.model_dump(mode="json")}


def _entries(store: Store, run: str, length: int, decisions: bool) -> Iterator[Line]:
    bodies = store.ledger.bodies(run)
    mask = _mask(store, run) if decisions else None
    for entry in store.ledger.entries(run)[:length]:
        body, line = bodies.get(entry.index), {"type": "entry", **entry.model_dump(mode="json")}
        if body is not None and not decisions:
            line["body"] = body
        if entry.event in DECIDED and "kind" in entry.facts:
            line["replay"] = replay(entry, body if isinstance(body, dict) else {}, mask)
        if entry.event == "plan":
            line["plan"] = _plan(body, mask, _sinks(bodies)) if body and mask else body
        yield line


def replay(entry: Entry, body: Mapping[str, JsonValue], mask: Mask | None = None) -> Line:
    """What a decision was made from, with its contents masked or as they are."""
    action: Any = body.get("action")
    shown = _masked_action(action, mask) if action is not None and mask else action
    found = {"action": shown, "whole": shown == action and entry.event != "denied"}
    found |= {"approved_by": entry.facts.get("approved_by", []), **{name: body.get(name) for name in _FACTS}}
    found["missing"] = [name for name in ("action", *_FACTS) if name not in body]
    return found


def _mask(store: Store, run: str) -> Mask:
    try:
        key = store.run_key(run)
    except StoreUnreadable:  # erased: there is nothing to mask
        return lambda text: ""

    def mask(text: str) -> str:
        digest = hmac.digest(key, b"export" + text.encode("utf-8", "surrogatepass"), "sha256").hex()[:10]
        return " ".join([f"‹{digest}›", *(handle for _, handle in handles_in(text))])

    return mask


def _masked_action(action: Mapping[str, Any], mask: Mask) -> Line:
    shown, sinks = dict(action), set(action.get("sinks", ()))
    for name in ("text", "value"):
        if name in shown:
            shown[name] = mask(shown[name])
    if "fields" in shown:
        shown["fields"] = [{**field, "value": _value(field["value"], mask)} for field in shown["fields"]]
    if "sheets" in shown:
        shown["sheets"] = [
            {**sheet, "rows": [[mask(str(cell)) for cell in row] for row in sheet["rows"]]} for sheet in shown["sheets"]
        ]
    if "arguments" in shown:
        given = shown["arguments"].items()
        shown["arguments"] = {name: value if name in sinks else _value(value, mask) for name, value in given}
    return shown


def _value(value: Any, mask: Mask) -> Any:
    """A value with its texts masked; numbers stay."""
    match value:
        case str():
            return value if _NUMBER.fullmatch(value) else mask(value)
        case list():
            return [_value(item, mask) for item in value]
        case dict():
            return {name: _value(item, mask) for name, item in value.items()}
    return value


def _sinks(bodies: Mapping[int, JsonValue]) -> set[str]:
    """Names of arguments that say where a tool's call lands: they are shown, in the plan too."""
    actions: list[Any] = [body.get("action") for body in bodies.values() if isinstance(body, dict)]
    return {name for action in actions if action for name in action.get("sinks", ())}


def _plan(plan: Any, mask: Mask, sinks: set[str]) -> Line:
    steps = []
    for step in plan["steps"]:
        shown, pins = {**step, "title": mask(step["title"])}, dict(step.get("pins") or {})
        for name in ("fields", "arguments"):
            if pins.get(name):
                given = pins[name].items()
                pins[name] = {key: value if key in sinks else _value(value, mask) for key, value in given}
        if (condition := shown.get("only_if")) is not None:
            shown["only_if"] = {**condition, "says": mask(condition["says"])}
        steps.append(shown | {"pins": pins, "expect": None})
    return {**plan, "summary": mask(plan["summary"]), "steps": steps}
