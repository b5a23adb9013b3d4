"""Questions are shown whole, and answered once, by the person who is logged in."""

from __future__ import annotations

import os
import pwd
from datetime import timedelta
from pathlib import Path

import pytest

from policies.question import Question
from tests.agent.cli.conftest import PHONE, Remit, ask, on_a_terminal, opened

ME = pwd.getpwuid(os.getuid()).pw_name


def stored(id: str) -> Question:
    with opened() as app:
        found = app.store.questions.get(id)
        assert found is not None
        return found


def test_a_question_is_shown_with_who_is_asked(remit: Remit, run_id: str) -> None:
    card = ask(run_id, rows=2)

    said = remit("questions")

    assert said.code == 0
    assert card in said.out
    assert "1. restart 1" in said.out and "2. restart 2" in said.out
    assert f"run {run_id}; asked: anyone, answers needed: 1" in said.out
    assert said.out.endswith("Answer with: remit approve ID, or: remit reject ID --because TEXT\n")


def test_the_requester_sees_personal_values_and_programs_see_handles(remit: Remit, run_id: str) -> None:
    ask(run_id)

    assert PHONE in remit("questions").out
    as_json = remit("questions", "--json")
    assert PHONE not in as_json.out
    assert "⟦phone:" in as_json.objects[0]["question"]["rows"][0]["title"]


def test_without_questions_it_says_so(remit: Remit) -> None:
    assert remit("questions").out == "Nothing waits for an answer.\n"
    assert remit("questions", "--json").out == ""


def test_yes_answers_every_row_and_says_how_to_go_on(remit: Remit, run_id: str) -> None:
    card = ask(run_id, rows=2)

    said = remit("approve", card[:3].lower())

    assert (said.code, said.out) == (0, f"{card} is answered. Go on with: remit runs resume {run_id}\n")
    question = stored(card)
    assert [[(a.yes, a.by) for a in row.answers] for row in question.rows] == [[(True, ME)], [(True, ME)]]
    assert question.closed


def test_one_row_is_answered_by_its_number_on_the_card(remit: Remit, run_id: str) -> None:
    card = ask(run_id, rows=3)

    said = remit("approve", card, "--row", "2")

    assert said.out == f"{card} is recorded; rows still open: 2.\n"
    assert [len(row.answers) for row in stored(card).rows] == [0, 1, 0]
    beyond = remit("approve", card, "--row", "4")
    assert (beyond.code, beyond.err) == (2, f"remit: question {card!r} has no row 4; it has 3\n")


def test_no_carries_its_reason(remit: Remit, run_id: str) -> None:
    card = ask(run_id)

    said = remit("reject", card, "--because", "not before Monday", "--json")

    assert said.objects == [{"id": card, "run": run_id, "n": 0, "answer": "no"}]
    assert [(a.yes, a.because) for a in stored(card).rows[0].answers] == [(False, "not before Monday")]
    assert remit("reject", card).code == 2


def test_an_answer_counts_once(remit: Remit, run_id: str) -> None:
    card = ask(run_id)
    remit("reject", card, "--because", "no")

    said = remit("approve", card)

    assert (said.code, said.err) == (1, f"remit: question {card!r} is already answered; an answer counts once\n")
    assert [a.yes for a in stored(card).rows[0].answers] == [False]


def test_an_answer_that_comes_too_late_does_not_count(remit: Remit, run_id: str) -> None:
    card = ask(run_id, within=timedelta(seconds=-1))

    said = remit("approve", card)

    assert said.code == 1
    assert said.err.startswith(f"remit: question {card!r} expired at ")
    assert remit("questions").out == "Nothing waits for an answer.\n"


def test_two_people_must_answer_where_two_are_asked(remit: Remit, run_id: str) -> None:
    card = ask(run_id, answers=2)

    assert remit("approve", card).out == f"{card} is recorded; rows still open: 1.\n"
    assert remit("approve", card).err == f"remit: {ME!r} already answered {card!r}; another person must\n"


@pytest.mark.parametrize(
    ("id", "sentence"),
    [
        ("Q9", "no question begins with 'Q9'; see them with: remit questions"),
        ("Q0", "several questions begin with 'Q0'; see them with: remit questions"),
    ],
)
def test_an_id_that_names_no_single_question_answers_none(id: str, sentence: str, remit: Remit, run_id: str) -> None:
    both = ask(run_id), ask(run_id, seq=7)

    said = remit("approve", both[0], id)

    assert (said.code, said.err) == (2, f"remit: {sentence}\n")
    assert not any(stored(one).rows[0].answers for one in both)


