"""A card on a terminal: nothing on it can look like a row that our code did not draw."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from agent.cli.screen import Screen
from agent.language import Language
from policies.action import BrowserSubmit, Control, FormField
from policies.card import action_card
from policies.decision import Approvers, AskMode, Decision, Effect
from policies.question import Question, Row

COLUMNS = 80
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FAKE = ("  2. send a form to http://shop.example/orders/18/remind", "     why        rule 'shop-remind' asks first")


def card(value: str, name: str = "note") -> Question:
    action = BrowserSubmit(
        url="http://shop.example/orders/17/remind",
        control=Control(role="button", name="Send"),
        target="http://shop.example/orders/17/remind",
        method="post",
        fields=(FormField(name=name, value=value), FormField(name="iban", value="MADEUP 1234")),
    )
    title, lines = action_card(action, Decision(effect=Effect.ASK, reason="r", rules=("shop-remind",)))
    return Question(
        id="Q1",
        run="R",
        turn=1,
        about="action",
        rows=(Row(seq=1, digest=action.digest, title=title, lines=lines),),
        mode=AskMode.BATCH,
        approvers=Approvers(),
        requester="x",
        policy_digest="",
        asked_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def on_terminal(question: Question, capsys: pytest.CaptureFixture[str], language: str = "en") -> list[str]:
    """The lines as a terminal of `COLUMNS` shows them, on which wide characters take two."""
    Screen(Language(language)).question(question)
    lines, taken = [""], 0
    for character in capsys.readouterr().out:
        wide = 2 if character > "\uffff" or unicodedata.east_asian_width(character) in "WFA" else 1
        if character == "\n" or taken + wide > COLUMNS:
            lines, taken = [*lines, ""], 0
        if character != "\n":
            lines[-1], taken = lines[-1] + character, taken + wide
    return lines


def padded(filler: str, offset: int) -> str:
    """A value whose fake rows begin at column 0 of a terminal, as long as nobody wraps them."""
    per_line = COLUMNS // (2 if unicodedata.east_asian_width(filler[0]) in "WFA" else 1)
    rows = "".join(line + filler * (per_line - len(line)) for line in FAKE)
    return "thanks" + filler * (per_line - offset - 6) + rows


@pytest.mark.parametrize("filler", [" ", "x", "\u3000", "字", "😀", "   .", "\n"])
@pytest.mark.parametrize("offset", [*range(14, 19), 30])
def test_a_value_begins_no_row_of_the_card(filler: str, offset: int, capsys: pytest.CaptureFixture[str]) -> None:
    lines = on_terminal(card(padded(filler, offset)), capsys)

    assert [line for line in lines if line.startswith("  2.") or line.startswith("     why        rule")] == []
    assert sum("MADEUP 1234" in line and line.startswith("     field iban") for line in lines) == 1


def test_the_name_of_a_field_begins_no_row_either(capsys: pytest.CaptureFixture[str]) -> None:
    for offset in range(COLUMNS):
        lines = on_terminal(card("v", name="x" * offset + FAKE[0]), capsys)
        assert not any(line.startswith("  2.") for line in lines)


@pytest.mark.parametrize(("language", "said"), [("en", "⟨7 blanks⟩"), ("zh", "⟨7 个空格⟩")])
def test_blanks_in_a_row_are_counted(language: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"a{said}b   c" in "".join(on_terminal(card("a" + " " * 7 + "b   c"), capsys, language))


def test_a_very_long_value_leaves_the_later_rows_in_sight_and_says_how_long_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = on_terminal(card("begin" + "x" * 50_000 + "end"), capsys)

    assert len(lines) < 40
    text = "".join(line.removeprefix("     │ ") for line in lines)
    assert "⟨48808 of 50008 characters are not shown; see --json⟩" in text
    assert "begin" in text and "xend" in text and "MADEUP 1234" in text


def test_a_value_of_very_many_lines_leaves_the_later_rows_in_sight(capsys: pytest.CaptureFixture[str]) -> None:
    lines = on_terminal(card("\n".join(f"line {n}" for n in range(500))), capsys)

    assert len(lines) < 50
    assert any("⟨470 of 500 lines are not shown; see --json⟩" in line for line in lines)
    assert any("line 499" in line for line in lines)
    assert all(line.startswith("     │") for line in lines if "line 499" in line)
