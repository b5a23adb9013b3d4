"""Questions: each answer counts once, and all of a call's answers or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from agent.clock import SystemClock
from agent.store.seal import Keys
from agent.store.store import Store
from policies.errors import AnswerRefused
from policies.question import Answer
from tests.agent.store.conftest import NOW, card, intent, url


def _ask(store, question):
    store.records.commit(intent(), [], epoch=1, question=question, now=NOW)


def _yes(by="boss"):
    return Answer(yes=True, by=by, at=NOW)


def test_an_answer_closes_the_question_and_stands_in_the_ledger(store, opened):
    _ask(store, card(seqs=(0, 1)))
    no = Answer(yes=False, by="boss", at=NOW, because="too early")
    assert not opened().questions.answer("q1", {0: _yes()}, NOW).closed
    assert opened().questions.answer("q1", {1: no}, NOW).closed

    assert store.questions.all() == []
    (kept,) = store.questions.all("r1", open_only=False)
    assert [row.answers for row in kept.rows] == [(_yes(),), (no,)]
    first, second = store.ledger.entries("r1")
    assert (first.event, first.seq) == ("answered", 0)
    assert first.facts == {"question": "q1", "digest": "d0", "yes": True, "by": "boss", "policy": "p"}
    assert (second.facts["yes"], store.ledger.body("r1", 1)) == (False, {"because": "too early"})
    assert store.ledger.verify("r1") is None


@pytest.mark.parametrize(
    ("id", "answers", "later"),
    [("q9", {0: _yes()}, 0), ("q1", {0: _yes(), 5: _yes()}, 0), ("q1", {0: _yes()}, 25)],
)
def test_an_answer_that_does_not_count_changes_nothing(store, id, answers, later):
    _ask(store, card())
    with pytest.raises(AnswerRefused):
        store.questions.answer(id, answers, NOW + timedelta(hours=later))
    assert store.questions.all() == [card()]
    assert store.ledger.entries("r1") == []


def test_two_must_answer_where_two_are_asked_for_and_one_of_them_is_not_enough(store):
    _ask(store, card(answers=2))
    assert not store.questions.answer("q1", {0: _yes("one")}, NOW).closed
    with pytest.raises(AnswerRefused, match="another person"):
        store.questions.answer("q1", {0: _yes("one")}, NOW)
    assert store.questions.answer("q1", {0: _yes("two")}, NOW).closed


def test_a_hundred_answers_at_once_count_once(store, tmp_path):
    _ask(store, card())

    def answer(n):
        mine = Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())
        try:
            mine.questions.answer("q1", {0: Answer(yes=n % 2 == 0, by=f"person {n}", at=NOW)}, NOW)
            return True
        except AnswerRefused:
            return False
        finally:
            mine.close()

    with ThreadPoolExecutor(10) as people:
        counted = list(people.map(answer, range(100)))
    assert counted.count(True) == 1
    (row,) = store.questions.get("q1").rows
    assert [a.by for a in row.answers] == [f"person {counted.index(True)}"]
    assert [e.event for e in store.ledger.entries("r1")] == ["answered"]
