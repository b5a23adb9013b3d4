"""Nothing of a run goes to a tracing server, however the environment asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from sandbox.practice.script import Call, Say, Script
from tests.agent.conftest import Office, step, submit

ROOT = Path(__file__).resolve().parents[2]
# What a run does in a process of its own; the tracer sends from a thread, which is emptied before the end.
CHILD = """
import asyncio, os, sys
{first}
from agent.clock import SystemClock
from agent.runs import Runs
from agent.settings import load_settings
from agent.wiring import App

async def main():
    app = App(load_settings(environment={{"REMIT_HOME": sys.argv[1]}}), SystemClock())
    print((await Runs(app).advance(sys.argv[2])).standing)
    await app.close()

asyncio.run(main())
from langchain_core.tracers.langchain import wait_for_all_tracers
wait_for_all_tracers()
{last}
"""
# Puts back after the import what was taken out, so that only the switch in the code is left.
AGAIN = "kept = dict(os.environ); import agent; os.environ.update(kept)"
CANARY = """
from langchain_core.runnables import RunnableLambda
RunnableLambda(lambda text: text).invoke("seen by the tracer")
wait_for_all_tracers()
"""


class Tracing(BaseHTTPRequestHandler):
    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        self.send_response(202)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def tracing() -> Iterator[str]:
    Tracing.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tracing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _child(office: Office, tracing: str, first: str = "", last: str = "") -> str:
    def script() -> Script:
        yield submit(step("write_file", path="n.txt"))
        yield Call("write_file", {"path": "n.txt", "text": "nobody else's business"})
        yield Say("Done.")

    run = office.begin(script)
    asking = {
        "LANGSMITH_TRACING": "true",
        "LANGCHAIN_TRACING_V2": "true",
        "LANGSMITH_API_KEY": "made-up",
        "LANGSMITH_ENDPOINT": tracing,
        "LANGSMITH_COMPRESSION_DISABLED": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(first=first, last=last), str(office.home), run],
        cwd=ROOT,
        env={**os.environ, **asking},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("first", ["", AGAIN], ids=["as it is", "with the variables put back"])
async def test_no_variable_has_a_run_traced(office: Office, tracing: str, first: str) -> None:
    assert _child(office, tracing, first) == "done"
    assert Tracing.seen == []


async def test_the_tracing_server_of_these_tests_would_see_a_trace(office: Office, tracing: str) -> None:
    _child(office, tracing, AGAIN, CANARY)

    assert any(line.startswith("POST") for line in Tracing.seen)


async def test_without_the_switch_in_the_code_the_missing_variables_are_enough(office: Office, tracing: str) -> None:
    _child(office, tracing, "", CANARY)

    assert Tracing.seen == []
