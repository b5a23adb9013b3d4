"""The tables, for SQLite (STRICT) and Postgres alike.

Columns that end in `_sealed` hold ciphertext; times are ISO 8601 text in UTC with microseconds, so that they
compare as text. `migrations/` makes the tables; a test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.types import TypeEngine

_TYPES: dict[str, TypeEngine[str] | TypeEngine[int] | TypeEngine[bytes]] = {
    "text": Text(),
    "int": BigInteger().with_variant(Integer(), "sqlite"),
    "bytes": LargeBinary(),
}


def columns(spec: str) -> list[Column[object]]:
    """Columns from `name:type` words; `*` marks the primary key, `?` one that may be NULL."""
    made = []
    for word in spec.split():
        name, kind = word.split(":")
        type_ = _TYPES[kind.rstrip("*?")]
        made.append(Column[object](name, type_, primary_key=kind.endswith("*"), nullable=kind.endswith("?")))
    return made


METADATA = MetaData()


def _table(name: str, spec: str) -> Table:
    return Table(name, METADATA, *columns(spec), sqlite_strict=True)


runs = _table(
    "runs",
    """id:text* created_at:text principal:text title_sealed:bytes policy_digest:text graph_version:int
    status:text stop_requested:int epoch:int owner:text? lease_until:text? data_key:bytes?
    length:int head:text head_at:text head_mark:text plan:text?
    steps:int tokens:int money_micros:int questions:int""",
)
entries = _table(
    "entries",
    """run:text* index:int* version:int at:text event:text seq:int facts:text body_digest:text?
    prev:text hash:text""",
)
bodies = _table("bodies", "run:text* index:int* body_sealed:bytes")
submissions = _table(
    "submissions",
    "run:text* seq:int* digest:text outcome_sealed:bytes? planned:int? plan:text? reserved_at:text?",
)
questions = _table("questions", "id:text* run:text turn:int asked_at:text closed:int question_sealed:bytes")
spends = _table("spends", "run:text* plan:text* n:int* at_most:int per_row_of:int? spent:int rows:int? met:int")
counters = _table("counters", "key:text* window:text* used:int")
messages = _table("messages", "run:text* position:int* message_sealed:bytes")
handles = _table("handles", "run:text* handle:text* type:text value_sealed:bytes")
documents = _table("documents", "run:text* name:text* document_sealed:bytes")
canary = _table("canary", "id:int* canary_sealed:bytes")
