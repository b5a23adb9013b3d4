"""The back-office shop: what a person sees in a browser. Its state is the database alone.

Open to everybody: /login, /slow (never answers) and /huge.csv (never ends). All else asks for a login.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
from contextlib import closing
from datetime import UTC, date, datetime
from functools import cache
from hmac import compare_digest
from html import escape
from pathlib import Path
from sqlite3 import Connection
from string import Template
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from sandbox.practice.orders import Order, Reminder, Status, connect, orders, record, reminders, yuan
from sandbox.practice.web import Handler, serve

PAGE_SIZE = 10
TEXT_LIMIT = 2000
ENCODINGS = {"utf-8": "utf-8-sig", "gb18030": "gb18030"}
"""What ?encoding= accepts. UTF-8 comes with a byte order mark, as spreadsheet programs want it."""


_COLUMNS = ("order", "customer", "email", "mobile", "amount", "status", "due_on", "days_overdue", "note")


class Session(NamedTuple):
    id: str
    csrf: str
    user: str
    """Empty before the login."""


class Trouble(Exception):
    """An answer other than 200: the status and one sentence for the page."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Shop(Handler):
    shop: Connection
    session: Session
    fields: dict[str, str]
    """The query of a GET, the form of a POST."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.fields = dict(parse_qsl(address.query))
        if address.path == "/slow":
            self.wait_for_client_to_leave()
            self.close_connection = True
        elif address.path == "/huge.csv":
            self._endless()
        else:
            self._answer("GET", address.path)

    def do_POST(self) -> None:
        self.fields = dict(parse_qsl(self.body().decode("utf-8", "replace")))
        self._answer("POST", urlsplit(self.path).path)

    def _answer(self, method: str, path: str) -> None:
        with closing(connect(self.folder)) as self.shop:
            self.session = self._session()
            try:
                if method == "POST" and not compare_digest(self.fields.get("csrf", ""), self.session.csrf):
                    raise Trouble(403, "This form has expired. Open the page again.")
                for verb, pattern, page in _ROUTES:
                    if verb == method and (found := re.fullmatch(pattern, path)):
                        if not self.session.user and path != "/login":
                            return self._go("/login")
                        return page(self, *found.groups())
                raise Trouble(404, "There is no such page.")
            except Trouble as trouble:
                self._page(f"Error {trouble.status}", f"<p role=alert>{escape(str(trouble))}</p>", trouble.status)

    def _session(self) -> Session:
        """The caller's session; a new one, not logged in, for whoever brings none that we know."""
        brought = re.search(r"\bsession=([\w-]+)", self.headers.get("Cookie", ""))
        row = self.shop.execute(
            "SELECT * FROM sessions WHERE id = ?", brought.groups() if brought else ("",)
        ).fetchone()
        return Session(*row) if row else self._begin("")

    def _begin(self, user: str) -> Session:
        session = Session(secrets.token_urlsafe(18), secrets.token_urlsafe(18), user)
        with self.shop:
            self.shop.execute("INSERT INTO sessions VALUES (?, ?, ?)", session)
        return session

    def _page(self, title: str, content: str, status: int = 200) -> None:
        navigation = _fill("navigation", csrf=self.session.csrf) if self.session.user else ""
        whole = _fill("page", title=title, navigation=navigation, content=content)
        self.reply(status, whole, Set_Cookie=self._cookie(), Cache_Control="no-store")

    def _go(self, path: str) -> None:
        self.reply(303, "", Location=path, Set_Cookie=self._cookie())

    def _cookie(self) -> str:
        return f"session={self.session.id}; Path=/; HttpOnly; SameSite=Lax"

    def _endless(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Disposition", 'attachment; filename="huge.csv"')
        self.send_header("Connection", "close")
        self.end_headers()
        while True:  # until the client leaves: the write fails and the server drops the connection
            self.wfile.write(b"1001,0.00,nothing to see\r\n" * 2048)

    def _today(self) -> date:
        return date.fromisoformat(self.shop.execute("SELECT today FROM world").fetchone()[0])

    def _filtered(self) -> list[Order]:
        status, older_than = self.fields.get("status", ""), self.fields.get("older_than", "")
        if status not in ("", *Status) or not re.fullmatch(r"\d{0,4}", older_than):
            raise Trouble(400, "Choose a status from the list and a whole number of days.")
        found = orders(self.shop, "? IN ('', status)", status)
        today = self._today()
        return [order for order in found if not older_than or order.overdue_days(today) > int(older_than)]

    def _order(self, number: str) -> Order:
        found = orders(self.shop, "id = ?", int(number[:9]))
        if not found:
            raise Trouble(404, f"There is no order {number[:9]}.")
        return found[0]

    def login_form(self, problem: str = "", status: int = 200) -> None:
        alert = f"<p role=alert>{problem}</p>" if problem else ""
        self._page("Log in", _fill("login", problem=alert, csrf=self.session.csrf), status)

    def login(self) -> None:
        given = (self.fields.get("user", ""), self.fields.get("password", ""))
        if given != self.shop.execute("SELECT user, password FROM world").fetchone():
            return self.login_form("Login refused: unknown user or wrong password.", 401)
        self.session = self._begin(given[0])
        return self._go("/orders")

    def logout(self) -> None:
        with self.shop:
            self.shop.execute("DELETE FROM sessions WHERE id = ?", (self.session.id,))
        self._go("/login")

    def me(self) -> None:
        self.reply(200, f'{{"user": "{self.session.user}"}}', "application/json")

    def account(self) -> None:
        self._page("Account", _fill("account"))

    def orders(self) -> None:
        found, today = self._filtered(), self._today()
        pages = max(-(-len(found) // PAGE_SIZE), 1)
        page = int(asked) if re.fullmatch(r"\d{1,4}", asked := self.fields.get("page", "1")) else 0
        if not 1 <= page <= pages:
            raise Trouble(404, f"There are {pages} pages.")
        chosen = self.fields.get("status", "")
        kept = {name: self.fields.get(name, "") for name in ("status", "older_than")}
        content = _fill(
            "orders",
            statuses="".join(_option(value, value == chosen) for value in ("", *Status)),
            older_than=kept["older_than"],
            count=len(found),
            sum=yuan(sum(order.fen for order in found)),
            page=page,
            pages=pages,
            rows="\n".join(_row(order, today) for order in found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]),
            previous=_link("Previous page", kept, page - 1) if page > 1 else "",
            next=_link("Next page", kept, page + 1) if page < pages else "",
            filter=escape(urlencode(kept)),
        )
        self._page("Orders", content)

    def export(self) -> None:
        encoding = ENCODINGS.get(self.fields.get("encoding", "utf-8"))
        if encoding is None:
            raise Trouble(400, f"Choose an encoding: {' or '.join(ENCODINGS)}.")
        table, today = io.StringIO(), self._today()
        lines = csv.writer(table)
        lines.writerow(_COLUMNS)
        for o in self._filtered():
            amount, days = f"{o.fen / 100:.2f}", o.overdue_days(today)
            lines.writerow([o.id, o.customer, o.email, o.mobile, amount, o.status, o.due_on, days, o.note])
        content, name = table.getvalue().encode(encoding), 'attachment; filename="orders.csv"'
        self.reply(200, content, "text/csv", Content_Disposition=name)

    def order(self, number: str) -> None:
        order = self._order(number)
        sent = "".join(
            f"<li>{r.at} to {escape(r.email)}: {escape(r.text)}</li>" for r in reminders(self.shop, order.id)
        )
        content = _fill("order", **self._facts(order), reminders=f"<ul>{sent}</ul>" if sent else "<p>None.</p>")
        self._page(f"Order {order.id}", content)

    def _facts(self, order: Order) -> dict[str, str]:
        return {
            "id": str(order.id),
            "customer": escape(order.customer),
            "email": escape(order.email),
            "mobile": order.mobile,
            "amount": yuan(order.fen),
            "status": order.status,
            "due_on": str(order.due_on),
            "overdue": str(order.overdue_days(self._today())),
            "note": escape(order.note) or "None.",
            "csrf": self.session.csrf,
        }

    def reminder_form(self, number: str, problem: str = "", status: int = 200) -> None:
        alert = f"<p role=alert>{problem}</p>" if problem else ""
        facts = self._facts(self._order(number))
        self._page(f"Reminder for order {facts['id']}", _fill("remind", problem=alert, **facts), status)

    def remind(self, number: str) -> None:
        order, text = self._order(number), self.fields.get("text", "").strip()
        to = self.fields.get("to", order.email).strip()
        if not text or len(text) > TEXT_LIMIT or not re.fullmatch(r"[^\s@]{1,64}@[^\s@]{1,190}", to):
            return self.reminder_form(number, f"Write an address and a text of 1 to {TEXT_LIMIT} characters.", 400)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        record(self.shop, Reminder(order_id=order.id, email=to, text=text, at=at))
        back = f"<a href='/orders/{order.id}'>Back to the order</a>"
        facts = f"<p>Order {order.id}, to {escape(to)}.</p><p>{back}</p>"
        return self._page("Reminder recorded", facts)

    def delete(self, number: str) -> None:
        order = self._order(number)
        with self.shop:
            self.shop.execute("DELETE FROM orders WHERE id = ?", (order.id,))
        self._page("Order deleted", f"<p>Order {order.id} is gone.</p>")


_ROUTES = (
    ("GET", "/", Shop.orders),
    ("GET", "/login", Shop.login_form),
    ("POST", "/login", Shop.login),
    ("POST", "/logout", Shop.logout),
    ("GET", "/me", Shop.me),
    ("GET", "/account", Shop.account),
    ("GET", "/orders", Shop.orders),
    ("GET", r"/orders/export\.csv", Shop.export),
    ("GET", r"/orders/(\d+)", Shop.order),
    ("GET", r"/orders/(\d+)/remind", Shop.reminder_form),
    ("POST", r"/orders/(\d+)/remind", Shop.remind),
    ("POST", r"/orders/(\d+)/delete", Shop.delete),
)


@cache
def _template(name: str) -> Template:
    return Template((Path(__file__).parent / "assets" / "shop" / f"{name}.html").read_text(encoding="utf-8"))


def _fill(name: str, **values: object) -> str:
    return _template(name).substitute(values)


def _option(value: str, selected: bool) -> str:
    return f"<option value='{value}'{' selected' if selected else ''}>{value or 'any'}</option>"


def _link(text: str, kept: dict[str, str], page: int) -> str:
    return f"<a href='/orders?{escape(urlencode({**kept, 'page': str(page)}))}'>{text}</a>"


def _row(order: Order, today: date) -> str:
    cells = (escape(order.customer), yuan(order.fen), order.status, order.due_on, order.overdue_days(today))
    return (
        f"<tr><td><a href='/orders/{order.id}'>{order.id}</a></td><td>"
        + "</td><td>".join(map(str, cells))
        + "</td></tr>"
    )


if __name__ == "__main__":
    serve(Shop)
