"""The policies we ship say what they are meant to say, and every word in them counts."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from policies.action import KINDS
from policies.decision import Decision, Effect
from policies.labels import TOP
from policies.load import load
from policies.mandate import Mandate
from policies.redact.detect import FAMILIES, SECRET_TYPES
from policies.rules import MATCHERS, Policy
from tests.policies.asking import READ_STRANGERS, accepted, action, ask, cases, listed, step

ROOT = Path(__file__).parents[2]
PRESETS = ("back-office", "ops-change", "ops-read", "read-only")
HANDLES = {d.type for family in FAMILIES for d in family.detectors} | SECRET_TYPES


def preset(name: str) -> Policy:
    return load(ROOT / "policies/presets" / f"{name}.yaml")


def everything_planned(under: Policy) -> Mandate:
    restart = action("server.run web-1 systemctl restart worker")
    pinned = step(1, "server.run", server="web-1", pipelines=restart.pipelines)
    return accepted(under, pinned, *(step(n, kind, at_most=1000) for n, kind in enumerate(KINDS, 2)))


def said(decision: Decision) -> str:
    """The decision in one line: effect, rules, and what must be kept to."""
    words = [decision.effect.name, *decision.rules]
    kept, who = decision.obligations, decision.approvers
    if decision.ask:
        words += [f"ask={decision.ask.value}", f"answers={who.answers}"]
        words += [f"within={who.within_s}", f"otherwise={who.otherwise}"]
    if decision.planned == 1:
        words.append("planned=1")
    words += [f"restore={','.join(sorted(kept.restore))}"] if kept.restore else []
    words += [f"secrets={','.join(sorted(kept.secrets))}"] if kept.secrets else []
    return " ".join([*words, *(f"limit={r.limit}/{r.window}" for r in kept.reservations)])


@cache
def table(name: str) -> list[list[str]]:
    return cases(f"{name}.yaml")


def differences(under: Policy, name: str) -> list[str]:
    mandate, found = everything_planned(under), []
    for text, wanted, *strangers in table(name):
        got = said(ask(under, action(text), mandate, context=READ_STRANGERS if strangers else TOP))
        found += [f"{text} {strangers}: {got}, not {wanted}"] if got != wanted else []
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_decides_as_its_table_says(name):
    assert differences(preset(name), name) == []


def mutants(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy that differs by one effect, one matcher or one condition, one obligation."""
    for n, rule in enumerate(data["rules"]):
        for effect in {"allow", "ask", "deny"} - {rule["effect"]}:
            changed = deepcopy(data)
            changed["rules"][n]["effect"] = effect
            yield f"{rule['id']}: {effect}", changed
        for key in {*MATCHERS, "when", "restore", "secrets", "limit", "of", "ask"} & rule.keys():
            changed = deepcopy(data)
            del changed["rules"][n][key]
            yield f"{rule['id']}: no {key}", changed
        for key in (*MATCHERS, "action", "restore", "secrets"):
            for m in range(len(rule[key]) if isinstance(rule.get(key), list) and len(rule[key]) > 1 else 0):
                changed = deepcopy(data)
                del changed["rules"][n][key][m]
                yield f"{rule['id']}: {key} without {rule[key][m]}", changed
        for key, value in wider(rule):
            changed = deepcopy(data)
            changed["rules"][n][key] = value
            yield f"{rule['id']}: {key} {value}", changed
        yield f"no {rule['id']}", data | {"rules": data["rules"][:n] + data["rules"][n + 1 :]}


def wider(rule: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every matcher of a rule with one of its parts looser: what it names becomes more than that."""
    for key in ("url", "path"):
        given = rule[key] if isinstance(rule.get(key), list) else [rule[key]] if key in rule else []
        for m, pattern in enumerate(given):
            if isinstance(pattern, str) and not pattern.endswith("/**"):
                yield key, [*given[:m], f"{pattern.rpartition('/')[0]}/**".removeprefix("/**") or "**", *given[m + 1 :]]
    given = rule.get("commands", [])
    given = given if isinstance(given, list) else [given]
    for m, pattern in enumerate(given):
        if "args" in pattern and rule["effect"] != "deny":
            loose = {"program": pattern["program"], "operands": "any"}
            yield "commands", [*given[:m], loose, *given[m + 1 :]]
        if rule["effect"] == "deny" and "args" in pattern:
            yield "commands", [*given[:m], {"program": pattern["program"]}, *given[m + 1 :]]
        if "reads" not in pattern and pattern.get("operands", "none") not in ("any",) and "args" not in pattern:
            yield "commands", [*given[:m], pattern | {"operands": "any"}, *given[m + 1 :]]
        for key in ("options", "operands"):
            named = pattern.get(key)
            for part in named if isinstance(named, list) else ():
                fewer = [one for one in named if one != part]
                yield "commands", [*given[:m], pattern | {key: fewer}, *given[m + 1 :]]


@pytest.mark.parametrize("name", PRESETS)
def test_no_word_of_a_preset_can_change_unseen(name):
    """8: flipping an effect or dropping a matcher turns the file's own cases or its table red."""
    data = YAML(typ="safe", pure=True).load((ROOT / "policies/presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert Policy.model_validate(listed(data), strict=True) == preset(name)
    unseen = []
    for change, changed in mutants(data):
        try:
            under = Policy.model_validate(listed(changed), strict=True)
        except ValidationError:
            continue
        by_itself = any([*rule.faults(), *rule.too_wide()] for rule in under.rules)
        if not by_itself and not differences(under, name):
            unseen.append(change)
    assert unseen == []


def test_the_practice_policy_allows_everything_and_opens_every_type():
    under = load(ROOT / "sandbox/practice/allow-all.yaml", practice=True)
    assert set(under.rules_for("browser.open")[0].restore) == HANDLES
    for text in ("browser.submit http://collect.example/in", "server.run web-1 rm -rf /", "file.write a"):
        assert ask(under, text, None, context=READ_STRANGERS, attended=False).effect is Effect.ALLOW


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_short_and_names_handle_types_that_exist(name):
    path = ROOT / "policies/presets" / f"{name}.yaml"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 90
    assert {kind for rule in preset(name).rules for kind in rule.restore} <= HANDLES
