"""How the files beside this one were written, by the release whose format they keep. Do not write them anew."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from agent.store.checkpoints import FencedSaver
from agent.store.seal import Keys
from agent.store.store import Store
from policies.decision import Reservation
from policies.question import Answer
from policies.redact.handle import Handle
from tests.agent.store.conftest import NOW, FixedClock, acceptance, card, done, draft, intent, new_run, plan, url
from tests.agent.store.test_checkpoints import CONFIG, _graph

KEY = "TUFERVVQTUFERVVQTUFERVVQTUFERVVQTUFERVVQTUE="


def write(folder: Path) -> None:
    """A run that is parked at a question, with something in every table."""
    (folder / "keys.json").touch(mode=0o600)
    (folder / "keys.json").write_text(json.dumps({"version": 1, "keys": [KEY]}))
    keys = Keys.load(folder)
    store = Store.open(url(folder), keys, FixedClock())
    store.runs.create(new_run(title="催款"))
    epoch = store.runs.claim("r1", "elsewhere:1:1", 60)
    store.documents.put("r1", "task", {"text": "send reminders"})
    store.messages.append("r1", 0, b'{"role":"user"}')
    store.mandates.set_plan("r1", plan(), ["shop.example"])
    store.mandates.accept("r1", acceptance(plan()))
    store.mandates.note_rows("r1", 1, 2)
    day = [Reservation(key="reminders", limit=2, window="day")]
    store.records.commit(intent(0, planned=2), [draft(event="intent")], epoch=epoch, reserve=day, spend=2, now=NOW)
    store.records.commit(done(0, planned=2), [draft(body={"text": "sent"})], epoch=epoch, now=NOW)
    store.records.commit(intent(1), [draft(1, event="asked")], epoch=epoch, question=card(seqs=(1, 2)), now=NOW)
    store.questions.answer("q1", {1: Answer(yes=True, by="boss", at=NOW, because="fine")}, NOW)
    store.handles("r1").put(Handle("⟦email:aaaaaaaaaa⟧"), "email", "MADEUP@shop.example")
    saver = FencedSaver.open(folder / "checkpoints.sqlite3", keys)
    saver.fence("r1", epoch)
    asyncio.run(_graph(saver, 3).ainvoke({"n": 0, "calls": []}, CONFIG, durability="sync"))
    saver.close()
    store.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
