"""How long a run was worked on; what it used stands in the counters of its limits alone."""

from __future__ import annotations

from sqlalchemy import Column

from agent.store.migrations import columns

revision, down_revision = "0002", "0001"

ADDED = {"runs": "worked_ms:int"}
DROPPED = {"runs": ("steps", "tokens", "money_micros")}


def upgrade() -> None:
    from alembic import op  # as in v0001

    for table, spec in ADDED.items():
        for column in columns(spec):
            op.add_column(table, Column(column.name, column.type, nullable=False, server_default="0"))
    for table, names in DROPPED.items():
        for name in names:
            op.drop_column(table, name)
