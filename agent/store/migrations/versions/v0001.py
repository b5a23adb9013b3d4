"""The tables of the first release. Frozen: a later change is a later version."""

from __future__ import annotations

from alembic import op

from agent.store.tables import columns

revision = "0001"
down_revision = None

TABLES = {
    "runs": """id:text* created_at:text principal:text title_sealed:bytes policy_digest:text graph_version:int
        status:text stop_requested:int epoch:int owner:text? lease_until:text? data_key:bytes?
        length:int head:text head_at:text head_mark:text plan:text?
        steps:int tokens:int money_micros:int questions:int""",
    "entries": """run:text* index:int* version:int at:text event:text seq:int facts:text body_digest:text?
        prev:text hash:text""",
    "bodies": "run:text* index:int* body_sealed:bytes",
    "submissions": """run:text* seq:int* digest:text outcome_sealed:bytes? planned:int? plan:text?
        reserved_at:text?""",
    "questions": "id:text* run:text turn:int asked_at:text closed:int question_sealed:bytes",
    "spends": "run:text* plan:text* n:int* at_most:int per_row_of:int? spent:int rows:int? met:int",
    "counters": "key:text* window:text* used:int",
    "messages": "run:text* position:int* message_sealed:bytes",
    "handles": "run:text* handle:text* type:text value_sealed:bytes",
    "documents": "run:text* name:text* document_sealed:bytes",
    "canary": "id:int* canary_sealed:bytes",
}


def upgrade() -> None:
    for name, spec in TABLES.items():
        op.create_table(name, *columns(spec), sqlite_strict=True)
    op.create_index("questions_of_run", "questions", ["run", "turn"])
    op.create_index("runs_by_time", "runs", ["created_at"])
