"""Opening: by many at once, with the wrong key, from a newer release, on a full disk, after a kill."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from agent.clock import SystemClock
from agent.errors import BadSettings, StoreLocked, StoreUnreadable
from agent.store import database, tables
from agent.store.checkpoints import FencedSaver
from agent.store.seal import Keys
from agent.store.store import Store
from policies.errors import RecordsUnavailable
from tests.agent.store.conftest import NOW, done, draft, url

_CHILD = """
import sys
from pathlib import Path
from agent.clock import SystemClock
from agent.store.runs import this_process
from agent.store.seal import Keys
from agent.store.store import Store
from policies.decision import Reservation
from policies.errors import LimitReached, RecordsUnavailable
from tests.agent.store.conftest import NOW, done, draft, intent, new_run, url

folder, name = Path(sys.argv[1]), sys.argv[2]

def opened():
    return Store.open(url(folder), Keys.load(folder), SystemClock())

def ready():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def _child(folder, code, name="x", **options):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _CHILD + code, str(folder), name],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[3]},
        **options,
    )


def _go(*children):
    """Let children that are ready go on together; what each then says."""
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    return [child.communicate(timeout=60)[0] for child in children]


def test_four_processes_may_open_an_empty_folder_at_once(tmp_path):
    code = """
from agent.store.checkpoints import FencedSaver
ready()
store = opened()
FencedSaver.open(folder / "checkpoints.sqlite3", Keys.load(folder)).close()
store.runs.create(new_run(name))
store.records.commit(done(run=name), [draft()], epoch=0, now=NOW)
print(len(store.messages.all(name)), store.ledger.verify(name))
store.close()
"""
    children = [_child(tmp_path, code, f"r{n}") for n in range(4)]
    assert _go(*children) == ["0 None\n"] * 4
    with closing(Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())) as store:
        assert {run.id for run in store.runs.list()} == {"r0", "r1", "r2", "r3"}
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_limits_hold_across_processes(store, tmp_path):
    code = """
store, taken = opened(), 0
ready()
for n in range(30):
    try:
        wanted = [Reservation(key="k", limit=40, window="day")]
        store.records.commit(done(100 * int(name) + n), [draft()], epoch=1, reserve=wanted, now=NOW)
        taken += 1
    except LimitReached:
        pass
print(taken)
store.close()
"""
    said = _go(*(_child(tmp_path, code, str(n)) for n in range(3)))
    assert sum(map(int, said)) == 40
    assert store.ledger.verify("r1") is None
    assert len(store.ledger.entries("r1")) == 40


@pytest.mark.parametrize("commits", [3, 40])
def test_a_process_killed_between_and_in_commits_leaves_whole_ones_only(store, tmp_path, commits):
    code = """
store = opened()
print("ready", flush=True)
for n in range(100000):
    store.records.commit(done(n), [draft(n, body={"n": n}), draft(n)], epoch=1, now=NOW)
    print(n, flush=True)
"""
    child = _child(tmp_path, code)
    assert child.stdout.readline() == "ready\n"
    for n in range(commits):
        assert child.stdout.readline() == f"{n}\n"
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert store.ledger.verify("r1") is None
    entries = store.ledger.entries("r1")
    kept = len(entries) // 2
    assert len(entries) == 2 * kept >= 2 * commits
    assert [store.records.submission("r1", n) for n in (kept - 1, kept)] == [done(kept - 1), None]


def test_a_kill_before_the_commit_leaves_nothing_of_the_transaction(store, tmp_path):
    code = """
import os, signal
store = opened()
store._db._execute = lambda sql, values=(), plain=store._db._execute: (
    os.kill(os.getpid(), signal.SIGKILL) if sql == "COMMIT" else plain(sql, values)
)
store.records.commit(done(), [draft()], epoch=1, now=NOW)
"""
    child = _child(tmp_path, code)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert (store.records.submission("r1", 0), store.ledger.entries("r1")) == (None, [])
    store.records.commit(done(), [draft()], epoch=1, now=NOW)


def test_another_key_is_refused_before_anything_is_written(store, tmp_path):
    name = Keys.load(tmp_path)._current.id
    (tmp_path / "keys.json").rename(tmp_path / "kept.json")
    with pytest.raises(StoreUnreadable, match=f"sealed under key '{name}'.*restore that key file"):
        Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())
    (tmp_path / "kept.json").rename(tmp_path / "keys.json")
    Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock()).close()


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "keys": ["YQ=="]}', '{"version": 2, "keys": []}', "[]"])
def test_a_broken_key_file_is_not_replaced(tmp_path, text):
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StoreUnreadable, match="restore it from a backup"):
        Keys.load(tmp_path)
    assert path.read_text() == text


def test_a_key_file_that_others_may_read_is_refused(tmp_path):
    Keys.load(tmp_path)
    (tmp_path / "keys.json").chmod(0o640)
    with pytest.raises(StoreUnreadable, match="chmod 600"):
        Keys.load(tmp_path)


def test_an_earlier_key_still_opens_what_it_sealed(store, tmp_path, clock):
    path = tmp_path / "keys.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "keys": [*stored["keys"], "TUFERVVQTUFERVVQTUFERVVQTUFERVVQTUFERVVQTUE="]}))
    store.messages.put("r1", {0: b"text"})
    with closing(Store.open(url(tmp_path), Keys.load(tmp_path), clock)) as later:
        assert later.messages.all("r1") == [b"text"]
        assert later.ledger.verify("r1") is None
        later.ledger.record("r1", [draft()], epoch=1, now=NOW)
        assert later.ledger.verify("r1") is None


