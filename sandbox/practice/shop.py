"""The back-office shop: what a person sees in a browser. Its state is the database alone.

Open to everybody: /login, /slow (never answers) and /huge.csv (never ends). All else asks for a login.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from functools import cache
from hmac import compare_digest
from html import escape
from pathlib import Path
from sqlite3 import Connection
from string import Template
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from sandbox.practice.orders import Order, Reminder, Status, connect, orders, record, reminders, yuan
from sandbox.practice.web import Handler, serve

PAGE_SIZE = 10
TEXT_LIMIT = 2000
ENCODINGS = {"utf-8": "utf-8-sig", "gb18030": "gb18030"}
"""What ?encoding= accepts. UTF-8 comes with a byte order mark, as spreadsheet programs want it."""

COLUMNS = ("order", "customer", "email", "mobile", "amount", "status", "due_on", "days_overdue", "note")


class Session(NamedTuple):
    id: str
    csrf: str
    user: str
    """Empty before the login."""


class Trouble(Exception):
    """An answer other than 200: the status and one sentence for the page."""


class Shop(Handler):
    shop: Connection
    session: Session
    fields: dict[str, str]
    """The query of a GET, the form of a POST."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/slow":
            self.wait_for_client_to_leave()
            self.close_connection = True
        elif path == "/huge.csv":
            self._endless()
        else:
            self._answer(path, query)

    def do_POST(self) -> None:
        self._answer(self.path, self.body().decode("utf-8", "replace"))

    def _answer(self, path: str, fields: str) -> None:
        self.fields = dict(parse_qsl(fields))
        with closing(connect(self.folder)) as self.shop:
            self.session = self._session()
            try:
                self._route(f"{self.command} {path}")
            except Trouble as trouble:
                status, sentence = trouble.args
                self._page(f"Error {status}", _fill("trouble", {"sentence": sentence}), status)

    def _route(self, asked: str) -> None:
        token = self.fields.get("csrf", "")
        if self.command == "POST" and not compare_digest(token.encode(), self.session.csrf.encode()):
            raise Trouble(403, "This form has expired. Open the page again.")
        for pattern, page in _ROUTES.items():
            if found := re.fullmatch(pattern, asked):
                known = self.session.user or asked.endswith(" /login")
                return page(self, *found.groups()) if known else self._go("/login")
        raise Trouble(404, "There is no such page.")

    def _session(self) -> Session:
        """The caller's session; a new one, not logged in, for whoever brings none that we know."""
        brought = re.search(r"\bsession=([\w-]+)", self.headers.get("Cookie", ""))
        known = self.shop.execute("SELECT * FROM sessions WHERE id = ?", (brought[1] if brought else "",)).fetchone()
        return Session(*known) if known else self._begin("")

    def _begin(self, user: str) -> Session:
        session = Session(secrets.token_urlsafe(18), secrets.token_urlsafe(18), user)
        self._change("INSERT INTO sessions VALUES (?, ?, ?)", *session)
        return session

    def _change(self, statement: str, *values: str | int) -> None:
        with self.shop:
            self.shop.execute(statement, values)

    def _page(self, title: str, content: str, status: int = 200) -> None:
        navigation = _fill("navigation", {"csrf": self.session.csrf}) if self.session.user else ""
        whole = _fill("page", {"title": title}, navigation=navigation, content=content)
        self.reply(status, whole, Set_Cookie=self._cookie(), Cache_Control="no-store")

    def _go(self, path: str) -> None:
        self.reply(303, "", Location=path, Set_Cookie=self._cookie())

    def _cookie(self) -> str:
        return f"session={self.session.id}; Path=/; HttpOnly; SameSite=Lax"

    def _endless(self) -> None:
        self.close_connection = True
        self.begin(200, "text/csv", Content_Disposition='attachment; filename="huge.csv"', Connection="close")
        self.end_headers()
        while True:  # until the client leaves: the write fails and the server drops the connection
            self.wfile.write(b"1001,0.00,nothing to see\r\n" * 2048)

    def _today(self) -> date:
        return date.fromisoformat(self.shop.execute("SELECT today FROM world").fetchone()[0])

    def _filtered(self) -> list[Order]:
        status, older_than = self.fields.get("status", ""), self.fields.get("older_than", "")
        if status not in ("", *Status) or not re.fullmatch(r"\d{0,4}", older_than):
            raise Trouble(400, "Choose a status from the list and a whole number of days.")
        found, today = orders(self.shop, "? IN ('', status)", status), self._today()
        return [order for order in found if not older_than or order.overdue_days(today) > int(older_than)]

    def _order(self, number: str) -> Order:
        if found := orders(self.shop, "id = ?", int(number[:9])):
            return found[0]
        raise Trouble(404, f"There is no order {number[:9]}.")

    def _shown(self, order: Order) -> dict[str, str]:
        """What templates need of an order: the export's columns, the amount as people read it, the form's token."""
        return {**_columns(order, self._today()), "yuan": yuan(order.fen), "csrf": self.session.csrf}

    def login_form(self) -> None:
        self._page("Log in", _fill("login", {"csrf": self.session.csrf}))

    def login(self) -> None:
        user, given = self.fields.get("user", ""), self.fields.get("password", "")
        if (user, given) != self.shop.execute("SELECT user, password FROM world").fetchone():
            raise Trouble(401, "Login refused: unknown user or wrong password.")
        self.session = self._begin(user)
        self._go("/orders")

    def logout(self) -> None:
        self._change("DELETE FROM sessions WHERE id = ?", self.session.id)
        self._go("/login")

    def me(self) -> None:
        self.reply(200, f'{{"user": "{self.session.user}"}}', "application/json")

    def account(self) -> None:
        self._page("Account", _fill("account", {}))

    def orders(self) -> None:
        found, asked = self._filtered(), self.fields.get("page", "1")
        pages = max(-(-len(found) // PAGE_SIZE), 1)
        page = int(asked) if re.fullmatch(r"\d{1,4}", asked) else 0
        if not 1 <= page <= pages:
            raise Trouble(404, f"There are {pages} pages.")
        kept = {name: self.fields.get(name, "") for name in ("status", "older_than")}
        shown = {"count": len(found), "sum": yuan(sum(order.fen for order in found)), "page": page, "pages": pages}
        rows = [_fill("row", self._shown(order)) for order in found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]]
        content = _fill(
            "orders",
            {**shown, "older_than": kept["older_than"], "filter": urlencode(kept)},
            statuses="".join(_option(value, value == kept["status"]) for value in ("", *Status)),
            rows="".join(rows),
            previous=_link("Previous page", kept, page - 1) if page > 1 else "",
            next=_link("Next page", kept, page + 1) if page < pages else "",
        )
        self._page("Orders", content)

    def export(self) -> None:
        encoding = ENCODINGS.get(self.fields.get("encoding", "utf-8"))
        if encoding is None:
            raise Trouble(400, f"Choose an encoding: {' or '.join(ENCODINGS)}.")
        rows = [_columns(order, self._today()) for order in self._filtered()]
        table = io.StringIO()
        lines = csv.DictWriter(table, COLUMNS)
        lines.writeheader()
        lines.writerows(rows)
        name = 'attachment; filename="orders.csv"'
        self.reply(200, table.getvalue().encode(encoding), "text/csv", Content_Disposition=name)

    def order(self, number: str) -> None:
        order = self._order(number)
        sent = "".join(_fill("reminder", reminder._asdict()) for reminder in reminders(self.shop, order.id))
        self._page(f"Order {order.id}", _fill("order", self._shown(order), reminders=sent))

    def reminder_form(self, number: str) -> None:
        order = self._order(number)
        self._page(f"Reminder for order {order.id}", _fill("remind", self._shown(order)))

    def remind(self, number: str) -> None:
        order, text = self._order(number), self.fields.get("text", "").strip()
        to = self.fields.get("to", order.email).strip()
        if not text or len(text) > TEXT_LIMIT or not re.fullmatch(r"[^\s@]{1,64}@[^\s@]{1,190}", to):
            raise Trouble(400, f"Write an address and a text of 1 to {TEXT_LIMIT} characters.")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        record(self.shop, Reminder(order_id=order.id, email=to, text=text, at=at))
        self._page("Reminder recorded", _fill("reminded", {"order": order.id, "to": to}))

    def delete(self, number: str) -> None:
        order = self._order(number)
        self._change("DELETE FROM orders WHERE id = ?", order.id)
        self._page("Order deleted", f"<p>Order {order.id} is gone.</p>")


_ROUTES: dict[str, Callable[..., None]] = {
    "GET /": Shop.orders,
    "GET /login": Shop.login_form,
    "POST /login": Shop.login,
    "POST /logout": Shop.logout,
    "GET /me": Shop.me,
    "GET /account": Shop.account,
    "GET /orders": Shop.orders,
    r"GET /orders/export\.csv": Shop.export,
    r"GET /orders/(\d+)": Shop.order,
    r"GET /orders/(\d+)/remind": Shop.reminder_form,
    r"POST /orders/(\d+)/remind": Shop.remind,
    r"POST /orders/(\d+)/delete": Shop.delete,
}


def _columns(order: Order, today: date) -> dict[str, str]:
    """One line of the export."""
    amount, days = f"{order.fen / 100:.2f}", order.overdue_days(today)
    facts = {**order._asdict(), "order": order.id, "amount": amount, "days_overdue": days}
    return {name: str(facts[name]) for name in COLUMNS}


@cache
def _template(name: str) -> Template:
    return Template((Path(__file__).parent / "assets" / "shop" / f"{name}.html").read_text("utf-8"))


def _fill(name: str, values: Mapping[str, object], **html: str) -> str:
    """A template with values, which are escaped, and parts that are HTML already."""
    return _template(name).substitute({key: escape(str(value)) for key, value in values.items()}, **html)


def _option(value: str, selected: bool) -> str:
    return f"<option value='{value}'{' selected' if selected else ''}>{value or 'any'}</option>"


def _link(text: str, kept: dict[str, str], page: int) -> str:
    return f"<a href='/orders?{escape(urlencode({**kept, 'page': page}))}'>{text}</a>"


if __name__ == "__main__":
    serve(Shop)
