"""Text goes through the command line and comes out without what must not be seen."""

from __future__ import annotations

import json

import pytest

from agent.settings import Settings
from policies.redact.handle import HANDLE
from tests.agent.cli.conftest import PHONE, SECRET, Remit, opened

TEXT = f"call {PHONE}\r\nor write to made.up@example.com; password=MADEUP-0001\n"


def lines(*texts: str) -> str:
    return "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts))


def test_a_text_comes_out_with_handles_and_otherwise_unchanged(remit: Remit) -> None:
    said = remit("redact", typed=TEXT)

    assert said.code == 0
    assert HANDLE.sub("X", said.out) == "call X\r\nor write to X; password=X\n"


def test_a_long_text_is_redacted_as_it_comes(remit: Remit) -> None:
    out = remit("redact", typed=TEXT * 3000).out

    assert HANDLE.sub("X", out) == "call X\r\nor write to X; password=X\n" * 3000
    assert len({match[0] for match in HANDLE.finditer(out)}) == 3


def test_each_line_says_what_was_found_in_offsets_of_its_own_text(remit: Remit) -> None:
    said = remit("redact", "--jsonl", typed=lines("电话１３９12345678。", "nothing", TEXT) + "\n")

    first, second, third = said.objects
    assert first["found"] == [{"type": "phone", "start": 2, "end": 13}]
    assert HANDLE.sub("X", first["text"]) == "电话X。"
    assert second == {"id": 1, "text": "nothing", "found": []}
    assert [TEXT[f["start"] : f["end"]] for f in third["found"]] == [PHONE, "made.up@example.com", "MADEUP-0001"]


def test_lines_know_nothing_of_each_other(remit: Remit) -> None:
    said = remit("redact", "--jsonl", typed=lines("password=MADEUP-0001", "MADEUP-0001", PHONE, f"{PHONE}!"))

    assert [len(line["found"]) for line in said.objects] == [1, 0, 1, 1]
    assert said.objects[3]["text"] == said.objects[2]["text"] + "!"


def test_only_the_types_named_are_looked_for(remit: Remit) -> None:
    assert HANDLE.sub("X", remit("redact", "--types", "phone, email", typed=TEXT).out) == (
        "call X\r\nor write to X; password=MADEUP-0001\n"
    )
    said = remit("redact", "--types", "phones", typed=TEXT)
    assert (said.code, said.out) == (2, "")
    assert "'phones' is no type of value; there are address, " in said.err


@pytest.mark.parametrize("typed", ["{}\n", "[]\n", "nonsense\n", '{"text": 1}\n'])
def test_a_line_that_is_no_text_is_named_and_not_shown(remit: Remit, typed: str) -> None:
    said = remit("redact", "--jsonl", typed=lines("x") + typed)

    assert said.code == 2
    assert said.err == 'remit: line 2 of the input should be JSON with a "text"\n'


def test_half_a_surrogate_pair_passes(remit: Remit) -> None:
    assert remit("redact", "--jsonl", typed='{"id": 1, "text": "\\ud83d x"}\n').objects[0]["text"] == "\ud83d x"


def test_the_requester_gets_personal_values_of_a_run_back_and_never_secrets(remit: Remit, run_id: str) -> None:
    with opened() as app:
        redacted = app.redactor(run_id).redact_text(f"{PHONE} and {SECRET}")
    foreign = "⟦phone:aaaaaaaaaa⟧"
    handle = HANDLE.findall(redacted)[1]

    said = remit("redact", "--restore", "--run", run_id, typed=f"{redacted} {foreign}\n").out
    assert said == f"{PHONE} and ⟦{handle[0]}:{handle[1]}⟧ {foreign}\n"
    line = remit("redact", "--restore", "--run", run_id, "--jsonl", typed=lines(redacted)).objects[0]
    assert line["text"].startswith(PHONE)


def test_nobody_else_gets_values_of_a_run_back(remit: Remit, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as app:
        redacted = app.redactor(run_id).redact_text(PHONE)
    monkeypatch.setattr(Settings, "principal", property(lambda _: "somebody-else"))

    said = remit("redact", "--restore", "--run", run_id, typed=redacted)
    assert (said.code, said.out) == (2, "")
    assert "was not asked for by you" in said.err


def test_restoring_needs_a_run(remit: Remit) -> None:
    assert remit("redact", "--restore", typed="x").code == 2
    assert remit("redact", "--run", "x", typed="x").code == 2
