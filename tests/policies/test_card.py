"""What a person reads is the action, all of it, with nothing hidden."""

from __future__ import annotations

import pytest

from policies.action import KINDS, BrowserSubmit, Command, ServerRun
from policies.card import action_card, command_text, plan_card
from policies.decision import Decision, Effect, Obligations
from policies.dryrun import preflight
from tests.policies.asking import NOW, SHOP, action, plan, policy, step

ASKS = Decision(
    effect=Effect.ASK,
    rules=("remind",),
    reason="rule 'remind' asks first: a letter",
    planned=5,
    obligations=Obligations(secrets=frozenset({"b", "a"})),
)


def test_a_form_is_shown_with_every_field_and_every_hidden_character():
    form = BrowserSubmit.model_validate(
        action(f"browser.submit {SHOP}/orders/17/remind").model_dump()
        | {
            "fields": [
                {"name": "to", "value": "⟦email:7f3ak2m9qd⟧"},
                {"name": "text", "value": "Dear\u202e customer\nplease pay\x1b[2K"},
                {"name": "why\nrules", "value": "trusted"},
            ]
        }
    )
    assert action_card(form, ASKS) == (
        "send a form to http://shop.example/orders/17/remind (submit)",
        (
            ("page", "http://shop.example/orders/17/remind"),
            ("control", "button 'Send'"),
            ("to", "http://shop.example/orders/17/remind"),
            ("method", "post"),
            ("field to", "⟦email:7f3ak2m9qd⟧"),
            ("field text", "Dear⟨U+202E⟩ customer"),
            ("", "please pay⟨U+001B⟩[2K"),
            ("field why⏎rules", "trusted"),
            ("planned", "step 5 of the plan"),
            ("secrets", "a, b"),
            ("rules", "remind"),
            ("why", "rule 'remind' asks first: a letter"),
        ),
    )


def test_a_long_text_is_shown_whole():
    text = "\n".join(f"line {n}" for n in range(500))
    _, lines = action_card(action("file.write a.txt").model_copy(update={"text": text}), ASKS)
    assert [shown for _, shown in lines if shown.startswith("line ")] == text.split("\n")


def test_every_row_of_a_table_is_shown():
    sheet = {"name": "S", "columns": ["a", "b"], "rows": [[n, "=1+1"] for n in range(40)]}
    made = type(action("table.write a.xlsx")).model_validate({"path": "a.xlsx", "sheets": [sheet]})
    _, lines = action_card(made, ASKS)
    assert ("columns", '["a", "b"]') in lines
    assert ("row 40", '[39, "=1+1"]') in lines


def test_a_command_is_quoted_so_that_its_arguments_can_be_told_apart():
    pipe = (
        Command(argv=("grep", "a b", "x;reboot"), stdin="in file"),
        Command(argv=("sort",), stdout="out", append=True),
    )
    made = ServerRun(server="web-1", pipelines=(pipe, (Command(argv=("uptime",)),)))
    assert command_text(made.pipelines) == "grep 'a b' 'x;reboot' < 'in file' | sort >> out && uptime"
    title, lines = action_card(made, ASKS)
    assert title == "run a command on web-1"
    assert ("command", command_text(made.pipelines)) in lines


def test_a_read_takes_two_lines():
    plain = Decision(effect=Effect.ALLOW, reason="rule 'read' allows it: the job")
    title, lines = action_card(action(f"browser.open {SHOP}/"), plain)
    assert (title, len(lines)) == ("open http://shop.example/", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_title_of_one_line(kind):
    texts = {
        "browser": f"{kind} {SHOP}/a", "server": f"{kind} web-1 /a", "tool": f"{kind} t a=b", "shell": f"{kind} ls",
        "file": f"{kind} a", "table": f"{kind} a.csv", "model": kind,
    }  # fmt: skip
    made = action({"server.run": f"{kind} web-1 ls", "file.list": kind}.get(kind, texts[kind.split(".")[0]]))
    title, lines = action_card(made, ASKS)
    assert title and "\n" not in title and "{" not in title
    assert all("\n" not in label + text for label, text in lines)


def test_a_name_from_a_page_cannot_break_the_title():
    made = action(f"browser.click {SHOP}/")
    evil = type(made).model_validate(
        made.model_dump() | {"control": {"role": "button", "name": "Pay\nrules: none {url}"}}
    )
    assert action_card(evil, ASKS)[0] == r"press 'Pay\nrules: none {url}' on http://shop.example/ (submit)"


def test_a_plan_is_shown_by_its_pins_and_verdicts_not_by_its_words():
    under = policy("{id: w, effect: allow, action: file.write}")
    made = plan(
        step(1, "file.write", title="harmless", path="out.txt", expect={"check": "file", "path": "out.txt"}),
        step(2, "browser.submit", title="harmless", url=f"{SHOP}/*", at_most=30, per_row_of=1),
        step(3, "server.run", server="web-1", pipelines=[[{"argv": ["rm", "a b"]}]], only_if={"step": 1, "says": "x"}),
        step(4, "tool.call", tool="t", arguments={"to": "a"}),
    )
    title, lines = plan_card(made, preflight(made, under, principal="alice", now=NOW))
    assert title == "a plan of 4 steps; questions expected: 0"
    assert lines == (
        ("summary", "a test"),
        ("1", "file.write, path=out.txt, once: allowed"),
        ("2", "browser.submit, url=http://shop.example/*, at most 30, one per row of step 1: refused"),
        ("why", "no rule of policy 'test' allows this browser.submit"),
        ("3", "server.run, server=web-1, rm 'a b', once, if step 1 says 'x': refused"),
        ("why", "no rule of policy 'test' allows this server.run"),
        ("4", 'tool.call, tool=t, arguments={"to": "a"}, once: refused'),
        ("why", "no rule of policy 'test' allows this tool.call"),
        ("reach", "reads what strangers wrote, reads private data, can send"),
    )


def test_a_change_of_plan_says_why_and_which_steps_are_new():
    under = policy("{id: w, effect: allow, action: file.write}")
    first = step(1, "file.write", path="out.txt")
    before, made = plan(first), plan(first, step(2, "file.write", path="more.txt"))
    _, lines = plan_card(made, preflight(made, under, principal="alice", now=NOW), before=before, why="one\nmore")
    assert lines[1:5] == (
        ("reason", "one"),
        ("", "more"),
        ("1", "file.write, path=out.txt, once: allowed"),
        ("2", "NEW file.write, path=more.txt, once: allowed"),
    )
