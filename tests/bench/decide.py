"""A decision under a policy of 100 rules and of 5,000, for pages, servers and tools."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from policies.action import ACTION, Action
from policies.decide import decide
from policies.labels import Label
from policies.request import Request
from policies.rules import Policy, Rule

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_DENY = {"id": "flow", "effect": "deny", "action": "*", "when": {"untrusted": True, "sink": "ungrounded"}, "why": "x"}


def made(count: int) -> Policy:
    """A policy of so many rules: a third about pages, a third about servers, a third about tools."""
    rules: list[dict[str, Any]] = [_DENY]
    for n in range(count - 1):
        about: list[dict[str, Any]] = [
            {"action": "browser.open", "url": f"http://h{n}.example/orders/**"},
            {"action": "server.run", "server": f"web-{n}", "commands": {"program": "df", "options": ("-h",)}},
            {"action": "tool.call", "tool": f"t{n}", "arguments": {"to": "any"}},
        ]
        rules.append({"id": f"r{n}", "effect": "allow", "why": "x", **about[n % 3]})
    return Policy(version=1, name="bench", rules=tuple(Rule.model_validate(rule, strict=True) for rule in rules))


def actions() -> list[Action]:
    """One of each that a rule allows."""
    run = {"kind": "server.run", "server": "web-1", "pipelines": [[{"argv": ["df", "-h"]}]]}
    call = {"kind": "tool.call", "tool": "t2", "arguments": {"to": "a"}, "declaration": "d", "declared_effect": "read"}
    page = {"kind": "browser.open", "url": "http://h0.example/orders/17"}
    return [ACTION.validate_python(given) for given in (page, run, call)]


def run() -> list[tuple[str, float, str]]:
    """Name, figure and unit of each line of the table."""
    few, many = (microseconds(made(count)) for count in (100, 5_000))
    return [
        ("decide, 100 rules", few, "µs"),
        ("decide, 5,000 rules", many, "µs"),
        ("5,000 rules over 100", many / few, "times"),
    ]


def microseconds(policy: Policy, times: int = 2_000) -> float:
    """Least processor time of a decision, of five tries."""
    common: dict[str, Any] = {"run": "R", "seq": 1, "epoch": 1, "principal": "p", "mandate": None, "now": NOW}
    asked = [Request(action=action, context=Label(), **common) for action in actions()]
    tries = []
    for _ in range(6):
        begun = time.process_time()
        for n in range(times):
            decide(asked[n % len(asked)], policy)
        tries.append((time.process_time() - begun) / times * 1e6)
    return min(tries[1:])
