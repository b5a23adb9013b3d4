"""Whole runs that meet trouble: one clear sentence, nothing done twice, nothing left behind, nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.practice import make
from agent.runs import Runs
from agent.wiring import App
from policies.errors import BadPolicy, StaleEpoch
from sandbox.practice import approver
from sandbox.practice.scripts.demo import TASK
from sandbox.practice.world import down

REMIT = str(Path(sys.executable).with_name("remit"))
SCRIPTS = "sandbox.practice.scripts"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def practice(tmp_path):
    home = tmp_path / "practice"
    world, settings = make(home)
    yield home, world, settings
    down(home / "world")


def remit(home, *words, policy=None, wait=True):
    environment = {**os.environ, "REMIT_HOME": str(home)} | ({"REMIT_POLICY": str(policy)} if policy else {})
    child = subprocess.Popen(
        [REMIT, *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if not wait:
        return child
    out, err = child.communicate(timeout=120)
    return child.returncode, out, err


def run_of(home):
    _, out, _ = remit(home, "runs", "list", "--json")
    return json.loads(out.splitlines()[0])


def id_of(home):
    found = run_of(home)
    return found.get("id") or found.get("run")


def waiting_question(home):
    app = App(make(home)[1])
    try:
        return [q.id for q in app.store.questions.all() if not q.settled(app.clock.now())]
    finally:
        asyncio.run(app.close())


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def sleeping(seconds):
    found = subprocess.run(["pgrep", "-f", f"sleep {seconds}$"], capture_output=True, text=True)
    return found.stdout.split()


def test_a_parked_run_goes_on_in_other_processes_and_acts_once(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.demo:exact")

    code, out, err = remit(home, "run", TASK)
    assert code == 3, out + err
    run = id_of(home)
    asked = 0
    while code == 3:
        questions = waiting_question(home)
        asked += len(questions)
        requests = len(world.model_requests())
        for question in questions:
            approver.answer(home, question)
        assert len(world.model_requests()) == requests  # nothing is asked of a model while a run is parked
        code, out, err = remit(home, "runs", "resume", run)

    assert (code, asked) == (0, 2), out + err
    assert [r.order_id for r in world.reminders()] == [1042]
    assert world.collected() == []
    assert world.model_verdict().ok
    assert remit(home, "audit", "verify")[0] == 0


@pytest.mark.parametrize(("script", "seconds"), [("sleep60", 60), ("remote61", 61)])
def test_a_stop_from_another_process_ends_what_runs(practice, script, seconds):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:{script}")
    child = remit(home, "run", "Wait.", policy=home / "allow-all.yaml", wait=False)
    until(lambda: sleeping(seconds))

    code, out, err = remit(home, "runs", "stop", id_of(home))

    assert code == 0, out + err
    until(lambda: not sleeping(seconds), 3.0)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 5, out + err
    assert remit(home, "audit", "verify")[0] == 0


def test_a_stop_works_while_the_model_is_silent(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:staller")
    child = remit(home, "run", "Write a note.", policy=home / "allow-all.yaml", wait=False)
    until(lambda: len(world.model_requests()) >= 2)

    assert remit(home, "runs", "stop", id_of(home))[0] == 0

    child.communicate(timeout=20)
    assert child.returncode == 5


def test_ctrl_c_in_the_middle_leaves_nothing_behind(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:sleep62")
    child = remit(home, "run", "Wait.", policy=home / "allow-all.yaml", wait=False)
    until(lambda: sleeping(62))

    child.send_signal(signal.SIGINT)

    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err
    until(lambda: not sleeping(62), 3.0)
    assert remit(home, "audit", "verify")[0] == 0


def test_a_run_killed_in_mid_effect_asks_whether_it_happened(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:sleep63")
    child = remit(home, "run", "Wait.", policy=home / "allow-all.yaml", wait=False)
    until(lambda: sleeping(63))
    child.kill()
    child.communicate(timeout=10)
    until(lambda: not sleeping(63), 5.0)

    code, out, err = remit(home, "runs", "resume", id_of(home))

    assert code == 3, out + err  # a command that may have changed something is never repeated blindly
    assert "it was begun and then interrupted" in out
    assert sleeping(63) == []
    assert remit(home, "audit", "verify")[0] == 0


def test_broken_calls_are_told_to_the_model_and_the_file_is_written_once(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:note")

    code, out, err = remit(home, "run", "Write a note.", "--accept")

    assert code == 0, out + err
    assert world.model_verdict().ok
    told = [m["content"] for m in json.loads(world.model_requests()[-1])["messages"] if m["role"] == "tool"]
    assert "there is no tool 'write_fiel'" in told[1]
    assert told[2].startswith("Not executed")


def test_limits_and_cuts_of_the_model_are_tried_again(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:throttled")

    code, out, err = remit(home, "run", "Write a note.", "--accept")

    assert code == 0, out + err
    assert world.model_verdict().ok


def test_a_refused_key_holds_the_run_and_a_right_one_lets_it_go_on(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:refused_key")

    code, out, err = remit(home, "run", "Write a note.", "--accept")
    assert code == 4, out + err
    assert "Held" in out

    code, out, err = remit(home, "runs", "resume", id_of(home))
    assert code == 0, out + err


def test_a_model_that_is_away_holds_the_run(practice):
    _, _, settings = practice
    model = settings.model.model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    app = App(settings.model_copy(update={"model": model}))

    async def whole():
        try:
            runs = Runs(app)
            return await runs.advance(runs.start("Write a note.", policy=app.policy()))
        finally:
            await app.close()

    stand = asyncio.run(whole())
    assert stand.standing == "held"
    assert "127.0.0.1" in stand.trouble


def test_two_commands_resuming_one_run_do_not_both_work_on_it(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:sleep64")
    child = remit(home, "run", "Wait.", policy=home / "allow-all.yaml", wait=False)
    until(lambda: sleeping(64))
    try:
        before = sleeping(64)

        code, out, err = remit(home, "runs", "resume", id_of(home))

        assert code == 4, out + err
        assert "worked on by" in err
        assert set(sleeping(64)) <= set(before)  # the walls of one command are more than one process
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)


def test_a_stale_worker_that_wakes_has_no_further_effect(practice):
    _, world, settings = practice
    world.set_script(f"{SCRIPTS}.trouble:note")
    stale, fresh = App(settings), App(settings)

    async def whole():
        run = Runs(stale).start("Write a note.", policy=stale.policy(), accept=True)

        def overtaken(event):
            if event.kind == "plan":  # in the middle of the stale one's work the other takes over
                fresh.store.runs.claim(run, "elsewhere:1:1", 0.0) if stale_released() else None

        def stale_released():
            stale.store.runs.renew(run, 1, -1.0)  # its lease has passed
            return True

        with pytest.raises(StaleEpoch):
            await Runs(stale).advance(run, overtaken)
        assert fresh.workspace(run).files() == ()
        assert fresh.store.ledger.verify(run) is None
        await stale.close()
        await fresh.close()

    asyncio.run(whole())


def test_a_dry_run_does_nothing(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:note")

    code, out, err = remit(home, "run", "Write a note.", "--dry-run")

    assert code == 0, out + err
    assert "nothing was done" in out
    assert len(world.model_requests()) == 1
    assert list((home / "runs").glob("*/*")) == []


def test_a_rejected_plan_ends_the_run_and_nothing_is_done(practice):
    home, world, _ = practice
    world.set_script(f"{SCRIPTS}.trouble:note")
    assert remit(home, "run", "Write a note.")[0] == 3

    approver.answer(home, waiting_question(home)[0], because="not today")
    code, out, err = remit(home, "runs", "resume", id_of(home))

    assert code == 1, out + err
    assert "not today" in out
    assert list((home / "runs").glob("*/*")) == []


def test_the_practice_policy_does_not_load_outside_the_practice_world(practice):
    home, _, settings = practice
    app = App(settings.model_copy(update={"practice": False, "approvers": ()}))
    with pytest.raises(BadPolicy, match="practice"):
        app.policy(home / "allow-all.yaml")
    asyncio.run(app.close())


def test_a_folder_with_its_own_tools_and_agent_does_not_matter(practice, tmp_path, monkeypatch):
    home, world, _ = practice
    for name in ("tools", "agent"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path / "here")
    world.set_script(f"{SCRIPTS}.trouble:note")

    code, out, err = remit(home, "run", "Write a note.", "--accept")

    assert code == 0, out + err
