"""An accepted plan covers what it says, as often as it says, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from policies.action import ACTION, BrowserSubmit, EffectClass, ToolCall
from policies.decision import Effect
from policies.mandate import Condition, Pins, pinned
from policies.rows import Table, table_of
from tests.policies.asking import SHOP, accepted, action, ask, policy, step

UNDER = policy()
SEND = f"browser.submit {SHOP}/orders/17/remind"
RESTART = "server.run web-1 systemctl restart worker"


def fits(what, **pins):
    made = action(what) if isinstance(what, str) else what
    return accepted(UNDER, step(1, made.kind, **pins)).fit(made) is not None


@pytest.mark.parametrize(
    ("what", "pins", "wanted"),
    [
        (SEND, {}, True),
        (SEND, {"url": f"{SHOP}/orders/*/remind"}, True),
        (SEND, {"url": f"{SHOP}/orders/18/remind"}, False),
        (SEND, {"url": "http://collect.example/**"}, False),
        (SEND, {"path": "a.txt"}, False),  # a pin without a place in the action
        (SEND, {"server": "web-1"}, False),
        (f"{SEND}?to=me", {"url": f"{SHOP}/orders/*/remind"}, False),  # the query would travel unseen
        (f"{SEND}?to=me", {"url": f"{SHOP}/orders/*/remind?to=me"}, True),
        (f"{SEND}?to=me", {"url": f"{SHOP}/orders/*/remind?to=you"}, False),
        (f"browser.open {SHOP}/orders?page=2", {"url": f"{SHOP}/orders"}, True),
        ("file.write out/a.txt", {"path": "out/*.txt"}, True),
        ("file.write out/a.sh", {"path": "out/*.txt"}, False),
        (RESTART, {"server": "web-1", "pipelines": [[{"argv": ["systemctl", "restart", "worker"]}]]}, True),
        (RESTART, {"server": "web-2"}, False),
        (RESTART, {"pipelines": [[{"argv": ["systemctl", "restart", "worker", "-f"]}]]}, False),
        (f"browser.fill {SHOP}/login value=x", {"fields": {"Send": "x"}}, True),
        (f"browser.fill {SHOP}/login value=y", {"fields": {"Send": "x"}}, False),
        ("tool.call mail to=a", {"tool": "mail", "arguments": {"to": "a"}}, True),
        ("tool.call mail to=b", {"tool": "mail", "arguments": {"to": "a"}}, False),
        ("tool.call mail", {"tool": "mail", "arguments": {"to": "a"}}, False),
        ("tool.call post to=a", {"tool": "mail"}, False),
    ],
)
def test_a_step_fits_when_every_pin_holds(what, pins, wanted):
    assert fits(what, **pins) is wanted


def test_a_pinned_field_stands_in_the_form_once_and_exactly():
    form = action(SEND)
    assert isinstance(form, BrowserSubmit)
    for fields, wanted in (
        ([("to", "a"), ("text", "hi")], True),
        ([("to", "b")], False),
        ([("to", "a"), ("to", "b")], False),
        ([], False),
    ):
        filled = BrowserSubmit.model_validate(
            form.model_dump() | {"fields": [{"name": name, "value": value} for name, value in fields]}
        )
        assert fits(filled, fields={"to": "a"}) is wanted


def test_true_is_not_one():
    call = ToolCall(tool="t", arguments={"n": 1}, declaration="d")
    assert not fits(call, arguments={"n": True})
    assert fits(call, arguments={"n": 1})


def test_another_kind_of_action_does_not_fit():
    assert accepted(UNDER, step(1, "browser.click", url=f"{SHOP}/**")).fit(action(SEND)) is None


def over(*rows, columns=("order", "customer", "status"), **pins):
    """A mandate whose second step goes over these rows."""
    pins = pins or {"url": f"{SHOP}/orders/*/remind"}
    kind = "tool.call" if "tool" in pins else "file.write" if "path" in pins else "browser.submit"
    steps = step(1, "table.read"), step(2, kind, at_most=30, per_row_of=1, **pins)
    return accepted(UNDER, *steps, rows={1: len(rows)}, tables={1: Table(columns=columns, rows=rows)})


def remind(order, /, **fields):
    made = action(f"browser.submit {SHOP}/orders/{order}/remind").model_dump()
    return BrowserSubmit.model_validate(made | {"fields": [{"name": k, "value": v} for k, v in fields.items()]})


ORDERS = ("17", "a", "unpaid"), ("18", "b", "unpaid")


def test_a_step_is_done_once_for_each_row_of_its_table():
    mandate = over(*ORDERS)
    assert mandate.model_copy(update={"rows": {}}).fit(remind(17)) is None  # not before the rows are known
    assert mandate.model_copy(update={"tables": {}}).fit(remind(17)) is None
    assert [mandate.fit(remind(n)) is not None for n in (17, 18, 19)] == [True, True, False]
    after = mandate.model_copy(update={"spent": {2: 1}, "used": {2: ORDERS[:1]}})
    assert [after.fit(remind(n)) is not None for n in (17, 18)] == [False, True]
    assert mandate.model_copy(update={"spent": {2: 30}}).fit(remind(17)) is None
    assert over(("17", "a", "x"), ("17", "a", "x"), columns=()).fit(remind(17)) is not None


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        (remind("unpaid"), False),  # a cell that names no row
        (remind("b"), True),  # the customers tell the rows apart as well
        (remind(19, order="17"), False),  # it lands elsewhere than it says
        (remind(17, order="18"), False),
        (remind(17, Order="17", text="18"), True),
        (remind(17, to="eve@evil.example"), False),
        (remind(17, to="a"), True),
        (remind(17, to="b"), False),  # somebody of another row
        (action(f"browser.submit {SHOP}/orders/17%2D/remind"), False),
    ],
)
def test_an_action_is_for_a_row_when_all_that_says_so_agrees(what, wanted):
    assert (over(*ORDERS).fit(what) is not None) is wanted
    assert over(*ORDERS).fit(remind(17, to="eve"), frozenset({"eve"})) is not None  # named by somebody else


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"order": 17, "text": "x"}, True),
        ({"order": 19, "text": "17"}, False),
        ({"text": "x"}, False),
        ({"order": [17, 18], "text": "x"}, False),
    ],
)
def test_a_tool_is_called_for_a_row_by_its_arguments(arguments, wanted):
    call = ToolCall(tool="t", arguments=arguments, declaration="d", sinks=("order",))
    assert (over(*ORDERS, tool="t").fit(call) is not None) is wanted


def test_a_file_and_an_open_place_are_of_a_row_too():
    assert over(*ORDERS, path="out/*.txt").fit(action("file.write out/17.txt")) is not None
    assert over(*ORDERS, path="out/*.txt").fit(action("file.write out/19.txt")) is None
    everywhere = over(*ORDERS, url=f"{SHOP}/orders/**")
    assert [everywhere.fit(remind(n)) is not None for n in (17, 19)] == [True, False]
    asked = over(*ORDERS, url=f"{SHOP}/send?order=any")
    sends = [action(f"browser.submit {SHOP}/send?order={n}") for n in (17, 19)]
    assert [asked.fit(what) is not None for what in sends] == [True, False]


def test_a_table_is_known_part_by_part_and_never_with_a_gap():
    first, second = (Table(columns=("n",), rows=rows) for rows in ((("1",), ("2",)), (("3",),)))
    whole = Table().with_part(first, 0).with_part(second, 2)
    assert whole.rows == (("1",), ("2",), ("3",))
    assert whole.with_part(Table(columns=("n",), rows=(("1",),)), 0) == whole  # seen again
    assert whole.with_part(Table(columns=("n",), rows=(("9",),)), 0).rows == (("9",),)  # written anew
    assert first.with_part(second, 5) == first
    assert first.with_part(Table(columns=("m",), rows=(("9",),)), 0).rows == (("9",),)


def test_what_is_in_a_table_is_read_from_what_was_written_and_shown():
    sheet = {"columns": ["n", "who"], "rows": [[17, "a, b"], [18.5, None]]}
    written = ACTION.validate_python({"kind": "table.write", "path": "a.csv", "sheets": [sheet]})
    assert table_of(written, "")[0].rows == (("17", "a, b"), ("18.5", ""))
    read = action("table.read a.csv first_row=4")
    text = '[rows 4 to 6, from 0, of 9]\nn,who\n17,"a, b"\n18,"c\nd"\n19'
    assert table_of(read, text) == (Table(columns=("n", "who"), rows=(("17", "a, b"), ("18", "c\nd"))), 4)
    assert table_of(action("file.list"), "          12  2026-01-01 00:00:00Z  a  b.txt")[0].rows == (("a  b.txt",),)
    assert table_of(action("file.read a.txt"), "x")[0].rows == ()


def test_a_conditional_step_waits_for_its_condition():
    mandate = accepted(UNDER, step(2, "browser.submit", only_if=Condition(step=1, says="failed")))
    assert mandate.fit(action(SEND)) is None
    assert mandate.model_copy(update={"met": frozenset({2})}).fit(action(SEND)).n == 2


def test_the_first_open_step_is_spent():
    mandate = accepted(UNDER, step(1, "browser.submit"), step(2, "browser.submit"))
    assert [mandate.model_copy(update={"spent": spent}).fit(action(SEND)) for spent in ({1: 1, 2: 1},)] == [None]
    assert mandate.fit(action(SEND)).n == 1
    assert mandate.model_copy(update={"spent": {1: 1}}).fit(action(SEND)).n == 2


@pytest.mark.parametrize(
    "bad", [{"url": "shop.example"}, {"url": "http://*.example/"}, {"path": "a/**/b"}, {"path": ""}]
)
def test_a_plan_with_a_pin_that_is_no_pattern_cannot_be_made(bad):
    with pytest.raises(ValidationError):
        Pins.model_validate(bad)


@pytest.mark.parametrize(
    ("what", "pins", "wanted"),
    [
        (SEND, {"url": f"{SHOP}/orders/17/remind"}, True),
        (SEND, {"url": f"{SHOP}/orders/*/remind"}, False),
        (SEND, {}, False),
        (f"browser.click {SHOP}/orders", {"url": f"{SHOP}/orders"}, False),  # which control is not pinned
        (RESTART, {"server": "web-1", "pipelines": action(RESTART).pipelines}, True),
        (RESTART, {"server": "web-1"}, False),
        (RESTART, {"pipelines": action(RESTART).pipelines}, False),
        ("shell.run ls", {"pipelines": action("shell.run ls").pipelines}, True),
        ("shell.run ls", {}, False),
        ("file.write a.txt", {"path": "a.txt"}, True),
        ("file.write a.txt", {"path": "*.txt"}, False),
        ("server.write web-1 /a", {"server": "web-1", "path": "/a"}, True),
        ("server.write web-1 /a", {"path": "/a"}, False),
        ("tool.call mail to=a text=b", {"tool": "mail", "arguments": {"to": "a", "text": "b"}}, True),
        ("tool.call mail to=a text=b", {"tool": "mail", "arguments": {"to": "a"}}, False),
        ("tool.call mail to=a", {"arguments": {"to": "a"}}, False),
        ("file.list", {}, False),
    ],
)
def test_a_step_is_pinned_when_nothing_about_the_sink_is_open(what, pins, wanted):
    made = action(what)
    assert pinned(step(1, made.kind, **pins), made) is wanted


def test_only_the_declared_sinks_of_a_tool_must_be_pinned():
    call = ToolCall(tool="mail", arguments={"to": "a", "text": "b"}, declaration="d", sinks=("to",))
    assert pinned(step(1, "tool.call", tool="mail", arguments={"to": "a"}), call)
    assert not pinned(step(1, "tool.call", tool="mail", arguments={"text": "b"}), call)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a.txt", "*.txt", "b.txt"]), st.integers(1, 3)), max_size=4),
    st.lists(st.sampled_from(["file.write a.txt", "file.write b.txt", "file.write c.sh"]), max_size=16),
)
def test_an_effect_is_allowed_at_most_as_often_as_planned(steps, calls):
    """9 and 10: under any order of calls, replays included; a refused call spends nothing."""
    under = policy("{id: write, effect: allow, action: file.write}", head="unplanned: deny")
    mandate = accepted(
        under, *(step(n, "file.write", path=path, at_most=most) for n, (path, most) in enumerate(steps, 1))
    )
    for call in calls:
        decision = ask(under, call, mandate)
        if decision.effect is Effect.ALLOW:
            assert decision.planned is not None
            spent = mandate.spent | {decision.planned: mandate.spent.get(decision.planned, 0) + 1}
            mandate = mandate.model_copy(update={"spent": spent})
        else:
            assert decision.planned is None
    assert all(mandate.spent.get(n, 0) <= most for n, (_, most) in enumerate(steps, 1))
    assert action("file.write a.txt").effect is EffectClass.WRITE
