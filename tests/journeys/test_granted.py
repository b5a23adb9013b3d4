"""What was granted holds to the end: limits of a run, one effect for each row of a table, and changes of the plan."""

from __future__ import annotations

import re

import pytest

from sandbox.practice.script import Call, Calls, Say, Script
from tests.journeys.conftest import line_with, plan, shown
from tests.journeys.test_trouble_outside import ref

pytestmark = pytest.mark.timeout(120)
SHOP = "http://shop.example"
NOTE = {"title": "notes", "tool": "write_file", "at_most": 5}


def write(name: str, text: str = "x") -> Call:
    return Call("write_file", {"path": f"{name}.txt", "text": text})


def limited(practice, limits: str) -> str:
    """A policy file that allows everything but has these limits."""
    text = (practice.home / "allow-all.yaml").read_text()
    (practice.home / "limited.yaml").write_text(re.sub(r"limits: {.*}", f"limits: {{{limits}}}", text))
    return "limited.yaml"


def written(practice) -> list[str]:
    return sorted(p.name for p in (practice.home / "runs").glob("*/*.txt"))


@pytest.fixture(autouse=True)
def no_runs_before(practice):
    for old in (practice.home / "runs").glob("*/*.txt"):
        old.unlink()


def test_the_step_after_the_last_is_not_done(practice):
    script = [plan(NOTE), Calls(write("a"), write("b"), write("c"), write("d")), Say("Done.")]

    said = shown(practice, script, policy=limited(practice, "steps: 3, minutes: 60, tokens: 1000000"))

    assert "the limit on steps leaves 0 of 3 per run" in line_with(said, "Rule limit")
    assert written(practice) == ["a.txt", "b.txt", "c.txt"]


HELD = {
    "steps: 2, minutes: 60, tokens: 1000000": (
        "the limit on steps leaves 0 of 2 per run, and up to 1 would be needed",
        "a.txt",
    ),
    "steps: 60, minutes: 60, tokens: 100": ("the limit on tokens leaves 100 of 100 per run", ""),
    "steps: 60, minutes: 60, tokens: 20000": ("of 20000 per run", "a.txt"),
    "steps: 60, minutes: 60, tokens: 1000000, money: {amount: 0.000001, currency: CNY}": (
        "the limit on money in millionths leaves 1 of 1",
        "",
    ),
    "steps: 60, minutes: 0, tokens: 1000000": ("the run's 0 minutes are over", ""),
}


@pytest.mark.parametrize("limits", HELD)
def test_a_run_that_used_up_its_limit_is_held_and_goes_on_when_it_is_raised(practice, limits):
    words, done = HELD[limits]
    policy = practice.home / limited(practice, limits)

    said = shown(practice, [plan(NOTE), write("a"), write("b"), Say("Done.")], policy=policy.name)

    held = line_with(said, "Held: ")
    assert words in held and "in the policy" in held
    assert said.code == 4
    assert written(practice)[:1] == ([done] if done else [])
    limited(practice, "steps: 60, minutes: 60, tokens: 1000000")
    assert practice.remit("runs", "resume", said.out.split()[1]).code == 0
    assert written(practice) == ["a.txt", "b.txt"]


TABLE = [["1042", "a"], ["1043", "b"]]


def reminders(orders: list[int]) -> Script:
    yield plan(
        {"title": "pages", "tool": "open_page", "url": f"{SHOP}/**", "at_most": 20},
        {"title": "the table", "tool": "write_table", "path": "unpaid.csv"},
        {
            "title": "a reminder for each row",
            "tool": "send_form",
            "url": f"{SHOP}/orders/*/remind",
            "at_most": 30,
            "per_row_of": 2,
        },
    )
    request = yield Call("open_page", {"url": f"{SHOP}/login"})
    page = request.last_tool()
    yield Call("fill", {"ref": ref(page, "textbox", "User"), "value": "office"})
    yield Call("fill", {"ref": ref(page, "textbox", "Password"), "value": "secret://shop-password"})
    yield Call("click", {"ref": ref(page, "button", "Log in")})
    sheet = {"name": "unpaid", "columns": ["order", "customer"], "rows": TABLE}
    yield Call("write_table", {"path": "unpaid.csv", "sheets": [sheet]})
    for order in orders:
        request = yield Call("open_page", {"url": f"{SHOP}/orders/{order}/remind"})
        page = request.last_tool()
        yield Call("fill", {"ref": ref(page, "textbox", "Text"), "value": "Please pay."})
        yield Call("click", {"ref": ref(page, "button", "Send reminder")})
    yield Say("Done.")


def three_reminders() -> Script:
    yield from reminders([1042, 1043, 1042])


def a_reminder_for_another_order() -> Script:
    yield from reminders([1013])


def by_rows(practice) -> str:
    """back-office, with reminders that need no further answer but a place in the plan."""
    text = (practice.home / "policy.yaml").read_text()
    text = text.replace(
        "    effect: ask\n    ask: batch                       # one card for all reminders of a step\n",
        "    effect: allow\n",
    )
    text = re.sub(r"    of: {group: finance.*\n", "", text).replace(
        "name: back-office\n", "name: by-rows\nunplanned: deny\n"
    )
    (practice.home / "rows.yaml").write_text(text)
    return "rows.yaml"


def test_one_reminder_for_each_row_and_no_more(practice):
    said = shown(practice, three_reminders, policy=by_rows(practice), task="Remind the customers at shop.example.")

    assert [r.order_id for r in practice.world.reminders()] == [1042, 1043]
    assert "no unspent step of the accepted plan covers this browser.submit" in line_with(said, "no unspent step")


def test_an_order_that_is_not_in_the_table_gets_no_reminder(practice):
    shown(
        practice, a_reminder_for_another_order, policy=by_rows(practice), task="Remind the customers at shop.example."
    )

    assert practice.world.reminders() == []


ONE = {"title": "a note", "tool": "write_file", "path": "a.txt"}
MORE = {"why": "a second one is needed", "steps": [{"title": "another", "tool": "write_file", "path": "b.txt"}]}


def changes() -> Script:
    yield plan(ONE)
    yield write("a")
    yield Call("change_plan", MORE)
    yield write("b")
    yield Say("Done.")


def strict(practice):
    """Every change of the plan is asked, and what no plan holds is refused."""
    text = (practice.home / "policy.yaml").read_text()
    (practice.home / "strict.yaml").write_text(text.replace("name: back-office\n", "name: strict\nunplanned: deny\n"))
    return practice.home / "strict.yaml"


def test_a_change_of_the_plan_that_a_person_accepts_is_carried_out(practice):
    waiting = practice.run("Two notes.", script=changes, policy=strict(practice))
    assert (waiting.standing, sorted(waiting.files)) == ("waiting", ["a.txt"])
    assert practice.remit("approve", *waiting.questions).code == 0

    played = practice.resume(waiting.run)

    assert (played.code, sorted(played.files)) == (0, ["a.txt", "b.txt"])
    assert [step["times"] for step in played.report["steps"]] == [1, 1]


def test_a_change_of_the_plan_that_a_person_rejects_is_not_carried_out(practice):
    waiting = practice.run("Two notes.", script=changes, policy=strict(practice))
    assert practice.remit("reject", "--because", "one is enough", *waiting.questions).code == 0

    played = practice.resume(waiting.run)

    assert sorted(played.files) == ["a.txt"]
    assert "said no: one is enough" in str(played.requests[-2]["messages"][-1])
    assert [e["kind"] for e in played.events("denied")] == ["file.write"]
    assert played.report["refused"] == 1
