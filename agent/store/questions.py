"""Questions to people, sealed; every answer counts once, whoever comes at the same moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from agent.store import tables
from agent.store.database import Database, stamp
from agent.store.ledger import Ledger
from agent.store.runs import Runs
from policies.decision import AskMode
from policies.errors import AnswerRefused
from policies.ledger import Draft
from policies.question import Answer, Question

_questions = tables.questions.c
_ROWS = select(_questions.id, _questions.run, _questions.question_sealed).order_by(_questions.asked_at, _questions.id)
_GET = _ROWS.where(_questions.id == bindparam("of"))
_OF_TURN = _ROWS.where(
    _questions.run == bindparam("of"), _questions.turn == bindparam("during"), _questions.closed == 0
)
_OF_RUN = _ROWS.where(_questions.run == bindparam("of"), _questions.closed <= bindparam("most"))
_EVERY = _ROWS.where(_questions.closed <= bindparam("most"))
_put = insert(tables.questions)
_PUT = _put.on_conflict_do_update(
    index_elements=["id"], set_={"closed": _put.excluded.closed, "question_sealed": _put.excluded.question_sealed}
)
_ASKED = update(tables.runs).where(tables.runs.c.id == bindparam("of")).values(questions=tables.runs.c.questions + 1)


class Questions:
    """Keeps the cards and takes the answers."""

    def __init__(self, database: Database, runs: Runs, ledger: Ledger) -> None:
        self._db, self._runs, self._ledger = database, runs, ledger

    def get(self, id: str) -> Question | None:
        """The question, or None."""
        row = self._db.one(_GET, of=id)
        return None if row is None else self._read(row)

    def all(self, run: str | None = None, *, open_only: bool = True) -> list[Question]:
        """The questions of a run, or of all, oldest first. One that nobody answered in time is still open."""
        most = 0 if open_only else 1
        rows = self._db.all(_EVERY, most=most) if run is None else self._db.all(_OF_RUN, of=run, most=most)
        return [self._read(row) for row in rows]

    def unanswered(self, run: str, turn: int) -> Question | None:
        """The turn's open card for several actions, as long as nobody has answered any row of it."""
        for row in self._db.all(_OF_TURN, of=run, during=turn):
            question = self._read(row)
            if question.about == "action" and question.mode is not AskMode.EACH and not _answers(question):
                return question
        return None

    def answer(self, id: str, answers: Mapping[int, Answer], now: datetime) -> Question:
        """The question with these answers, by row seq, in the ledger too; AnswerRefused and nothing otherwise."""
        with self._db.writing():
            question = self.get(id)
            if question is None:
                raise AnswerRefused(f"there is no question {id!r}; see them with: remit questions")
            answered = question.answered(dict(answers), now)
            answered = answered.model_copy(update={"closed": answered.settled(now)})
            self.put(answered)
            drafts = [_answered(question, seq, answer) for seq, answer in answers.items()]
            self._ledger.extend(question.run, self._ledger.head(question.run), drafts, now)
        return answered

    def close(self, id: str) -> None:
        """Note that the question waits for nobody any more, for instance because its time is over."""
        with self._db.writing():
            if question := self.get(id):
                self.put(question.model_copy(update={"closed": True}))

    def put(self, question: Question) -> None:
        """Write or replace, inside a transaction; AnswerRefused when that would lose or change an answer."""
        before = self.get(question.id)
        if before is not None and not _keeps(before, question):
            raise AnswerRefused(f"question {question.id!r} was answered meanwhile; ask again")
        sealed = self._runs.seal(question.run).seal(question.model_dump_json().encode(), "questions", question.id)
        self._db.do(
            _PUT,
            **{"id": question.id, "run": question.run, "turn": question.turn, "asked_at": stamp(question.asked_at)},
            **{"closed": int(question.closed), "question_sealed": sealed},
        )
        if before is None:
            self._db.do(_ASKED, of=question.run)

    def _read(self, row: Sequence[Any]) -> Question:
        of, run, sealed = row
        return Question.model_validate_json(self._runs.seal(run).open(sealed, "questions", of))


def _answers(question: Question) -> int:
    return sum(len(row.answers) for row in question.rows)


def _keeps(before: Question, after: Question) -> bool:
    """True when `after` has every row of `before` with its digest and answers, and is not opened again."""
    if before.run != after.run or (before.closed and not after.closed):
        return False
    rows = {row.seq: row for row in after.rows}
    return all(
        row.seq in rows
        and rows[row.seq].digest == row.digest
        and rows[row.seq].answers[: len(row.answers)] == row.answers
        for row in before.rows
    )


def _answered(question: Question, seq: int, answer: Answer) -> Draft:
    row = question.row(seq)
    digest = row.digest if row else ""
    facts: dict[str, JsonValue] = {"question": question.id, "digest": digest, "yes": answer.yes, "by": answer.by}
    return Draft(event="answered", seq=seq, facts=facts, body={"because": answer.because} if answer.because else None)
