"""The store in trouble: a full disk, a damaged file, a lock. One sentence, exit code 4, and nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent.store import database
from sandbox.practice.script import Call, Say
from tests.journeys.conftest import plan, shown
from tests.journeys.here import here

pytestmark = pytest.mark.timeout(120)
REMIT = str(Path(sys.executable).with_name("remit"))
NOTE = {"title": "a note", "tool": "write_file", "path": "n.txt"}
WRITE = Call("write_file", {"path": "n.txt", "text": "hello"})
DISK = """
remit() { "$REMIT" "$@"; echo "code $?" >&2; }
cp -a "$FROM"/*.* "$REMIT_HOME"
remit run --json --accept --policy "$REMIT_HOME/allow-all.yaml" "Do it."
rm "$REMIT_HOME"/runs/*/big
remit runs resume $(ls "$REMIT_HOME/runs")
remit audit verify
"""


def test_a_disk_that_a_run_filled_holds_it_and_what_happened_is_asked(practice, tmp_path):
    fill = "head -c 40000000 /dev/zero"
    step = {"title": "a big file", "tool": "run_command", "command": f"{fill} > big"}
    practice.play([plan(step), Call("run_command", {"command": f"{fill} > big"}), Say("Done.")])
    disk = tmp_path / "disk"
    disk.mkdir()

    # A disk of eight megabytes that only this child sees, also without being root.
    walls = ("bwrap", "--dev-bind", "/", "/", "--size", str(8 << 20), "--tmpfs", str(disk), "sh", "-c", DISK)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REMIT_")}
    told = subprocess.run(
        walls,
        env={**clean, "REMIT": REMIT, "REMIT_HOME": str(disk), "FROM": str(practice.home)},
        capture_output=True,
        text=True,
    )

    full = json.dumps({"error": f"the disk that holds '{disk}/store.sqlite3' is full; free some space and resume"})
    assert told.stderr.splitlines() == [full, "code 4", "code 3", "code 0"]
    assert (
        "it was begun and then interrupted" in told.stdout
    )  # the command may have written: it is not repeated blindly
    intact, checkpoint = told.stdout.splitlines()[-2:]
    assert "Ledger intact" in intact
    assert checkpoint.startswith("Last checkpoint: ")


def test_a_damaged_store_is_named_and_not_touched(practice):
    shown(practice, [plan(NOTE), WRITE, Say("Done.")])
    store = practice.home / "store.sqlite3"
    kept = practice.home.parent / "kept"
    kept.mkdir()
    for file in practice.home.glob("*.sqlite3*"):
        shutil.copy(file, kept)
    for wal in practice.home.glob("*.sqlite3-*"):
        wal.unlink()
    store.write_bytes(b"SQLite format 3\\0" + os.urandom(100_000))
    damaged = store.read_bytes()
    try:
        asked = len(practice.world.model_requests())
        said = shown(practice, [plan(NOTE), WRITE, Say("Done.")])
        assert (said.code, said.out) == (4, "")
        assert (
            said.err == f"remit: '{store}' is not a store, or is damaged; restore it from a backup, or move it away\n"
        )
        assert (store.read_bytes(), len(practice.world.model_requests())) == (damaged, asked)
    finally:
        for file in kept.iterdir():
            shutil.copy(file, practice.home)


def test_damaged_checkpoints_hold_the_run(practice):
    waiting = practice.run("Write.", script=[plan(NOTE), WRITE, Say("Done.")], accept=False)
    practice.remit("approve", *waiting.questions)
    checkpoints = practice.home / "checkpoints.sqlite3"
    good = checkpoints.read_bytes()
    for wal in practice.home.glob("checkpoints.sqlite3-*"):
        wal.unlink()
    checkpoints.write_bytes(good[:4096] + os.urandom(len(good) - 4096))

    said = practice.remit("runs", "resume", waiting.run)

    assert said.code == 4
    assert said.err == f"remit: '{checkpoints}' is damaged; restore it from a backup together with its -wal file\n"
    checkpoints.write_bytes(good)
    assert practice.resume(waiting.run).files == {"n.txt": b"hello"}


def test_a_store_that_another_process_holds_is_named(practice, monkeypatch):
    practice.remit("runs", "list")
    monkeypatch.setattr(database, "BUSY_S", 0.3)
    with sqlite3.connect(practice.home / "store.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = shown(practice, [plan(NOTE), WRITE, Say("Done.")])
        other.execute("ROLLBACK")
    other.close()

    assert (said.code, said.out) == (4, "")
    assert re.search(r"another process has held '.*store\.sqlite3' for more than", said.err)


def test_a_home_that_may_not_be_written_is_named(practice):
    said = here(Path("/proc/remit"), "runs", "list")

    assert (said.code, said.err) == (2, "remit: '/proc/remit' cannot be used: No such file or directory\n")
