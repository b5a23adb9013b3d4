"""A home of its own for each test, and the command line called in this process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from agent.runs import Runs
from agent.settings import load_settings
from agent.store.runs import this_process
from agent.wiring import App
from policies.action import ServerRun
from policies.decision import Approvers, AskMode
from policies.ledger import Draft
from policies.outcome import Waiting
from policies.ports import Submission
from policies.question import Question, Row

PHONE = "13912345678"
SECRET = "sk-MADEUP-0123456789abcdef"
TASK = f"Call {PHONE} and use {SECRET}"


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Remit = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a policy and a model that nobody asks."""
    for name in ("REMIT_POLICY", "REMIT_STORE", "REMIT_MODEL", "REMIT_MODEL_BASE_URL", "REMIT_MODEL_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("REMIT_HOME", str(folder))
    monkeypatch.setenv("REMIT_LANGUAGE", "en")
    (folder / "settings.toml").write_text('[model]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "none"\n', "utf-8")
    preset = files("policies").joinpath("presets", "back-office.yaml")
    (folder / "policy.yaml").write_text(preset.read_text("utf-8"), "utf-8")
    return folder


@pytest.fixture
def remit(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Remit:
    """`remit` with these arguments and this on its standard input."""
    from agent.cli import door

    def run(*arguments: str, typed: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        capsys.readouterr()
        code = door.run(arguments)
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return run


@contextmanager
def opened() -> Iterator[App]:
    """The home as another process has it."""
    app = App(load_settings())
    try:
        yield app
    finally:
        asyncio.run(app.close())


@pytest.fixture
def run_id(home: Path) -> str:
    """A run that was begun and has not been advanced."""
    with opened() as app:
        return Runs(app).start(TASK, policy=app.policy())


def ask(
    run: str,
    *,
    rows: int = 1,
    answers: int = 1,
    within: timedelta = timedelta(hours=1),
    seq: int = 1,
    groups: tuple[str, ...] = (),
    not_requester: bool = False,
) -> str:
    """A question of the run about restarting things; its id."""
    with opened() as app:
        now = app.clock.now()
        number = app.redactor(run).redact_text(PHONE)
        actions = [restart(f"worker-{n}") for n in range(1, rows + 1)]
        question = Question(
            id=f"Q{seq:04}ABCD",
            run=run,
            turn=1,
            about="action",
            rows=tuple(
                Row(seq=seq + n, digest=a.digest, title=f"restart {n + 1} for {number}", lines=(("server", "web-1"),))
                for n, a in enumerate(actions)
            ),
            mode=AskMode.BATCH,
            approvers=Approvers(answers=answers, groups=groups, not_requester=not_requester),
            requester=app.settings.principal,
            policy_digest="p",
            asked_at=now,
            expires_at=now + within,
        )
        epoch = app.store.runs.claim(run, this_process(), 60)
        for n, action in enumerate(actions):
            record(app, run, seq + n, action, question, epoch, now)
        app.store.runs.release(run, epoch)
        return question.id


def record(app: App, run: str, seq: int, action: Any, question: Question, epoch: int, now: datetime) -> None:
    facts = {"action": action.digest, "kind": action.kind, "rules": ["web1-restart-worker"], "question": question.id}
    entry = Draft(event="asked", seq=seq, facts=facts, body={"action": action.model_dump(mode="json")})
    row = Submission(run=run, seq=seq, digest=action.digest, outcome=Waiting(question=question.id))
    app.store.records.commit(row, (entry,), epoch=epoch, question=question, now=now)


def restart(unit: str) -> ServerRun:
    return ServerRun.model_validate(
        {"server": "web-1", "pipelines": [[{"argv": ["systemctl", "restart", unit]}]]},
    )


def on_a_terminal(*arguments: str, typed: str) -> tuple[int, str]:
    """`remit` on a terminal of its own: exit code and all that was seen."""
    ours, theirs = pty.openpty()
    command = (sys.executable, "-P", "-c", "from agent.cli import main; main()", *arguments)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as child:
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b""
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:  # the last holder of the other end has gone
            pass
        finally:
            os.close(ours)
    return child.returncode, seen.decode()
