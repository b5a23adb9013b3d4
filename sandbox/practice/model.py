"""The Qwen-compatible model server: plays a script over real HTTP and records every request.

POST …/chat/completions and GET …/models take any key but none and `sk-refused…`.
POST /_practice/script (body: its name, or nothing to echo), /_practice/reset and /_practice/verdict
steer it; GET /_practice/requests gives the recorded requests as JSON lines. Those of a benchmark
(models called `bench-…`) are counted, not kept.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from sandbox.practice.errors import PracticeError
from sandbox.practice.play import Play
from sandbox.practice.refusal import refusal
from sandbox.practice.script import Fault, Kind, ModelRequest
from sandbox.practice.web import Handler, append_line, serve
from sandbox.practice.wire import SSE, Asked, Reply, error, reply

MODELS = ("qwen3.8-max", "qwen3.8-flash", "qwen-plus")
_RESET_ON_CLOSE = b"\x01\0\0\0\0\0\0\0"
_NOTHING_ASKED = Asked(model="", stream=False, usage=False, prompt_tokens=0)


class Model(Handler):
    play: ClassVar[Play] = Play("")
    """One for the whole server; a reset puts a new one in its place."""

    def do_GET(self) -> None:
        if self.path.startswith("/_practice/"):
            return self._steer(self.path.removeprefix("/_practice/"), "")
        listed = [{"id": name, "object": "model", "created": 1763800000, "owned_by": "system"} for name in MODELS]
        models = Reply(parts=[json.dumps({"object": "list", "data": listed}).encode()])
        return self._send(self._wrong("/models") or models)

    def do_POST(self) -> None:
        raw = self.body()
        if self.path.startswith("/_practice/"):
            return self._steer(self.path.removeprefix("/_practice/"), raw.decode())
        return self._send(self._wrong("/chat/completions") or self._complete(raw))

    def _steer(self, what: str, text: str) -> None:
        log, told = self.folder / "model.jsonl", "{}"
        try:
            if what == "script":
                Model.play = Play(text)
                (self.folder / "model.script").write_text(text)  # so that a restarted server plays the same
            elif what == "reset":
                Model.play = Play(self.play.name)
                log.write_text("")
            elif what == "verdict":
                told = json.dumps(self.play.verdict())
            elif what == "requests":
                told = log.read_text("utf-8") if log.exists() else ""
            else:
                raise PracticeError(f"there is nothing called {what!r} to ask of the practice model")
        except PracticeError as wrong:
            return self.reply(400, str(wrong), "text/plain; charset=utf-8")
        return self.reply(200, told, "application/json")

    def _wrong(self, path: str) -> Reply | None:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key or key.startswith("sk-refused"):
            return reply(Fault(Kind.BAD_KEY), _NOTHING_ASKED)
        if not self.path.endswith(path):
            return error(404, "not_found", "invalid_request_error", f"There is no {self.path!r} here.")
        return None

    def _complete(self, raw: bytes) -> Reply:
        try:
            body: dict[str, Any] = json.loads(raw)
            if not str(body["model"]).startswith("bench-"):
                self._record(raw)
            if words := refusal(body):
                return self._refuse(words)
            asked = Asked(
                model=str(body["model"]),
                stream=body.get("stream") is True,
                usage=(body.get("stream_options") or {}).get("include_usage") is True,
                prompt_tokens=len(raw) // 4,
            )
            return reply(self.play.turn(ModelRequest(body)), asked)
        except PracticeError as wrong:
            return error(500, "practice_script", "practice_script", str(wrong))
        except (ValueError, TypeError, KeyError, AttributeError) as odd:
            return self._refuse(f"The request is not in the form of chat completions: {odd!r}")

    def _refuse(self, words: str) -> Reply:
        """A 400 in the service's words; in a practice it is also a problem of the client's."""
        self.play.problem(f"a request that the real service would refuse: {words}")
        message = f"<400> InternalError.Algo.InvalidParameter: {words}"
        return error(400, "invalid_parameter_error", "invalid_request_error", message)

    def _record(self, raw: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "authorization"}
        kept = {"path": self.path, "headers": headers, "body": raw.decode("utf-8", "backslashreplace")}
        append_line(self.folder / "model.jsonl", json.dumps(kept, ensure_ascii=False))

    def _send(self, answer: Reply) -> None:
        parts, length = answer.parts, sum(map(len, answer.parts))
        if answer.wait_s:
            self.wait_for_client_to_leave(answer.wait_s)
        if answer.cut:
            parts = [*parts[:-1], parts[-1][: len(parts[-1]) // 2]]
        framing = {"Content_Length": str(length)}
        if answer.kind == SSE:
            framing = {"Transfer_Encoding": "chunked"}
            parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
            parts += [] if answer.cut or answer.stall else [b"0\r\n\r\n"]
        own = {"x_request_id": str(uuid4()), "x_dashscope_call_gateway": "true", **answer.headers}
        self.begin(answer.status, answer.kind, **framing, **own)
        self.end_headers_with(b"".join(parts if not answer.stall or answer.kind == SSE else []))
        if answer.stall:
            self.wait_for_client_to_leave()
        if answer.cut:
            time.sleep(0.02)  # a reset overtakes bytes that the client has not read yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.connection.close()
        self.close_connection |= answer.stall or answer.cut


if __name__ == "__main__":
    if (script := Path(sys.argv[1]) / "model.script").exists():
        Model.play = Play(script.read_text())
    serve(Model)
