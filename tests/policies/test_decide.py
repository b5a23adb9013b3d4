"""What a policy says to a request: deny over ask over allow, nothing without a rule, nothing without a plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.action import ACTION, KINDS, BrowserOpen, FileWrite, ToolCall
from policies.decide import _places, decide
from policies.decision import AskMode, Effect
from policies.labels import TOP
from policies.mandate import Mandate, Plan
from policies.match.url import UrlPattern
from policies.request import Request
from policies.rules import Policy, Rule
from tests.bench import decide as bench
from tests.policies.asking import NOW, READ_STRANGERS, SHOP, accepted, action, ask, plan, policy, step

SEND = f"browser.submit {SHOP}/orders/17/remind"
RESTART = "server.run web-1 systemctl restart worker"
OPEN_SHOP = "{id: open-shop, effect: allow, action: browser.open, url: http://shop.example/**}"
REMIND = "{id: remind, effect: ask, ask: %s, action: browser.submit, url: http://shop.example/orders/*/remind%s}"
RESTART_RULE = (
    "{id: restart, effect: ask, ask: plan, action: server.run, server: web-1,"
    " commands: {program: systemctl, args: [restart, worker]}}"
)
NO_STRANGE_SINK = '{id: no-strange-sink, effect: deny, action: "*", when: {untrusted: true, sink: ungrounded}}'
ANYTHING = '{id: anything, effect: allow, action: "*"}'
PRACTICE = "practice_only: true"


def test_without_a_rule_everything_is_refused():
    for kind in KINDS:
        made = ask(policy(), examples()[kind])
        assert (made.effect, made.rules) == (Effect.DENY, ())
        assert made.reason == f"no rule of policy 'test' allows this {kind}"


def test_an_unknown_kind_is_refused_even_where_everything_is_allowed():
    strange = BrowserOpen.model_construct(kind="browser.fly", url=f"{SHOP}/")
    assert ask(policy(ANYTHING, head=PRACTICE), strange).effect is Effect.DENY


def test_deny_wins_over_ask_wins_over_allow_in_any_order():
    rules = [
        "{id: a, effect: allow, action: file.read}",
        "{id: b, effect: ask, ask: each, action: file.read}",
        "{id: c, effect: deny, action: file.read, path: keys/**}",
    ]
    for order in permutations(rules):
        made = policy(*order)
        assert ask(made, "file.read a.txt").effect is Effect.ASK
        assert ask(made, "file.read a.txt").rules == ("a", "b")
        assert ask(made, "file.read keys/a").effect is Effect.DENY
        assert ask(made, "file.read keys/a").rules == ("c",)
    assert ask(policy(rules[0]), "file.read keys/a").effect is Effect.ALLOW


def test_a_refusal_says_what_would_be_allowed_and_no_data():
    made = ask(policy(OPEN_SHOP), "browser.open http://geheim.collect.example/in?iban=DE02")
    assert made.instead == "browser.open may be proposed for: http://shop.example/**"
    assert "geheim" not in made.reason + made.instead and "DE02" not in made.reason + made.instead


def test_a_rule_that_cannot_be_evaluated_refuses():
    made = policy(
        OPEN_SHOP,
        "{id: other, effect: allow, action: browser.open, url: http://b.example/}",
    )
    not_canonical = BrowserOpen.model_construct(kind="browser.open", url="http://SHOP.example/")
    decision = ask(made, not_canonical)
    assert (decision.effect, decision.rules) == (Effect.DENY, ("open-shop", "other"))
    assert decision.reason == "error: rules 'open-shop', 'other' cannot be evaluated"


def test_a_request_that_cannot_be_evaluated_is_refused():
    made = policy(ANYTHING, head=PRACTICE)
    strange = BrowserOpen.model_construct(kind="browser.open", url="http://SHOP.example/")
    mandate = accepted(made, step(1, "browser.open", url=f"{SHOP}/**"))
    assert ask(made, strange, mandate).reason == "error: the request cannot be evaluated"


def test_a_pipeline_needs_one_rule_for_all_its_commands():
    look = "{id: %s, effect: allow, action: shell.run, commands: [%s]}"
    apart = policy(look % ("a", "{program: df}"), look % ("b", "{program: uptime}"))
    together = policy(look % ("a", "{program: df}, {program: uptime}"))
    assert ask(apart, "shell.run df").effect is Effect.ALLOW
    assert ask(apart, "shell.run df | uptime").effect is Effect.DENY
    assert ask(apart, "shell.run df && uptime").effect is Effect.DENY
    assert ask(together, "shell.run df | uptime").effect is Effect.ALLOW


def test_one_refused_command_refuses_the_whole_pipeline():
    made = policy(
        "{id: look, effect: allow, action: shell.run, commands: [{program: df}, {program: /bin/rm, operands: any}]}",
        "{id: no-rm, effect: deny, action: shell.run, commands: {program: rm}}",
    )
    assert ask(made, "shell.run df").effect is Effect.ALLOW
    assert ask(made, "shell.run df && /bin/rm x").rules == ("no-rm",)


def test_a_part_that_must_be_asked_makes_the_whole_be_asked():
    made = policy(
        "{id: look, effect: allow, action: shell.run, commands: [{program: df}, {program: uptime}]}",
        "{id: up, effect: ask, action: shell.run, commands: {program: uptime}, restore: [email]}",
    )
    made_of_both = ask(made, "shell.run df | uptime")
    assert (made_of_both.effect, made_of_both.rules) == (Effect.ASK, ("look", "up"))
    assert made_of_both.obligations.restore == frozenset()  # what does not grant the whole opens nothing
    assert ask(made, "shell.run df").effect is Effect.ALLOW


def test_a_question_is_not_escaped_by_spelling_the_address_otherwise():
    shop = "{id: shop, effect: allow, action: browser.submit, url: http://shop.example/**}"
    made = policy(shop, REMIND % ("batch", ""), head="unplanned: allow\npractice_only: true")
    for path in ("/orders/1/remind", "/orders/1/remind/", "/Orders/1/REMIND", "/orders/1/%72emind"):
        assert ask(made, f"browser.submit {SHOP}{path}").effect is Effect.ASK
    assert ask(made, f"browser.submit {SHOP}/orders/1/print").effect is Effect.ALLOW


def test_what_leaves_is_judged_by_where_it_goes():
    made = policy(OPEN_SHOP.replace("browser.open", "browser.submit"), head="unplanned: allow\npractice_only: true")
    to_strangers = action(f"browser.submit {SHOP}/x").model_copy(update={"target": "http://collect.example/in"})
    assert ask(made, to_strangers).effect is Effect.DENY
    refused_page = policy(
        "{id: no, effect: deny, action: browser.submit, url: http://shop.example/**}", ANYTHING, head=PRACTICE
    )
    assert ask(refused_page, to_strangers).rules == ("no",)


def test_an_effect_without_a_fitting_step_is_asked_for_and_refused_where_nobody_is_there():
    made = policy("{id: write, effect: allow, action: file.write}")
    asked = ask(made, "file.write a.txt")
    assert (asked.effect, asked.ask, asked.planned) == (Effect.ASK, AskMode.EACH, None)
    assert ask(made, "file.write a.txt", attended=False).effect is Effect.DENY
    assert ask(made, "file.write a.txt", approved_by=["bob"]).effect is Effect.ALLOW
    assert ask(made, "file.write a.txt", attended=False, approved_by=["bob"]).effect is Effect.DENY
    planned = ask(made, "file.write a.txt", accepted(made, step(1, "file.write", path="a.txt")), attended=False)
    assert (planned.effect, planned.planned) == (Effect.ALLOW, 1)


def test_a_policy_can_refuse_whatever_is_not_planned():
    made = policy("{id: write, effect: allow, action: file.write}", head="unplanned: deny")
    refused = ask(made, "file.write a.txt", approved_by=["bob"])
    assert (refused.effect, refused.rules) == (Effect.DENY, ("write",))
    assert refused.reason == "no unspent step of the accepted plan covers this file.write"


def test_a_read_needs_no_plan_and_names_the_step_it_belongs_to():
    made = policy(OPEN_SHOP)
    assert ask(made, f"browser.open {SHOP}/").effect is Effect.ALLOW
    spent = accepted(made, step(3, "browser.open", url=f"{SHOP}/orders/*"))
    assert ask(made, f"browser.open {SHOP}/orders/1", spent).planned == 3
    assert ask(made, f"browser.open {SHOP}/", spent).planned is None


def test_a_model_call_needs_no_plan():
    made = policy("{id: model, effect: allow, action: model.call}", NO_STRANGE_SINK)
    assert ask(made, "model.call", None, context=READ_STRANGERS, attended=False).effect is Effect.ALLOW


def test_an_acceptance_holds_for_one_plan_under_one_policy():
    made = policy("{id: write, effect: allow, action: file.write}")
    good = accepted(made, step(1, "file.write", path="a.txt"))
    assert ask(made, "file.write a.txt", good).effect is Effect.ALLOW
    for broken in (
        good.model_copy(update={"accepted": None}),
        good.model_copy(update={"plan": plan(step(1, "file.write"))}),
        good.model_copy(update={"accepted": good.accepted.model_copy(update={"policy_digest": policy().digest})}),
    ):
        assert ask(made, "file.write a.txt", broken).effect is Effect.ASK


def test_a_question_is_answered_by_a_plan_whose_sinks_are_pinned():
    made = policy(RESTART_RULE)
    pins = {"server": "web-1", "pipelines": action(RESTART).pipelines}
    answered = ask(made, RESTART, accepted(made, step(4, "server.run", **pins)), context=READ_STRANGERS)
    assert (answered.effect, answered.planned) == (Effect.ALLOW, 4)
    assert answered.reason == "rule 'restart' is answered by step 4 of the accepted plan"
    left_open = ask(made, RESTART, accepted(made, step(4, "server.run", server="web-1")))
    assert (left_open.effect, left_open.ask, left_open.planned) == (Effect.ASK, AskMode.BATCH, 4)


def test_a_plan_does_not_answer_a_question_that_wants_each():
    made = policy(REMIND % ("batch", ""))
    pinned = accepted(made, step(1, "browser.submit", url=f"{SHOP}/orders/17/remind"))
    assert ask(made, SEND, pinned).ask is AskMode.BATCH
    strictest = policy(REMIND % ("plan", ""), (REMIND % ("each", "")).replace("id: remind", "id: remind-2"))
    pinned = accepted(strictest, step(1, "browser.submit", url=f"{SHOP}/orders/17/remind"))
    assert ask(strictest, SEND, pinned).ask is AskMode.EACH


def test_enough_different_people_turn_a_question_into_leave_but_never_a_refusal():
    made = policy(REMIND % ("each", ", of: {answers: 2, within: 2h, otherwise: stop}"))
    mandate = accepted(made, step(1, "browser.submit"))
    assert ask(made, SEND, mandate, approved_by=["bob"]).effect is Effect.ASK
    assert ask(made, SEND, mandate, approved_by=["bob", "bob"]).effect is Effect.ASK
    asked = ask(made, SEND, mandate).approvers
    assert (asked.answers, asked.within_s, asked.otherwise) == (2, 7200, "stop")
    assert ask(made, SEND, mandate, approved_by=["eve", "bob"]).reason == "bob, eve said yes to exactly this"
    refused = policy(REMIND % ("each", ""), "{id: no, effect: deny, action: browser.submit}")
    assert (
        ask(refused, SEND, accepted(refused, step(1, "browser.submit")), approved_by="abcdefghi").effect is Effect.DENY
    )


def test_the_matched_rules_say_what_must_be_kept_to():
    made = policy(
        REMIND % ("batch", ", restore: [email], secrets: [smtp], limit: {count: 30, per: day}"),
        (REMIND % ("batch", ", restore: [phone], limit: {count: 0, per: run}")).replace("id: remind", "id: letter"),
        head="least_level: full",
    )
    kept = ask(made, SEND).obligations
    assert (kept.restore, kept.secrets, kept.least_level) == ({"email", "phone"}, {"smtp"}, "full")
    assert [(r.key, r.limit, r.amount, r.window) for r in kept.reservations] == [
        ("rule:letter:run:R1", 0, 1, "run"),
        ("rule:remind:day", 30, 1, "day"),
    ]


# Sinks that nobody named


def test_after_strangers_were_read_nothing_goes_where_nobody_sent_it():
    made = policy(
        OPEN_SHOP,
        NO_STRANGE_SINK,
        "{id: web, effect: allow, action: browser.open, url: {host: {subdomain_of: example}}}",
    )
    collect = "browser.open http://collect.example/in"
    assert ask(made, collect).effect is Effect.ALLOW
    refused = ask(made, collect, context=READ_STRANGERS)
    assert (refused.effect, refused.rules) == (Effect.DENY, ("no-strange-sink",))
    assert ask(made, f"browser.open {SHOP}/", context=READ_STRANGERS).effect is Effect.ALLOW  # a rule names it
    words = Mandate(plan=Plan(summary="", steps=()), hosts=frozenset({"collect.example"}))
    assert ask(made, collect, words, context=READ_STRANGERS).effect is Effect.ALLOW  # the requester named it
    planned = accepted(made, step(1, "browser.open", url="http://collect.example/**"))
    assert ask(made, collect, planned, context=READ_STRANGERS).effect is Effect.ALLOW  # the accepted plan names it
    proposed = planned.model_copy(update={"accepted": None})
    assert ask(made, collect, proposed, context=READ_STRANGERS).effect is Effect.DENY


def test_a_host_that_only_a_refusing_or_half_fitting_rule_names_is_not_named():
    web = "{id: web, effect: allow, action: browser.open, url: {host: {subdomain_of: example}}}"
    login = "{id: login, effect: allow, action: browser.open, url: http://b.example/login}"
    made = policy(web, login, NO_STRANGE_SINK)
    assert ask(made, "browser.open http://b.example/login", context=READ_STRANGERS).effect is Effect.ALLOW
    assert ask(made, "browser.open http://b.example/other", context=READ_STRANGERS).effect is Effect.DENY


def test_a_pattern_of_the_same_rule_that_does_not_match_names_nothing():
    both = "{id: both, effect: allow, action: browser.open, url: [{host: {subdomain_of: example}}, http://b.example/x]}"
    made = policy(both, NO_STRANGE_SINK)
    assert ask(made, "browser.open http://b.example/x", context=READ_STRANGERS).effect is Effect.ALLOW
    assert ask(made, "browser.open http://b.example/other", context=READ_STRANGERS).effect is Effect.DENY


@pytest.mark.parametrize("what", ["file.write a.txt", "file.read a.txt", "shell.run ls", "model.call"])
def test_what_stays_here_has_no_strange_sink(what):
    made = policy(NO_STRANGE_SINK, ANYTHING, head="practice_only: true\nunplanned: allow")
    assert ask(made, what, context=READ_STRANGERS).effect is Effect.ALLOW


def test_a_server_is_named_by_a_rule_or_by_the_plan():
    made = policy(NO_STRANGE_SINK, ANYTHING, head="practice_only: true\nunplanned: allow")
    look = "server.run web-1 uptime"
    assert ask(made, look, context=READ_STRANGERS).effect is Effect.DENY
    planned = accepted(made, step(1, "server.run", server="web-1"))
    assert ask(made, look, planned, context=READ_STRANGERS).effect is Effect.ALLOW
    named = policy(NO_STRANGE_SINK, RESTART_RULE)
    assert ask(named, RESTART, context=READ_STRANGERS).effect is Effect.ASK


def test_the_arguments_that_say_where_a_tool_lands_must_be_named():
    head = "practice_only: true\nunplanned: allow"
    mail = ToolCall(tool="mail", arguments={"to": "a@shop.example", "text": "hi"}, declaration="d", sinks=("to",))
    free = policy(
        NO_STRANGE_SINK,
        "{id: mail, effect: allow, action: tool.call, tool: mail, arguments: {to: any, text: any}}",
        head=head,
    )
    exact = policy(
        NO_STRANGE_SINK,
        "{id: mail, effect: allow, action: tool.call, tool: mail, arguments: {to: [a@shop.example], text: any}}",
        head=head,
    )
    assert ask(free, mail, context=READ_STRANGERS).effect is Effect.DENY
    assert ask(exact, mail, context=READ_STRANGERS).effect is Effect.ALLOW
    planned = accepted(free, step(1, "tool.call", tool="mail", arguments={"to": "a@shop.example"}))
    assert ask(free, mail, planned, context=READ_STRANGERS).effect is Effect.ALLOW
    undeclared = mail.model_copy(update={"sinks": ()})
    assert ask(exact, undeclared, context=READ_STRANGERS).effect is Effect.DENY


def test_a_question_may_hang_on_what_was_read():
    made = policy(
        "{id: read, effect: allow, action: file.read}",
        "{id: careful, effect: ask, action: file.read, when: {untrusted: true}}",
    )
    assert ask(made, "file.read a").effect is Effect.ALLOW
    assert ask(made, "file.read a", context=READ_STRANGERS).rules == ("read", "careful")


# Tool arguments


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"to": "a", "amount": 5}, Effect.ALLOW),
        ({"to": "b", "amount": 0}, Effect.ALLOW),
        ({"to": "a", "amount": 5, "note": "x"}, Effect.ALLOW),
        ({"to": "c", "amount": 5}, Effect.DENY),
        ({"to": "a", "amount": 5.01}, Effect.DENY),
        ({"to": "a", "amount": -1}, Effect.DENY),
        ({"to": "a", "amount": "5"}, Effect.DENY),
        ({"to": "a", "amount": True}, Effect.DENY),
        ({"to": "a", "amount": None}, Effect.DENY),
        ({"to": "a"}, Effect.DENY),
        ({}, Effect.DENY),
        ({"to": ["a"], "amount": 5}, Effect.DENY),
        ({"to": "a", "amount": 5, "bcc": "x"}, Effect.DENY),
    ],
)
def test_every_argument_of_a_granted_tool_is_named(arguments, wanted):
    arguments_ = "{to: [a, b], amount: {min: 0, max: 5}, 'note?': any}"
    rule = "{id: pay, effect: allow, action: tool.call, tool: pay, arguments: %s}"
    made = policy(rule % arguments_, head="practice_only: true\nunplanned: allow")
    assert ask(made, ToolCall(tool="pay", arguments=arguments, declaration="d")).effect is wanted
    assert ask(made, ToolCall(tool="paid", arguments=arguments, declaration="d")).effect is Effect.DENY


def test_an_argument_left_out_does_not_escape_a_refusal():
    rule = "{id: no, effect: deny, action: tool.call, tool: pay, arguments: {amount: {min: 100}}}"
    made = policy(ANYTHING, rule, head="practice_only: true\nunplanned: allow")
    effects = [
        ask(made, ToolCall(tool="pay", arguments=a, declaration="d")).effect
        for a in ({}, {"amount": 100}, {"amount": 99})
    ]
    assert effects == [Effect.DENY, Effect.DENY, Effect.ALLOW]


# Properties (facts/security.md, section 5)


def examples() -> dict[str, Any]:
    """One action of every kind."""
    texts = [
        "file.read a", "file.list", "file.write a", "table.read a.csv", "table.write a.xlsx",
        "shell.run ls", RESTART, SEND,
        *(f"browser.{verb} {SHOP}/a" for verb in ("open", "read", "fill", "click", "download", "screenshot")),
        "server.read web-1 /a", "server.write web-1 /a", "model.call", "tool.call t a=b",
    ]  # fmt: skip
    made = {found.kind: found for found in map(action, texts)}
    assert made.keys() == set(KINDS)
    return made


HOSTS = st.sampled_from(["a.example", "b.example", {"subdomain_of": "example"}])
URL_PATTERNS = st.builds(
    lambda host, path: UrlPattern(host=host, path=path), HOSTS, st.sampled_from(["/**", "/x", "/*/y"])
)
RULES = st.builds(
    lambda effect, kinds, url, when, mode, restore: Rule(
        id="r", effect=effect, action=kinds, why="x", url=(url,) if url else None, restore=restore,
        when={"untrusted": True, "sink": "ungrounded"} if when and effect != "allow" else None,
        ask=mode if effect == "ask" else None,
    ),
    st.sampled_from(["allow", "ask", "deny"]),
    st.sampled_from([("browser.open",), ("browser.submit",), ("browser.open", "browser.submit")]),
    st.none() | URL_PATTERNS, st.booleans(), st.sampled_from(["plan", "batch", "each"]),
    st.sampled_from([(), ("email",)]),
)  # fmt: skip
POLICIES = st.builds(
    lambda rules, unplanned: policy_of(rules, unplanned),
    st.lists(RULES, max_size=5),
    st.sampled_from(["ask", "deny", "allow"]),
)
ACTIONS = st.builds(
    lambda kind, host, path: action(f"{kind} http://{host}{path}"),
    st.sampled_from(["browser.open", "browser.submit"]), st.sampled_from(["a.example", "c.example", "evil"]),
    st.sampled_from(["/x", "/z/y", "/X", "/"]),
)  # fmt: skip
PLANS = st.none() | st.lists(
    st.sampled_from(["http://a.example/**", "http://a.example/x", "http://c.example/*/y", None]), max_size=3
)
FAST = settings(max_examples=200, deadline=None)


def policy_of(rules: Any, unplanned: str) -> Policy:
    named = tuple(rule.model_copy(update={"id": f"r{n}"}) for n, rule in enumerate(rules))
    return Policy(version=1, name="p", unplanned=unplanned, rules=named)


def requested(under: Policy, what: Any, pins: Any, untrusted: bool, attended: bool, yes: int) -> Request:
    steps = [step(n, what.kind, **({"url": url} if url else {})) for n, url in enumerate(pins or (), 1)]
    return Request(
        run="R1", seq=1, epoch=1, action=what, principal="alice", now=NOW, attended=attended,
        mandate=None if pins is None else accepted(under, *steps),
        context=READ_STRANGERS if untrusted else TOP, approved_by=tuple("abc"[:yes]),
    )  # fmt: skip


FACTS = (POLICIES, ACTIONS, PLANS, st.booleans(), st.booleans(), st.integers(0, 2))


@FAST
@given(*FACTS, st.randoms())
def test_the_same_request_gets_the_same_bytes_whatever_the_order_of_rules(
    under, what, pins, untrusted, attended, yes, random
):
    """2"""
    mixed = list(under.rules)
    random.shuffle(mixed)
    other = under.model_copy(update={"rules": Policy._sorted(tuple(mixed))})
    request = requested(under, what, pins, untrusted, attended, yes)
    assert decide(request, under).model_dump_json() == decide(request, other).model_dump_json()


@FAST
@given(*FACTS, RULES)
def test_another_refusing_rule_never_allows_more(under, what, pins, untrusted, attended, yes, rule):
    """3, and 4: the result is the strictest."""
    more = policy_of(
        [*under.rules, rule.model_copy(update={"effect": "deny", "ask": None, "restore": ()})], under.unplanned
    )
    before = decide(requested(under, what, pins, untrusted, attended, yes), under)
    after = decide(requested(more, what, pins, untrusted, attended, yes), more)
    assert after.effect >= before.effect


@FAST
@given(*FACTS, st.integers(0, 4))
def test_one_allowing_rule_less_never_allows_more(under, what, pins, untrusted, attended, yes, n):
    """3"""
    kept = [rule for m, rule in enumerate(under.rules) if m != n or rule.effect != "allow"]
    fewer = policy_of(kept, under.unplanned)
    before = decide(requested(under, what, pins, untrusted, attended, yes), under)
    after = decide(requested(fewer, what, pins, untrusted, attended, yes), fewer)
    assert after.effect >= before.effect
    assert after.effect is Effect.DENY or after.obligations.restore <= before.obligations.restore


@FAST
@given(*FACTS)
def test_fewer_answers_less_trust_or_no_plan_never_allow_more(under, what, pins, untrusted, attended, yes):
    """6 and 10: absent facts are never more permissive."""
    request = requested(under, what, pins, untrusted, attended, yes)
    effect = decide(request, under).effect
    for less in (
        replace(request, approved_by=()),
        replace(request, attended=False),
        replace(request, context=READ_STRANGERS),
        replace(request, mandate=None),
    ):
        assert decide(less, under).effect >= effect


@FAST
@given(*FACTS)
def test_a_decision_is_about_the_canonical_action(under, what, pins, untrusted, attended, yes):
    """5: an action read back from its canonical form has the same digest and the same decision."""
    request = requested(under, what, pins, untrusted, attended, yes)
    again = ACTION.validate_json(what.canonical)
    assert again.digest == what.digest
    assert decide(replace(request, action=again), under) == decide(request, under)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_canonical_form(kind):
    """5"""
    made = examples()[kind]
    assert ACTION.validate_json(made.canonical).canonical == made.canonical


@FAST
@given(
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text(max_size=3), max_size=3),
)
def test_no_text_and_no_argument_raises(text, arguments):
    """1"""
    made = policy("{id: a, effect: allow, action: tool.call, tool: t, arguments: {a: {max: 1}, b: [1, x], 'c?': any}}")
    ask(made, ToolCall(tool="t", arguments=arguments, declaration=text))
    ask(made, FileWrite.model_construct(kind="file.write", path=text, text=text, encoding="utf-8"))
    ask(made, BrowserOpen.model_construct(kind="browser.open", url=text))


PLACED = policy(
    OPEN_SHOP,
    "{id: below, effect: deny, action: browser.open, url: {host: {subdomain_of: shop.example}}}",
    "{id: two, effect: deny, action: [browser.open, browser.submit], url: [http://a.example/**, http://b.example/**]}",
    RESTART_RULE,
    "{id: no-web-2, effect: deny, action: server.run, server: [web-1, web-2]}",
    "{id: mail, effect: allow, action: tool.call, tool: mail, arguments: {to: any}}",
    NO_STRANGE_SINK,
)


@pytest.mark.parametrize(
    "what",
    [
        *(
            "browser.open http://shop.example/x",
            "browser.open http://a.shop.example/",
            "browser.open http://b.example/",
        ),
        *(SEND, RESTART, "server.run web-2 df", "server.run web-3 df", "tool.call mail to=a", "tool.call post"),
        *("file.read a.txt", "shell.run df"),
    ],
)
def test_a_rule_that_is_left_out_for_speed_could_not_have_fitted(what):
    made = action(what)
    kept = {rule.id for rule in PLACED.rules_about(made.kind, _places(made))}
    left_out = [rule for rule in PLACED.rules_for(made.kind) if rule.id not in kept]
    assert not [rule.id for rule in left_out for mode in ("covers", "raises", "touches") if rule.fits(made, mode)]
    assert "no-strange-sink" in kept


def test_a_decision_is_as_quick_under_many_rules_as_under_few():
    few, many = (bench.microseconds(bench.made(count), times=300) for count in (100, 5_000))
    assert many <= 3 * few
