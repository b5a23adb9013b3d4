"""The ledger is read and checked from the command line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.agent.cli.conftest import PHONE, Remit, ask, opened


def test_every_entry_is_shown_with_what_it_is_about(remit: Remit, run_id: str) -> None:
    card = ask(run_id)
    remit("reject", card, "--because", "no")

    said, objects = remit("audit", "show", run_id), remit("audit", "show", run_id, "--json").objects

    heads, *rows = [line.split("\t") for line in said.out.splitlines()]
    title = "run a command on web-1: systemctl restart worker-1"
    assert heads == ["entry", "time", "event", "action", "rules", "what"]
    assert [(r[0], *r[2:]) for r in rows] == [
        ("0", "asked", "server.run", "web1-restart-worker", title),
        ("1", "answered", "server.run", "", title),
    ]
    assert [(o["event"], o["kind"], o["what"]) for o in objects] == [
        ("asked", "server.run", title),
        ("answered", "server.run", title),
    ]
    assert objects[1]["body"] == {"because": "no"}
    assert PHONE not in said.out


def test_an_erased_run_still_shows_its_chain(remit: Remit, run_id: str) -> None:
    ask(run_id)
    with opened() as app:
        app.store.runs.erase(run_id)

    assert "asked\tserver.run\tweb1-restart-worker" in remit("audit", "show", run_id).out
    assert remit("audit", "verify").code == 0


def test_an_intact_ledger_verifies(remit: Remit, run_id: str) -> None:
    ask(run_id)

    assert remit("audit", "verify").out == "Ledger intact: runs 1, entries 1.\n"
    assert remit("audit", "verify", run_id[:4], "--json").objects == [
        {"runs": 1, "entries": 1, "intact": True, "broken": []}
    ]


def test_a_changed_entry_is_named(remit: Remit, run_id: str, home: Path) -> None:
    ask(run_id, rows=2)
    with sqlite3.connect(home / "store.sqlite3") as store:
        store.execute("""UPDATE entries SET facts = '{"rules":[]}' WHERE "index" = 1""")
    store.close()

    said, as_json = remit("audit", "verify"), remit("audit", "verify", "--json")

    assert said.code == as_json.code == 6
    assert said.out == f"BROKEN: run {run_id}, entry 1: its content was changed\n"
    assert as_json.objects[0]["broken"] == [{"run": run_id, "index": 1, "why": "its content was changed"}]
