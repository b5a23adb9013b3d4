"""The folder for the deliverables is remembered with the run, so that whoever goes on with it delivers there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.cli import door
from sandbox.practice.model import Model
from sandbox.practice.play import Play
from sandbox.practice.script import Call, Say, Script
from tests.agent.conftest import POLICY, Office, step, submit


def note() -> Script:
    yield submit(step("write_file", path="note.txt"), deliverables=["note.txt"])
    yield Call("write_file", {"path": "note.txt", "text": "hello"})
    yield Say("Done.")


@pytest.fixture
def parked(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    """A run that was started with --out and waits for the answer to its plan; and what was said."""
    monkeypatch.setenv("REMIT_HOME", str(office.home))
    monkeypatch.setenv("REMIT_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)
    office.set_policy(text=POLICY.replace("when_all_allowed", "ask"))
    Model.play = Play(f"{__name__}:note")
    assert door.run(["run", "--out", "delivered", "Write a note."]) == 3
    said = capsys.readouterr().out
    assert door.run(["approve", *(q.id for q in office.app.store.questions.all())]) == 0
    capsys.readouterr()
    return office.app.store.runs.list()[0].id, said


def test_a_run_that_parks_says_where_it_will_deliver_and_does_so_when_resumed(
    parked: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, said = parked
    assert said.splitlines()[-1] == f"Then the deliverables go to {tmp_path / 'delivered'}."
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert door.run(["runs", "resume", run]) == 0

    assert f"Delivered: {tmp_path / 'delivered' / 'note.txt'}\n" in capsys.readouterr().out
    assert (tmp_path / "delivered" / "note.txt").read_text() == "hello"


def test_a_run_that_has_ended_is_not_delivered_again_unless_asked_for(
    parked: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = parked
    door.run(["runs", "resume", run])
    capsys.readouterr()

    assert door.run(["runs", "resume", "--json", run]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["files"] == []
    assert [path.name for path in (tmp_path / "delivered").iterdir()] == ["note.txt"]

    assert door.run(["runs", "resume", run, "--out", "other"]) == 0
    assert (tmp_path / "other" / "note.txt").exists()


def test_another_folder_given_at_resuming_wins(parked: tuple[str, str], tmp_path: Path) -> None:
    assert door.run(["runs", "resume", parked[0], "--out", "other"]) == 0

    assert (tmp_path / "other" / "note.txt").exists()
    assert not (tmp_path / "delivered").exists()
