from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from datetime import date
from http.cookiejar import CookieJar
from typing import NamedTuple

from sandbox.practice.world import World

TODAY = date(2026, 11, 23)


class Answer(NamedTuple):
    status: int
    text: str
    raw: bytes
    headers: dict[str, str]


class Visitor:
    """A person at the shop: follows redirects, keeps cookies, sends forms with their token."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.csrf = ""
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(jar, urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Answer:
        return self._ask(path, None)

    def post(self, path: str, **fields: str) -> Answer:
        form = {"csrf": self.csrf, **fields}
        return self._ask(path, urllib.parse.urlencode(form).encode())

    def log_in(self) -> Visitor:
        self.get("/login")
        assert "Orders found" in self.post("/login", user=self.world.shop_user, password=self.world.shop_password).text
        return self

    def _ask(self, path: str, body: bytes | None) -> Answer:
        try:
            with self._opener.open(self.world.shop.url + path, body, timeout=10) as answer:
                return self._read(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as refused:
            with refused:
                return self._read(refused.code, refused.read(), dict(refused.headers))

    def _read(self, status: int, raw: bytes, headers: dict[str, str]) -> Answer:
        text = raw.decode("utf-8", "replace")
        if token := re.search(r'name="csrf" value="([^"]+)"', text):
            self.csrf = token[1]
        return Answer(status, text, raw, headers)
