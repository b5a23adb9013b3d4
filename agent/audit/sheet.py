"""The ledger as CSV: one row an entry, facts in columns, for a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

COLUMNS = ("run", "index", "at", "event", "seq")
FACTS = (
    *("kind", "effect", "decision", "rules", "principal", "by", "yes", "question", "step", "verdict", "end"),
    *("integrity", "policy", "mandate", "action", "digest", "plan"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows(lines: Iterable[dict[str, Any]]) -> Iterator[Sequence[str]]:
    """The headings and the entries among an export's lines; no cell that a spreadsheet would take for a formula."""
    yield (*COLUMNS, *FACTS, "hash")
    for line in lines:
        if line["type"] == "entry":
            facts = line["facts"]
            yield [_cell(value) for value in (*(line[n] for n in COLUMNS), *map(facts.get, FACTS), line["hash"])]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return _cell(" ".join(map(str, value)))
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int) else text
