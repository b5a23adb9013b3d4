"""Web sites on loopback that keep whatever reaches them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Seen:
    method: str
    host: str
    path: str
    body: str = ""


@dataclass
class Site:
    """One server for all names; pages are set by a test, by `host/path`."""

    port: int = 0
    pages: dict[str, str | tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    seen: list[Seen] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    """A client of `endless` has left."""

    def show(self, path: str, body: str, host: str = "shop.example") -> str:
        """The url at which `body` will stand."""
        self.pages[host + path] = f"<!doctype html><meta charset=utf-8><title>{path}</title>{body}"
        return f"http://{host}{path}"

    def answer(self, path: str, status: int, headers: dict[str, str], body: bytes, host: str = "shop.example") -> None:
        self.pages[host + path] = (status, headers, body)

    def move(self, path: str, to: str, status: int = 302, host: str = "shop.example") -> str:
        self.answer(path, status, {"Location": to}, b"", host)
        return f"http://{host}{path}"

    def endless(self, path: str, headers: dict[str, str], chunk: bytes) -> str:
        def serve(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            for name, value in {**headers, "Connection": "close"}.items():
                handler.send_header(name, value)
            handler.end_headers()
            try:
                while chunk or handler.connection.recv(1):
                    handler.wfile.write(chunk)
            except OSError:
                self.gone.set()

        self.pages["shop.example" + path] = serve
        return f"http://shop.example{path}"

    def posted(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    def at(self, host: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.host.partition(":")[0] == host]


@contextmanager
def site() -> Iterator[Site]:
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host, path = self.headers.get("Host", ""), self.path
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "backslashreplace")
            here.seen.append(Seen(self.command, host, path, body))
            page = here.pages.get(host + path.partition("?")[0])
            if callable(page):
                page(self)
                self.close_connection = True
                return
            if page is None and self.command == "GET":
                page = (404, {}, b"there is no such page")
            status, headers, content = (
                page if isinstance(page, tuple) else (200, {}, (page or "<title>ok</title><p>received").encode())
            )
            self.send_response(status)
            for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    here.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
