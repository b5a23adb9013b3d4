"""`remit questions`, `approve` and `reject`: what waits for a person, and the person's answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import DONE, FAILED
from agent.cli.desk import Desk, JsonOption, desk
from agent.errors import NoSuchQuestion
from policies.errors import AnswerRefused

if TYPE_CHECKING:
    from policies.question import Question

Ids = Annotated[list[str], typer.Argument(help="Ids of questions, or how they begin; see: remit questions")]
RowOption = Annotated[
    list[int] | None, typer.Option("--row", metavar="N", help="Only this row of the card; may be repeated.")
]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Answer as a practice identity; practice homes only.")
]
Because = Annotated[str, typer.Option("--because", metavar="TEXT", help="The reason, in words; the model reads it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (questions, approve, reject):
        app.command()(command)


def questions(json: JsonOption = False) -> int:
    """Show everything that waits for an answer, as cards."""
    with desk(as_json=json) as at:
        now = at.app.clock.now()
        open_ones = [q for q in at.app.store.questions.all() if not q.settled(now)]
        for question in open_ones:
            _show(at, question, by=at.app.settings.principal)
        if not json:
            how = "Answer with: remit approve ID, or: remit reject ID --because TEXT"
            print(at.say(how if open_ones else "Nothing waits for an answer."))
    return DONE


def approve(ids: Ids, row: RowOption = None, name: AsOption = None, json: JsonOption = False) -> int:
    """Say yes to exactly what these cards say. The run then goes on with: remit runs resume."""
    return _answer(ids, row, name, yes=True, because="", as_json=json)


def reject(ids: Ids, because: Because, row: RowOption = None, name: AsOption = None, json: JsonOption = False) -> int:
    """Say no, with a reason, which the model reads. The run then goes on with: remit runs resume."""
    return _answer(ids, row, name, yes=False, because=because, as_json=json)


def _answer(ids: list[str], rows: list[int] | None, name: str | None, *, yes: bool, because: str, as_json: bool) -> int:
    from agent.people import account_of, take_answer  # start-up time

    with desk(as_json=as_json) as at:
        by = _identity(at, name)
        asked = [_find(at, prefix) for prefix in ids]
        if rows and len(asked) > 1:
            raise NoSuchQuestion("rows belong to one card; answer the cards one at a time")
        for question in asked:
            if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
                _show(at, question, by=by)
                prompt = at.say("Answer {yes} as {by}? [y/N] ", yes=at.say("yes" if yes else "no"), by=by)
                if not _sure(at, prompt):
                    return FAILED
            account = account_of(at.app, by)
            answered = take_answer(at.app, question, _rows(question, rows), account, yes=yes, because=because)
            now = at.app.clock.now()
            left = sum(answered.verdict(row, now) is None for row in answered.rows)
            at.tell(
                "{id} is recorded; rows still open: {n}."
                if left
                else "{id} is answered. Go on with: remit runs resume {run}",
                **{"id": answered.id, "run": answered.run, "n": left, "answer": "yes" if yes else "no"},
            )
    return DONE


def _sure(at: Desk, prompt: str) -> bool:
    """Whether the person types yes; Enter and Ctrl-D are no, anything else is asked again."""
    while True:
        print(prompt, end="", flush=True)  # input() would write it to standard error, which may be a file
        try:
            typed = input().strip().lower()
        except EOFError:
            print()
            return False
        if typed in ("", "y", "yes", "n", "no"):
            return typed.startswith("y")
        print(at.say("please y or n"))


def _identity(at: Desk, name: str | None) -> str:
    """Who answers: the person whom the operating system knows, or a practice identity of this practice home."""
    settings = at.app.settings
    if name in (None, settings.principal):
        return settings.principal
    if name not in settings.approvers:  # which are for practice homes alone: load_settings sees to that
        raise AnswerRefused(f"you cannot answer as {name!r}: an answer carries the name you are logged in with")
    return str(name)


def _find(at: Desk, prefix: str) -> Question:
    if not prefix.strip():
        raise NoSuchQuestion("the id of a question is missing; see them with: remit questions")
    kept = at.app.store.questions.all(open_only=False)
    found = [q for q in kept if q.id == prefix.upper()] or [q for q in kept if q.id.startswith(prefix.upper())]
    if len(found) != 1:
        many = "several questions begin" if found else "no question begins"
        raise NoSuchQuestion(f"{many} with {prefix!r}; see them with: remit questions")
    return found[0]


def _rows(question: Question, numbers: list[int] | None) -> list[int]:
    """The submissions of the rows with these numbers on the card; without numbers, of all rows still open."""
    if not numbers:
        open_rows = [r.seq for r in question.rows if question.verdict(r, question.asked_at) is None]
        return open_rows or [r.seq for r in question.rows]
    if wrong := [n for n in numbers if not 1 <= n <= len(question.rows)]:
        raise NoSuchQuestion(f"question {question.id!r} has no row {wrong[0]}; it has {len(question.rows)}")
    return [question.rows[n - 1].seq for n in numbers]


def _show(at: Desk, question: Question, *, by: str) -> None:
    from agent.cli.screen import Screen  # start-up time

    screen = Screen(at.say, as_json=at.as_json, restore=at.own(question.run, question.requester, by=by))
    screen.question(question)
    if not at.as_json:
        group, n = ", ".join(question.approvers.groups) or at.say("anyone"), question.approvers.answers
        screen.line(at.say("     run {run}; asked: {group}, answers needed: {n}", run=question.run, group=group, n=n))
