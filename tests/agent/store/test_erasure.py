"""Erasure: a value is gone from every place and file, what stands beside it is kept, and the ledger verifies."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from agent.errors import BadTask, StoreUnreadable
from agent.store.runs import RunStatus, this_process
from policies.question import Answer
from policies.redact.handle import Handle
from tests.agent.store.conftest import NOW, card, done, draft, new_run

PHONE, SPELLED, MAIL = "13800138000", "138 0013-8000", "made-up@shop.example"
HANDLE, OTHER = Handle("⟦phone:aaaaaaaaaa⟧"), Handle("⟦phone:bbbbbbbbbb⟧")
ADDRESS = Handle("⟦email:aaaaaaaaaa⟧")


@pytest.fixture
def filled(store):
    """`r1` holds the phone number in every place that takes text, `r2` another number; both have ended."""
    store.runs.create(new_run("r2", f"call 13900139000, not {PHONE[:-1]}1"))
    store.runs.claim("r2", this_process(), 60)
    store.ledger.record("r2", [draft(body={"text": "kept"})], epoch=1, now=NOW)
    store.handles("r2").put(OTHER, "phone", "13900139000")
    vault = store.handles("r1")
    vault.put(HANDLE, "phone", SPELLED)
    vault.put(ADDRESS, "email", MAIL)
    store.records.commit(
        done(text=f"called {HANDLE} today"),
        [draft(body={"text": HANDLE}), draft(body={"reason": f"opened /people?of={PHONE}"}), draft(body={"n": 1})],
        epoch=1,
        question=card(),
        now=NOW,
    )
    store.questions.answer("q1", {0: Answer(yes=False, by="boss", at=NOW, because=f"{SPELLED} is wrong")}, NOW)
    store.documents.put("r1", "task", {"text": f"call １３８0013 8000 or {MAIL}", "n": 13800138000})
    store.messages.put("r1", {0: json.dumps({"role": "user", "content": f"call {HANDLE}, {PHONE}"}).encode()})
    for run in ("r1", "r2"):
        store.ledger.record(run, [draft(event="ended")], epoch=1, now=NOW)
        store.runs.set_status(run, RunStatus.DONE)
    return store


def _everything(store, run="r1"):
    """All that the store can still tell of a run, as one text."""
    told = [store.runs.get(run).title, *store.ledger.bodies(run).values(), *store.handles(run).values()]
    told += [store.documents.get(run, "task"), *store.messages.all(run), store.records.submission(run, 0)]
    told += [q.model_dump_json() for q in store.questions.all(run, open_only=False)]
    return " ".join(map(str, told)).replace(" ", "").replace("-", "")


def _sealed(folder):
    """The ciphertexts of what is to go."""
    with closing(sqlite3.connect(folder / "store.sqlite3")) as database:
        rows = [
            *database.execute("SELECT value_sealed FROM handles WHERE handle = ?", (HANDLE,)),
            *database.execute("SELECT body_sealed FROM bodies WHERE run = 'r1' AND \"index\" IN (1, 3)"),
            *database.execute("SELECT document_sealed FROM documents WHERE name = 'task'"),
            *database.execute("SELECT message_sealed FROM messages"),
            *database.execute("SELECT question_sealed FROM questions"),
        ]
    return [sealed for (sealed,) in rows]


def test_a_value_goes_from_every_place_and_every_file_and_the_ledger_verifies(filled, opened, tmp_path):
    sealed = _sealed(tmp_path)
    files = lambda: b"".join(f.read_bytes() for f in tmp_path.glob("store.sqlite3*"))  # noqa: E731
    assert len(sealed) == 6
    assert all(each in files() for each in sealed)
    assert PHONE in _everything(filled)

    (told,) = filled.erasure.value([PHONE], by="someone", now=NOW)

    assert (told.run, told.handles, told.bodies, told.texts) == ("r1", (HANDLE,), (1, 3), 3)
    assert filled.erasure.scrub()
    left, other = files(), opened()
    assert not [each for each in sealed if each in left]
    assert PHONE not in _everything(other)
    assert "１３８" not in _everything(other)
    assert other.handles("r1").get(HANDLE) is None
    assert dict(other.handles("r1").values()) == {ADDRESS: MAIL}
    assert other.documents.get("r1", "task") == {"text": f"call [erased] or {MAIL}", "n": "[erased]"}
    assert other.ledger.body("r1", 2) == {"n": 1}
    assert [other.ledger.verify(run) for run in ("r1", "r2")] == [None, None]
    assert other.ledger.verify_checkpoints() is None


def test_the_erasure_is_in_the_ledger_and_tells_nothing_of_the_value(filled):
    filled.erasure.value([PHONE], by="someone", now=NOW)
    last = filled.ledger.entries("r1")[-1]
    assert (last.event, last.facts["by"], last.facts["handles"], last.facts["bodies"]) == (
        "erased",
        "someone",
        [HANDLE],
        [1, 3],
    )
    assert PHONE not in last.model_dump_json()
    assert filled.ledger.checkpoints()[-1].length == last.index + 1
    assert "erased" not in [entry.event for entry in filled.ledger.entries("r2")]


def test_a_body_that_is_missing_without_an_erasure_of_it_is_still_found(filled, tmp_path):
    filled.erasure.value([PHONE], by="someone", now=NOW)
    with closing(sqlite3.connect(tmp_path / "store.sqlite3")) as database:
        database.execute("DELETE FROM bodies WHERE run = 'r1' AND \"index\" = 2")
        database.commit()
    assert filled.ledger.verify("r1").why == "its body is missing"


def test_linked_values_are_one_subject_with_one_mark_in_any_order(filled):
    for values in ([PHONE, MAIL], [MAIL, SPELLED]):
        filled.erasure.value(values, by="someone", now=NOW)
        filled.handles("r1").put(HANDLE, "phone", PHONE)
    marks = {e.facts["subject"] for e in filled.ledger.entries("r1") if e.event == "erased"}
    assert len(marks) == 1
    assert MAIL not in _everything(filled)


def test_nothing_is_erased_by_only_telling_or_while_the_run_could_write_it_anew(filled):
    before = _everything(filled)
    assert [e.run for e in filled.erasure.value([PHONE], by="x", now=NOW, only_tell=True)] == ["r1"]
    filled.runs.set_status("r1", RunStatus.PARKED)
    for erase in (
        lambda: filled.erasure.value([PHONE], by="x", now=NOW),
        lambda: filled.erasure.run("r1", by="x", now=NOW),
        lambda: filled.erasure.value(["-1-"], by="x", now=NOW),
    ):
        with pytest.raises(BadTask):
            erase()
    assert _everything(filled) == before


def test_a_run_that_is_erased_tells_so_itself(filled):
    filled.erasure.run("r1", by="someone", now=NOW)
    with pytest.raises(StoreUnreadable, match="were erased"):
        filled.documents.get("r1", "task")
    assert filled.ledger.entries("r1")[-1].facts == {"run": True, "by": "someone"}
    assert filled.ledger.verify("r1") is None
    assert filled.runs.get("r2").title
