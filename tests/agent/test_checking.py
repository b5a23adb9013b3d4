"""What counts as evidence that a step was done."""

from __future__ import annotations

import pytest

from agent.nodes.checking import _judged
from policies.labels import Label
from policies.mandate import PageShows, PlannedStep
from policies.outcome import Observation
from sandbox.practice.script import Call, Say, Script
from tests.agent.conftest import POLICY, Office, step, submit

THERE = {"expect": {"check": "file", "path": "given.txt"}}
ORDERS = "http://shop.example/orders"


def _seen(url: str, body: str, title: str = "Orders") -> Observation:
    text = f"page: {title}\nurl: {url}\nnote: it said reminded\n\n{body}"
    return Observation(text=text, data={"url": url}, label=Label())


async def test_a_step_that_was_never_tried_is_not_verified_by_what_was_there_before(office: Office) -> None:
    def script() -> Script:
        yield submit(step("write_file", path="given.txt") | THERE)
        yield Say("I did it.")

    stand = await office.advance(office.begin(script, given="old"))

    assert [(row["verdict"], row["times"]) for row in stand.report["steps"]] == [("not done", 0)]


async def test_a_step_that_was_refused_is_not_verified_by_what_was_there_before(office: Office) -> None:
    never = "  - {id: never, effect: deny, action: file.write, path: given.txt, why: never}\n"

    def script() -> Script:
        yield submit(step("write_file", path="given.txt") | THERE)
        yield Call("write_file", {"path": "given.txt", "text": "new"})
        yield Say("I did it.")

    office.set_policy(never, POLICY.replace("accept_plan: when_all_allowed", "accept_plan: ask"))
    run = office.begin(script, given="old")
    office.answer(await office.advance(run))
    stand = await office.advance(run)

    assert stand.report["refused"] == 1
    assert [(row["verdict"], row["times"]) for row in stand.report["steps"]] == [("not done", 0)]


async def test_a_step_that_failed_is_not_verified_by_what_was_there_before(office: Office) -> None:
    def script() -> Script:
        yield submit(step("failing") | THERE)
        yield Call("failing", {})
        yield Say("I did it.")

    office.bring("failing", "sys.exit(3)")
    office.set_policy("  - {id: own, effect: allow, action: tool.call, tool: failing, arguments: {}, why: w}\n")
    office.app = office.another()
    stand = await office.advance(office.begin(script, given="old"))

    assert [(row["verdict"], row["times"]) for row in stand.report["steps"]] == [("failed", 0)]


async def test_a_step_that_only_looks_is_verified_by_what_its_check_finds(office: Office) -> None:
    def script() -> Script:
        yield submit(step("read_file", path="given.txt") | THERE)
        yield Say("It is there.")

    stand = await office.advance(office.begin(script, given="old"))

    assert [row["verdict"] for row in stand.report["steps"]] == ["verified"]


@pytest.mark.parametrize(
    ("url", "seen", "verdict"),
    [
        (f"{ORDERS}/17", _seen(f"{ORDERS}/17", "- text: reminded"), "verified"),
        (f"{ORDERS}/17", _seen(f"{ORDERS}/17?q=⟦email:aaaaaaaaaa⟧", "- text: reminded"), "verified"),
        (f"{ORDERS}/*", _seen(f"{ORDERS}/17", "- text: reminded"), "verified"),
        (f"{ORDERS}?done=yes", _seen(f"{ORDERS}?done=yes", "- text: reminded"), "verified"),
        (f"{ORDERS}?done=yes", _seen(f"{ORDERS}?done=no", "- text: reminded"), "failed"),
        (f"{ORDERS}/17", _seen(f"{ORDERS}/17", "- textbox"), "failed"),
        (f"{ORDERS}/17", _seen(f"{ORDERS}/17", "- textbox", title="reminded"), "failed"),
        (f"{ORDERS}/17", _seen("http://shop.example/login?next=/orders/17/reminded", "- textbox"), "failed"),
        (f"{ORDERS}/17", _seen("http://shop.example/login", "- text: reminded"), "failed"),
        (f"{ORDERS}/*", _seen("http://evil.example/orders/17", "- text: reminded"), "failed"),
        (f"{ORDERS}/*", _seen(f"{ORDERS}/17/delete", "- text: reminded"), "failed"),
        (f"{ORDERS}/17", Observation(text="\n\nreminded", label=Label()), "failed"),
    ],
)
def test_a_page_verifies_by_its_own_words_at_the_expected_url_only(url: str, seen: Observation, verdict: str) -> None:
    step = PlannedStep(n=1, title="t", kind="browser.submit", expect=PageShows(url=url, text="reminded"))

    assert _judged(step, seen)[0] == verdict


async def test_a_step_whose_condition_was_not_met_is_not_needed_though_nothing_was_expected(office: Office) -> None:
    def script() -> Script:
        only = {"only_if": {"step": 1, "says": "broken"}}
        yield submit(step("read_file", path="given.txt"), step("write_file", path="note.txt") | only)
        yield Call("read_file", {"path": "given.txt"})
        yield Say("Nothing to do.")

    stand = await office.advance(office.begin(script, given="all is well"))

    assert [row["verdict"] for row in stand.report["steps"]] == ["", "not needed"]
