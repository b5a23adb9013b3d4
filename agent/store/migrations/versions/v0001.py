"""The tables of the first release, STRICT on SQLite.

Columns that end in `_sealed` hold ciphertext; times are ISO 8601 text in UTC with microseconds, so that they
compare as text.
"""

from __future__ import annotations

from agent.store.migrations import columns

revision, down_revision = "0001", None

TABLES = {
    "runs": """id:text* created_at:text principal:text title_sealed:bytes policy_digest:text graph_version:int
        status:text stop_requested:int epoch:int owner:text? lease_until:text? data_key:bytes?
        length:int head:text head_at:text head_mark:text steps:int tokens:int money_micros:int questions:int""",
    "entries": """run:text* index:int* version:int at:text event:text seq:int facts:text body_digest:text?
        prev:text hash:text""",
    "bodies": "run:text* index:int* body_sealed:bytes",
    "submissions": """run:text* seq:int* digest:text outcome_sealed:bytes? planned:int? step:text?
        reserved_at:text?""",
    "questions": "id:text* run:text turn:int asked_at:text closed:int question_sealed:bytes",
    "counters": "key:text* window:text* used:int",
    "messages": "run:text* position:int* message_sealed:bytes",
    "handles": "run:text* handle:text* type:text value_sealed:bytes",
    "documents": "run:text* name:text* document_sealed:bytes",
    "canary": "id:int* canary_sealed:bytes",
}


def upgrade() -> None:
    # Here, because the tables are needed always and Alembic, 0.4 s to import, once in a store's life.
    from alembic import op

    for name, spec in TABLES.items():
        op.create_table(name, *columns(spec), sqlite_strict=True)
    op.create_index("questions_of_run", "questions", ["run", "turn"])
    op.create_index("runs_by_time", "runs", ["created_at"])
