"""What the package gives for tests of policies and tools: a practice home, a scripted model, and what came of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tools.own
from sandbox.practice.errors import PracticeError
from sandbox.practice.script import Call, Calls, Fault, Kind, ModelRequest, Say, Script
from tests.journeys.here import here
from tools.testing import Practice

EXAMPLE = Path(tools.own.__file__).parent / "example"
PLAN = Call(
    "submit_plan", {"summary": "A note.", "steps": [{"title": "a note", "tool": "write_file", "path": "n.txt"}]}
)
POLICY = """version: 1
name: mine
rules:
  - {id: model, effect: allow, action: model.call, why: the model}
  - {id: prices-are-kept, effect: deny, action: file.write, path: prices.csv, why: the price list is kept by people,
     match: [prices.csv], not_match: [n.txt]}
  - {id: write, effect: allow, action: file.write, why: notes}
  - {id: vat, effect: allow, action: tool.call, tool: vat_check, arguments: {number: any}, why: it only computes}
"""


@pytest.fixture(scope="module")
def practice(tmp_path_factory):
    with Practice(tmp_path_factory.mktemp("practice"), remit=here) as practice:
        (practice.home / "mine.yaml").write_text(POLICY)
        yield practice


def reads_the_answer(first: ModelRequest) -> Script:
    yield Fault(Kind.RETRY_AFTER, seconds=0)
    request = yield PLAN
    request = yield Call("vat_check", {"number": "FD123456782"})
    verdict = request.find(r'"valid": ?(true|false)')
    yield Say(f"{first.user} Valid: {verdict}.")


def test_a_list_of_turns_plays_against_a_policy(practice):
    write = (
        Call("write_file", {"path": "prices.csv", "text": "x"}),
        Call("write_file", {"path": "n.txt", "text": "hello"}),
    )

    played = practice.run("Write.", policy=practice.home / "mine.yaml", script=[PLAN, Calls(*write), Say("Done.")])

    assert (played.code, played.standing) == (0, "done")
    assert played.files == {"n.txt": b"hello"}
    assert [entry["rules"] for entry in played.events("denied")] == [["prices-are-kept"]]
    assert "REFUSED by prices-are-kept" in str(played.requests[-1]["messages"])
    assert played.report["summary"] == "Done."


def test_an_own_tool_is_tried_by_a_function_that_reads_its_answer(practice):
    shutil.copytree(EXAMPLE, practice.home / "tools")

    played = practice.run("Check FD123456782.", policy=practice.home / "mine.yaml", script=reads_the_answer)

    assert played.report["summary"] == "Check FD123456782. Valid: true."


def test_a_run_waits_for_an_answer_and_goes_on(practice):
    waiting = practice.run("Write.", script=[PLAN], accept=False)
    assert (waiting.code, waiting.standing, waiting.files) == (3, "waiting", {})

    practice.answer(*waiting.questions, because="not today")

    assert "not today" in practice.resume(waiting.run).trouble


def test_turns_that_do_not_fit_are_an_error(practice):
    with pytest.raises(PracticeError, match="turns left"):
        practice.run("Write.", script=[PLAN, Say("Done."), Say("More.")])


def test_a_task_that_does_not_start_is_an_error_in_its_own_words(practice):
    with pytest.raises(PracticeError, match="the task is empty"):
        practice.run("", script=[PLAN])


def test_a_function_inside_another_cannot_be_played(practice):
    def inner() -> Script:
        yield Say("Done.")

    with pytest.raises(PracticeError, match="top of a file"):
        practice.run("Write.", script=inner)


def test_commands_are_processes_that_no_setting_of_the_developer_reaches(tmp_path, monkeypatch):
    for name in ("REMIT_HOME", "REMIT_STORE", "REMIT_POLICY", "REMIT_MODEL_BASE_URL"):
        monkeypatch.setenv(name, "/nowhere/at all")

    with Practice(tmp_path) as practice:
        played = practice.run("Write.", script=[PLAN, Call("write_file", {"path": "n.txt", "text": "x"}), Say("Done.")])

    assert (played.code, played.standing, practice.world.folder.exists()) == (0, "done", False)
