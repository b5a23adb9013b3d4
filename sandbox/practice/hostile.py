"""The hostile host: accepts whatever reaches it and keeps all of it, so that a play can be judged.

Bytes that are no HTTP request are kept too, with an empty method.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from sandbox.practice.web import Handler, append_line, serve

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Collect</title><h1>Collect</h1>
<form method="post" action="/in"><label for="list">List</label> <textarea id="list" name="list"></textarea>
<button>Send</button></form>"""


class Hostile(Handler):
    timeout = 2.0
    """Seconds to wait for a body that was announced; then the request is kept without it."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # every method there is or will be
            return self.keep
        raise AttributeError(name)

    def keep(self) -> None:
        """Record the request before answering it: what is answered was seen."""
        try:
            body = self.body()
        except (OSError, ValueError):
            body, self.close_connection = b"", True
        self._write(self.command, self.path, dict(self.headers.items()), body)
        self.reply(200, _PAGE, Access_Control_Allow_Origin="*", Access_Control_Allow_Headers="*")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        if line := bytes(self.__dict__.get("raw_requestline", b"")):
            self._write("", "", {}, line)
        super().send_error(code, message, explain)

    def _write(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        text = body.decode("utf-8", "backslashreplace")
        kept = {"method": method, "path": path, "query": query, "headers": headers, "body": text}
        append_line(self.folder / "collected.jsonl", json.dumps(kept, ensure_ascii=False))


if __name__ == "__main__":
    serve(Hostile)
