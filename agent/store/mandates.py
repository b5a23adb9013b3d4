"""A run's mandate: the accepted plan in its documents, and what is spent of it in rows of its own."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from agent.store import tables
from agent.store.database import Database
from agent.store.runs import Runs, found
from agent.store.transcript import Documents
from policies.errors import AnswerRefused, LimitReached
from policies.mandate import Acceptance, Mandate, Plan

_runs, _spends = tables.runs.c, tables.spends.c
_PLAN = select(_runs.plan).where(_runs.id == bindparam("run"))
_SET_PLAN = update(tables.runs).where(_runs.id == bindparam("run")).values(plan=bindparam("new"))
_OF_PLAN = (_spends.run == bindparam("of_run"), _spends.plan == bindparam("of_plan"))
_STEP = (*_OF_PLAN, _spends.n == bindparam("step"))
_ALL = select(_spends.n, _spends.spent, _spends.rows, _spends.met).where(*_OF_PLAN)
_BEGIN = insert(tables.spends).on_conflict_do_nothing()
_table = tables.spends.alias("source")
_ROWS_OF = (
    select(_table.c.rows)
    .where(_table.c.run == bindparam("of_run"), _table.c.plan == bindparam("of_plan"))
    .where(_table.c.n == _spends.per_row_of)
    .correlate(tables.spends)
    .scalar_subquery()
)
_SPEND = (
    update(tables.spends)
    .where(*_STEP, _spends.spent < _spends.at_most)
    .where(or_(_spends.per_row_of.is_(None), _spends.spent < _ROWS_OF))
    .values(spent=_spends.spent + 1)
)
_UNSPEND = update(tables.spends).where(*_STEP, _spends.spent > 0).values(spent=_spends.spent - 1)
_NOTE_ROWS = update(tables.spends).where(*_STEP).values(rows=bindparam("count"))
_NOTE_MET = update(tables.spends).where(*_STEP).values(met=bindparam("holds"))


class Mandates:
    """What each run may do. A plan is worth nothing until it is accepted; another one begins unspent."""

    def __init__(self, database: Database, runs: Runs, documents: Documents) -> None:
        self._db, self._runs, self._documents = database, runs, documents
        self._plans: dict[str, Plan] = {}

    def get(self, run: str) -> Mandate | None:
        """The run's mandate as it stands now; `accepted` is None before the present plan is accepted."""
        digest = self._plan(run)
        if digest is None:
            return None
        plan = self._plans.get(digest)
        if plan is None:
            plan = self._plans[digest] = Plan.model_validate(self._documents.get(run, "plan"))
        stored = self._documents.get(run, "acceptance")
        accepted = None if stored is None else Acceptance.model_validate(stored)
        rows = self._db.all(_ALL, of_run=run, of_plan=digest)
        return Mandate(
            plan=plan,
            accepted=accepted if accepted and accepted.plan_digest == digest else None,
            spent={n: spent for n, spent, _, _ in rows if spent},
            rows={n: count for n, _, count, _ in rows if count is not None},
            met=frozenset(n for n, _, _, met in rows if met),
            hosts=frozenset(self._documents.get(run, "hosts") or ()),  # type: ignore[arg-type]
        )

    def set_plan(self, run: str, plan: Plan, hosts: Iterable[str]) -> None:
        """Keep a plan, with the hosts in the requester's words, for somebody to accept."""
        with self._runs.changing(run):
            self._documents.write(run, "plan", plan.model_dump(mode="json"))
            self._documents.write(run, "hosts", [*sorted(hosts)])
            self._db.do(_SET_PLAN, run=run, new=plan.digest)

    def accept(self, run: str, acceptance: Acceptance) -> None:
        """Make the present plan the mandate; AnswerRefused when the acceptance is of another plan."""
        with self._runs.changing(run):
            if (mandate := self.get(run)) is None or mandate.plan.digest != acceptance.plan_digest:
                raise AnswerRefused(f"the plan of run {run!r} is not the one that was accepted; look at it again")
            self._documents.write(run, "acceptance", acceptance.model_dump(mode="json"))
            for step in mandate.plan.steps:
                self._db.do(
                    _BEGIN,
                    **{"run": run, "plan": acceptance.plan_digest, "n": step.n, "at_most": step.at_most},
                    **{"per_row_of": step.per_row_of, "spent": 0, "rows": None, "met": 0},
                )

    def note_rows(self, run: str, n: int, rows: int) -> None:
        """Record how many rows the table of step `n` has, which bounds the steps per row of it."""
        with self._runs.changing(run):
            self._db.do(_NOTE_ROWS, of_run=run, of_plan=self._plan(run), step=n, count=rows)

    def note_met(self, run: str, ns: Iterable[int]) -> None:
        """Record that exactly the steps `ns` have their condition met now."""
        met = frozenset(ns)
        with self._runs.changing(run):
            plan = self._plan(run)
            for n, _, _, before in self._db.all(_ALL, of_run=run, of_plan=plan):
                if bool(before) != (n in met):
                    self._db.do(_NOTE_MET, of_run=run, of_plan=plan, step=n, holds=int(n in met))

    def spend(self, run: str, plan: str | None, n: int) -> None:
        """Use step `n` once, inside a transaction; LimitReached when the mandate has no more of it."""
        if plan is None or not self._db.do(_SPEND, of_run=run, of_plan=plan, step=n):
            raise LimitReached(f"the plan has no more of step {n}; propose a further plan")

    def unspend(self, run: str, plan: str, n: int) -> None:
        """Give back what `spend` used under this plan, inside a transaction."""
        self._db.do(_UNSPEND, of_run=run, of_plan=plan, step=n)

    def _plan(self, run: str) -> str | None:
        return found(self._db.one(_PLAN, run=run), run)[0]  # type: ignore[no-any-return]
