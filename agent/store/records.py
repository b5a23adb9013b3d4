"""The gate's records: submissions with their entries, questions and limits, each commit one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, case, select, update
from sqlalchemy.dialects.postgresql import insert

from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.ledger import Ledger
from agent.store.mandates import Mandates
from agent.store.questions import Questions
from agent.store.runs import Runs
from policies.decision import Reservation
from policies.errors import LimitReached, SubmissionConflict
from policies.ledger import Draft
from policies.outcome import OUTCOME
from policies.ports import Submission
from policies.question import Question

# Postgres's INSERT … ON CONFLICT is also SQLite's; SQLAlchemy compiles this one for both.
_submissions, _counters = tables.submissions.c, tables.counters.c
_KEY = (_submissions.run == bindparam("run"), _submissions.seq == bindparam("seq"))
_GET = select(_submissions.digest, _submissions.outcome_sealed, _submissions.planned).where(*_KEY)
_BEFORE = select(_submissions.digest, _submissions.plan, _submissions.reserved_at).where(*_KEY)
_put = insert(tables.submissions)
_PUT = _put.on_conflict_do_update(
    index_elements=["run", "seq"],
    set_={c: _put.excluded[c] for c in ("outcome_sealed", "planned", "plan", "reserved_at")},
)
_take = insert(tables.counters)
_used = _counters.used + _take.excluded.used
_TAKE = _take.on_conflict_do_update(
    index_elements=["key", "window"], set_={"used": _used}, where=_used <= bindparam("most")
)
_LEFT = select(_counters.used).where(_counters.key == bindparam("key"), _counters.window == bindparam("window"))
_RETURN = (
    update(tables.counters)
    .where(_counters.key == bindparam("of"), _counters.window == bindparam("during"))
    .values(used=case((_counters.used > bindparam("amount"), _counters.used - bindparam("amount")), else_=0))
)


class SubmissionRecords:
    """`policies.ports.Records` over the store."""

    def __init__(
        self, database: Database, runs: Runs, ledger: Ledger, questions: Questions, mandates: Mandates
    ) -> None:
        self._db, self._runs, self._ledger = database, runs, ledger
        self._questions, self._mandates = questions, mandates

    def submission(self, run: str, seq: int) -> Submission | None:
        """The row of this key."""
        row = self._db.one(_GET, run=run, seq=seq)
        if row is None:
            return None
        digest, sealed, planned = row
        opened = None if sealed is None else self._runs.seal(run).open(sealed, "submissions", run, str(seq))
        outcome = None if opened is None else OUTCOME.validate_json(opened)
        return Submission(run=run, seq=seq, digest=digest, outcome=outcome, planned=planned)

    def commit(
        self,
        submission: Submission,
        entries: Sequence[Draft],
        *,
        epoch: int,
        question: Question | None = None,
        reserve: Sequence[Reservation] = (),
        give_back: Sequence[Reservation] = (),
        spend: int | None = None,
        unspend: int | None = None,
        now: datetime,
    ) -> None:
        """Write it all or nothing: the row, its ledger entries, the question, limits and the mandate.

        Besides the errors of the port, raises SubmissionConflict for another digest under the key, and
        AnswerRefused when the question to be replaced was answered meanwhile. What was reserved or spent is
        given back at most once, to the window and the plan it was taken from.
        """
        run, seq = submission.run, submission.seq
        with self._db.writing():
            head = self._ledger.head(run, epoch)
            digest, plan, reserved_at = self._db.one(_BEFORE, run=run, seq=seq) or (submission.digest, None, None)
            if digest != submission.digest:
                raise SubmissionConflict(
                    f"step {seq} of run {run!r} already stands for another action; look at the run"
                )
            if give_back and reserved_at:
                self._give_back(run, give_back, datetime.fromisoformat(reserved_at))
                reserved_at = None
            if unspend is not None and plan:
                self._mandates.unspend(run, plan, unspend)
                plan = None
            if reserve:
                self._reserve(run, reserve, now)
                reserved_at = stamp(now)
            if spend is not None:
                self._mandates.spend(run, head.plan, spend)
                plan = head.plan
            if question is not None:
                self._questions.put(question)
            self._db.do(
                _PUT,
                **{"run": run, "seq": seq, "digest": digest, "outcome_sealed": self._sealed(submission)},
                **{"planned": submission.planned, "plan": plan, "reserved_at": reserved_at},
            )
            self._ledger.extend(run, head, entries, now)

    def open_question(self, run: str, turn: int) -> Question | None:
        """The still unanswered batch question of a turn, to which further rows may be added."""
        return self._questions.unanswered(run, turn)

    def question(self, id: str) -> Question | None:
        """A question by its id."""
        return self._questions.get(id)

    def _sealed(self, submission: Submission) -> bytes | None:
        if submission.outcome is None:
            return None
        plain = submission.outcome.model_dump_json().encode()
        return self._runs.seal(submission.run).seal(plain, "submissions", submission.run, str(submission.seq))

    def _reserve(self, run: str, reservations: Sequence[Reservation], now: datetime) -> None:
        for wanted in reservations:
            key: dict[str, Any] = {"key": wanted.key, "window": _window(run, wanted.window, now)}
            fits = 0 <= wanted.amount <= wanted.limit
            if not fits or not self._db.do(_TAKE, **key, used=wanted.amount, most=wanted.limit):
                used = (self._db.one(_LEFT, **key) or (0,))[0]
                left = max(0, wanted.limit - used)
                raise LimitReached(f"the limit {wanted.key!r} leaves {left} of {wanted.limit} per {wanted.window}")

    def _give_back(self, run: str, reservations: Sequence[Reservation], taken_at: datetime) -> None:
        for taken in reservations:
            window = _window(run, taken.window, taken_at)
            self._db.do(_RETURN, of=taken.key, during=window, amount=max(0, taken.amount))


def _window(run: str, window: str, at: datetime) -> str:
    """The name of the window that `at` lies in: the run itself, or an hour or a day of the UTC calendar."""
    match window:
        case "run":
            return f"run {run}"
        case "hour":
            return f"{at.astimezone(UTC):%Y-%m-%dT%H}"
        case "day":
            return f"{at.astimezone(UTC):%Y-%m-%d}"
        case _:
            raise LimitReached(f"the window {window!r} of a limit is not run, hour or day; correct the policy")
