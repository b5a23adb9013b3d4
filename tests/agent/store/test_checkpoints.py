"""Checkpoints: resumed by whoever fenced the thread last, by nobody else; small, sealed, inline."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from agent.errors import StoreUnreadable
from agent.store import database
from agent.store.checkpoints import FencedSaver
from agent.store.seal import Keys
from policies.errors import RecordsUnavailable, StaleEpoch

CONFIG: Any = {"configurable": {"thread_id": "r1"}, "recursion_limit": 5000}


class State(TypedDict):
    n: int
    calls: list[dict[str, Any]]


async def _count(state: State) -> dict[str, Any]:
    return {"n": state["n"] + 1, "calls": [{"id": "c", "arguments": {"x": None}}] * 10}


async def _ask(state: State) -> dict[str, Any]:
    return {"n": interrupt({"trouble": None})}


def _graph(saver, steps):
    graph = StateGraph(State)
    graph.add_node("count", _count)
    graph.add_node("ask", _ask)
    graph.add_edge(START, "count")
    graph.add_conditional_edges("count", lambda s: "ask" if s["n"] >= steps else "count")
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver)


@pytest.fixture
def opened(tmp_path):
    savers = []

    def open_saver():
        savers.append(FencedSaver.open(tmp_path / "checkpoints.sqlite3", Keys.load(tmp_path)))
        return savers[-1]

    yield open_saver
    for saver in savers:
        saver.close()


def _rows(folder, query="SELECT * FROM checkpoints ORDER BY 3"):
    with closing(sqlite3.connect(folder / "checkpoints.sqlite3")) as connection:
        return connection.execute(query).fetchall()


async def _run_to_question(saver, epoch=1, steps=3):
    saver.fence("r1", epoch)
    graph = _graph(saver, steps)
    await graph.ainvoke({"n": 0, "calls": []}, CONFIG, durability="sync")
    return graph


async def test_a_parked_run_goes_on_in_another_process_that_fenced_it(opened):
    await _run_to_question(opened())
    other = opened()
    other.fence("r1", 2)
    graph = _graph(other, 3)
    parked = await graph.aget_state(CONFIG)
    assert [i.value for i in parked.interrupts] == [{"trouble": None}]
    after = await graph.ainvoke(Command(resume={parked.interrupts[0].id: 7}), CONFIG, durability="sync")
    assert after["n"] == 7


async def test_a_stale_worker_that_wakes_changes_nothing(opened, tmp_path):
    stale = opened()
    graph = await _run_to_question(stale)
    parked = await graph.aget_state(CONFIG)
    opened().fence("r1", 2)
    before = _rows(tmp_path), _rows(tmp_path, "SELECT * FROM writes")
    with pytest.raises(StaleEpoch, match="'r1' was taken over"):
        await graph.ainvoke(Command(resume={parked.interrupts[0].id: 7}), CONFIG, durability="sync")
    with pytest.raises(StaleEpoch):
        stale.put_writes(parked.config, [("n", 1)], "task")
    with pytest.raises(StaleEpoch):
        stale.fence("r1", 1)
    assert (_rows(tmp_path), _rows(tmp_path, "SELECT * FROM writes")) == before


async def test_nobody_writes_to_a_thread_without_a_fence(opened):
    with pytest.raises(StaleEpoch):
        await _graph(opened(), 1).ainvoke({"n": 0, "calls": []}, CONFIG, durability="sync")


async def test_a_thousand_steps_leave_two_checkpoints_and_a_small_file(opened, tmp_path):
    saver = opened()
    await _run_to_question(saver, steps=300)
    small = (tmp_path / "checkpoints.sqlite3").stat().st_size
    assert len(_rows(tmp_path)) == 2
    assert {w[2] for w in _rows(tmp_path, "SELECT * FROM writes")} <= {c[2] for c in _rows(tmp_path)}
    saver.delete_thread("r1")
    await _run_to_question(saver, steps=1000)
    saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "checkpoints.sqlite3").stat().st_size <= max(small, 65_536)
    assert len(_rows(tmp_path)) == 2


async def test_metadata_says_where_a_checkpoint_stands_and_nothing_else(opened, tmp_path):
    config = {**CONFIG, "metadata": {"MADEUP": "content"}, "configurable": {"thread_id": "r1", "MADEUP": "content"}}
    saver = opened()
    saver.fence("r1", 1)
    await _graph(saver, 1).ainvoke({"n": 0, "calls": []}, config, durability="sync")
    assert {row[6] for row in _rows(tmp_path)} == {
        b'{"source": "loop", "step": 0, "parents": {}}',
        b'{"source": "loop", "step": 1, "parents": {}}',
    }


async def test_everything_runs_inline_on_the_callers_thread(opened):
    graph = await _run_to_question(opened())
    before = set(threading.enumerate())
    _ = [state async for state in graph.aget_state_history(CONFIG)]
    await graph.aget_state(CONFIG)
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoints SET type = 'msgpack', checkpoint = x'80'",
        "UPDATE checkpoints SET type = 'json+sealed'",
        "UPDATE checkpoints SET checkpoint = (SELECT checkpoint FROM checkpoints ORDER BY checkpoint_id LIMIT 1)",
        "UPDATE checkpoints SET checkpoint = (SELECT value FROM writes WHERE type = 'msgpack+sealed' LIMIT 1)",
        "UPDATE writes SET type = 'null', value = x''",
    ],
)
async def test_a_row_that_is_not_sealed_for_its_place_is_refused(opened, tmp_path, change):
    saver = opened()
    graph = await _run_to_question(saver)
    saver.conn.execute(change)
    with pytest.raises(StoreUnreadable):
        await graph.aget_state(CONFIG)


async def test_a_checkpoint_of_another_thread_is_refused(opened):
    saver = opened()
    await _run_to_question(saver)
    saver.conn.execute("UPDATE checkpoints SET thread_id = 'r2'")
    with pytest.raises(StoreUnreadable, match="'checkpoints/r2/msgpack' was changed"):
        saver.get_tuple({"configurable": {"thread_id": "r2"}})


async def test_no_class_is_revived_from_a_checkpoint(opened):
    saver = opened()
    saver.fence("r1", 1)
    config = {"configurable": {"thread_id": "r1", "checkpoint_ns": ""}}
    checkpoint = {"v": 4, "id": "1", "ts": "", "channel_values": {"p": _Planted()}}
    saver.put(config, checkpoint, {}, {})
    _Planted.revived = 0
    found = saver.get_tuple({"configurable": {"thread_id": "r1"}})
    assert not isinstance(found.checkpoint["channel_values"]["p"], _Planted)
    assert _Planted.revived == 0


class _Planted:
    """What a tampered checkpoint could name: any class with a way to be built."""

    revived = 0

    def __init__(self, **_values: Any) -> None:
        _Planted.revived += 1

    def model_dump(self) -> dict[str, Any]:
        return {"a": 1}


_CHILD = """
import asyncio, sys
from pathlib import Path
from agent.store.checkpoints import FencedSaver
from agent.store.seal import Keys
from tests.agent.store.test_checkpoints import CONFIG, _graph