def _sql(folder, statement):
    with closing(sqlite3.connect(folder / "store.sqlite3")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("found", ["9999", "x"])
def test_a_store_of_a_newer_release_is_refused_in_one_sentence(store, tmp_path, found):
    _sql(tmp_path, f"UPDATE alembic_version SET version_num = '{found}'")
    with pytest.raises(StoreUnreadable, match="was written by a newer Remit than this one") as refused:
        Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())
    assert "\n" not in str(refused.value)


def test_the_tables_are_those_of_the_migrations_and_strict(store, tmp_path):
    engine = create_engine(url(tmp_path))
    with engine.connect() as connection:
        changes = compare_metadata(MigrationContext.configure(connection), tables.METADATA)
        assert [change for change in changes if change[0] != "remove_index"] == []
        strict = dict(connection.exec_driver_sql("SELECT name, strict FROM pragma_table_list").fetchall())
    engine.dispose()
    assert all(strict[name] for name in tables.METADATA.tables)


@pytest.mark.parametrize("wrong", ["mysql://x/y", "sqlite://", "sqlite:///", "nonsense", "postgresql+psycopg://h/d"])
def test_a_url_that_names_no_store_is_refused(wrong):
    with pytest.raises(BadSettings, match="sqlite:///FILE"):
        Store.open(wrong, Keys([b"k" * 32], "nowhere"), SystemClock())


def test_what_is_no_database_is_said_so_and_left_alone(tmp_path):
    (tmp_path / "store.sqlite3").write_text("MADEUP " * 1000)
    with pytest.raises(RecordsUnavailable, match="is not a store"):
        Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())
    assert (tmp_path / "store.sqlite3").read_text() == "MADEUP " * 1000


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordsUnavailable, match="cannot be made"):
        Store.open(url(tmp_path / "file"), Keys.load(tmp_path), SystemClock())


def test_a_writer_that_does_not_end_gives_a_sentence_and_no_half_commit(store, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    other = Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())
    with closing(other), store._db.writing(), pytest.raises(RecordsUnavailable, match="another process has held"):
        other.records.commit(done(), [draft()], epoch=1, now=NOW)
    assert store.ledger.entries("r1") == []


def test_a_store_that_somebody_keeps_to_himself_cannot_be_opened(store, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    store.close()
    with closing(sqlite3.connect(tmp_path / "store.sqlite3")) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreLocked, match="another process holds"):
            Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock())

        # Once it is let go while we wait, opening goes on.
        monkeypatch.setattr(database, "BUSY_S", 5)
        monkeypatch.setattr(database.time, "sleep", lambda _: other.rollback())
        monkeypatch.setattr(database, "create_engine", _impatient)
        Store.open(url(tmp_path), Keys.load(tmp_path), SystemClock()).close()


def _impatient(url, **options):
    """An engine whose connections do not wait for a lock by themselves."""
    return create_engine(url, **options | {"connect_args": {"timeout": 0}})


_FULL = """
import resource
store = opened()
store.runs.create(new_run())
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)) if name == "limit" else None
ready()
n = 0
try:
    for n in range(10_000):
        store.records.commit(done(n, text="x" * 4000), [draft(n)], epoch=0, now=NOW)
except RecordsUnavailable as error:
    print(n, store.ledger.verify("r1"), error, sep="|")
store._db._cursor.close()
"""


@pytest.fixture
def small_disk(tmp_path):
    """A folder that takes a megabyte, where the machine lets us mount one; else one like any other."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("limit", ["disk", "limit"])
def test_a_full_disk_gives_a_sentence_and_keeps_what_was_committed(small_disk, limit):
    folder, mounted = small_disk
    (said,) = _go(_child(folder, _FULL, limit if mounted else "limit"))
    committed, verified, sentence = said.strip().split("|")
    assert int(committed) > 3
    assert verified == "None"
    assert ("is full; free some space" if mounted and limit == "disk" else "the disk that holds") in sentence
    assert "\n" not in sentence

    if not mounted or limit == "limit":
        with closing(Store.open(url(folder), Keys.load(folder), SystemClock())) as store:
            assert store.ledger.verify("r1") is None
            assert len(store.ledger.entries("r1")) == int(committed)
            store.records.commit(done(int(committed)), [draft()], epoch=0, now=NOW)


def test_opening_a_store_that_is_there_imports_no_migrations(store, tmp_path):
    code = """
opened().close()
print([m for m in sys.modules if m.split(".")[0] in ("alembic", "langgraph", "langchain_core")])
"""
    said = subprocess.run(
        [sys.executable, "-c", _CHILD + code, str(tmp_path), "x"],
        **{"capture_output": True, "text": True, "cwd": Path(__file__).parents[3]},
    )
    assert said.stdout == "[]\n", said.stderr


def test_every_commit_is_on_disk_before_it_counts_and_what_is_deleted_is_overwritten(store, tmp_path):
    saver = FencedSaver.open(tmp_path / "checkpoints.sqlite3", Keys.load(tmp_path))
    with closing(saver):
        for cursor in (store._db._cursor, saver.conn.cursor()):
            names = ("journal_mode", "synchronous", "secure_delete")
            assert [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in names] == ["wal", 2, 1]  # 2 is FULL
