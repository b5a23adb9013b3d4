"""Whose yes counts: persons with their accounts, in groups, at answering and again when the answer is used."""

from __future__ import annotations

from typing import Any

import pytest

from policies.decision import Approvers
from policies.errors import BadPolicy
from policies.load import load_people, loads
from policies.outcome import Done, Waiting
from policies.people import People, counted, may_answer
from policies.question import Answer, Question
from tests.policies.asking import accepted, ask, policy, step
from tests.policies.gating import NOW, Bench, rules, tool

OFFICE = """
version: 1
units: [sales]
persons:
  alice: {name: Alice, unit: sales, accounts: {system: alice}}
  bob: {accounts: {system: [bob, bob2], mail: Bob@office.example, dingtalk: b1}, roles: [approver]}
  carol: {accounts: {system: carol}}
groups:
  finance: [bob, carol]
  everybody: [alice, bob, carol]
"""
FINANCE = Approvers(groups=("finance",))
TWO = Approvers(answers=2)


def people(text: str = OFFICE) -> People:
    return load_people(text, "people.yaml")


def yes(*accounts: str) -> list[Answer]:
    return [Answer(yes=True, by=a.partition(":")[2], account=a, at=NOW) for a in accounts]


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("unit: sales", "unit: sale", "5:30: unit 'sale' is not in 'units'; add it there, or correct it"),
        ("[bob, bob2]", "[bob, alice]", "6:34: system account 'alice' is that of 'alice' already; an account has one"),
        ("{system: carol}", "{mail: bob@OFFICE.example}", "7:28: mail account 'bob@OFFICE.example' is that of 'bob'"),
        ("[bob, carol]", "[bob, karol]", "9:18: 'karol' is nobody under 'persons'; add the person, or correct it"),
        ("[bob, carol]", "[bob, bob]", "9:18: 'bob' is in group 'finance' twice; keep one"),
        ("units:", "unit:", "3:1: unknown key 'unit'; did you mean 'units'?"),
        ("dingtalk:", "fax:", "6:72: 'fax' should be 'system', 'dingtalk', 'mail', 'api' or 'practice'"),
        ("{system: carol}", "&x {system: carol}", "7:21: anchors and aliases are not allowed here"),
        ("  carol:", "  bob:", "7:3: key 'bob' is given twice; keep one"),
        ("version: 1", "version: 2", "2:10: "),
    ],
)
def test_a_fault_in_the_list_of_people_is_named_with_its_place(was, now, said):
    with pytest.raises(BadPolicy) as caught:
        people(OFFICE.replace(was, now))
    assert any(line.startswith(f"people.yaml:{said}") for line in str(caught.value).splitlines()), caught.value


@pytest.mark.parametrize(
    ("account", "approvers", "counts"),
    [
        ("system:bob", FINANCE, True),
        ("mail:BOB@office.example", FINANCE, True),
        ("system:alice", FINANCE, False),
        ("system:mallory", FINANCE, False),
        ("mail:bob", FINANCE, False),
        ("system:alice", Approvers(groups=("approver",)), False),
        ("dingtalk:b1", Approvers(groups=("approver", "finance")), True),
        ("system:carol", Approvers(groups=("approver", "finance")), False),
        ("system:alice", Approvers(not_requester=True), False),
        ("system:bob", Approvers(not_requester=True), True),
        ("system:mallory", TWO, False),
        ("system:mallory", Approvers(), True),
    ],
)
def test_an_answer_counts_from_the_right_person_alone(account, approvers, counts):
    assert (may_answer(account, approvers, "alice", people()) == "") is counts
    assert bool(counted(yes(account), approvers, "alice", people())) is counts


def test_without_a_list_of_people_nobody_is_in_a_group_and_the_requester_is_still_no_other_person():
    assert may_answer("system:bob", FINANCE, "alice", None)
    assert may_answer("system:alice", Approvers(not_requester=True), "alice", None)
    assert not may_answer("system:bob", Approvers(not_requester=True), "alice", None)


def test_a_requester_whom_nobody_knows_cannot_be_told_from_an_approver():
    assert may_answer("system:bob", Approvers(not_requester=True), "stranger", people())


def test_accounts_of_one_person_are_one_answer():
    assert counted(yes("system:bob", "system:bob2", "mail:bob@office.example"), TWO, "alice", people()) == ("bob",)
    assert counted(yes("system:bob", "system:carol", "system:mallory"), TWO, "alice", people()) == ("bob", "carol")


def test_a_no_is_never_counted_as_a_yes():
    assert counted([Answer(yes=False, by="bob", at=NOW)], FINANCE, "alice", people()) == ()


def asking(of: str) -> str:
    return f"version: 1\nname: t\nrules:\n  - {{id: a, effect: ask, of: {of}, action: file.list, why: x}}\n"


def test_a_rule_names_only_groups_and_roles_that_there_are():
    for group in ("finance", "approver"):
        assert loads(asking(f"{{group: {group}}}"), "p", groups=people().known)
    with pytest.raises(BadPolicy) as caught:
        loads(asking("{group: finances}"), "p", groups=people().known)
    assert str(caught.value) == "p:4:38: group 'finances' is not in people.yaml; did you mean 'finance'?"


