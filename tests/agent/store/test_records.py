"""Commits of the gate: all or nothing, under the current epoch, within the limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.errors import NoSuchRun
from policies.decision import Reservation
from policies.errors import AnswerRefused, LimitReached, StaleEpoch, SubmissionConflict
from policies.question import Answer
from tests.agent.store.conftest import NOW, acceptance, card, done, draft, intent, plan


def _everything(store):
    """All that a commit could have changed."""
    seen = store.records.submission("r1", 0), store.ledger.entries("r1"), store.runs.get("r1")
    return (*seen, store.questions.all("r1", open_only=False), store.mandates.get("r1"))


def test_a_submission_comes_back_as_it_was_committed(store, opened):
    store.records.commit(intent(planned=3), [draft(event="intent")], epoch=1, now=NOW)
    assert opened().records.submission("r1", 0) == intent(planned=3)
    store.records.commit(done(), [draft(body={"text": "密"})], epoch=1, now=NOW)

    other = opened()
    assert other.records.submission("r1", 0) == done()
    assert other.records.submission("r1", 1) is None
    assert [e.event for e in other.ledger.entries("r1")] == ["intent", "done"]
    assert other.ledger.body("r1", 1) == {"text": "密"}


def test_a_stale_epoch_writes_nothing_at_all(store):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.accept("r1", acceptance(plan()))
    before = _everything(store)
    for epoch in (0, 2):
        with pytest.raises(StaleEpoch, match="taken over"):
            store.records.commit(
                *(done(), [draft()]),
                **{"epoch": epoch, "question": card(), "reserve": [Reservation(key="k", limit=5)], "spend": 3},
                now=NOW,
            )
    assert _everything(store) == before


def test_a_limit_that_is_used_up_takes_the_whole_commit_with_it(store):
    one = Reservation(key="reminders", limit=2, window="day")
    store.records.commit(intent(1), [draft(1)], epoch=1, reserve=[one], now=NOW)
    store.records.commit(intent(2), [draft(2)], epoch=1, reserve=[one], now=NOW)
    before = _everything(store)
    with pytest.raises(LimitReached, match="'reminders' leaves 0 of 2 per day"):
        store.records.commit(
            intent(), [draft()], epoch=1, reserve=[Reservation(key="other", limit=9), one], question=card(), now=NOW
        )
    assert _everything(store) == before
    store.records.commit(intent(), [draft()], epoch=1, reserve=[Reservation(key="other", limit=1)], now=NOW)


def test_a_day_and_an_hour_of_utc_begin_anew_and_runs_do_not_share(store, opened):
    from tests.agent.store.conftest import new_run

    limits = [Reservation(key=w, limit=1, window=w) for w in ("hour", "day", "run")]
    store.records.commit(intent(0), [], epoch=1, reserve=limits, now=NOW)
    for limit, later in zip(limits, (timedelta(minutes=59), timedelta(hours=13), timedelta(days=99)), strict=True):
        with pytest.raises(LimitReached):
            store.records.commit(intent(1), [], epoch=1, reserve=[limit], now=NOW + later)
    store.records.commit(intent(1), [], epoch=1, reserve=limits[:1], now=NOW + timedelta(hours=1))
    store.records.commit(intent(2), [], epoch=1, reserve=limits[1:2], now=NOW + timedelta(hours=14))
    store.runs.create(new_run("r2"))
    store.records.commit(done(run="r2"), [], epoch=0, reserve=limits[2:], now=NOW)


def test_a_reservation_for_more_than_the_limit_or_for_less_than_nothing_is_refused(store):
    for amount in (3, -1):
        with pytest.raises(LimitReached):
            wanted = Reservation(key="k", limit=2, amount=amount)
            store.records.commit(intent(), [], epoch=1, reserve=[wanted], now=NOW)


def test_what_is_given_back_returns_once_and_to_the_window_it_was_taken_from(store):
    hourly = Reservation(key="k", limit=1, window="hour")
    late = NOW + timedelta(minutes=59)
    store.records.commit(intent(0), [], epoch=1, reserve=[hourly], now=late)
    store.records.commit(intent(1), [], epoch=1, reserve=[hourly], now=late + timedelta(minutes=2))
    for _ in range(2):
        store.records.commit(done(0), [], epoch=1, give_back=[hourly], now=late + timedelta(minutes=3))
    with pytest.raises(LimitReached):
        store.records.commit(intent(2), [], epoch=1, reserve=[hourly], now=late + timedelta(minutes=4))
    store.records.commit(intent(2), [], epoch=1, reserve=[hourly], now=late)


def test_giving_back_twice_takes_nothing_of_what_another_submission_holds(store):
    two = Reservation(key="k", limit=2)
    for seq in (0, 1):
        store.records.commit(intent(seq), [], epoch=1, reserve=[two], now=NOW)
    for _ in range(2):
        store.records.commit(done(0), [], epoch=1, give_back=[two], now=NOW)
    store.records.commit(intent(2), [], epoch=1, reserve=[two], now=NOW)
    with pytest.raises(LimitReached):
        store.records.commit(intent(3), [], epoch=1, reserve=[two], now=NOW)


def test_another_action_under_a_key_is_a_conflict(store):
    store.records.commit(intent(), [], epoch=1, now=NOW)
    with pytest.raises(SubmissionConflict, match="step 0 of run 'r1'"):
        store.records.commit(done(digest="other"), [draft()], epoch=1, now=NOW)
    assert store.records.submission("r1", 0) == intent()
    assert store.ledger.entries("r1") == []


def test_a_run_that_is_not_there_is_said_so(store):
    with pytest.raises(NoSuchRun, match="no run 'r9'"):
        store.records.commit(done(run="r9"), [], epoch=1, now=NOW)


def test_the_open_card_of_a_turn_takes_further_rows_until_somebody_answers(store):
    store.records.commit(intent(0), [], epoch=1, question=card(), now=NOW)
    assert store.records.open_question("r1", 1) == card()
    assert store.records.open_question("r1", 2) is None
    wider = card(seqs=(0, 1))
    store.records.commit(intent(1), [], epoch=1, question=wider, now=NOW)
    assert store.records.question("q1") == wider
    assert store.runs.get("r1").questions == 1

    answer = Answer(yes=True, by="boss", at=NOW)
    store.questions.answer("q1", {0: answer}, NOW)
    assert store.records.open_question("r1", 1) is None
    with pytest.raises(AnswerRefused, match="answered meanwhile"):
        store.records.commit(intent(2), [draft(2)], epoch=1, question=card(seqs=(0, 1, 2)), now=NOW)
    assert store.records.question("q1").row(0).answers == (answer,)


def test_the_clock_of_the_ledger_never_goes_back(store):
    store.records.commit(intent(0), [draft()], epoch=1, now=NOW + timedelta(hours=1))
    store.records.commit(done(0), [draft()], epoch=1, now=NOW)
    assert store.ledger.entries("r1")[1].at == NOW + timedelta(hours=1)
    assert store.ledger.verify("r1") is None
