"""Questions to people, sealed; every answer counts once, whoever comes at the same moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.ledger import Ledger
from agent.store.runs import Runs
from policies.decision import AskMode
from policies.errors import AnswerRefused
from policies.ledger import Draft
from policies.question import Answer, Question

_ROW = "id run question_sealed"


class Questions:
    """Keeps the cards and takes the answers."""

    def __init__(self, database: Database, runs: Runs, ledger: Ledger) -> None:
        self._db, self._runs, self._ledger = database, runs, ledger

    def get(self, id: str) -> Question | None:
        """The question, or None."""
        return next((self._read(row) for row in self._db.find(tables.questions, _ROW, id=id)), None)

    def all(self, run: str | None = None, *, open_only: bool = True) -> list[Question]:
        """The questions of a run, or of all, oldest first. One that nobody answered in time is still open."""
        wanted: dict[str, Any] = {} if run is None else {"run": run}
        if open_only:
            wanted["closed"] = 0
        return [self._read(row) for row in self._db.find(tables.questions, _ROW, order="asked_at id", **wanted)]

    def unanswered(self, run: str, turn: int) -> Question | None:
        """The turn's open card for several actions, as long as nobody has answered any row of it."""
        for row in self._db.find(tables.questions, _ROW, order="asked_at id", run=run, turn=turn, closed=0):
            question = self._read(row)
            alone = question.about != "action" or question.mode is AskMode.EACH
            if not alone and not any(r.answers for r in question.rows):
                return question
        return None

    def answer(self, id: str, answers: Mapping[int, Answer], now: datetime) -> Question:
        """The question with these answers, by row seq, in the ledger too; AnswerRefused and nothing otherwise."""
        with self._db.writing():
            for (run,) in self._db.find(tables.questions, "run", id=id):
                self._runs.row(run, "id", lock=True)
            if (question := self.get(id)) is None:
                raise AnswerRefused(f"there is no question {id!r}; see them with: remit questions")
            answered = question.answered(dict(answers), now)
            answered = answered.model_copy(update={"closed": answered.settled(now)})
            self.put(answered)
            drafts = [_answered(question, seq, answer) for seq, answer in answers.items()]
            self._ledger.extend(question.run, drafts, epoch=None, now=now)
        return answered

    def put(self, question: Question) -> None:
        """Write or replace, inside a transaction; AnswerRefused when that would lose or change an answer."""
        before = self.get(question.id)
        if before is None:
            (asked,) = self._runs.row(question.run, "questions")
            self._db.change(tables.runs, {"id": question.run}, questions=asked + 1)
        elif not _keeps(before, question):
            raise AnswerRefused(f"question {question.id!r} was answered meanwhile; ask again")
        sealed = self._runs.seal(question.run).seal(question.model_dump_json().encode(), "questions", question.id)
        self._db.put(
            tables.questions,
            **{"id": question.id, "run": question.run, "turn": question.turn, "asked_at": stamp(question.asked_at)},
            **{"closed": int(question.closed), "question_sealed": sealed},
        )

    def _read(self, row: Sequence[Any]) -> Question:
        of, run, sealed = row
        return Question.model_validate_json(self._runs.seal(run).open(sealed, "questions", of))


def _keeps(before: Question, after: Question) -> bool:
    """True when `after` has every row of `before` with its digest and answers, and is not opened again."""
    rows = {row.seq: row for row in after.rows}
    return (
        before.run == after.run
        and after.closed >= before.closed
        and {row.seq for row in before.rows} <= rows.keys()
        and all(rows[row.seq].digest == row.digest for row in before.rows)
        and all(rows[row.seq].answers[: len(row.answers)] == row.answers for row in before.rows)
    )


def _answered(question: Question, seq: int, answer: Answer) -> Draft:
    row = question.row(seq)
    facts: dict[str, JsonValue] = {"question": question.id, "yes": answer.yes, "by": answer.by}
    facts |= {"digest": row.digest if row else None, "policy": question.policy_digest}
    return Draft(event="answered", seq=seq, facts=facts, body={"because": answer.because} if answer.because else None)