def test_the_strictest_of_several_rules_is_asked():
    made = policy(
        "{id: a, effect: ask, of: {group: finance, answers: 2}, action: file.write}",
        "{id: b, effect: ask, of: {group: legal, not_requester: true}, action: file.write}",
    )
    found = ask(made, "file.write a.txt", accepted(made, step(1, "file.write"))).approvers
    assert found == Approvers(groups=("finance", "legal"), not_requester=True, answers=2)


@pytest.mark.parametrize("of", ["{group: finance}", "{answers: 2}", "{not_requester: true}"])
def test_accepting_a_plan_is_no_answer_of_those_whom_a_rule_names(of):
    made = policy(f"{{id: a, effect: ask, ask: plan, of: {of}, action: file.write}}")
    mandate = accepted(made, step(1, "file.write", path="a.txt"))
    assert ask(made, "file.write a.txt", mandate).effect.name == "ASK"
    anyone = policy("{id: a, effect: ask, ask: plan, action: file.write}")
    mandate = accepted(anyone, step(1, "file.write", path="a.txt"))
    assert ask(anyone, "file.write a.txt", mandate).effect.name == "ALLOW"


def test_a_card_that_was_stored_before_there_were_people_is_still_read():
    stored = Question.model_validate_json(
        '{"id":"Q1","run":"R1","turn":1,"about":"action","rows":[],"mode":"each","approvers":{"group":null,"answers":2,'
        '"within_s":3600,"otherwise":"skip"},"requester":"alice","policy_digest":"p","asked_at":"2026-03-02T09:00:00Z",'
        '"expires_at":"2026-03-02T10:00:00Z"}'
    )
    assert stored.approvers == Approvers(answers=2, within_s=3600)
    assert Answer.model_validate({"yes": True, "by": "bob", "at": NOW}).from_account == "system:bob"


GROUPED = """
  - {id: grouped, effect: ask, ask: each, of: {OF}, action: tool.call, tool: unplanned, why: by finance}
"""


def grouped(bench: Bench, known: dict[str, Any], of: str = "group: finance") -> None:
    from tests.policies import gating

    text = gating.RULES.format(name="bench", more=GROUPED.replace("OF", of))
    bench.under(loads(text, "bench.yaml", practice=True, groups=people().known), people=lambda: known["people"])
    bench.accept()


async def test_a_yes_of_the_group_is_used(granted):
    grouped(granted, {"people": people()})
    waiting = await granted.submit(tool("unplanned"))
    assert granted.question(waiting).approvers == FINANCE
    granted.answer(waiting, by="bob")
    assert isinstance(await granted.submit(tool("unplanned")), Done)


@pytest.mark.parametrize(
    "now",
    [
        people(OFFICE.replace("finance: [bob, carol]", "finance: [carol]")),
        people(OFFICE.replace("[bob, bob2]", "bob2")),
        None,
    ],
)
async def test_a_yes_of_somebody_who_left_meanwhile_is_asked_anew(granted, now):
    known = {"people": people()}
    grouped(granted, known)
    waiting = await granted.submit(tool("unplanned"))
    granted.answer(waiting, by="bob")
    known["people"] = now
    again = await granted.submit(tool("unplanned"))
    assert isinstance(again, Waiting)
    assert again != waiting
    assert granted.world.happened == []


async def test_a_yes_of_nobody_in_the_group_does_nothing_however_it_was_stored(granted):
    grouped(granted, {"people": people()})
    waiting = await granted.submit(tool("unplanned"))
    granted.answer(waiting, by="alice")
    assert isinstance(await granted.submit(tool("unplanned")), Waiting)
    assert granted.world.happened == []


async def test_a_list_of_people_that_cannot_be_read_lets_nobody_count(granted):
    def broken() -> None:
        raise BadPolicy("people.yaml:1:1: broken")

    grouped(granted, {"people": people()})
    waiting = await granted.submit(tool("unplanned"))
    granted.answer(waiting, by="bob")
    granted.under(granted.policy, people=broken)
    assert isinstance(await granted.submit(tool("unplanned")), Waiting)
    assert granted.world.happened == []


async def test_the_requester_is_not_among_those_who_say_yes(granted):
    grouped(granted, {"people": people()}, "group: everybody, not_requester: true")
    waiting = await granted.submit(tool("unplanned"))
    granted.answer(waiting, by="alice")
    again = await granted.submit(tool("unplanned"))
    assert isinstance(again, Waiting)
    granted.answer(again, by="carol")
    assert isinstance(await granted.submit(tool("unplanned")), Done)


async def test_two_accounts_of_one_person_are_not_two_people(granted):
    granted.under(rules(), people=people)
    waiting = await granted.submit(tool("two"))
    granted.answer(waiting, by="bob")
    granted.answer(waiting, by="bob2")
    again = await granted.submit(tool("two"))
    assert isinstance(again, Waiting)
    granted.answer(again, by="bob")
    granted.answer(again, by="carol")
    assert isinstance(await granted.submit(tool("two")), Done)
