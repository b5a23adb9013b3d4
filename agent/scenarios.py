"""Scenario files: actions with the decision that their author expects, tried against a policy.

A YAML list. Each item is an action as `agent.proposals` takes it, with `expect` (allow, ask or deny), and may
name one `rule` that must be among those that decide. A JSON file is a scenario file too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agent.proposals import NoProposal, answer, proposal
from policies.decide import decide
from policies.decision import Decision, Effect
from policies.errors import BadPolicy
from policies.rules import Policy

EFFECTS = tuple(effect.name.lower() for effect in Effect)
MOST_BYTES = 10_000_000


def tried(path: Path, policy: Policy) -> list[dict[str, Any]]:
    """For each scenario what is decided, what was `expected`, and whether it `holds`.

    BadPolicy for a file that is none.
    """
    return [_tried(path, n, item, policy) for n, item in enumerate(_items(path), 1)]


def _tried(path: Path, n: int, item: Any, policy: Policy) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("expect") not in EFFECTS:
        raise BadPolicy(f"{path}: scenario {n} does not say what it expects; give 'expect': allow, ask or deny")
    rule = item.get("rule")
    try:
        found = proposal(item, n)
        decision = decide(found.request(policy, planned=bool(item.get("planned"))), policy)
    except NoProposal as error:
        decision = Decision(effect=Effect.DENY, reason=str(error))
    got = answer(item.get("id", n), decision)
    holds = got["effect"] == item["expect"] and (rule is None or rule in decision.rules)
    expected = item["expect"] + (f" by {rule}" if rule else "")
    return {"file": str(path), **got, "expected": expected, "holds": holds}


def _items(path: Path) -> list[Any]:
    try:
        text = path.read_bytes()[:MOST_BYTES].decode()
        found = YAML(typ="safe", pure=True).load(text)
    except OSError as error:
        raise BadPolicy(f"{path}: the scenarios cannot be read: {error.strerror}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadPolicy(f"{path}: these are no scenarios: line {line} is not YAML") from error
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadPolicy(f"{path}: these are no scenarios: the file is not YAML in UTF-8") from error
    if not isinstance(found, list):
        raise BadPolicy(f"{path}: these are no scenarios: a list of actions with 'expect' is")
    return found
