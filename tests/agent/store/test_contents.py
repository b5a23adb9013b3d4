"""Messages, documents and handle values: kept, replaced, and nowhere in clear."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing

from agent.store.checkpoints import FencedSaver
from agent.store.runs import Run, this_process
from agent.store.seal import Keys, Seal
from policies.question import Answer
from policies.redact.handle import Handle
from tests.agent.store.conftest import NOW, acceptance, card, done, draft, new_run, plan

CANARY = "MADEUP-canary-7391"
HANDLE = Handle("⟦email:aaaaaaaaaa⟧")


def test_messages_come_in_order_and_a_lost_advance_is_overwritten(store, opened):
    for position, text in ((0, b"a"), (2, b"lost"), (1, b"b"), (2, b"c")):
        store.messages.put("r1", {position: text})
    assert opened().messages.all("r1") == [b"a", b"b", b"c"]
    assert opened().messages.all("r9") == []


def test_documents_are_kept_by_name(store, opened):
    assert store.documents.get("r1", "report") is None
    store.documents.put("r1", "report", {"rows": 1})
    store.documents.put("r1", "report", {"rows": [2, None, "二"]})
    assert opened().documents.get("r1", "report") == {"rows": [2, None, "二"]}


def test_a_handle_gives_its_value_to_every_process_of_its_run_only(store, opened):
    store.runs.create(new_run("r2"))
    early, vault = opened().handles("r1"), store.handles("r1")
    vault.put(HANDLE, "email", "a@b.example")
    assert vault.get(HANDLE) == early.get(HANDLE) == "a@b.example"
    assert tuple(opened().handles("r1").values()) == ((HANDLE, "a@b.example"),)
    assert store.handles("r2").get(HANDLE) is None
    assert opened().run_key("r1") == store.run_key("r1") != store.run_key("r2")


def _fill(store, saver):
    """The canary in every place that takes text."""
    store.runs.create(Run(**{**_fields(new_run("r2")), "title": CANARY}))
    store.records.commit(
        done(text=CANARY), [draft(body={"text": CANARY})], epoch=1, question=_card_with_canary(), now=NOW
    )
    store.questions.answer("q1", {0: Answer(yes=False, by="boss", at=NOW, because=CANARY)}, NOW)
    store.mandates.set_plan("r1", plan(CANARY), [CANARY])
    store.mandates.accept("r1", acceptance(plan(CANARY)))
    store.messages.put("r1", {0: CANARY.encode()})
    store.documents.put("r1", "task", {CANARY: CANARY})
    store.handles("r1").put(HANDLE, "email", CANARY)
    config = {"configurable": {"thread_id": "r1", "checkpoint_ns": ""}}
    saver.fence("r1", 1)
    checkpoint = {"v": 1, "id": "1", "ts": "", "channel_values": {"text": CANARY}}
    config = saver.put(config, checkpoint, {"source": "loop", "step": 1, "writes": {"a": CANARY}}, {})
    saver.put_writes(config, [("text", CANARY)], "task")


def _fields(run):
    return {name: getattr(run, name) for name in Run.__slots__}


def _card_with_canary():
    row = card().rows[0].model_copy(update={"title": CANARY, "lines": (("to", CANARY),)})
    return card().model_copy(update={"rows": (row,)})


def _places(folder):
    """Every stored value, and every file, that holds the canary in a spelling it could take."""
    spellings = [CANARY.encode(), base64.b64encode(CANARY.encode()), CANARY.encode().hex().encode()]
    found = {f.name for f in folder.iterdir() if any(s in f.read_bytes() for s in spellings)}
    for name in ("store.sqlite3", "checkpoints.sqlite3"):
        with closing(sqlite3.connect(folder / name)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f"SELECT * FROM {table}"):
                    texts = [v.encode() if isinstance(v, str) else v for v in row if isinstance(v, str | bytes)]
                    found |= {table for t in texts if any(s in t for s in spellings)}
    return found


def test_nothing_that_was_written_or_shown_stands_in_clear_in_any_file(store, tmp_path):
    with closing(FencedSaver.open(tmp_path / "checkpoints.sqlite3", Keys.load(tmp_path))) as saver:
        _fill(store, saver)
        assert _places(tmp_path) == set()


def test_the_same_search_finds_all_of_it_when_sealing_is_switched_off(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(Seal, "seal", lambda self, plain, *row: self._head + b"-" * 13 + plain)
    monkeypatch.setattr(Seal, "open", lambda self, sealed, *row: sealed[len(self._head) + 13 :])
    store = opened()
    store.runs.create(new_run())
    store.runs.claim("r1", this_process(), 60)
    with closing(FencedSaver.open(tmp_path / "checkpoints.sqlite3", Keys.load(tmp_path))) as saver:
        _fill(store, saver)
        places = {"runs", "bodies", "submissions", "questions", "messages", "handles", "documents"}
        assert places | {"checkpoints", "writes"} <= _places(tmp_path)
