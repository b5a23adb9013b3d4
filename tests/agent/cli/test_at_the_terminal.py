"""A person at a terminal sees what they are asked about, and what they say is what is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli import door
from sandbox.practice.model import Model
from sandbox.practice.play import Play
from sandbox.practice.script import Call, Say, Script
from tests.agent.cli.conftest import on_a_terminal
from tests.agent.conftest import POLICY, Office, step, submit

ASKS = "  - {id: ask-own, effect: ask, action: file.write, path: asked.txt, why: look first, match: [asked.txt], not_match: [x]}\n"
PROMPT = "Accept? [y] yes  [n] no, because …  [l] later: "


def note() -> Script:
    yield submit(step("write_file", path="note.txt"))
    yield Call("write_file", {"path": "note.txt", "text": "hello"})
    yield Say("Done.")


def asked() -> Script:
    yield submit(step("write_file", path="asked.txt"))
    yield Call("write_file", {"path": "asked.txt", "text": "hello"})
    yield Say("I did it.")


@pytest.fixture
def waiting(office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """A run whose plan waits for an answer."""
    begin(office, monkeypatch)
    office.set_policy(text=POLICY.replace("when_all_allowed", "ask"))
    Model.play = Play(f"{__name__}:note")
    assert door.run(["run", "Write a note."]) == 3
    capsys.readouterr()
    return office.app.store.runs.list()[0].id


def begin(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIT_HOME", str(office.home))
    monkeypatch.setenv("REMIT_LANGUAGE", "en")


def test_a_run_whose_plan_waits_shows_it_again_before_it_asks(waiting: str) -> None:
    code, seen = on_a_terminal("runs", "resume", waiting, typed="y\n")

    assert code == 0
    assert seen.count("Plan, from your words only") == 1
    assert seen.index("1 file.write      note.txt") < seen.index(PROMPT)


def test_a_plan_is_shown_once_where_it_is_made(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(office, monkeypatch)
    office.set_policy(text=POLICY.replace("when_all_allowed", "ask"))
    Model.play = Play(f"{__name__}:note")

    code, seen = on_a_terminal("run", "Write a note.", typed="y\n")

    assert (code, seen.count("Plan, from your words only")) == (0, 1)


def test_a_no_without_a_reason_is_told_as_a_no(waiting: str, office: Office) -> None:
    code, seen = on_a_terminal("runs", "resume", waiting, typed="n\n\n")

    assert code == 1
    who = office.app.settings.principal
    assert f"Not done: the plan was not accepted: {who} said no: no reason given" in seen


def test_a_mistyped_answer_is_asked_again_and_later_is_later(waiting: str, office: Office) -> None:
    code, seen = on_a_terminal("runs", "resume", waiting, typed="yo\n\nnever mind\nl\n")

    assert (code, seen.count("please y, n or l"), seen.count(PROMPT)) == (3, 3, 4)
    assert not any(row.answers for q in office.app.store.questions.all() for row in q.rows)


def test_ctrl_d_is_later(waiting: str, office: Office) -> None:
    code, _ = on_a_terminal("runs", "resume", waiting, typed="\x04")

    assert code == 3
    assert not any(row.answers for q in office.app.store.questions.all() for row in q.rows)


def test_a_step_that_a_person_rejected_is_not_done_and_says_who(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(office, monkeypatch)
    office.set_policy(ASKS)
    Model.play = Play(f"{__name__}:asked")

    code, seen = on_a_terminal("run", "--accept", "Write a note.", typed="n, not today\n")

    assert f"· 1 write_file  not done: {office.app.settings.principal} said no: not today" in seen
    assert code == 1
    assert not Path(office.home, "runs", office.app.store.runs.list()[0].id, "asked.txt").exists()
