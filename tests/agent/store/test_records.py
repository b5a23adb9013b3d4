"""Commits of the gate: all or nothing, under the current epoch only."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.clock import SystemClock
from agent.store.runs import Run, this_process
from agent.store.seal import Keys
from agent.store.store import Store
from policies.ledger import Draft
from policies.outcome import Done, Observation
from policies.ports import Submission


def test_a_submission_comes_back_as_it_was_committed(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/store.sqlite3", Keys.load(tmp_path), SystemClock())
    now = datetime.now(UTC)
    store.runs.create(
        Run(id="r1", created_at=now, principal="p", title="t", policy_digest="d", graph_version=1)
    )
    epoch = store.runs.claim("r1", this_process(), 60)
    given = Submission(run="r1", seq=0, digest="d", outcome=Done(observation=Observation(text="seen")))
    store.records.commit(given, [Draft(event="done", seq=0, facts={}, body={"a": 1})], epoch=epoch, now=now)

    assert store.records.submission("r1", 0) == given
    assert store.ledger.body("r1", 0) == {"a": 1}
    assert store.ledger.verify("r1") is None
    store.close()
