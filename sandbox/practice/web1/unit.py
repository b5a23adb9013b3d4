"""The one unit of web-1, worker.service: a real process with a state as systemd would give it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sandbox.practice.children import end, python, running, spawn, wait
from sandbox.practice.web import append_line


class State(StrEnum):
    ACTIVE = "active"
    FAILED = "failed"
    INACTIVE = "inactive"


class Unit(NamedTuple):
    world: Path
    """The world's folder; web1/etc/worker.json in it holds what was wanted last, and since when."""

    def state(self) -> State:
        """What is-active would print; a worker that should run and does not has failed."""
        if running(self.world, "worker"):
            return State.ACTIVE
        return State.FAILED if self.wanted()[0] else State.INACTIVE

    def wanted(self) -> tuple[bool, str]:
        wanted, since = json.loads((self.world / "web1" / "etc" / "worker.json").read_text())
        return wanted, since

    def start(self) -> None:
        """Return when /health can be asked; PracticeError if the worker does not come up."""
        if self.state() is not State.ACTIVE:
            port = json.loads((self.world / "world.json").read_text("utf-8"))["worker"][1]
            spawn(self.world, "worker", python("web1.worker", self.world, port))
            self._keep(True, "started")
            wait(self.world, "worker")

    def stop(self) -> None:
        end(self.world, "worker")
        self._keep(False, "stopped")

    def fail(self) -> None:
        """Kill the worker as a crash would."""
        end(self.world, "worker")
        self._keep(True, "main process exited, code=killed, status=9/KILL")

    def _keep(self, wanted: bool, event: str) -> None:
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        (self.world / "web1" / "etc" / "worker.json").write_text(json.dumps([wanted, since]))
        append_line(self.world / "web1" / "srv" / "worker.log", f"{since} worker.service: {event}")
