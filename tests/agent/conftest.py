"""An office for whole runs in this process: a home of its own, and the practice model over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.clock import SystemClock
from agent.runs import Runs, Stand
from agent.settings import load_settings
from agent.wiring import App
from policies.question import Answer
from sandbox.practice.model import Model
from sandbox.practice.play import Play
from sandbox.practice.script import Call, Script
from sandbox.practice.web import Server

POLICY = """
version: 1
name: office
accept_plan: when_all_allowed
rules:
  - {id: model, effect: allow, action: model.call, why: the model of the settings}
  - {id: look, effect: allow, action: [file.list, file.read, table.read], why: the folder of the run}
  - {id: write, effect: allow, action: [file.write, table.write], why: the folder of the run}
"""


def submit(*steps: dict[str, Any], **more: Any) -> Call:
    """The model's plan; a step has a title, a tool and what is pinned."""
    return Call("submit_plan", {"summary": "A little work.", "steps": list(steps), **more})


def step(tool: str, **pins: Any) -> dict[str, Any]:
    return {"title": tool, "tool": tool, **pins}


class Later(SystemClock):
    """The time that it will be."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


class Office:
    """One home, the processes over it, and a model that plays a script."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.started = home, list[App]()
        home.mkdir(mode=0o700)
        self.set_policy()
        self.set_model(port)
        self.app = self.another()
        self.app.keep_secret("model-key", "sk-MADEUP-office-key", ("127.0.0.1",))

    def set_policy(self, more: str = "", text: str = POLICY) -> None:
        (self.home / "policy.yaml").write_text(text + more, encoding="utf-8")

    def set_model(self, port: int, **more: int | str) -> None:
        given = {"base_url": f"http://127.0.0.1:{port}/v1", "model": "qwen3.8-flash", **more}
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        (self.home / "settings.toml").write_text("\n".join(["[model]", *lines]), encoding="utf-8")

    def another(self, later: timedelta = timedelta()) -> App:
        """The home as a further process has it, so much later."""
        settings = load_settings(environment={"REMIT_HOME": str(self.home)})
        self.started.append(App(settings, Later(later)))
        return self.started[-1]

    def bring(self, name: str, body: str, **more: Any) -> None:
        """A tool of the user's own."""
        folder = self.home / "tools"
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(f"#!/usr/bin/python3 -I\nimport json, sys\nasked = json.load(sys.stdin)\n{body}\n")
        program.chmod(0o755)
        declared = {"name": name, "description": "Made up.", "program": name, "arguments": {"properties": {}}, **more}
        (folder / f"{name}.yaml").write_text(json.dumps(declared))  # JSON is YAML too

    def begin(self, script: Callable[[], Script], task: str = "Do a little work.", **files: str) -> str:
        """A new run whose model plays this script; `files` are handed over, by stem."""
        Model.play = Play("")
        Model.play._begin = lambda _: script()
        given = []
        for stem, text in files.items():
            given.append(self.home.parent / f"{stem}.txt")
            given[-1].write_text(text, encoding="utf-8")
        return Runs(self.app).start(task, policy=self.app.policy(), files=given)

    async def advance(self, run: str, app: App | None = None, watch: Any = None) -> Stand:
        runs = Runs(app or self.app)
        return await (runs.advance(run, watch) if watch else runs.advance(run))

    def answer(self, stand: Stand, yes: bool = True, because: str = "") -> None:
        """What a person answers to all rows of the questions that a run waits for."""
        now = self.app.clock.now()
        for question in stand.questions:
            rows = {row.seq: Answer(yes=yes, by="bob", at=now, because=because) for row in question.rows}
            self.app.store.questions.answer(question.id, rows, now)

    def problems(self) -> list[str]:
        """What went wrong with the script, ended now."""
        return list(Model.play.verdict()["problems"])

    def told(self, run: str) -> list[str]:
        """What the results of the run's calls said to the model, in order."""
        messages = map(json.loads, self.app.store.messages.all(run))
        return [m["content"] for m in messages if m["role"] == "tool"]

    def files(self, run: str) -> dict[str, str]:
        workspace = self.app.workspace(run)
        return {str(name): workspace.read(str(name), limit_bytes=100_000).decode() for name in workspace.files()}

    def asked_of_model(self) -> list[dict[str, Any]]:
        """Every request that the model server got."""
        log = Model.folder / "model.jsonl"
        return [json.loads(json.loads(line)["body"]) for line in log.read_text("utf-8").splitlines()]


@pytest.fixture(scope="session")
def model_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    Model.folder = tmp_path_factory.mktemp("model")
    server = Server(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest_asyncio.fixture
async def office(tmp_path: Path, model_port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setenv("REMIT_KEYRING_KEY", "bWFkZS11cCBrZXkgb2YgMzIgYnl0ZXMgZm9yIGEgdGU=")
    (Model.folder / "model.jsonl").unlink(missing_ok=True)
    made = Office(tmp_path / "home", model_port)
    yield made
    for app in made.started:
        await app.close()
