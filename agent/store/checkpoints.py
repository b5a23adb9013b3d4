"""Where a run can continue: LangGraph's checkpoints in a SQLite file of their own, sealed and fenced.

Only the process that fenced a thread last may write to it: a stale one that wakes gets StaleEpoch and changes
nothing. Two checkpoints of a thread are kept. Everything runs inline on one connection, the async methods too:
drivers with threads cost more CPU than the writes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.errors import StoreUnreadable
from agent.store.database import BUSY_S, private_file, unavailable, write_ahead
from agent.store.runs import taken
from agent.store.seal import Keys

_FENCES = "CREATE TABLE IF NOT EXISTS fences (thread_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT"
_FENCE = """INSERT INTO fences VALUES (?, ?)
    ON CONFLICT (thread_id) DO UPDATE SET epoch = excluded.epoch WHERE epoch <= excluded.epoch"""
_PUT = """INSERT OR REPLACE INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_WRITE = """INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PRUNE = "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id < ?"
_METADATA = ("source", "step", "parents")
"""All that is kept of the metadata, which is stored in clear: where a checkpoint stands, never what is in it."""


class SealedSerializer(SerializerProtocol):
    """Msgpack of plain values, sealed for one thread at a time; refuses rows that are not sealed.

    LangGraph's own EncryptedSerializer reads plaintext rows as they are (langgraph issue 8938), so that whoever
    can write the file chooses the state.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys, self.thread = keys, ""
        # None, not the default: nothing but LangGraph's own safe types is ever revived.
        self._plain = JsonPlusSerializer(allowed_msgpack_modules=None)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        kind, plain = self._plain.dumps_typed(obj)
        return f"{kind}+sealed", self._keys.wrap(plain, "checkpoints", self.thread, kind)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, _, how = data[0].partition("+")
        if how != "sealed":
            raise StoreUnreadable(f"a checkpoint of run {self.thread!r} is not sealed, so it is not used; start anew")
        return self._plain.loads_typed((kind, self._keys.unwrap(data[1], "checkpoints", self.thread, kind)))


class FencedSaver(SqliteSaver):
    """LangGraph's saver for SQLite with sealing, a fence and pruning. RecordsUnavailable when the file refuses."""

    serde: SealedSerializer

    @classmethod
    def open(cls, path: Path, keys: Keys) -> FencedSaver:
        """The checkpoints in this file, which is made when there is none."""
        private_file(path)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            write_ahead(connection.cursor(), str(path))
            saver = cls(connection, keys, str(path))
            with saver._sentences():
                saver.setup()
                connection.execute(_FENCES)
        except BaseException:
            connection.close()
            raise
        return saver

    def __init__(self, connection: sqlite3.Connection, keys: Keys, place: str) -> None:
        super().__init__(connection, serde=SealedSerializer(keys))
        self._place, self._held = place, dict[str, int]()

    def close(self) -> None:
        """Give the connection back."""
        self.conn.close()

    def fence(self, thread_id: str, epoch: int) -> None:
        """From now on only this process writes to the thread; StaleEpoch when a later epoch fenced it."""
        with self._writing() as cursor:
            if not cursor.execute(_FENCE, (thread_id, epoch)).rowcount:
                raise taken(thread_id)
        self._held[thread_id] = epoch

    def forget(self, thread_id: str) -> None:
        """Delete a thread's checkpoints for good."""
        with self._writing() as cursor:
            for table in ("checkpoints", "writes"):
                cursor.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,))  # noqa: S608  our own words
        with self._sentences():
            self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The newest checkpoint of a thread, or the one that is named."""
        self.serde.thread = str(config["configurable"]["thread_id"])
        with self._sentences():
            found = super().get_tuple(config)
        own = found and isinstance(found.checkpoint, dict) and found.checkpoint.get("id")
        if found is not None and own != found.config["configurable"]["checkpoint_id"]:
            raise StoreUnreadable(f"a checkpoint of run {self.serde.thread!r} stands in another's place; start anew")
        return found

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:
        """The checkpoints of one thread, newest first."""
        if config is None:
            raise ValueError("name a thread: each is sealed by itself")
        self.serde.thread = str(config["configurable"]["thread_id"])
        with self._sentences():
            yield from [*super().list(config, **options)]

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint and forget those before its parent; StaleEpoch."""
        place = config["configurable"]
        thread, ns, parent = str(place["thread_id"]), place["checkpoint_ns"], place.get("checkpoint_id")
        kept = json.dumps({key: value for key, value in metadata.items() if key in _METADATA})
        with self._writing(thread) as cursor:
            sealed = self.serde.dumps_typed(checkpoint)
            cursor.execute(_PUT, (thread, ns, checkpoint["id"], parent, *sealed, kept.encode()))
            for table in ("checkpoints", "writes") if parent else ():
                cursor.execute(f"DELETE FROM {table} {_PRUNE}", (thread, ns, parent))  # noqa: S608  our own words
        return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint["id"]}}

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote on top of a checkpoint; StaleEpoch."""
        place = config["configurable"]
        thread = str(place["thread_id"])
        row = (thread, place["checkpoint_ns"], place["checkpoint_id"], task_id, task_path)
        again = "REPLACE" if all(channel in WRITES_IDX_MAP for channel, _ in writes) else "IGNORE"
        with self._writing(thread) as cursor:
            for index, (channel, value) in enumerate(writes):
                at = WRITES_IDX_MAP.get(channel, index)
                cursor.execute(f"INSERT OR {again} {_WRITE}", (*row, at, channel, *self.serde.dumps_typed(value)))

    def with_allowlist(self, extra_allowlist: Any) -> BaseCheckpointSaver[str]:
        """This saver: states are plain JSON, no further class is ever revived."""
        return self

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.get_tuple(config)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        for found in self.list(config, **options):
            yield found

    async def aput(self, *checkpoint: Any) -> RunnableConfig:
        return self.put(*checkpoint)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)

    @contextmanager
    def _writing(self, thread: str | None = None) -> Iterator[sqlite3.Cursor]:
        """A write transaction; on a thread only for the process that fenced it last."""
        cursor = self.conn.cursor()
        with self._sentences():
            cursor.execute("BEGIN IMMEDIATE")
            try:
                if thread is not None:
                    self.serde.thread = thread
                    fence = cursor.execute("SELECT epoch FROM fences WHERE thread_id = ?", (thread,)).fetchone()
                    if fence is None or fence[0] != self._held.get(thread):
                        raise taken(thread)
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self.conn.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise unavailable(error, self._place) from None
