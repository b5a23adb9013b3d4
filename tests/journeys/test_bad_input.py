"""Bad input at the command: one sentence on standard error, exit code 2, and nothing was started or asked."""

from __future__ import annotations

import re

import pytest

from sandbox.practice.script import Call, Say
from tests.journeys.conftest import plan, shown

NOTE = {"title": "a note", "tool": "write_file", "path": "n.txt"}

RULES = {
    "a word that is none": ("effect: alow", r"policy\.yaml:\d+:\d+: .*'effect' should be 'allow'"),
    "the same key twice": ("effect: allow\n    effect: deny", r"policy\.yaml:\d+:\d+: .*(twice|duplicate)"),
    "a case that the rule does not match": (
        "effect: allow\n    url: http://shop.example/**\n    match: [http://collect.example/]",
        r"policy\.yaml:\d+:\d+: .*http://collect\.example/",
    ),
    "a case that it should not match": (
        "effect: allow\n    url: http://shop.example/**\n    not_match: [http://shop.example/login]",
        r"policy\.yaml:\d+:\d+: .*http://shop\.example/login",
    ),
    "no action": ("effect: allow\n    acton: file.read", r"policy\.yaml:\d+:\d+: .*acton"),
}


def refused(said, practice) -> str:
    """The one sentence; nothing was written or asked."""
    assert said.code == 2, said.out + said.err
    assert said.out == ""
    assert practice.world.model_requests() == []
    assert list((practice.home / "runs").glob("*/*")) == []
    assert "Traceback" not in said.err
    return said.err.rstrip("\n")


@pytest.fixture(autouse=True)
def nothing_asked(practice):
    practice.world.reset()


@pytest.mark.parametrize("task", ["", "  \n\t "])
def test_an_empty_task_is_refused(practice, task):
    assert "the task is empty; say in words" in refused(shown(practice, [Say("?")], task=task), practice)


def test_a_huge_task_is_refused_with_what_to_do(practice):
    said = refused(shown(practice, [Say("?")], task="word " * 200_000), practice)

    assert "at most 20,000; give more with --file" in said
    assert len(said) < 300


@pytest.mark.parametrize("fault", RULES)
def test_a_policy_with_a_fault_is_named_by_line_and_column(practice, fault):
    text, sentence = RULES[fault]
    action = "" if "acton" in text else "    action: browser.open\n"
    policy = practice.home / "policy.yaml"
    policy.write_text(f"version: 1\nname: mine\nrules:\n  - id: one\n{action}    {text}\n    why: to see it fail\n")

    said = refused(shown(practice, [Say("?")], policy="policy.yaml"), practice)

    assert re.search(sentence, said), said
    at = f"{policy}:"
    assert all(line.removeprefix("remit: ").startswith(at) for line in said.splitlines()), said  # one line a fault


def test_a_policy_that_is_not_there_is_named(practice):
    said = refused(shown(practice, [Say("?")], policy="other.yaml"), practice)

    assert f"there is no policy '{practice.home / 'other.yaml'}'" in said
    assert "remit init" in said


def test_a_policy_that_is_no_text_is_named(practice):
    (practice.home / "policy.yaml").write_bytes(b"\xff\xfe\x00\x01\x02" * 100)

    assert "policy.yaml" in refused(shown(practice, [Say("?")], policy="policy.yaml"), practice)


def test_a_policy_that_is_a_folder_is_named(practice):
    (practice.home / "folder.yaml").mkdir()

    assert "folder.yaml" in refused(shown(practice, [Say("?")], policy="folder.yaml"), practice)


def test_a_file_to_hand_over_that_is_not_there_is_named(practice):
    said = refused(shown(practice, [Say("?")], "--file", "/nowhere/orders.csv"), practice)

    assert "'/nowhere/orders.csv'" in said


def test_a_policy_spoiled_while_a_run_waits_keeps_it_waiting(practice):
    waiting = practice.run(
        "Write.", script=[plan(NOTE), Call("write_file", {"path": "n.txt", "text": "x"}), Say("Done.")], accept=False
    )
    policy = practice.home / "policy.yaml"
    good = policy.read_text()
    practice.remit("approve", *waiting.questions)
    policy.write_text(good + "nonsense\n")

    said = practice.remit("runs", "resume", waiting.run)

    assert (said.code, said.out) == (2, f"remit {waiting.run}\n")
    assert "policy.yaml" in said.err
    policy.write_text(good)
    assert practice.resume(waiting.run).files == {"n.txt": b"x"}
