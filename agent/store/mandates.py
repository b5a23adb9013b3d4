"""A run's mandate: one sealed document with the plan, its acceptance, and what is spent of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.store.contents import Documents
from agent.store.runs import Runs
from policies.errors import AnswerRefused, LimitReached
from policies.mandate import Acceptance, Mandate, Plan

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

        The plan that stands already keeps its acceptance and what is spent; another one has neither.
        """
        with self._runs.changing(run):
            before = self.get(run)
            if before is None or before.plan != plan or before.hosts != frozenset(hosts):
                self._write(run, Mandate(plan=plan, hosts=frozenset(hosts)))

    def accept(self, run: str, acceptance: Acceptance) -> None:
        """Make the present plan the mandate; AnswerRefused when the acceptance is of another plan."""
        with self._runs.changing(run):
            mandate = self.get(run)
            if mandate is None or mandate.plan.digest != acceptance.plan_digest:
                raise AnswerRefused(f"the plan of run {run!r} is not the one that was accepted; look at it again")
            self._write(run, mandate, accepted=acceptance)

    def note_rows(self, run: str, n: int, rows: int) -> None:
        """Record how many rows the table of step `n` has, which bounds the steps per row of it."""
        with self._runs.changing(run):
            if mandate := self.get(run):
                self._write(run, mandate, rows={**mandate.rows, n: rows})

    def note_met(self, run: str, ns: Iterable[int]) -> None:
        """Record that exactly the steps `ns` have their condition met now."""
        with self._runs.changing(run):
            if mandate := self.get(run):
                self._write(run, mandate, met=frozenset(ns))

    def spend(self, run: str, n: int) -> str:
        """Use step `n` once, inside a transaction; the digest of the plan, LimitReached when it has no more."""
        mandate = self.get(run)
        if mandate and mandate.accepted and (spent := mandate.spent.get(n, 0)) < _most(mandate, n):
            self._write(run, mandate, spent={**mandate.spent, n: spent + 1})
            return mandate.plan.digest
        raise LimitReached(f"the accepted plan has no more of step {n}; propose a further plan")

    def unspend(self, run: str, plan: str, n: int) -> None:
        """Give back, inside a transaction, what `spend` used under the plan with this digest."""
        mandate = self.get(run)
        if mandate and mandate.plan.digest == plan and (spent := mandate.spent.get(n, 0)):
            self._write(run, mandate, spent={**mandate.spent, n: spent - 1})

    def _write(self, run: str, mandate: Mandate, **changes: Any) -> None:
        self._documents.write(run, _NAME, mandate.model_copy(update=changes).model_dump_json().encode())


def _most(mandate: Mandate, n: int) -> int:
    """How often step `n` may be done: never, while the table that bounds it has not been read."""
    for step in mandate.plan.steps:
        if step.n == n:
            rows = step.at_most if step.per_row_of is None else mandate.rows.get(step.per_row_of, 0)
            return min(step.at_most, rows)
    return 0
