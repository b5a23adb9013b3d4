"""A store that the first release wrote: this one opens it, reads it, goes on with it and verifies it."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from langgraph.types import Command

from agent.store.checkpoints import FencedSaver
from agent.store.runs import this_process
from agent.store.seal import Keys
from agent.store.store import Store
from policies.decision import Reservation
from policies.errors import LimitReached
from policies.question import Answer
from tests.agent.store.conftest import NOW, FixedClock, acceptance, card, done, draft, new_run, plan, url
from tests.agent.store.test_checkpoints import CONFIG, _graph

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def folder(tmp_path):
    for file in (Path(__file__).parent / "data" / "v1").iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    (tmp_path / "keys.json").chmod(0o600)  # a checkout has no modes
    return tmp_path


@pytest.fixture
def store(folder):
    clock = FixedClock()
    clock.at = LATER
    with closing(Store.open(url(folder), Keys.load(folder), clock)) as store:
        yield store


def test_everything_in_it_is_read_and_verified(store):
    run = store.runs.get("r1")
    assert (run.title, run.principal, run.epoch, run.length, run.questions) == ("催款", new_run().principal, 1, 4, 1)
    assert store.ledger.verify("r1") is None
    assert [e.event for e in store.ledger.entries("r1")] == ["intent", "done", "asked", "answered"]
    assert [store.ledger.body("r1", n) for n in range(4)] == [None, {"text": "sent"}, None, {"because": "fine"}]
    assert store.records.submission("r1", 0) == done(planned=2)
    assert store.messages.all("r1") == [b'{"role":"user"}']
    assert store.documents.get("r1", "task") == {"text": "send reminders"}
    mandate = store.mandates.get("r1")
    assert (mandate.plan, mandate.accepted, mandate.hosts) == (plan(), acceptance(plan()), {"shop.example"})
    assert (mandate.spent, mandate.rows) == ({2: 1}, {1: 2})
    (question,) = store.questions.all()
    assert [row.digest for row in question.rows] == [row.digest for row in card(seqs=(1, 2)).rows]
    assert dict(store.handles("r1").values()) == {"⟦email:aaaaaaaaaa⟧": "MADEUP@shop.example"}


def test_the_run_goes_on(store):
    assert store.runs.claim("r1", this_process(), 60) == 2
    assert store.questions.answer("q1", {2: Answer(yes=True, by="boss", at=LATER)}, LATER).closed
    day = [Reservation(key="reminders", limit=2, window="day")]
    store.records.commit(done(3, planned=2), [draft(3)], epoch=2, reserve=day, spend=2, now=LATER)
    for more in ({"reserve": day}, {"spend": 2}):
        with pytest.raises(LimitReached):
            store.records.commit(done(4), [draft(4)], epoch=2, now=LATER, **more)
    assert store.ledger.verify("r1") is None
    assert store.runs.get("r1").length == 6


async def test_its_checkpoint_is_continued(folder):
    with closing(FencedSaver.open(folder / "checkpoints.sqlite3", Keys.load(folder))) as saver:
        saver.fence("r1", 2)
        graph = _graph(saver, 3)
        parked = await graph.aget_state(CONFIG)
        assert parked.values["n"] == 3
        after = await graph.ainvoke(Command(resume={parked.interrupts[0].id: 7}), CONFIG, durability="sync")
    assert after["n"] == 7
