"""Whole runs that are stopped, killed, overtaken or badly answered: nothing done twice, nothing left behind or lost."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.runs import Runs
from agent.settings import load_settings
from agent.wiring import App
from policies.errors import BadPolicy, StaleEpoch
from sandbox.practice import command
from sandbox.practice.script import Call, Fault, Kind, Say
from sandbox.practice.scripts.demo import TASK
from tests.journeys.conftest import line_with, plan, shown

REMIT = str(Path(sys.executable).with_name("remit"))
SCRIPTS = "sandbox.practice.scripts"
NOTE = {"title": "a note", "tool": "write_file", "path": "note.txt", "expect": {"check": "file", "path": "note.txt"}}
pytestmark = pytest.mark.timeout(240)


def begun(practice, script, *, terminal=None) -> subprocess.Popen:
    """`remit run` in a process of its own, in pipes or at a terminal; standard error is a pipe even there."""
    practice.play(script)
    policy = "allow-all.yaml" if terminal is None else "policy.yaml"
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    return subprocess.Popen(
        [REMIT, "run", "--policy", str(practice.home / policy), "Wait."],
        env={**os.environ, "REMIT_HOME": str(practice.home), "REMIT_LANGUAGE": "en"},
        stderr=subprocess.PIPE,
        text=True,
        **(pipes if terminal is None else dict.fromkeys(pipes, terminal)),
    )


def newest(practice) -> str:
    return json.loads(practice.remit("runs", "list", "--json").out.splitlines()[0])["run"]


def waiting(practice) -> list[str]:
    return [json.loads(line)["question"]["id"] for line in practice.remit("questions", "--json").out.splitlines()]


def settings_of(practice):
    return load_settings(environment={"REMIT_HOME": str(practice.home)})


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def sleeping(seconds, *, walls=True):
    """The processes of a `sleep`, with those of the walls round it or without."""
    words = f"sleep {seconds}$" if walls else rf"^(\S*/)?sleep {seconds}$"
    found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True)
    return found.stdout.split()


def test_a_parked_run_goes_on_in_other_processes_and_acts_once(practice):
    """In other processes, which is the point here."""
    remit = lambda *words: command.remit(practice.home, *words)  # noqa: E731
    practice.play(f"{SCRIPTS}.demo:exact")

    code, out, err = remit("run", TASK)
    assert code == 3, out + err
    run, asked = newest(practice), 0
    while code == 3:
        questions = waiting(practice)
        asked += len(questions)
        requests = len(practice.world.model_requests())
        for question in questions:
            assert practice.remit("approve", question).code == 0
        assert len(practice.world.model_requests()) == requests  # nothing is asked of a model while a run is parked
        code, out, err = remit("runs", "resume", run)

    assert (code, asked) == (0, 2), out + err
    assert [r.order_id for r in practice.world.reminders()] == [1042]
    assert practice.world.collected() == []
    assert practice.world.model_verdict().ok


@pytest.mark.parametrize(("script", "seconds"), [("sleep60", 60), ("remote61", 61)])
def test_a_stop_from_another_process_ends_what_runs(practice, script, seconds):
    child = begun(practice, f"{SCRIPTS}.trouble:{script}")
    until(lambda: sleeping(seconds))

    code, out, err = practice.remit("runs", "stop", newest(practice))

    assert code == 0, out + err
    until(lambda: not sleeping(seconds), 3.0)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 5, out + err


def test_a_stop_works_while_the_model_is_silent(practice):
    child = begun(practice, f"{SCRIPTS}.trouble:staller")
    until(lambda: len(practice.world.model_requests()) >= 2)

    assert practice.remit("runs", "stop", newest(practice)).code == 0

    child.communicate(timeout=20)
    assert child.returncode == 5


def test_ctrl_c_in_the_middle_leaves_nothing_behind(practice):
    child = begun(practice, f"{SCRIPTS}.trouble:sleep62")
    until(lambda: sleeping(62))

    child.send_signal(signal.SIGINT)

    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert err == f"Stopped. Go on with: remit runs resume {newest(practice)}\n"
    until(lambda: not sleeping(62), 3.0)


def test_ctrl_c_at_a_question_keeps_the_answers_before_and_the_question(practice):
    ours, theirs = pty.openpty()
    child = begun(practice, f"{SCRIPTS}.demo:exact", terminal=theirs)
    os.close(theirs)
    try:
        seen(ours, "Accept? [y] yes  [n] no, because …  [l] later: ")
        os.write(ours, b"y\n")
        seen(ours, "[l] later: ")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
        os.close(ours)

    run = newest(practice)
    assert (child.returncode, err) == (130, f"Stopped. Go on with: remit runs resume {run}\n")
    (question,) = waiting(practice)
    assert practice.world.reminders() == []
    code, out, _ = practice.remit("runs", "resume", run)
    assert (code, question in out) == (3, True)  # the plan's answer counts, this one is still asked
    assert practice.remit("approve", question).code == 0
    assert practice.remit("runs", "resume", run).code == 0
    assert [r.order_id for r in practice.world.reminders()] == [1042]


def seen(terminal: int, words: str) -> str:
    """What the terminal shows up to these words."""
    text = ""
    while words not in text:
        ready, _, _ = select.select([terminal], [], [], 20)
        assert ready, f"no {words!r} in:\n{text}"
        text += os.read(terminal, 65536).decode()
    return text


def test_a_run_killed_in_mid_effect_asks_whether_it_happened(practice):
    child = begun(practice, f"{SCRIPTS}.trouble:sleep63")
    until(lambda: sleeping(63))
    child.kill()
    child.communicate(timeout=10)
    until(lambda: not sleeping(63), 5.0)

    code, out, err = practice.remit("runs", "resume", newest(practice))

    assert code == 3, out + err  # a command that may have changed something is never repeated blindly
    assert "it was begun and then interrupted" in out
    assert sleeping(63) == []


def test_broken_calls_are_told_to_the_model_and_the_file_is_written_once(practice):
    played = practice.run("Write a note.", script=f"{SCRIPTS}.trouble:note")

    assert (played.code, played.files) == (0, {"note.txt": b"hello"})
    told = [m["content"] for m in played.requests[-1]["messages"] if m["role"] == "tool"]
    assert "there is no tool 'write_fiel'" in told[1]
    assert told[2].startswith("Not executed")


def test_limits_and_cuts_of_the_model_are_tried_again(practice):
    assert practice.run("Write a note.", script=f"{SCRIPTS}.trouble:throttled").code == 0


def test_a_refused_key_holds_the_run_and_a_right_one_lets_it_go_on(practice):
    said = shown(practice, f"{SCRIPTS}.trouble:refused_key")

    assert said.code == 4, said.out + said.err
    assert "key" in line_with(said, "Held: ")
    assert practice.remit("runs", "resume", newest(practice)).code == 0


def test_a_model_that_is_away_holds_the_run(practice):
    path = practice.home / "settings.toml"
    path.write_text(re.sub(r'base_url = ".*"', 'base_url = "http://127.0.0.1:9/v1"', path.read_text()))

    said = shown(practice, [plan(NOTE)])

    assert said.code == 4
    assert "127.0.0.1" in line_with(said, "Held: ")


def test_two_commands_resuming_one_run_do_not_both_work_on_it(practice):
    child = begun(practice, f"{SCRIPTS}.trouble:sleep64")
    until(lambda: sleeping(64, walls=False))
    try:
        before = sleeping(64, walls=False)

        code, out, err = practice.remit("runs", "resume", newest(practice))

        assert code == 4, out + err
        assert "worked on by" in err
        assert sleeping(64, walls=False) == before
        assert len(before) == 1
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)


def test_a_stale_worker_that_wakes_has_no_further_effect(practice):
    """The worker is stopped while it waits for the model, overtaken when its lease has passed, and woken."""
    write = Call("write_file", {"path": "note.txt", "text": "hello"})
    child = begun(practice, [plan(NOTE), Fault(Kind.SLOW, write, seconds=2), write, Say("Done.")])
    until(lambda: len(practice.world.model_requests()) == 2)
    child.send_signal(signal.SIGSTOP)
    try:
        run = newest(practice)
        app = App(settings_of(practice))
        app.store.runs.renew(run, 1, -1.0, worked_ms=0)  # its lease has passed
        asyncio.run(app.close())

        code, out, _ = practice.remit("runs", "resume", run)
        after = practice.remit("audit", "show", run).out
    finally:
        child.send_signal(signal.SIGCONT)
    _, err = child.communicate(timeout=20)

    assert code == 0, out
    assert child.returncode == 4
    assert err == f"remit: run {run!r} was taken over by another process; this one must stop\n"
    assert practice.remit("audit", "show", run).out == after
    assert len(re.findall(r"\tdone\tfile\.write\t", after)) == 1
    assert practice.world.model_verdict().ok


def test_a_worker_overtaken_between_two_steps_writes_nothing_more(practice):
    settings = settings_of(practice)
    practice.play(f"{SCRIPTS}.trouble:note")

    async def whole():
        stale, fresh = App(settings), App(settings)
        run = Runs(stale).start("Write a note.", policy=stale.policy(), accept=True)

        def overtaken(event):
            if event.kind == "plan":  # in the middle of the stale one's work the other takes over
                stale.store.runs.renew(run, 1, -1.0, worked_ms=0)
                fresh.store.runs.claim(run, "elsewhere:1:1", 0.0)

        with pytest.raises(StaleEpoch):
            await Runs(stale).advance(run, overtaken)
        assert fresh.workspace(run).files() == ()
        assert fresh.store.ledger.verify(run) is None
        await stale.close()
        await fresh.close()

    asyncio.run(whole())


def test_a_dry_run_does_nothing(practice):
    played = practice.run("Write a note.", "--dry-run", script=f"{SCRIPTS}.trouble:note")

    assert (played.code, played.standing, played.files) == (0, "previewed", {})
    assert len(played.requests) == 1


def test_a_rejected_plan_ends_the_run_and_nothing_is_done(practice):
    asked = practice.run("Write a note.", script=f"{SCRIPTS}.trouble:note", accept=False)
    practice.answer(*asked.questions, because="not today")

    played = practice.resume(asked.run)

    assert (asked.code, played.code, played.standing, played.files) == (3, 1, "rejected", {})
    assert "not today" in played.trouble


def test_the_practice_policy_does_not_load_outside_the_practice_world(practice):
    app = App(settings_of(practice).model_copy(update={"practice": False, "approvers": ()}))
    with pytest.raises(BadPolicy, match="practice"):
        app.policy(practice.home / "allow-all.yaml")
    asyncio.run(app.close())


def test_a_folder_with_its_own_tools_and_agent_does_not_matter(practice, tmp_path, monkeypatch):
    for name in ("tools", "agent"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path / "here")
    practice.play(f"{SCRIPTS}.trouble:note")

    code, out, err = command.remit(practice.home, "run", "Write a note.", "--accept")

    assert code == 0, out + err
