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
from agent.store.seal import Keys
from policies.decision import Reservation
from policies.errors import LimitReached, SubmissionConflict
from policies.ledger import Draft
from policies.limits import written
from policies.outcome import OUTCOME
from policies.ports import Submission
from policies.question import Question

_counters, _take = tables.counters.c, insert(tables.counters)
_sum = _counters.used + _take.excluded.used
_TAKE = _take.on_conflict_do_update(
    index_elements=["key", "window"], set_={"used": _sum}, where=_sum <= bindparam("most")
)
_NO_LIMIT = 2**62
_left = _counters.used - bindparam("amount")
_RETURN = (
    update(tables.counters)
    .where(_counters.key == bindparam("of"), _counters.window == bindparam("during"))
    .values(used=case((_left > 0, _left), else_=0))
)


class SubmissionRecords:
    """`policies.ports.Records` over the store."""

    def __init__(
        self, database: Database, keys: Keys, runs: Runs, ledger: Ledger, questions: Questions, mandates: Mandates
    ) -> None:
        self._db, self._keys, self._runs, self._ledger = database, keys, runs, ledger
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
                    self._return(taken, _window(run, taken.window, datetime.fromisoformat(reserved_at)))
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
            window, key = _window(run, wanted.window, now), self._key(wanted)
            amount = wanted.amount
            if wanted.members:
                amount = sum(self._is_new(key, member, window) for member in wanted.members)
            taken = {"key": key, "window": window, "used": amount, "most": wanted.limit}
            if wanted.members and not amount:
                continue
            if not 0 <= amount <= wanted.limit or not self._db.do(_TAKE, **taken):
                left = max(0, wanted.limit - self._used(key, window))
                what, unit = _limited(wanted), wanted.unit
                of = written(wanted.limit, wanted.scale, unit)
                rest, needed = written(left, wanted.scale, ""), written(amount, wanted.scale, unit)
                raise LimitReached(
                    f"the limit on {what} leaves {rest} of {of} per {wanted.window}, "
                    f"and up to {needed} would be needed; raise it in the policy"
                )

    def _is_new(self, key: str, member: str, window: str) -> bool:
        """Count a member once more; True when it was not counted in this window."""
        named = self._keys.counted_as(key, member)
        self._db.do(_TAKE, key=named, window=window, used=1, most=_NO_LIMIT)
        return self._used(named, window) == 1

    def _return(self, taken: Reservation, window: str) -> None:
        key, amount = self._key(taken), taken.amount
        if taken.members:
            names = [self._keys.counted_as(key, member) for member in taken.members]
            for named in names:
                self._db.do(_RETURN, of=named, during=window, amount=1)
            amount = sum(self._used(named, window) == 0 for named in names)
        self._db.do(_RETURN, of=key, during=window, amount=max(0, amount))

    def _used(self, key: str, window: str) -> int:
        rows = self._db.find(tables.counters, "used", key=key, window=window)
        return rows[0][0] if rows else 0

    def _key(self, of: Reservation) -> str:
        """The counter of a reservation: whom it counts apart for is not written down."""
        return f"{of.key}:{self._keys.counted_as(of.key, of.by)}" if of.by else of.key


def _limited(taken: Reservation) -> str:
    """What a limit is on, as a policy names it; money counts in millionths."""
    match taken.key.split(":"):
        case "run", _, used:
            return {"calls": "steps", "micros": "money in millionths"}.get(used, used)
        case "rule", rule, _, ("sum" | "distinct") as how, field, *_:
            what = f"{'different ' if how == 'distinct' else ''}{field!r} of rule {rule!r}"
        case "rule", rule, *_:
            what = f"rule {rule!r}"
        case _:
            what = repr(taken.key)
    return f"{what} for the same {taken.key.partition(':by:')[2].split(':')[0]!r}" if taken.by else what


def _window(run: str, window: str, at: datetime) -> str:
    """The name of the window that `at` lies in: the run itself, or one of the UTC calendar."""
    at = at.astimezone(UTC)
    names = {"run": f"run {run}", "hour": f"{at:%Y-%m-%dT%H}", "day": f"{at:%Y-%m-%d}"}
    names |= {"week": f"{at:%G-W%V}", "month": f"{at:%Y-%m}"}
    if window in names:
        return names[window]
    raise LimitReached(f"the window {window!r} of a limit is not run, hour, day, week or month; correct the policy")