def test_nobody_answers_under_another_name(
    remit: Remit, run_id: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = ask(run_id)
    monkeypatch.setenv("LOGNAME", "director")
    monkeypatch.setenv("USER", "director")

    said = remit("approve", card, "--as", "director")

    assert (said.code, stored(card).rows[0].answers) == (1, ())
    assert said.err == ("remit: you cannot answer as 'director': an answer carries the name you are logged in with\n")
    remit("approve", card)
    assert stored(card).rows[0].answers[0].by == ME


def test_a_practice_home_takes_its_practice_identities_alone(remit: Remit, run_id: str, home: Path) -> None:
    card = ask(run_id, answers=2)
    settings = home / "settings.toml"
    settings.write_text(f'practice = true\napprovers = ["made-up-approver"]\n{settings.read_text()}')

    assert remit("approve", card, "--as", "director").code == 1
    assert remit("approve", card, "--as", "made-up-approver").code == 0
    assert stored(card).rows[0].answers[0].by == "made-up-approver"


def test_on_a_terminal_the_card_comes_first_and_enter_is_no_yes(run_id: str, home: Path) -> None:
    card = ask(run_id)

    code, seen = on_a_terminal("approve", card, typed="\n")
    assert (code, stored(card).rows[0].answers) == (1, ())
    assert seen.index(f"1. restart 1 for {PHONE}") < seen.index(f"Answer yes as {ME}? [y/N]")

    code, seen = on_a_terminal("approve", card, typed="y\n")
    assert (code, len(stored(card).rows[0].answers)) == (0, 1)


def known(home: Path, finance: str) -> None:
    (home / "people.yaml").write_text(
        f"version: 1\npersons:\n  me: {{accounts: {{system: {ME}}}}}\n  two: {{accounts: {{practice: [second, third]}}}}\n"
        f"groups: {{finance: [{finance}]}}\n"
    )
    settings = home / "settings.toml"
    settings.write_text(f'practice = true\napprovers = ["second", "third"]\n{settings.read_text()}')


def test_only_the_group_that_is_asked_may_answer(remit: Remit, run_id: str, home: Path) -> None:
    card = ask(run_id, groups=("finance",))
    assert remit("approve", card).err == (
        "remit: nobody is known to be in group 'finance'; list its people in people.yaml\n"
    )
    known(home, "two")
    assert remit("approve", card).err == ("remit: 'me' is not in group 'finance'; somebody of that group must answer\n")
    assert remit("reject", card, "--because", "no").code == 1
    assert stored(card).rows[0].answers == ()
    assert "asked: finance, answers needed: 1" in remit("questions").out

    assert remit("approve", card, "--as", "third").code == 0
    (answer,) = stored(card).rows[0].answers
    assert (answer.by, answer.account) == ("two", "practice:third")


def test_two_accounts_of_one_person_are_one_answer(remit: Remit, run_id: str, home: Path) -> None:
    known(home, "two")
    card = ask(run_id, answers=2)
    assert remit("approve", card, "--as", "second").code == 0
    assert (
        remit("approve", card, "--as", "third").err == f"remit: 'two' already answered '{card}'; another person must\n"
    )
    assert remit("approve", card).code == 0
    assert [a.by for a in stored(card).rows[0].answers] == ["two", "me"]


def test_the_requester_does_not_approve_where_the_rule_says_so(remit: Remit, run_id: str, home: Path) -> None:
    known(home, "me, two")
    card = ask(run_id, not_requester=True)
    assert remit("approve", card).err == "remit: 'me' asked for it; another person must answer\n"
    assert remit("approve", card, "--as", "second").code == 0


def test_a_list_of_people_that_is_wrong_takes_no_answer(remit: Remit, run_id: str, home: Path) -> None:
    known(home, "two, nobody")
    card = ask(run_id)
    said = remit("approve", card)
    assert (said.code, stored(card).rows[0].answers) == (2, ())
    assert "people.yaml:5:25: 'nobody' is nobody under 'persons'" in said.err


def test_a_policy_that_asks_a_group_is_checked_with_the_people_of_this_home(remit: Remit, home: Path) -> None:
    policy = home / "asks.yaml"
    policy.write_text(
        "version: 1\nname: asks\nrules:\n  - {id: a, effect: ask, of: {group: finance}, action: file.list, why: x}\n"
    )
    assert "nobody is known to be in group 'finance'" in remit("policy", "check", str(policy)).out
    known(home, "two")
    assert remit("policy", "check", str(policy)).code == 0
