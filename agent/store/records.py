"""The gate's records: submissions with their entries, questions and limits, each commit one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import bindparam, case, update
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

_counters, _take = tables.counters.c, insert(tables.counters)
_sum = _counters.used + _take.excluded.used
_TAKE = _take.on_conflict_do_update(
    index_elements=["key", "window"], set_={"used": _sum}, where=_sum <= bindparam("most")
)
_left = _counters.used - bindparam("amount")
_RETURN = (
    update(tables.counters)
    .where(_counters.key == bindparam("of"), _counters.window == bindparam("during"))
    .values(used=case((_left > 0, _left), else_=0))
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
        rows = self._db.find(tables.submissions, "digest outcome_sealed planned", run=run, seq=seq)
        for digest, sealed, planned in rows:
            opened = self._runs.seal(run).open(sealed, "submissions", run, str(seq)) if sealed else None
            outcome = OUTCOME.validate_json(opened) if opened else None
            return Submission(run=run, seq=seq, digest=digest, outcome=outcome, planned=planned)
        return None

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
        given back at most once, to the window and the step it was taken from.
        """
        run, seq, digest, sealed = submission.run, submission.seq, submission.digest, None
        if submission.outcome is not None:
            plain = submission.outcome.model_dump_json().encode()
            sealed = self._runs.seal(run).seal(plain, "submissions", run, str(seq))
        with self._db.writing():
            # First, as it checks the epoch and, on Postgres, takes the lock on the run.
            self._ledger.extend(run, entries, epoch=epoch, now=now)
            before = self._db.find(tables.submissions, "digest step reserved_at", run=run, seq=seq)
            known, step, reserved_at = before[0] if before else (digest, None, None)
            if known != digest:
                raise SubmissionConflict(
                    f"step {seq} of run {run!r} already stands for another action; look at the run"
                )
            if give_back and reserved_at:
                for taken in give_back:
                    window = _window(run, taken.window, datetime.fromisoformat(reserved_at))
                    self._db.do(_RETURN, of=taken.key, during=window, amount=max(0, taken.amount))
                reserved_at = None
            if unspend is not None and step:
                self._mandates.unspend(run, unspend, step)
                step = None
            if reserve:
                self._reserve(run, reserve, now)
                reserved_at = stamp(now)
            if spend is not None:
                step = self._mandates.spend(run, spend, submission.row)
            if question is not None:
                self._questions.put(question)
            self._db.put(
                tables.submissions,
                **{"run": run, "seq": seq, "digest": digest, "outcome_sealed": sealed},
                **{"planned": submission.planned, "step": step, "reserved_at": reserved_at},
            )

    def open_question(self, run: str, turn: int) -> Question | None:
        """The still unanswered batch question of a turn, to which further rows may be added."""
        return self._questions.unanswered(run, turn)

    def question(self, id: str) -> Question | None:
        """A question by its id."""
        return self._questions.get(id)

    def _reserve(self, run: str, reservations: Sequence[Reservation], now: datetime) -> None:
        for wanted in reservations:
            window = _window(run, wanted.window, now)
            taken = {"key": wanted.key, "window": window, "used": wanted.amount, "most": wanted.limit}
            if not 0 <= wanted.amount <= wanted.limit or not self._db.do(_TAKE, **taken):
                rows = self._db.find(tables.counters, "used", key=wanted.key, window=window)
                left = max(0, wanted.limit - (rows[0][0] if rows else 0))
                what, amount = _limited(wanted.key), wanted.amount
                raise LimitReached(
                    f"the limit on {what} leaves {left} of {wanted.limit} per {wanted.window}, "
                    f"and up to {amount} would be needed; raise it in the policy"
                )


def _limited(key: str) -> str:
    """What a limit is on, as a policy names it; money counts in millionths."""
    match key.split(":"):
        case "run", _, used:
            return {"calls": "steps", "micros": "money in millionths"}.get(used, used)
        case "rule", rule, *_:
            return f"rule {rule!r}"
        case _:
            return repr(key)


def _window(run: str, window: str, at: datetime) -> str:
    """The name of the window that `at` lies in: the run itself, or an hour or a day of the UTC calendar."""
    at = at.astimezone(UTC)
    names = {"run": f"run {run}", "hour": f"{at:%Y-%m-%dT%H}", "day": f"{at:%Y-%m-%d}"}
    if window in names:
        return names[window]
    raise LimitReached(f"the window {window!r} of a limit is not run, hour or day; correct the policy")
