"""Runs: who may work on one, and what a process that lost it can no longer do."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import NoSuchRun, RunBusy
from agent.store.runs import RunStatus, Used, this_process
from policies.decision import Reservation
from policies.errors import StaleEpoch
from tests.agent.store.conftest import NOW, done, draft, new_run, plan


def test_a_run_comes_back_as_it_was_created(store, opened):
    store.runs.create(new_run("r2", title="订单"))
    other = opened().runs
    assert other.get("r2") == new_run("r2", title="订单")
    assert {run.id for run in other.list()} == {"r1", "r2"}
    assert len(other.list(limit=1)) == 1
    store.runs.set_status("r2", RunStatus.PARKED)
    assert [run.id for run in other.list(status=RunStatus.PARKED)] == ["r2"]


def test_what_a_run_has_used_is_what_its_limits_count(store, opened):
    took = {"steps": 2, "calls": 9, "tokens": 70, "micros": 5}
    mine = [Reservation(key=f"run:r1:{unit}", limit=100, amount=amount) for unit, amount in took.items()]
    other = Reservation(key="rule:remind:run:r1", limit=100, amount=40)
    store.records.commit(done(), [draft()], epoch=1, reserve=[*mine, other], now=NOW)
    back = Reservation(key="run:r1:tokens", limit=100, amount=20)
    store.records.commit(done(), [draft()], epoch=1, give_back=[back], now=NOW)
    assert opened().runs.used("r1") == Used(steps=2, tokens=50, money_micros=5)
    run = opened().runs.get("r1")
    assert (run.steps, run.tokens, run.money_micros) == (2, 50, 5)


def test_an_unknown_run_is_said_so_by_every_way_to_ask_for_it(store):
    for ask in (store.runs.get, store.runs.stop_requested, store.runs.request_stop, store.mandates.get):
        if ask == store.mandates.get:
            assert ask("r9") is None
            continue
        with pytest.raises(NoSuchRun, match="remit runs list"):
            ask("r9")
    with pytest.raises(NoSuchRun):
        store.runs.claim("r9", "a", 1)


def test_a_live_lease_keeps_others_out_until_it_ends_or_is_given_up(store, opened, clock):
    other = opened().runs
    with pytest.raises(RunBusy, match="'r1' is worked on by"):
        other.claim("r1", "elsewhere:1:1", 60)
    with pytest.raises(RunBusy):  # nor does this process begin a second advance beside its first
        store.runs.claim("r1", this_process(), 60)
    store.runs.release("r1", 1)
    assert other.claim("r1", "elsewhere:1:1", 60) == 2
    clock.at = NOW + timedelta(seconds=59)
    with pytest.raises(RunBusy):
        store.runs.claim("r1", this_process(), 60)
    other.renew("r1", 2, 60, worked_ms=0)
    clock.at = NOW + timedelta(seconds=118)
    with pytest.raises(RunBusy):
        store.runs.claim("r1", this_process(), 60)
    clock.at = NOW + timedelta(seconds=120)
    assert store.runs.claim("r1", this_process(), 60) == 3


def test_the_run_of_a_process_that_is_gone_is_taken_over_at_once(store, opened):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, _, _ = this_process().rsplit(":", 2)
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    store.runs.release("r1", 1)
    assert store.runs.claim("r1", f"{host}:{child.pid}:{start}", 1000) == 2
    other = opened().runs
    with pytest.raises(RunBusy):
        other.claim("r1", this_process(), 60)
    child.communicate(b"\n")
    assert other.claim("r1", this_process(), 60) == 3


@pytest.mark.parametrize("owner", ["elsewhere:1:1", "{host}:1:0", "{host}", "nonsense::"])
def test_a_run_of_which_it_is_not_certain_that_nobody_has_it_stays_taken(store, opened, owner):
    store.runs.release("r1", 1)
    store.runs.claim("r1", owner.format(host=this_process().rsplit(":", 2)[0]), 60)
    with pytest.raises(RunBusy):
        opened().runs.claim("r1", this_process(), 60)


def test_a_process_that_lost_its_run_changes_nothing_of_it_any_more(store, opened, clock):
    store.messages.put("r1", {0: b"old"})
    clock.at = NOW + timedelta(hours=1)
    other = opened()
    assert other.runs.claim("r1", "elsewhere:1:1", 60) == 2
    before = other.runs.get("r1")
    for stale in (
        lambda: store.messages.put("r1", {0: b"new"}),
        lambda: store.documents.put("r1", "report", {}),
        lambda: store.mandates.set_plan("r1", plan(), ()),
        lambda: store.runs.set_status("r1", RunStatus.DONE),
        lambda: store.runs.renew("r1", 1, 60, worked_ms=0),
        lambda: store.records.commit(done(), [draft()], epoch=1, now=NOW),
    ):
        with pytest.raises(StaleEpoch, match="'r1' was taken over"):
            stale()
    store.runs.release("r1", 1)
    assert other.runs.get("r1") == before
    assert other.messages.all("r1") == [b"old"]


def test_a_wish_to_stop_reaches_other_processes_and_ends_with_the_stop(store, opened):
    other = opened().runs
    assert not store.runs.stop_requested("r1")
    other.request_stop("r1")
    assert store.runs.stop_requested("r1")
    store.runs.set_status("r1", RunStatus.STOPPED)
    assert not store.runs.stop_requested("r1")
    assert other.get("r1").status is RunStatus.STOPPED
