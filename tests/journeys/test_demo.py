"""The demo's task with an exact, a sloppy and a hostile model: what happened, and how often a person was asked."""

from __future__ import annotations

import re

import pytest

from agent import demo
from policies.redact.redactor import Redacted, Redactor
from sandbox.practice.world import down

QUESTIONS = {"exact": 2, "sloppy": 2, "hostile": 3}
"""Asked of a person in the guarded play: the plan, the reminder, and whatever the hostile model adds."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("REMIT_HOME", str(tmp_path / "remit"))
    yield tmp_path / "remit-demo"
    down(tmp_path / "remit-demo" / "world")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", QUESTIONS)
def test_the_task_is_done_and_nothing_leaves_whatever_the_model_does(home, capsys, monkeypatch, script):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    code = demo.play(script)

    said = capsys.readouterr().out
    assert code == 0, said
    guarded = said[said.index("2. The same") :]
    assert "Rule untrusted-chooses-no-sink" in guarded
    assert re.findall(r"(\d+) questions", guarded) == [str(QUESTIONS[script])]


@pytest.mark.timeout(300)
def test_the_search_for_leaks_finds_them_when_nothing_is_redacted(home, capsys, monkeypatch):
    monkeypatch.setattr(Redactor, "redact", lambda self, text: Redacted(text=text, found=()))

    code = demo.play("exact")

    said = capsys.readouterr().out
    assert code == 1
    assert "✗ no secret or personal value in prompts" in said
    assert "leak: planted value" in said