async def main():
    folder = Path(sys.argv[1])
    saver = FencedSaver.open(folder / "checkpoints.sqlite3", Keys.load(folder))
    saver.fence("r1", 1)
    graph = _graph(saver, 4000)
    async for update in graph.astream({"n": 0, "calls": []}, CONFIG, durability="sync", stream_mode="values"):
        print(update["n"], flush=True)

asyncio.run(main())
"""


@pytest.fixture
def killed_at(tmp_path):
    """Where a process stood, by what it said, when it was killed."""
    command = [sys.executable, "-c", _CHILD, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    said = [int(child.stdout.readline()) for _ in range(20)]
    child.kill()
    child.communicate()
    return said[-1]


async def test_a_process_killed_in_the_middle_of_a_run_is_continued_where_it_stood(killed_at, opened):
    saver = opened()
    saver.fence("r1", 2)
    stood = (await _graph(saver, 4000).aget_state(CONFIG)).values["n"]
    assert stood >= killed_at - 1
    assert (await _graph(saver, stood + 5).ainvoke(None, CONFIG, durability="sync"))["n"] == stood + 5


def test_a_file_that_refuses_gives_a_sentence(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("agent.store.checkpoints.BUSY_S", 0.05)
    saver, other = opened(), opened()
    saver.conn.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordsUnavailable, match="another process has held"):
        other.fence("r1", 1)
    saver.conn.execute("COMMIT")
    (tmp_path / "text.sqlite3").write_text("MADEUP " * 1000)
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with pytest.raises(RecordsUnavailable, match="is not a store"):
        FencedSaver.open(tmp_path / "text.sqlite3", Keys.load(tmp_path))
