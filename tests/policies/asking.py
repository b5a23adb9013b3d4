"""Short spellings for the actions, plans, policies and requests of these tests."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from policies.action import ACTION, Action
from policies.decide import decide
from policies.decision import Decision
from policies.labels import TOP, Integrity, Label
from policies.mandate import Acceptance, Mandate, Plan, PlannedStep
from policies.request import Request
from policies.rules import Policy, Rule

_YAML = YAML(typ="safe", pure=True)
HERE = Path(__file__).parent
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
READ_STRANGERS = Label(integrity=Integrity.UNTRUSTED, origins=frozenset({"shop.example"}))
SHOP = "http://shop.example"


def cases(name: str) -> Any:
    """The cases of a data file beside the tests."""
    return _YAML.load((HERE / "cases" / name).read_text(encoding="utf-8"))


def policy(*rules: str, head: str = "") -> Policy:
    """A policy from rules as YAML flow mappings, without their `why` and cases."""
    made = [Rule.model_validate({"why": "because"} | listed(_YAML.load(rule)), strict=True) for rule in rules]
    return Policy(version=1, name="test", rules=tuple(made), **(_YAML.load(head) or {}))


def listed(value: Any) -> Any:
    """Lists as tuples, as the loader gives them."""
    if isinstance(value, dict):
        return {k: listed(v) for k, v in value.items()}
    return tuple(map(listed, value)) if isinstance(value, list) else value


def pipelines(text: str) -> list[list[dict[str, Any]]]:
    """`a b | c && d` as pipelines of argument vectors."""
    return [[{"argv": shlex.split(command)} for command in p.split(" | ")] for p in text.split(" && ")]


def action(text: str) -> Action:
    """An action from one line: the kind, then where it lands, then `field=value` for the rest."""
    kind, _, rest = text.partition(" ")
    made: dict[str, Any] = {"kind": kind}
    if kind in ("shell.run", "server.run"):
        if kind == "server.run":
            made["server"], _, rest = rest.partition(" ")
        return ACTION.validate_python(made | {"pipelines": pipelines(rest)})
    words = rest.split()
    sink = [word for word in words if "=" not in word or word.startswith("http")]
    made |= dict(word.split("=", 1) for word in words if word not in sink)
    match kind.split("."):
        case ["browser", verb]:
            made["url"] = sink[0]
            if verb in ("fill", "click", "submit", "download"):
                made["control"] = {"role": "button", "name": "Send"}
            made |= {"submit": {"target": sink[0], "method": "post", "fields": []}}.get(verb, {})
            made |= {"download": {"target": sink[0], "path": "x.csv"}, "screenshot": {"path": "x.png"}}.get(verb, {})
            made = ({"value": "x"} if verb == "fill" else {}) | made
        case ["server", _]:
            made |= {"server": sink[0], "path": sink[1]} | ({"text": "x"} if kind.endswith("write") else {})
        case ["file" | "table", verb]:
            made |= {"path": sink[0]} if sink else {}
            made |= {"text": "x"} if kind == "file.write" else {}
            made |= {"sheets": [{"columns": ["a"], "rows": []}]} if kind == "table.write" else {}
        case ["tool", _]:
            arguments = {k: made.pop(k) for k in list(made) if k != "kind"}
            made |= {"tool": sink[0], "arguments": arguments, "declaration": "d"}
        case ["model", _]:
            made |= {"endpoint": "e", "model": "qwen", "purpose": "step", "prompt_digest": "d"}
            made |= {"prompt_tokens": 1, "max_reply_tokens": 1}
    return ACTION.validate_python(made)


def step(n: int, kind: str, **more: Any) -> PlannedStep:
    """A planned step; every keyword that is no field of the step is a pin."""
    own = {name: more.pop(name) for name in list(more) if name in PlannedStep.model_fields}
    return PlannedStep.model_validate({"n": n, "kind": kind, "title": f"step {n}", **own, "pins": more})


def plan(*steps: PlannedStep) -> Plan:
    return Plan(summary="a test", steps=steps)


def accepted(under: Policy, *steps: PlannedStep, **more: Any) -> Mandate:
    """The mandate of a plan that a person accepted under this policy."""
    made = plan(*steps)
    grant = Acceptance(by="alice", at=NOW, plan_digest=made.digest, policy_digest=under.digest)
    return Mandate(plan=made, accepted=grant, **more)


def ask(
    under: Policy,
    what: Action | str,
    mandate: Mandate | None = None,
    *,
    context: Label = TOP,
    attended: bool = True,
    approved_by: Iterable[str] = (),
) -> Decision:
    """The decision on one action."""
    request = Request(
        run="R1",
        seq=1,
        epoch=1,
        action=action(what) if isinstance(what, str) else what,
        principal="alice",
        mandate=mandate,
        now=NOW,
        context=context,
        attended=attended,
        approved_by=tuple(approved_by),
    )
    return decide(request, under)
