"""Signed checkpoints: a run, the end of a chain or a checkpoint cannot go missing, also when all hashes are right."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from agent.store.runs import this_process
from agent.store.seal import Keys
from policies.verifier import EVERY, checkpoint_fault, signer
from tests.agent.store.conftest import NOW, draft, new_run


@pytest.fixture
def two_runs(store):
    """`r1` has ended after more entries than one checkpoint covers, `r2` has one entry."""
    store.ledger.record("r1", [draft(n) for n in range(EVERY + 2)], epoch=1, now=NOW)
    store.ledger.record("r1", [draft(event="ended")], epoch=1, now=NOW)
    store.runs.create(new_run("r2"))
    store.runs.claim("r2", this_process(), 60)
    store.ledger.record("r2", [draft()], epoch=1, now=NOW)
    assert _faults(store) == []
    return store


def _faults(store):
    found = [store.ledger.verify_checkpoints(), *map(store.ledger.verify, store.ledger.heads())]
    return [(broken.run, broken.index, broken.why) for broken in found if broken]


def _sql(folder, *statements):
    with closing(sqlite3.connect(folder / "store.sqlite3")) as database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement
        database.commit()


def test_a_chain_is_signed_at_its_beginning_every_so_often_and_at_its_end(store):
    for n in range(2 * EVERY + 10):
        store.ledger.record("r1", [draft(n)], epoch=1, now=NOW)
    store.ledger.record("r1", [draft(event="ended")], epoch=1, now=NOW)
    assert [c.length for c in store.ledger.checkpoints()] == [1, EVERY + 1, 2 * EVERY + 1, 2 * EVERY + 11]
    assert _faults(store) == []


def test_a_run_that_was_removed_whole_is_named(two_runs, tmp_path):
    _sql(tmp_path, *(f"DELETE FROM {t} WHERE {c} = 'r2'" for t, c in (("runs", "id"), ("entries", "run"))))
    assert _faults(two_runs) == [("r2", 0, "the whole run is missing")]


@pytest.mark.parametrize(
    ("statement", "index", "why"),
    [
        ("DELETE FROM checkpoints WHERE n = 1", 1, "checkpoint 1 is missing or out of place"),
        ("DELETE FROM checkpoints WHERE n = 3", 3, "the last checkpoints are missing"),
        ("UPDATE checkpoints SET length = 2 WHERE n = 2", 2, "checkpoint 2 is not signed as it stands"),
        ("UPDATE checkpoints SET signature = '00' WHERE n = 2", 2, "checkpoint 2 is not signed as it stands"),
        ("DELETE FROM canary WHERE id = 2", 1, "the last checkpoints are missing"),
    ],
)
def test_changed_and_missing_checkpoints_are_named(two_runs, tmp_path, statement, index, why):
    _sql(tmp_path, statement)
    assert ("", index, why) in _faults(two_runs)


def test_a_store_that_was_set_back_as_a_whole_lacks_the_checkpoint_that_was_noted(two_runs):
    _, noted = two_runs.ledger.last()
    assert two_runs.ledger.verify_checkpoints(noted) is None
    assert two_runs.ledger.verify_checkpoints("0" * 64).why.startswith("the checkpoint that was noted")


def test_a_checkpoint_is_signed_by_the_named_key_alone(two_runs, tmp_path):
    told = [c.model_dump(mode="json") for c in two_runs.ledger.checkpoints()]
    other = Keys([bytes(32)], "test")
    assert checkpoint_fault(told, signer(two_runs.ledger.public())) is None
    assert checkpoint_fault(told, signer(other.public())).index == 1
    ours = dict.fromkeys(two_runs.ledger.public(), next(iter(other.public().values())))
    assert checkpoint_fault(told, signer(ours)).index == 1


def test_checkpoints_of_an_earlier_master_key_still_hold(two_runs):
    first, second = bytes(32), bytes([1]) * 32
    before, after = Keys([first], "test"), Keys([first, second], "test")
    checkpoint = before.attest(two_runs.ledger.checkpoints()[0])
    assert checkpoint_fault([checkpoint.model_dump(mode="json")], signer(after.public())) is None
    assert after.attest(checkpoint).key != checkpoint.key
