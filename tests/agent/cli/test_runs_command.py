"""Runs are listed, shown, copied from and stopped without ever being advanced."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.cli import runs_command
from agent.runs import Runs
from agent.store.runs import RunStatus, this_process
from tests.agent.cli.conftest import PHONE, SECRET, Remit, ask, on_a_terminal, opened


def test_runs_are_listed_for_people_and_for_programs(remit: Remit, run_id: str) -> None:
    plain, objects = remit("runs", "list"), remit("runs", "list", "--json").objects

    assert plain.code == 0
    heads, row = (line.split("\t") for line in plain.out.splitlines())
    assert (heads[0], row[0]) == ("run", run_id)
    assert PHONE in plain.out
    assert SECRET not in plain.out
    assert [(o["run"], o["status"]) for o in objects] == [(run_id, "ready")]
    assert PHONE not in objects[0]["task"] and SECRET not in objects[0]["task"]


def test_a_run_is_shown_with_what_happened(remit: Remit, run_id: str) -> None:
    card = ask(run_id)

    shown, as_json = remit("runs", "show", run_id[:5].lower()), remit("runs", "show", run_id, "--json")

    assert shown.code == 0
    assert f"{run_id}  ready" in shown.out
    assert card in shown.out
    assert SECRET not in shown.out + as_json.out
    (found,) = as_json.objects
    assert (found["id"], found["questions"], [q["id"] for q in found["asked"]]) == (run_id, 1, [card])


def test_a_run_is_shown_with_its_policy_and_what_became_of_it(remit: Remit, run_id: str, home: Path) -> None:
    with opened() as app:
        digest = app.policy().digest[:12]
    assert f"policy: back-office {digest}\n" in remit("runs", "show", run_id).out

    policy = home / "policy.yaml"
    policy.write_text(policy.read_text().replace("name: back-office", "name: other"))
    assert f"it was {digest} when the run began" in remit("runs", "show", run_id).out

    policy.unlink()
    shown = remit("runs", "show", run_id)
    assert (shown.code, f"{digest}; it cannot be read any more: {policy}" in shown.out) == (0, True)


def test_a_parked_run_says_why_it_does_not_go_on(remit: Remit, run_id: str) -> None:
    with opened() as app:
        app.store.runs.set_status(run_id, RunStatus.PARKED)
    assert "held: its question is answered, or what held it may be over\n" in remit("runs", "show", run_id).out

    assert remit("runs", "resume", run_id).code == 4  # nobody listens where the model should be
    shown, as_json = remit("runs", "show", run_id), remit("runs", "show", run_id, "--json").objects[0]
    assert "127.0.0.1" in as_json["why"]
    assert f"held: {as_json['why']}\n  remit runs resume {run_id}\n" in shown.out

    card = ask(run_id, seq=7)
    assert f"waiting: it waits for an answer to {card}; see: remit questions\n" in remit("runs", "show", run_id).out


def test_a_report_is_shown_from_the_store(remit: Remit, run_id: str) -> None:
    row = {"n": 1, "title": "the table", "verdict": "verified", "times": 1, "evidence": "14 rows"}
    report = {"end": "done", "steps": [row], "refused": 2, "questions": 1, "deliverables": [], "summary": ""}
    with opened() as app:
        app.store.documents.put(run_id, "report", report)

    said = remit("runs", "show", run_id)

    assert "✓ 1 the table  verified  (14 rows)" in said.out
    assert "Done: 1 verified, 0 failed, 2 refused, 1 question. Ledger intact." in said.out


@pytest.mark.parametrize("command", [("show",), ("files",), ("resume",), ("stop",)])
def test_an_unknown_run_is_one_sentence(command: tuple[str, ...], remit: Remit) -> None:
    said = remit("runs", *command, "ZZ")

    assert (said.code, said.out) == (2, "")
    assert said.err == "remit: no run begins with 'ZZ'; see: remit runs list\n"


def test_files_are_listed_and_copied_and_nothing_is_overwritten(remit: Remit, run_id: str, tmp_path: Path) -> None:
    with opened() as app:
        app.workspace(run_id).write("out/unpaid.csv", b"order\n1042\n")
        app.workspace(run_id).write("note.txt", b"a note")
    out = tmp_path / "out"

    said = remit("runs", "files", run_id, "--out", str(out))

    *listed, copied = said.out.splitlines()
    rows = [["file", "bytes"], ["note.txt", "6"], ["out/unpaid.csv", "11"]]
    assert [line.split("\t")[:2] for line in listed] == rows
    assert copied == f"Copied 2 files to {out}."
    assert (out / "out" / "unpaid.csv").read_bytes() == b"order\n1042\n"
    (out / "note.txt").write_text("mine")
    (out / "out" / "unpaid.csv").unlink()
    again = remit("runs", "files", run_id, "--out", str(out))
    assert again.code == 2
    assert again.err == f"remit: {str(out / 'note.txt')!r} is there already; name another folder with --out\n"
    assert (out / "note.txt").read_text() == "mine"
    assert not (out / "out" / "unpaid.csv").exists()


def test_a_run_that_nobody_works_on_is_stopped_at_once(remit: Remit, run_id: str) -> None:
    said = remit("runs", "stop", run_id)

    assert (said.code, said.out) == (0, f"{run_id} is stopped. Go on with: remit runs resume {run_id}\n")
    assert status(run_id) is RunStatus.STOPPED


def test_stop_reaches_the_process_that_works_on_the_run(remit: Remit, run_id: str) -> None:
    claimed, heard = threading.Event(), threading.Event()

    def works() -> None:
        with opened() as app:
            runs = app.store.runs
            epoch = runs.claim(run_id, this_process(), 60)
            claimed.set()
            while not runs.stop_requested(run_id):
                heard.wait(0.01)
            runs.set_status(run_id, RunStatus.STOPPED)
            runs.release(run_id, epoch)

    worker = threading.Thread(target=works)
    worker.start()
    assert claimed.wait(10)
    said = remit("runs", "stop", run_id, "--json")
    worker.join()

    assert said.code == 0
    assert said.objects[0]["status"] == "stopped"


def test_a_run_that_does_not_stop_in_time_is_said_so(
    remit: Remit, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_command, "STOP_S", 0.1)
    with opened() as app:
        app.store.runs.claim(run_id, this_process(), 60)

    said = remit("runs", "stop", run_id)

    assert said.code == 4
    assert said.out == f"{run_id} is asked to stop, but has not yet: {this_process()} works on it.\n"


def test_a_run_whose_process_died_is_stopped_at_once(remit: Remit, run_id: str) -> None:
    host = this_process().split(":")[0]
    with opened() as app:
        app.store.runs.claim(run_id, f"{host}:4194304:1", 60)  # above the highest process id

    assert remit("runs", "stop", run_id).out.startswith(f"{run_id} is stopped.")


def test_a_run_that_ended_stays_as_it_ended(remit: Remit, run_id: str) -> None:
    with opened() as app:
        app.store.runs.set_status(run_id, RunStatus.DONE)

    assert remit("runs", "stop", run_id).out == f"{run_id} has ended already.\n"
    assert status(run_id) is RunStatus.DONE


def status(run: str) -> RunStatus:
    with opened() as app:
        return app.store.runs.get(run).status


def test_on_a_terminal_runs_stand_in_columns_under_chinese_heads(
    run_id: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMIT_LANGUAGE", "zh")

    code, seen = on_a_terminal("runs", "list", typed="")

    head, row = seen.splitlines()
    assert code == 0
    # Each Chinese character of the head is two columns wide.
    assert len(head[: head.index("状态")].encode("gbk")) == row.index("ready")


def test_a_run_that_another_process_works_on_is_not_resumed(remit: Remit, run_id: str) -> None:
    with opened() as app:
        app.store.runs.claim(run_id, this_process(), 60)

    said = remit("runs", "resume", run_id)

    assert said.code == 4
    assert said.err.startswith(f"remit: run {run_id!r} is worked on by ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("runs", "list"), "There are no runs yet."),
        (("secrets", "list"), "No secrets are kept."),
        (("tools", "list"), "You have no tools of your own."),
    ],
)
def test_an_empty_list_says_so_to_people_alone(command: tuple[str, ...], sentence: str, remit: Remit) -> None:
    plain, as_json = remit(*command), remit(*command, "--json")

    assert (plain.code, plain.out, plain.err) == (0, "", f"{sentence}\n")
    assert (as_json.code, as_json.out, as_json.err) == (0, "", "")


def test_a_list_tells_waiting_from_held_and_says_utc(remit: Remit, run_id: str) -> None:
    with opened() as app:
        app.store.runs.set_status(run_id, RunStatus.PARKED)
    assert "\theld\t" in remit("runs", "list").out

    ask(run_id)
    assert "\twaiting\t" in (said := remit("runs", "list").out)
    assert " UTC\t" in said


def test_a_run_that_has_ended_says_so_when_it_is_resumed(remit: Remit, run_id: str) -> None:
    with opened() as app:
        report = {"end": "done", "steps": [], "deliverables": ["a.txt"], "questions": 1}
        app.store.documents.put(run_id, "report", report)
        options = app.store.documents.get(run_id, "options") or {}
        app.store.documents.put(run_id, "options", {**options, "out": "/made-up/delivered"})

    said = remit("runs", "resume", run_id)

    assert said.code == 0
    assert said.out.splitlines()[1:3] == [
        "This run has ended already.",
        "Its deliverables went to /made-up/delivered.",
    ]


def test_a_cut_task_ends_in_a_mark(remit: Remit, home: Path) -> None:
    with opened() as app:
        run = Runs(app).start("word " * 60, policy=app.policy())

    assert remit("runs", "show", run).out.splitlines()[1].endswith(" word…")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("runs", "show", ""), "the id of a run is missing; see: remit runs list"),
        (("approve", ""), "the id of a question is missing; see them with: remit questions"),
    ],
)
def test_an_empty_id_is_told_as_a_missing_one(
    command: tuple[str, ...], sentence: str, remit: Remit, run_id: str
) -> None:
    assert (said := remit(*command)).code == 2
    assert said.err == f"remit: {sentence}\n"


def test_a_value_is_vouched_for_with_a_reason_and_stands_nowhere_in_clear(
    remit: Remit, run_id: str, home: Path
) -> None:
    said = remit("runs", "endorse", run_id, "made-up@shop.example", "--because", "I rang them")
    assert said.code == 0
    assert said.out.startswith("⟦email:") and f"may say who gets something in run {run_id}." in said.out
    assert remit("runs", "endorse", run_id, " ", "--because", "x").code == 2
    assert remit("runs", "endorse", run_id, "x", "--because", "").code == 2
    assert "endorsed" in remit("audit", "show", run_id).out
    assert b"made-up@shop.example" not in b"".join(p.read_bytes() for p in home.rglob("*.sqlite3*"))
    with opened() as app:
        app.store.runs.set_status(run_id, RunStatus.DONE)
    assert "has ended" in remit("runs", "endorse", run_id, "x", "--because", "y").err
