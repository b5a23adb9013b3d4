"""A policy can say why, in which rows, and what is odd about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.action import KINDS
from policies.describe import describe
from policies.doubts import doubts
from policies.explain import explain
from policies.labels import TOP
from policies.load import load
from policies.request import Request
from policies.rules import Policy
from policies.schema import schema
from tests.policies.asking import NOW, READ_STRANGERS, SHOP, action, policy

PRESETS = sorted((Path(__file__).parents[2] / "policies/presets").glob("*.yaml"))


def explained(under: Policy, text: str, context=TOP):
    request = Request(
        run="R1", seq=1, epoch=1, action=action(text), principal="alice", mandate=None, now=NOW, context=context
    )
    return explain(request, under)


READ = f"{{id: read, effect: allow, action: browser.open, url: '{SHOP}/orders/**'}}"
SECRET = f"{{id: secret, effect: deny, action: browser.open, url: '{SHOP}/orders/secret'}}"
STRANGERS = '{id: strangers, effect: deny, action: "*", when: {untrusted: true}}'
LOOK = "{id: look, effect: allow, action: server.run, server: [web-1, web-2], commands: {program: df, options: [-h]}}"


def test_each_rule_says_what_became_of_it():
    under = policy(READ, SECRET, STRANGERS)
    told = explained(under, f"browser.open {SHOP}/orders/secret")
    assert {(t.rule, t.standing) for t in told.matched} == {
        ("read", "overruled"),
        ("secret", "decides"),
        ("strangers", "condition"),
    }
    told = explained(under, f"browser.open {SHOP}/orders/1", READ_STRANGERS)
    assert {(t.rule, t.standing) for t in told.matched} == {("read", "overruled"), ("strangers", "decides")}


def test_a_rule_that_nearly_matches_names_the_matchers_that_fail():
    under = policy(LOOK, READ, SECRET)
    (near,) = explained(under, "server.run web-3 df -h && df -x").nearly
    assert [(f.matcher, f.wanted, f.given) for f in near.failed] == [
        ("server", "web-1; web-2", "web-3"),
        ("commands", "df [-h]", "df -x"),
    ]
    near, *_ = explained(under, f"browser.open {SHOP}/account").nearly
    assert (near.rule, [f.matcher for f in near.failed], near.failed[0].given) == ("read", ["url"], f"{SHOP}/account")


def test_what_would_be_allowed_is_said_with_the_decision():
    assert (
        "server.run may be proposed for: web-1, web-2 df [-h]"
        in explained(policy(LOOK), "server.run x df").decision.instead
    )


def test_every_rule_has_its_row():
    rows = {
        row.rule: row
        for row in describe(
            policy(
                READ,
                SECRET,
                STRANGERS,
                "{id: w, effect: ask, action: file.write, limit: {count: 3, per: day}, of: {answers: 2, within: 1h}}",
            )
        )
    }
    assert [row.effect for row in rows.values()] == ["deny", "deny", "ask", "allow"]
    assert (rows["read"].where, rows["strangers"].where) == (f"{SHOP}/orders/**", "")
    assert rows["strangers"].after_strangers and set(rows["strangers"].actions) == set(KINDS)
    asked = rows["w"]
    assert (asked.ask, asked.answers, asked.within_s, asked.limit) == ("each", 2, 3600, "count 3, per day")


@pytest.mark.parametrize(
    ("rule", "other", "word"),
    [
        (READ, f"{{id: no, effect: deny, action: [browser.open, file.list], url: '{SHOP}/**'}}", "never reached: rule 'no'"),
        (READ, f"{{id: ask, effect: ask, action: browser.open, url: '{SHOP}/**'}}", "rule 'ask' asks about all"),
        (READ, f"{{id: all, effect: allow, action: browser.open, url: '{SHOP}/**'}}", "adds nothing: rule 'all'"),
        ("{id: b, effect: allow, action: file.list}", "{id: a, effect: allow, action: file.list}", "rule 'a'"),
        ("{id: a, effect: allow, action: file.write, path: x/*}", "{id: no, effect: deny, action: file.write}", "rule 'no'"),
        (LOOK, LOOK.replace("look", "all").replace("web-1", "web-3, web-1"), "rule 'all' allows all"),
    ],
)  # fmt: skip
def test_a_rule_that_decides_nothing_is_named(rule: str, other: str, word: str):
    (doubt,) = doubts(policy(rule, other))
    assert word in doubt.said and f"id: {doubt.rule}," in rule


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        (READ, SECRET),
        (READ, STRANGERS),
        (READ, f"{{id: all, effect: allow, action: browser.open, url: '{SHOP}/orders/*'}}"),
        (READ, f"{{id: no, effect: deny, action: browser.open, url: '{SHOP}:8080/**'}}"),
        (READ, f"{{id: q, effect: allow, action: browser.read, url: '{SHOP}/orders/**'}}"),
        ("{id: a, effect: allow, action: file.write, restore: [email]}", "{id: b, effect: allow, action: file.write}"),
        ("{id: a, effect: allow, action: file.write, path: a*}", "{id: no, effect: deny, action: file.write, path: a}"),
    ],
)
def test_a_rule_that_decides_something_is_not_doubted(rule: str, other: str):
    found = [doubt for doubt in doubts(policy(rule, other)) if f"id: {doubt.rule}," in rule]
    assert found == []


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("{id: a, effect: allow, action: browser.submit, url: 'http://s.example/**'}", "every page"),
        ("{id: a, effect: allow, action: browser.open, url: {host: {subdomain_of: com}, scheme: https}}", "every host"),
        ("{id: a, effect: allow, action: browser.open, url: {host: s.example}}", "encryption"),
        ("{id: a, effect: allow, action: tool.call, tool: t, arguments: {to: any}}", "may be anything"),
        ("{id: a, effect: ask, action: server.write, server: s, path: /**}", "log in"),
    ],
)
def test_a_pattern_that_is_wider_than_most_want_is_doubted(rule: str, word: str):
    (doubt,) = doubts(policy(rule))
    assert word in doubt.said


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_nothing_is_odd_about_what_we_ship(path: Path):
    assert list(doubts(load(path))) == []


def test_the_schema_knows_every_key_of_a_rule_and_every_kind():
    made = schema()
    rule = made["$defs"]["Rule"]
    assert made["additionalProperties"] is rule["additionalProperties"] is False
    assert {"id", "effect", "action", "why"} <= set(rule["required"])
    assert rule["properties"]["action"]["anyOf"][1]["enum"] == [*KINDS]
    assert {choice.get("type") or choice.get("$ref") for choice in rule["properties"]["server"]["anyOf"]} == {
        "string",
        "array",
        "null",
    }
    json.dumps(made)
