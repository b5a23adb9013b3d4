"""The tables as the migrations leave them, for statements of SQLAlchemy Core."""

from __future__ import annotations

from sqlalchemy import MetaData, Table

from agent.store.migrations import columns
from agent.store.migrations.versions import v0001, v0002, v0003


def _table(name: str, spec: str) -> Table:
    now = [*columns(spec), *columns(v0002.ADDED.get(name, ""))]
    return Table(name, METADATA, *(c for c in now if c.name not in v0002.DROPPED.get(name, ())))


METADATA = MetaData()
_TABLES = {name: _table(name, spec) for name, spec in {**v0001.TABLES, **v0003.TABLES}.items()}

runs = _TABLES["runs"]
entries = _TABLES["entries"]
bodies = _TABLES["bodies"]
submissions = _TABLES["submissions"]
questions = _TABLES["questions"]
counters = _TABLES["counters"]
messages = _TABLES["messages"]
handles = _TABLES["handles"]
documents = _TABLES["documents"]
canary = _TABLES["canary"]
checkpoints = _TABLES["checkpoints"]
