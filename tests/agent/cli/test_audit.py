"""The ledger is read and checked from the command line."""

from __future__ import annotations

import csv
import io
import sqlite3
from pathlib import Path

import pytest

from agent.store.runs import RunStatus
from policies.verifier import faults
from tests.agent.cli.conftest import PHONE, Remit, ask, opened, restart


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

    first, last = remit("audit", "verify").out.splitlines()
    noted = last.removeprefix("Last checkpoint: ")
    assert first == "Ledger intact: runs 1, entries 1."
    assert remit("audit", "verify", run_id[:4], "--json").objects == [
        {"runs": 1, "entries": 1, "intact": True, "broken": [], "checkpoint": {"n": 1, "hash": noted}}
    ]
    assert remit("audit", "verify", "--checkpoint", noted).code == 0
    said = remit("audit", "verify", "--checkpoint", "0" * 64)
    assert said.code == 6
    assert said.out == "BROKEN: checkpoint 2: the checkpoint that was noted is missing: the store was set back\n"


def test_a_changed_entry_is_named(remit: Remit, run_id: str, home: Path) -> None:
    ask(run_id, rows=2)
    with sqlite3.connect(home / "store.sqlite3") as store:
        store.execute("""UPDATE entries SET facts = '{"rules":[]}' WHERE "index" = 1""")
    store.close()

    said, as_json = remit("audit", "verify"), remit("audit", "verify", "--json")

    assert said.code == as_json.code == 6
    assert said.out == f"BROKEN: run {run_id}, entry 1: its content was changed\n"
    assert as_json.objects[0]["broken"] == [{"run": run_id, "index": 1, "why": "its content was changed"}]


def test_an_export_is_checked_by_the_separate_verifier(remit: Remit, run_id: str, tmp_path: Path) -> None:
    ask(run_id)
    key = remit("audit", "key", "--json").objects[-1]["public key"]
    said = remit("audit", "export")

    assert [*faults(said.objects, [key])] == []
    assert [line["type"] for line in said.objects] == ["export", "run", "entry", "checkpoint"]
    assert said.objects[2]["body"]["action"]["server"] == "web-1"
    assert remit("audit", "export", "--since", "1d").objects[0]["whole"]
    assert [o["type"] for o in remit("audit", "export", "--since", "2099-01-01").objects] == ["export", "checkpoint"]
    assert remit("audit", "export", "--since", "soon").code == 2


def test_without_contents_the_decisions_keep_what_another_policy_needs(remit: Remit, run_id: str) -> None:
    ask(run_id)

    said = remit("audit", "export", run_id, "--decisions")

    (entry,) = [o for o in said.objects if o["type"] == "entry"]
    assert "body" not in entry
    assert entry["replay"]["action"] == restart("worker-1").model_dump(mode="json")
    assert (entry["replay"]["whole"], entry["replay"]["missing"]) == (
        True,
        ["context", "grounded", "attended", "turn", "started_at", "mandate"],
    )


def test_a_value_is_erased_only_when_that_is_confirmed(remit: Remit, run_id: str, home: Path) -> None:
    ask(run_id)
    told = remit("audit", "erase", "--value", PHONE)
    assert (told.code, told.err) == (0, "Nothing was erased; to do it: --yes\n")
    assert told.out.splitlines()[1].split("\t")[0] == run_id
    refused = remit("audit", "erase", "--value", "-", "--yes", typed=PHONE + "\n")
    assert (refused.code, "has not ended" in refused.err) == (2, True)
    with opened() as app:
        app.store.runs.set_status(run_id, RunStatus.STOPPED)

    assert remit("audit", "erase", "--value", "-", "--yes", typed=PHONE + "\n").code == 0

    assert remit("audit", "erase", "--value", PHONE).err == "No run holds it.\n"
    assert PHONE not in remit("runs", "show", run_id).out
    assert remit("audit", "verify").code == 0
    assert remit("audit", "show", run_id, "--json").objects[-1]["event"] == "erased"


def test_a_run_is_erased_or_a_value_but_not_both(remit: Remit, run_id: str) -> None:
    ask(run_id)
    assert remit("audit", "erase").code == remit("audit", "erase", "--run", run_id, "--value", "x").code == 2
    with opened() as app:
        app.store.runs.set_status(run_id, RunStatus.STOPPED)
    assert remit("audit", "erase", "--run", run_id, "--yes").code == 0
    assert remit("audit", "verify").code == 0
    lines = remit("audit", "export", "--decisions").objects
    assert [line["replay"]["missing"][0] for line in lines if "replay" in line] == ["action"]


def test_the_ledger_is_written_as_a_sheet_and_as_a_page(remit: Remit, run_id: str) -> None:
    card = ask(run_id)
    remit("approve", card)

    heads, *rows = csv.reader(io.StringIO(remit("audit", "export", "--format", "csv").out))
    told = [dict(zip(heads, row, strict=True)) for row in rows]
    page = remit("audit", "export", "--format", "html")
    bare = remit("audit", "export", "--format", "html", "--decisions").out

    assert [(e["event"], e["rules"], e["yes"]) for e in told] == [
        ("asked", "web1-restart-worker", ""),
        ("answered", "", "True"),
    ]
    assert page.code == 0
    assert "<td>asked</td><td>server.run</td><td>web1-restart-worker</td><td>run a command on web-1" in page.out
    assert PHONE not in page.out + bare
    assert "restart" not in bare.replace("web1-restart-worker", "")


def test_the_report_is_told_in_tables_as_json_and_as_a_page_in_both_languages(
    remit: Remit, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remit("approve", ask(run_id))
    said, (found,) = remit("audit", "report", "--since", "1d"), remit("audit", "report", "--json").objects

    (approver,) = found["approvers"]
    assert (approver["answers"], approver["yes"], approver["warning"]) == (1, 1, True)
    assert f"{approver['by']} said yes 1 of 1 times in under two seconds: were they read?" in said.out
    assert "web1-restart-worker" not in found["unused"]
    assert len(found["unused"]) > 3
    assert remit("audit", "report", "--quarter", "1999Q1").code == 0
    assert remit("audit", "report", "--quarter", "1999Q1", "--since", "1d").code == 2
    assert '<h2>Who answered</h2>\n<p class="warning">' in remit("audit", "report", "--html").out
    monkeypatch.setenv("REMIT_LANGUAGE", "zh")
    assert "<h2>答复者</h2>" in remit("audit", "report", "--html").out
    assert "未决定任何事的规则" in remit("audit", "report").out
