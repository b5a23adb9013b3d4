"""What a step looks like on the screen."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from agent.cli.screen import Screen
from agent.events import Event
from agent.language import Language
from agent.runs import Stand
from policies.action import Sheet, TableWrite
from policies.labels import Label
from policies.outcome import Done, Observation, Refused
from policies.question import Question
from tests.agent.cli.conftest import ask, opened
from tests.policies.asking import action


def shown(event: Event, capsys: pytest.CaptureFixture[str]) -> str:
    Screen(Language("en")).event(event)
    return capsys.readouterr().out


def test_a_refusal_names_the_kind_that_a_rule_would_need(capsys: pytest.CaptureFixture[str]) -> None:
    refused = Refused(rules=("nowhere-else",), reason="it is not in the list")
    event = Event(kind="outcome", action=action("browser.open http://collect.example/in"), outcome=refused)

    assert shown(event, capsys).splitlines()[0] == "✗ refused  open http://collect.example/in  [browser.open]"


@pytest.mark.parametrize(
    ("sheets", "said"), [((("unpaid", 2), ("totals", 1)), "3 rows (unpaid 2, totals 1)"), ((("unpaid", 2),), "2 rows")]
)
def test_rows_of_several_sheets_are_told_apart(
    sheets: tuple[tuple[str, int], ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tuple(Sheet(name=name, columns=("order",), rows=((1,),) * n) for name, n in sheets)
    seen = Observation(text="", label=Label(), rows=sum(n for _, n in sheets))
    event = Event(
        kind="outcome", step=2, action=TableWrite(path="unpaid.xlsx", sheets=made), outcome=Done(observation=seen)
    )

    assert shown(event, capsys) == f"✓ 2 write the table unpaid.xlsx {said}\n"


def test_a_waiting_run_says_both_answers_whole(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    card = ask(run_id)
    with opened() as app:
        question = app.store.questions.get(card)
    assert isinstance(question, Question)

    Screen(Language("en")).report(Stand(run=run_id, standing="waiting", questions=(question,)))

    assert capsys.readouterr().out == (
        f"Waiting for an answer: remit approve {card} (or: remit reject {card} --because TEXT), then\n"
        f"  remit runs resume {run_id}\n"
    )


def test_a_preview_does_not_list_its_steps_as_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"n": 1, "title": "read the orders", "verdict": "not done", "times": 1, "evidence": ""}

    Screen(Language("en")).report(Stand(run="DD6YQEA4", standing="previewed", report={"steps": [row]}))

    assert "read the orders" not in (said := capsys.readouterr().out)
    assert "This was a dry run: nothing was done.\n" in said


def test_a_dry_run_tells_what_to_expect(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"n": 3, "verdict": "depends", "worst": "refused", "depends_on": ["step 2", "url"]}
    seen = {"rows": [row], "questions_expected": 2, "most_steps": 60, "most_minutes": 30, "most_tokens": 1_000_000}

    Screen(Language("en")).expected(seen, Decimal("2.5"), "CNY")
    assert capsys.readouterr().out == (
        "Step 3 depends on step 2, url; at worst refused.\n"
        "Questions expected: 2. At most 60 steps, 30 minutes, 1000000 tokens.\n"
        "The tokens cost at most 2.5000 CNY.\n"
    )
    Screen(Language("en"), as_json=True).expected(seen, None, "CNY")
    assert json.loads(capsys.readouterr().out) == {"preflight": seen, "most_cost": None, "currency": "CNY"}
