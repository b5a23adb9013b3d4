"""What a plan would meet is what it meets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.dryrun import acceptable_by_rule, preflight
from policies.labels import TOP
from tests.policies.asking import NOW, READ_STRANGERS, SHOP, accepted, ask, pipelines, plan, policy, step


def checked(under, *steps):
    return preflight(plan(*steps), under, principal="alice", now=NOW)


def verdicts(under, *steps):
    return [row.verdict for row in checked(under, *steps).rows]


def rule(id, effect, kind, **more):
    fields = "".join(f", {k.rstrip('_')}: {v}" for k, v in more.items())
    return f"{{id: {id}, effect: {effect}, action: {kind}{fields}}}"


def test_each_step_gets_its_verdict():
    under = policy(
        rule("read", "allow", "browser.open", url=f"{SHOP}/**"),
        rule("remind", "ask", "browser.submit", url=f"{SHOP}/orders/*/remind", ask="batch"),
        rule("look", "allow", "server.run", server="web-1", commands="{program: df}"),
        rule("restart", "ask", "server.run", server="web-1", commands="{program: df, args: [x]}", ask="plan").replace(
            "['df']", "['df x']"
        ),
    )
    steps = [
        step(1, "browser.open", url=f"{SHOP}/orders/**"),
        step(2, "browser.submit", url=f"{SHOP}/orders/*/remind", at_most=30),
        step(3, "server.run", server="web-1", pipelines=pipelines("df")),
        step(4, "server.run", server="web-1", pipelines=pipelines("df x")),
        step(5, "server.run", server="web-2", pipelines=pipelines("df")),
        step(6, "server.run", server="web-1"),
        step(7, "file.write", path="a.txt"),
        step(8, "browser.fly"),
        step(9, "model.call"),
        step(10, "browser.open"),
    ]
    assert verdicts(under, *steps) == [
        "allowed", "asks", "allowed", "with plan", "refused", "depends", "refused", "refused", "refused", "depends",
    ]  # fmt: skip
    assert checked(under, *steps).rows[1].rules == ("remind",)


def test_an_open_pin_gets_the_verdict_of_the_worst_case():
    under = policy(
        rule("all", "allow", "browser.open", url=f"{SHOP}/**"),
        rule("no", "deny", "browser.open", url=f"{SHOP}/*/secret"),
    )
    for path, wanted in (
        ("/a", "allowed"),
        ("/*", "allowed"),
        ("/*/secret", "refused"),
        ("/a/*", "refused"),
        ("/**", "refused"),
        ("/a/s*", "refused"),
        ("/a/t*", "allowed"),
    ):
        assert verdicts(under, step(1, "browser.open", url=f"{SHOP}{path}")) == [wanted], path
    narrow = policy(rule("some", "allow", "browser.open", url=f"{SHOP}/*"))
    assert verdicts(narrow, step(1, "browser.open", url=f"{SHOP}/**")) == ["refused"]
    assert verdicts(narrow, step(1, "browser.open", url=f"{SHOP}/a*")) == ["allowed"]


def test_a_path_that_is_not_pinned_may_be_any():
    free = policy(rule("w", "allow", "file.write"))
    bound = policy(rule("w", "allow", "file.write", path="a.txt"))
    assert verdicts(free, step(1, "file.write")) == ["allowed"]
    assert verdicts(bound, step(1, "file.write")) == ["refused"]
    assert verdicts(bound, step(1, "file.write", path="a.txt")) == ["allowed"]


def test_a_control_is_judged_by_the_strictest_class_that_is_not_refused():
    under = policy(
        rule("filter", "allow", "browser.submit", url=f"{SHOP}/orders/**", does="read"),
        rule("remind", "ask", "browser.submit", url=f"{SHOP}/orders/*/remind", does="submit"),
        rule("no", "deny", "browser.submit", does="[pay, delete]"),
    )
    assert verdicts(under, step(1, "browser.submit", url=f"{SHOP}/orders/1/remind")) == ["asks"]
    assert verdicts(under, step(1, "browser.submit", url=f"{SHOP}/orders")) == ["allowed"]
    assert verdicts(under, step(1, "browser.submit", url=f"{SHOP}/login")) == ["refused"]


def test_questions_are_counted_as_they_will_be_asked():
    batch = policy(rule("r", "ask", "browser.submit", url=f"{SHOP}/**", ask="batch"))
    each = policy(rule("r", "ask", "browser.submit", url=f"{SHOP}/**", ask="each"))
    steps = (step(1, "browser.submit", url=f"{SHOP}/a", at_most=5),)
    assert checked(batch, *steps).questions_expected == 1
    assert checked(each, *steps).questions_expected == 5
    assert checked(each).questions_expected == 0


def test_the_three_flags_say_what_the_plan_can_reach():
    under = policy()
    for kind, wanted in (
        ("file.write", (False, False, False)),
        ("table.read", (True, True, False)),
        ("server.run", (True, True, False)),
        ("browser.open", (True, True, True)),
        ("server.write", (True, True, True)),
    ):
        seen = checked(under, step(1, kind))
        assert (seen.untrusted, seen.private, seen.way_out) == wanted, kind


def test_a_plan_is_accepted_by_rule_only_when_every_step_is_allowed():
    rules = (
        rule("w", "allow", "file.write"),
        rule("r", "ask", "server.run", server="web-1", commands="{program: df}", ask="plan"),
    )
    lenient, strict = policy(*rules, head="accept_plan: when_all_allowed"), policy(*rules)
    write, run = step(1, "file.write", path="a"), step(2, "server.run", server="web-1", pipelines=pipelines("df"))
    assert acceptable_by_rule(checked(lenient, write), lenient)
    assert not acceptable_by_rule(checked(lenient, write, run), lenient)  # answered by a person's plan only
    assert not acceptable_by_rule(checked(strict, write), strict)


def test_where_everything_is_allowed_nothing_depends():
    under = policy('{id: all, effect: allow, action: "*"}', head="practice_only: true\nunplanned: allow")
    kinds = [
        "browser.open",
        "browser.submit",
        "browser.download",
        "shell.run",
        "server.run",
        "server.read",
        "tool.call",
        "file.list",
        "table.write",
    ]
    assert verdicts(under, *(step(n, kind) for n, kind in enumerate(kinds, 1))) == ["allowed"] * len(kinds)


def test_a_rule_about_sinks_needs_the_sink():
    under = policy(
        '{id: all, effect: allow, action: "*"}',
        '{id: no, effect: deny, action: "*", when: {untrusted: true, sink: ungrounded}}',
        head="practice_only: true\nunplanned: allow",
    )
    assert verdicts(under, step(1, "browser.open"), step(2, "file.list"), step(3, "tool.call")) == [
        "depends",
        "allowed",
        "depends",
    ]
    assert verdicts(under, step(1, "browser.open", url="http://x.example/")) == [
        "allowed"
    ]  # accepting the plan names it


def test_a_condition_or_a_count_of_rows_does_not_change_the_verdict():
    under = policy(rule("w", "allow", "file.write"))
    assert verdicts(under, step(1, "file.write", path="a", per_row_of=2, only_if={"step": 2, "says": "x"})) == [
        "allowed"
    ]


def test_what_a_step_depends_on_is_named_with_the_worst_that_can_become_of_it():
    under = policy(
        rule("look", "allow", "server.run", server="web-1", commands="{program: df}"),
        rule("read", "allow", "browser.open", url=f"{SHOP}/**"),
        rule("all", "allow", "tool.call", tool="t", arguments="{to: any}"),
        head="limits: {steps: 7, minutes: 8, tokens: 9}",
    )
    steps = (
        step(1, "server.run", server="web-1"),
        step(2, "server.run", server="web-1", pipelines=pipelines("df")),
        step(3, "browser.open", url=f"{SHOP}/a", per_row_of=2, only_if={"step": 1, "says": "x"}, at_most=5),
        step(4, "tool.call", tool="t"),
    )
    seen = checked(under, *steps)
    assert [(row.verdict, row.worst, row.depends_on) for row in seen.rows] == [
        ("depends", "refused", ("pipelines",)),
        ("allowed", None, ()),
        ("allowed", None, ("step 1", "step 2")),
        ("depends", "refused", ("to",)),
    ]
    assert (seen.most_steps, seen.most_minutes, seen.most_tokens) == (7, 8, 9)


PATTERNS = st.sampled_from(["/**", "/a", "/*", "/*/b", "/a/**", "/a*", "/*b"])
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
WEIGHT = {"allowed": 0, "with plan": 0, "asks": 1, "refused": 2}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["allow", "ask", "deny"]), PATTERNS), max_size=4), PATTERNS, PATHS, st.booleans()
)
def test_nothing_live_is_judged_more_strictly_than_the_preflight_said(rules, pin, path, untrusted):
    """25: dry run and real run decide alike on the same facts."""
    texts = [
        rule(f"r{n}", effect, "browser.submit", url=f"{SHOP}{p}", does="submit") for n, (effect, p) in enumerate(rules)
    ]
    under = policy(*texts)
    planned = step(1, "browser.submit", url=f"{SHOP}{pin}")
    said = verdicts(under, planned)[0]
    mandate = accepted(under, planned)
    live = ask(under, f"browser.submit {SHOP}{path}", mandate, context=READ_STRANGERS if untrusted else TOP)
    if live.planned is not None:
        assert live.effect <= WEIGHT[said]
    if pin == path:
        assert live.effect == WEIGHT[said]


@pytest.mark.parametrize("text", ["", "x" * 5000])
def test_a_plan_of_any_words_is_checked(text):
    assert checked(policy(), step(1, "file.list", title=text)).rows[0].title == text
