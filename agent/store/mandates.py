"""A run's mandate: one sealed document with the plan, its acceptance, and what is spent of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from agent.store.contents import Documents
from agent.store.runs import Runs
from policies.action import canonical_json
from policies.errors import AnswerRefused, LimitReached
from policies.mandate import Acceptance, Mandate, Plan, PlannedStep
from policies.rows import Row, Table

_NAME = "mandate"


class Mandates:
    """What each run may do. A plan is worth nothing until it is accepted; another one begins unspent."""

    def __init__(self, runs: Runs, documents: Documents) -> None:
        self._runs, self._documents = runs, documents
        self._read: dict[str, tuple[bytes, Mandate]] = {}

    def get(self, run: str) -> Mandate | None:
        """The run's mandate as it stands now; `accepted` is None before the present plan is accepted."""
        if (sealed := self._documents.sealed(run, _NAME)) is None:
            return None
        # The same ciphertext is the same mandate: a plan is long, and read before every action.
        if run not in self._read or self._read[run][0] != sealed:
            plain = self._runs.seal(run).open(sealed, "documents", run, _NAME)
            self._read[run] = sealed, Mandate.model_validate_json(plain)
        return self._read[run][1]

    def set_plan(self, run: str, plan: Plan, hosts: Iterable[str]) -> None:
        """Keep a plan, with the hosts in the requester's words, for somebody to accept.

        Another plan than the present one is not accepted; what is spent of a step that stands in both stays spent.
        """
        with self._runs.changing(run):
            before, new = self.get(run), Mandate(plan=plan, hosts=frozenset(hosts))
            if before is None:
                self._write(run, new)
            elif (before.plan, before.hosts) != (plan, new.hosts):
                both = {step.n for step in plan.steps if step in before.plan.steps}
                spent = {n: count for n, count in before.spent.items() if n in both}
                rows = {n: count for n, count in before.rows.items() if n in both}
                tables = {n: table for n, table in before.tables.items() if n in both}
                used = {n: rows for n, rows in before.used.items() if n in both}
                self._write(run, new, spent=spent, rows=rows, met=before.met & both, tables=tables, used=used)

    def accept(self, run: str, acceptance: Acceptance) -> None:
        """Make the present plan the mandate; AnswerRefused when the acceptance is of another plan."""
        with self._runs.changing(run):
            mandate = self.get(run)
            if mandate is None or mandate.plan.digest != acceptance.plan_digest:
                raise AnswerRefused(f"the plan of run {run!r} is not the one that was accepted; look at it again")
            self._write(run, mandate, accepted=acceptance)

    def note_rows(self, run: str, n: int, rows: int, part: Table | None = None, first: int = 0) -> None:
        """Record how many rows the table of step `n` has, which bounds the steps per row of it, and what is in them.

        `part` holds the rows from `first` on.
        """
        with self._runs.changing(run):
            if mandate := self.get(run):
                tables = mandate.tables
                if part and any(step.per_row_of == n for step in mandate.plan.steps):
                    tables = {**tables, n: tables.get(n, Table()).with_part(part, first)}
                self._write(run, mandate, rows={**mandate.rows, n: rows}, tables=tables)

    def note_met(self, run: str, ns: Iterable[int]) -> None:
        """Record that exactly the steps `ns` have their condition met now."""
        with self._runs.changing(run):
            if mandate := self.get(run):
                self._write(run, mandate, met=frozenset(ns))

    def spend(self, run: str, n: int, row: Row | None = None) -> str:
        """Use step `n` once, inside a transaction; what `unspend` wants. LimitReached when the plan has no more.

        `row` is the row it is used for, where the step goes over the rows of a table.
        """
        mandate = self.get(run)
        for step in mandate.plan.steps if mandate and mandate.accepted else ():
            if step.n == n and mandate and (spent := mandate.spent.get(n, 0)) < _most(mandate, step):
                used = mandate.used.get(n, ())
                table = mandate.tables.get(step.per_row_of) if step.per_row_of is not None else None
                if table and (row is None or used.count(row) >= table.rows.count(row)):
                    break
                used = (*used, row) if row is not None else used
                self._write(run, mandate, spent={**mandate.spent, n: spent + 1}, used={**mandate.used, n: used})
                return f"{_digest(step)} {_row_digest(row)}" if row is not None else _digest(step)
        raise LimitReached(f"the accepted plan has no more of step {n}; propose a further plan")

    def unspend(self, run: str, n: int, spent_as: str) -> None:
        """Give back, inside a transaction, one use of step `n` and its row, unless another step has that number now."""
        mandate, (digest, _, of) = self.get(run), spent_as.partition(" ")
        same = mandate and any(step.n == n and _digest(step) == digest for step in mandate.plan.steps)
        if mandate and same and (spent := mandate.spent.get(n, 0)):
            used = list(mandate.used.get(n, ()))
            if (row := next((row for row in used if of and _row_digest(row) == of), None)) is not None:
                used.remove(row)
            self._write(run, mandate, spent={**mandate.spent, n: spent - 1}, used={**mandate.used, n: tuple(used)})

    def _write(self, run: str, mandate: Mandate, **changes: Any) -> None:
        self._documents.write(run, _NAME, mandate.model_copy(update=changes).model_dump_json().encode())


def _most(mandate: Mandate, step: PlannedStep) -> int:
    """How often the step may be done: never, while the table that bounds it has not been read."""
    return step.at_most if step.per_row_of is None else min(step.at_most, mandate.rows.get(step.per_row_of, 0))


def _digest(step: PlannedStep) -> str:
    return hashlib.sha256(canonical_json(step.model_dump(mode="json"))).hexdigest()


def _row_digest(row: Row) -> str:
    return hashlib.sha256(canonical_json(list(row))).hexdigest()
