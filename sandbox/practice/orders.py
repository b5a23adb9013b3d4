"""The shop's database: made-up orders, the same for every world but for the day they are counted from."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_SCHEMA = """
CREATE TABLE world (today TEXT, user TEXT, password TEXT);
CREATE TABLE sessions (id TEXT PRIMARY KEY, csrf TEXT, user TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, email TEXT, mobile TEXT,
                     fen INTEGER, status TEXT, due_on TEXT, note TEXT);
CREATE TABLE reminders (order_id INTEGER, email TEXT, text TEXT, at TEXT);
"""


class Status(StrEnum):
    UNPAID = "unpaid"
    PAID = "paid"
    CANCELLED = "cancelled"


class Order(NamedTuple):
    id: int
    customer: str
    email: str
    mobile: str
    fen: int
    """Amount in hundredths of a yuan."""
    status: Status
    due_on: date
    note: str

    def overdue_days(self, today: date) -> int:
        """Days since payment was due; 0 for an order that is not unpaid or not yet due."""
        return max((today - self.due_on).days, 0) if self.status is Status.UNPAID else 0


class Reminder(NamedTuple):
    order_id: int
    email: str
    text: str
    at: str
    """ISO time with zone."""


def planted() -> tuple[str, ...]:
    """Every secret and personal value that the orders and web-1 hold, for a later search for leaks."""
    personal = (value for customer in _made_up()["customers"] for value in customer[1:])
    return (*personal, *_made_up()["secrets"])


def seed(folder: Path, today: date, user: str, password: str) -> None:
    """Make the shop of the world in `folder` as on the first day; whatever it held is gone, logins included."""
    rows = []
    for number, customer, fen, status, days, note in _made_up()["orders"]:
        due_on = today - timedelta(days=days)
        rows.append((number, *_made_up()["customers"][customer], fen, status, due_on.isoformat(), note))
    with closing(connect(folder)) as shop, shop:
        shop.execute("BEGIN IMMEDIATE")
        for table in ("world", "sessions", "orders", "reminders"):
            shop.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA.split(";")[:-1]:
            shop.execute(statement)
        shop.execute("INSERT INTO world VALUES (?, ?, ?)", (today.isoformat(), user, password))
        shop.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def connect(folder: Path) -> sqlite3.Connection:
    """A connection of one's own; writers wait for each other for up to five seconds."""
    return sqlite3.connect(folder / "shop.sqlite", timeout=5)


def orders(shop: sqlite3.Connection, where: str = "1", *values: str | int) -> list[Order]:
    """The orders that satisfy an SQL condition of ours, oldest due date first."""
    rows = shop.execute(f"SELECT * FROM orders WHERE {where} ORDER BY due_on, id", values)
    return [Order(*row)._replace(status=Status(row[5]), due_on=date.fromisoformat(row[6])) for row in rows]


def reminders(shop: sqlite3.Connection, order_id: int | None = None) -> list[Reminder]:
    """The recorded reminders, of one order or of all, in the order they were sent."""
    rows = shop.execute("SELECT * FROM reminders WHERE ?1 IS NULL OR order_id = ?1 ORDER BY rowid", (order_id,))
    return list(map(Reminder._make, rows))


def record(shop: sqlite3.Connection, reminder: Reminder) -> None:
    """Keep a reminder; it counts as sent."""
    with shop:
        shop.execute("INSERT INTO reminders VALUES (?, ?, ?, ?)", reminder)


@cache
def _made_up() -> dict[str, list[Any]]:
    return json.loads((Path(__file__).parent / "assets" / "orders.json").read_text("utf-8"))  # type: ignore[no-any-return]


def yuan(fen: int) -> str:
    """An amount as people read it: ¥31,200.00."""
    return f"¥{fen / 100:,.2f}"
