"""Signed checkpoints over the chains of all runs."""

from __future__ import annotations

from agent.store.migrations import columns

revision, down_revision = "0003", "0002"

TABLES = {
    "checkpoints": """n:int* version:int at:text run:text length:int head:text prev:text key:text hash:text
        signature:text""",
}


def upgrade() -> None:
    from alembic import op  # as in v0001

    for name, spec in TABLES.items():
        op.create_table(name, *columns(spec), sqlite_strict=True)
    op.create_index("checkpoints_of_run", "checkpoints", ["run", "n"])
