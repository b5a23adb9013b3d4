"""Stretches of time as people write them: `30d`, `2026-10-01`, `2026Q4`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from agent.errors import BadTask


def since(text: str, now: datetime) -> datetime:
    """The moment that `30d` or an ISO date names, in UTC; BadTask for anything else."""
    if found := re.fullmatch(r"(\d{1,4})d", text):
        return now - timedelta(days=int(found[1]))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadTask(f"{text!r} names no time; write 2026-10-01, or 30d for the last 30 days") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def quarter(text: str) -> tuple[datetime, datetime]:
    """The first moment of the quarter `2026Q4`, and that of the one after it; BadTask for anything else."""
    found = re.fullmatch(r"(\d{4})-?[Qq]([1-4])", text)
    if found is None:
        raise BadTask(f"{text!r} is no quarter; write 2026Q4")
    year, month = int(found[1]), 3 * int(found[2]) - 2
    end = datetime(year + 1, 1, 1, tzinfo=UTC) if month == 10 else datetime(year, month + 3, 1, tzinfo=UTC)
    return datetime(year, month, 1, tzinfo=UTC), end
