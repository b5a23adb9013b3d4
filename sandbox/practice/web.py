"""What the practice servers share: one HTTP/1.1 handler and the way a child begins to serve."""

from __future__ import annotations

import os
import select
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY_LIMIT_BYTES = 64 << 20


class Handler(BaseHTTPRequestHandler):
    """One connection: keep-alive, no Nagle delay, any Host header."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    """The world's folder; set once by serve()."""

    def log_message(self, format: str, *args: object) -> None:
        """Each part keeps its own record of what matters; an access log would only repeat it."""

    def body(self) -> bytes:
        """The request's body, whether it came with a length or in chunks; at most 64 MB."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(min(int(self.headers.get("Content-Length", "0")), BODY_LIMIT_BYTES))
        read = b""
        while (size := int(self.rfile.readline().split(b";")[0], 16)) and len(read) < BODY_LIMIT_BYTES:
            read += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return read

    def reply(self, status: int, content: str | bytes, kind: str = "text/html; charset=utf-8", **headers: str) -> None:
        """Send one whole answer in a single write; keyword names become header names."""
        raw = content.encode() if isinstance(content, str) else content
        self.begin(status, kind, Content_Length=str(len(raw)), **headers)
        self.end_headers_with(b"" if self.command == "HEAD" else raw)

    def begin(self, status: int, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)

    def end_headers_with(self, raw: bytes) -> None:
        """Send the headers in one write with the first bytes of the content."""
        self._headers_buffer.extend((b"\r\n", raw))  # type: ignore[attr-defined]
        self.flush_headers()

    def wait_for_client_to_leave(self, timeout_s: float | None = None) -> None:
        """Return when the client has closed its side, sent more, or the time is over."""
        select.select([self.connection], [], [], timeout_s)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error here; anything else is printed to the part's log."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def serve(handler: type[Handler]) -> None:
    """Serve until killed, saying in the log when connections are accepted. Arguments: the world's folder, the port."""
    handler.folder = Path(sys.argv[1])
    server = Server(("127.0.0.1", int(sys.argv[2])), handler)
    print("Server listening on 127.0.0.1 port", sys.argv[2], flush=True)
    server.serve_forever()


def append_line(path: Path, line: str) -> None:
    """Add one line, whole even when several requests end at once."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode("utf-8", "backslashreplace") + b"\n")
    finally:
        os.close(handle)
