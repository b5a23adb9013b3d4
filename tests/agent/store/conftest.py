"""A store on a real file, with a run, and the values that its tests commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.store.runs import Run, this_process
from agent.store.seal import Keys
from agent.store.store import Store
from policies.decision import Approvers, AskMode
from policies.ledger import Draft
from policies.mandate import Acceptance, Plan
from policies.outcome import Done, Observation
from policies.ports import Submission
from policies.question import Question, Row

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


class FixedClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'store.sqlite3'}"


def new_run(id: str = "r1", title: str = "a task") -> Run:
    return Run(id=id, created_at=NOW, principal="someone", title=title, policy_digest="p", graph_version=1)


def done(
    seq: int = 0, *, run: str = "r1", text: str = "seen", digest: str = "d", planned: int | None = None
) -> Submission:
    outcome = Done(observation=Observation(text=text))
    return Submission(run=run, seq=seq, digest=digest, outcome=outcome, planned=planned)


def intent(seq: int = 0, *, digest: str = "d", planned: int | None = None) -> Submission:
    return Submission(run="r1", seq=seq, digest=digest, outcome=None, planned=planned)


def draft(seq: int = 0, body: object = None, event: str = "done") -> Draft:
    return Draft.model_validate({"event": event, "seq": seq, "facts": {"action": "d"}, "body": body})


def card(id: str = "q1", seqs: tuple[int, ...] = (0,), *, answers: int = 1, mode: AskMode = AskMode.BATCH) -> Question:
    return Question(
        id=id,
        run="r1",
        turn=1,
        about="action",
        rows=tuple(Row(seq=n, digest=f"d{n}", title=f"row {n}", lines=()) for n in seqs),
        mode=mode,
        approvers=Approvers(answers=answers),
        requester="someone",
        policy_digest="p",
        asked_at=NOW,
        expires_at=NOW + timedelta(hours=24),
    )


def plan(summary: str = "remind") -> Plan:
    steps = [
        {"n": 1, "title": "read the table", "kind": "browser.read"},
        {"n": 2, "title": "send reminders", "kind": "browser.submit", "at_most": 3, "per_row_of": 1},
        {"n": 3, "title": "restart", "kind": "server.run", "at_most": 1},
    ]
    return Plan.model_validate({"summary": summary, "steps": steps})


def acceptance(of: Plan) -> Acceptance:
    return Acceptance(by="someone", at=NOW, plan_digest=of.digest, policy_digest="p")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def opened(tmp_path: Path, clock: FixedClock) -> Iterator[Callable[[], Store]]:
    """Opens the test's store, as often as wanted: each is what another process would have."""
    stores: list[Store] = []

    def open_store() -> Store:
        stores.append(Store.open(url(tmp_path), Keys.load(tmp_path), clock))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    """A store with the run `r1`, claimed under epoch 1."""
    store = opened()
    store.runs.create(new_run())
    assert store.runs.claim("r1", this_process(), 60) == 1
    return store
