"""The taking of answers: by the rules of the card, from the account that gave them, as the person who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.errors import AnswerRefused
from policies.people import may_answer
from policies.question import Answer, Question, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.wiring import App


def account_of(app: App, name: str) -> str:
    """The account behind a name that answers at this machine: the operating system's own, else a practice identity."""
    return f"{'system' if name == app.settings.principal else 'practice'}:{name}"


def is_for(app: App, question: Question, row: Row, account: str) -> bool:
    """True when the row waits for an answer that this account can give, and its person has given none."""
    if question.verdict(row, app.clock.now()) is not None:
        return False
    people = app.people()
    by = (people.who(account) if people else None) or account.partition(":")[2]
    return not may_answer(account, question.approvers, question.requester, people) and by not in {
        answer.by for answer in row.answers
    }


def take_answer(
    app: App, question: Question, rows: Sequence[int], account: str, *, yes: bool, because: str = ""
) -> Question:
    """The question with this answer to the rows of these submissions; AnswerRefused when it does not count.

    The answer carries the person's id, so that two accounts of one person are one answer, and the account, so that
    the gate can ask again whose it is when the answer is used.
    """
    people = app.people()
    if why_not := may_answer(account, question.approvers, question.requester, people):
        raise AnswerRefused(why_not)
    now = app.clock.now()
    by = (people.who(account) if people else None) or account.partition(":")[2]
    answer = Answer(yes=yes, by=by, at=now, because=because, account=account)
    return app.store.questions.answer(question.id, dict.fromkeys(rows, answer), now)
