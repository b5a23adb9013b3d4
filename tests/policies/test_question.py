"""Questions: an answer counts for one row, once, in its time, and what is shown hides nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Approvers, AskMode
from policies.errors import AnswerRefused
from policies.question import Answer, Question, Row, visible

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATE = NOW + timedelta(hours=24)


def _question(*, answers: int = 1, rows: int = 2) -> Question:
    return Question(
        id="Q1",
        run="R1",
        turn=1,
        about="action",
        rows=tuple(Row(seq=n, digest=f"d{n}", title=f"row {n}", lines=()) for n in range(rows)),
        mode=AskMode.BATCH,
        approvers=Approvers(answers=answers),
        requester="alice",
        policy_digest="p",
        asked_at=NOW,
        expires_at=LATE,
    )


def _says(yes: bool, by: str = "bob") -> Answer:
    return Answer(yes=yes, by=by, at=NOW)


def _verdicts(question: Question, now: datetime = NOW) -> list[bool | None]:
    return [question.verdict(row, now) for row in question.rows]


def test_rows_are_answered_one_by_one():
    question = _question().answered({0: _says(True)}, NOW)
    assert (_verdicts(question), question.settled(NOW)) == ([True, None], False)
    question = question.answered({1: _says(False)}, NOW)
    assert (_verdicts(question), question.settled(NOW)) == ([True, False], True)


def test_an_answer_counts_once():
    question = _question().answered({0: _says(True)}, NOW)
    for again in (_says(True), _says(False), _says(False, "carol")):
        with pytest.raises(AnswerRefused, match="counts once"):
            question.answered({0: again}, NOW)
    with pytest.raises(AnswerRefused, match="counts once"):
        _question().model_copy(update={"closed": True}).answered({0: _says(True)}, NOW)


def test_two_people_must_be_two():
    question = _question(answers=2).answered({0: _says(True)}, NOW)
    assert _verdicts(question)[0] is None
    with pytest.raises(AnswerRefused, match="another person"):
        question.answered({0: _says(True)}, NOW)
    assert _verdicts(question.answered({0: _says(True, "carol")}, NOW))[0] is True


def test_one_no_is_enough():
    question = _question(answers=3).answered({0: _says(True)}, NOW).answered({0: _says(False, "carol")}, NOW)
    assert _verdicts(question)[0] is False


def test_after_its_time_a_question_is_a_no_and_takes_no_answer():
    just = LATE - timedelta(microseconds=1)
    assert _verdicts(_question().answered({0: _says(True)}, just), LATE) == [True, False]
    with pytest.raises(AnswerRefused, match="expired at 2026-03-03 09:00 UTC"):
        _question().answered({0: _says(True)}, LATE)


def test_an_answer_to_a_row_that_is_not_there_refuses_the_others_too():
    with pytest.raises(AnswerRefused, match="no row 7"):
        _question().answered({0: _says(True), 7: _says(True)}, NOW)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("a\tb\rc\x00", "a⟨U+0009⟩b⟨U+000D⟩c⟨U+0000⟩"),
        ("\ufeffa\u2028b", "⟨U+FEFF⟩a⟨U+2028⟩b"),
        ("a\U000e0041b", "a⟨U+E0041⟩b"),
        ("\u3164a\u115fb\u2800", "⟨U+3164⟩a⟨U+115F⟩b⟨U+2800⟩"),
        ("a\u034fb\ufe0f", "a⟨U+034F⟩b⟨U+FE0F⟩"),
        ("a\u00a0b\u2003c", "a⟨U+00A0⟩b⟨U+2003⟩c"),
        ("付款 至\u3000张三\nline", "付款 至\u3000张三\nline"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text, shown):
    assert visible(text) == shown


@given(st.text())
def test_showing_twice_shows_the_same_and_loses_no_plain_letter(text):
    assert visible(visible(text)) == visible(text)
    assert visible(text).replace("⟨", "").count("a") >= text.count("a")
