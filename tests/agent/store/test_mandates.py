"""Mandates: granted by acceptance, bounded, spent and given back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.errors import AnswerRefused, LimitReached
from policies.mandate import PlannedStep
from policies.rows import Table
from tests.agent.store.conftest import NOW, acceptance, done, intent, plan


def _spend(store, seq, n):
    store.records.commit(intent(seq, planned=n), [], epoch=1, spend=n, now=NOW)


def _table(*names):
    return Table(columns=("order",), rows=tuple((name,) for name in names))


def test_a_row_is_used_once_and_given_back_with_its_step(store, opened):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.accept("r1", acceptance(plan()))
    store.mandates.note_rows("r1", 1, 3, _table("17", "18"))

    def spend(seq, row):
        wanted = replace(intent(seq, planned=2), row=row)
        store.records.commit(wanted, [], epoch=1, spend=2, now=NOW)

    spend(0, ("17",))
    for refused in (("17",), ("19",), None):
        with pytest.raises(LimitReached):
            spend(1, refused)
    assert opened().mandates.get("r1").used == {2: (("17",),)}
    for _ in range(2):
        store.records.commit(done(0, planned=2), [], epoch=1, unspend=2, now=NOW)
    assert (store.mandates.get("r1").used, store.mandates.get("r1").spent) == ({2: ()}, {2: 0})
    spend(2, ("18",))
    spend(3, ("17",))
    store.mandates.set_plan("r1", plan("again"), ())
    kept = store.mandates.get("r1")  # by the steps that stand in both plans
    assert (kept.used, kept.tables) == ({2: (("18",), ("17",))}, {1: _table("17", "18")})


def test_only_tables_that_a_step_goes_over_are_kept(store):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.note_rows("r1", 3, 1, _table("17"))
    store.mandates.note_rows("r1", 1, 2, _table("17"))
    store.mandates.note_rows("r1", 1, 2, _table("18"), 1)
    assert store.mandates.get("r1").tables == {1: _table("17", "18")}


def _step(n, title):
    return PlannedStep(n=n, title=title, kind="server.run")


def test_a_mandate_is_its_plan_its_acceptance_and_what_is_known_of_both(store, opened):
    assert store.mandates.get("r1") is None
    store.mandates.set_plan("r1", plan(), ["shop.example"])
    assert store.mandates.get("r1").accepted is None
    store.mandates.accept("r1", acceptance(plan()))
    store.mandates.note_rows("r1", 1, 2)
    store.mandates.note_met("r1", [1, 3])
    store.mandates.note_met("r1", [3])
    _spend(store, 0, 2)

    mandate = opened().mandates.get("r1")
    assert (mandate.plan, mandate.accepted, mandate.hosts) == (plan(), acceptance(plan()), {"shop.example"})
    assert (mandate.spent, mandate.rows, mandate.met) == ({2: 1}, {1: 2}, {3})


def test_nothing_is_spent_of_a_plan_that_nobody_accepted(store):
    with pytest.raises(LimitReached):
        _spend(store, 0, 3)
    store.mandates.set_plan("r1", plan(), ())
    with pytest.raises(LimitReached):
        _spend(store, 0, 3)
    with pytest.raises(AnswerRefused, match="not the one that was accepted"):
        store.mandates.accept("r1", acceptance(plan("another")))
    assert store.mandates.get("r1").accepted is None


def test_a_step_is_bounded_by_its_number_and_by_the_rows_it_goes_over(store):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.accept("r1", acceptance(plan()))
    with pytest.raises(LimitReached):  # the table has not been read
        _spend(store, 0, 2)
    store.mandates.note_rows("r1", 1, 2)
    for seq in (0, 1):
        _spend(store, seq, 2)
    with pytest.raises(LimitReached, match="no more of step 2"):
        _spend(store, 2, 2)
    store.mandates.note_rows("r1", 1, 50)
    _spend(store, 2, 2)
    with pytest.raises(LimitReached):
        _spend(store, 3, 2)
    with pytest.raises(LimitReached):
        _spend(store, 3, 9)


def test_what_is_given_back_can_be_spent_again_once(store):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.accept("r1", acceptance(plan()))
    _spend(store, 0, 3)
    for _ in range(2):
        store.records.commit(done(0, planned=3), [], epoch=1, unspend=3, now=NOW)
    assert store.mandates.get("r1").spent[3] == 0
    _spend(store, 1, 3)
    with pytest.raises(LimitReached):
        _spend(store, 2, 3)


def test_giving_back_twice_takes_nothing_of_what_another_submission_spent(store):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.accept("r1", acceptance(plan()))
    store.mandates.note_rows("r1", 1, 9)
    for seq in (0, 1):
        _spend(store, seq, 2)
    for _ in range(2):
        store.records.commit(done(0, planned=2), [], epoch=1, unspend=2, now=NOW)
    assert store.mandates.get("r1").spent == {2: 1}


def test_another_plan_begins_unaccepted_and_only_its_new_steps_are_unspent(store):
    store.mandates.set_plan("r1", plan(), ())
    store.mandates.accept("r1", acceptance(plan()))
    _spend(store, 0, 3)
    store.mandates.set_plan("r1", plan(), ())
    again = store.mandates.get("r1")  # the node ran twice: nothing is lost
    assert (again.accepted, again.spent) == (acceptance(plan()), {3: 1})

    store.mandates.set_plan("r1", plan("again"), ())
    assert (store.mandates.get("r1").accepted, store.mandates.get("r1").spent) == (None, {3: 1})
    store.mandates.accept("r1", acceptance(plan("again")))
    with pytest.raises(LimitReached):  # the step stands in both, so it stays spent
        _spend(store, 1, 3)
    store.records.commit(done(0), [], epoch=1, unspend=3, now=NOW)
    _spend(store, 1, 3)

    other = plan("again").model_copy(update={"steps": (*plan().steps[:2], _step(3, "another"))})
    store.mandates.set_plan("r1", other, ())
    assert store.mandates.get("r1").spent == {}
    store.mandates.accept("r1", acceptance(other))
    _spend(store, 2, 3)
    store.records.commit(done(1), [], epoch=1, unspend=3, now=NOW)
    assert store.mandates.get("r1").spent == {3: 1}
