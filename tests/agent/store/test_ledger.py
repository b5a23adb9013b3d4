"""The ledger: whatever is changed in the database, `verify` names the first entry that does not hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from agent.errors import StoreUnreadable
from agent.store import tables
from policies.errors import StaleEpoch
from tests.agent.store.conftest import NOW, draft

_COLUMNS = [c.name for c in tables.entries.c]


@pytest.fixture
def chain(store):
    """Six entries, each with a body."""
    store.ledger.record("r1", [draft(n, body={"n": n}) for n in range(6)], epoch=1, now=NOW)
    assert store.ledger.verify("r1") is None
    return store


def _sql(folder, *statements):
    with closing(sqlite3.connect(folder / "store.sqlite3")) as database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement
        database.commit()


@pytest.mark.parametrize("column", _COLUMNS)
def test_a_change_of_any_column_is_found_at_its_entry(chain, tmp_path, column):
    value = "99" if column in ("index", "version", "seq") else "'changed'"
    _sql(tmp_path, f'UPDATE entries SET "{column}" = {value} WHERE "index" = 3')
    assert chain.ledger.verify("r1").index == 3


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("UPDATE entries SET at = '2026-11-23T09:00:00.000000+00:00' WHERE \"index\" = 2", 2),
        ('UPDATE entries SET facts = \'{"action":"e"}\' WHERE "index" = 4', 4),
        ("UPDATE entries SET event = 'intent' WHERE \"index\" = 1", 1),
        ('DELETE FROM entries WHERE "index" = 2', 2),
        ('DELETE FROM entries WHERE "index" > 3', 4),
        ('DELETE FROM bodies WHERE "index" = 5', 5),
        ('UPDATE bodies SET body_sealed = (SELECT body_sealed FROM bodies WHERE "index" = 1) WHERE "index" = 2', 2),
        ("UPDATE bodies SET body_sealed = x'00' WHERE \"index\" = 0", 0),
        ("UPDATE runs SET length = 5", 6),
        ("UPDATE runs SET head = 'changed'", 6),
        ("UPDATE runs SET head_mark = 'v1|x|y'", 6),
    ],
)
def test_removing_moving_and_rewriting_are_found(chain, tmp_path, statement, index):
    _sql(tmp_path, statement)
    assert chain.ledger.verify("r1").index == index


def test_a_tail_cut_off_together_with_the_record_of_it_is_found_by_its_mark(chain, tmp_path):
    _sql(
        tmp_path,
        'DELETE FROM entries WHERE "index" > 3',
        'UPDATE runs SET length = 4, head = (SELECT hash FROM entries WHERE "index" = 3)',
    )
    broken = chain.ledger.verify("r1")
    assert (broken.index, broken.why) == (4, "the record of where the chain ends was changed")


def test_an_entry_that_cannot_be_read_is_not_shown_as_if_it_could(chain, tmp_path):
    _sql(tmp_path, "UPDATE entries SET facts = '{' WHERE \"index\" = 2")
    assert chain.ledger.verify("r1").why == "it is no entry any more"
    with pytest.raises(StoreUnreadable, match="entry 2 of run 'r1'"):
        chain.ledger.entries("r1")


def test_a_stale_process_adds_no_entry(chain):
    with pytest.raises(StaleEpoch):
        chain.ledger.record("r1", [draft()], epoch=0, now=NOW)
    assert len(chain.ledger.entries("r1")) == 6


def test_erased_contents_are_gone_and_the_chain_still_verifies(chain, opened, tmp_path):
    wrapped = _wrapped_key(tmp_path)
    chain.runs.erase("r1")
    other = opened()
    assert other.ledger.verify("r1") is None
    assert other.runs.get("r1").title == ""
    for read in (lambda: other.ledger.body("r1", 0), lambda: other.documents.put("r1", "task", {})):
        with pytest.raises(StoreUnreadable, match="were erased"):
            read()
    for file in tmp_path.glob("store.sqlite3*"):
        assert wrapped not in file.read_bytes(), file.name


def _wrapped_key(folder):
    with closing(sqlite3.connect(folder / "store.sqlite3")) as database:
        (wrapped,) = database.execute("SELECT data_key FROM runs").fetchone()
    assert any(wrapped in file.read_bytes() for file in folder.glob("store.sqlite3*"))
    return wrapped
