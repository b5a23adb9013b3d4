"""A real OpenSSH server on loopback, and looking behind it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from policies.action import Command, ServerRun
from policies.labels import Integrity, Label
from sandbox.practice import sshd
from sandbox.practice.children import end, running, spawn, wait
from tools.servers.executor import ServerExecutor
from tools.servers.inventory import Server

LABEL = Label(integrity=Integrity.UNTRUSTED, readers=frozenset({"requester"}), origins=frozenset({"web-1"}))


Make = Callable[..., ServerExecutor]
"""Makes an executor for the box as `web-1`."""


class NoSecrets:
    """A vault with nothing in it but what a test puts there."""

    def __init__(self, **values: str) -> None:
        self.values, self.asked = values, list[tuple[str, str]]()

    def open(self, name: str, *, sink: str) -> str:
        self.asked.append((name, sink))
        return self.values[name]


class Box:
    """One sshd with its keys, and what runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.host_key = sshd.make(folder, self.port)
        self.srv, self.bin = folder / "web1" / "srv", folder / "web1" / "bin"
        self.client_key = folder / "web1" / "etc" / "client_key"
        self.config = folder / "web1" / "etc" / "sshd_config"
        self.config.write_text(self.config.read_text() + "LogLevel VERBOSE\n")

    def start(self) -> None:
        spawn(self.folder, "web1", sshd.command(self.folder))
        wait(self.folder, "web1")

    def stop(self) -> None:
        end(self.folder)

    def server(self, **changes: Any) -> Server:
        fields: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": sshd.user(),
            "host_key": self.host_key,
        }
        return Server(**fields | {"key_file": self.client_key} | changes)

    def sessions(self) -> list[int]:
        """The processes of the connections that stand now: sshd's own, two each for an ordinary user."""
        listener = running(self.folder, "web1")
        assert listener is not None
        first = [pid for pid in pids() if parent(pid) == listener.pid]
        return [*first, *(pid for pid in pids() if parent(pid) in first and program(pid) == program(listener.pid))]

    def cut(self) -> None:
        """Every connection ends at once; the server goes on."""
        for pid in (sessions := self.sessions()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not set(sessions) & set(self.sessions()))

    def connections(self) -> int:
        """How many were ever logged in."""
        return self.log.count("Accepted publickey")

    @property
    def log(self) -> str:
        return (self.folder / "web1.log").read_text(errors="replace")


def until(true: Callable[[], object], *, seconds: float = 5) -> None:
    """Wait until it is true, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def living(argument: str) -> list[int]:
    """The processes that have this very argument."""
    found = []
    for pid in pids():
        with suppress(OSError):
            if argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def free_port() -> int:
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port := random.randrange(20_000, 32_000)))
            return port


def new_key(path: Path, *options: str) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "made-up", *options, "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return path


def command(*argv: str, server: str = "web-1") -> ServerRun:
    return ServerRun(server=server, pipelines=((Command(argv=argv),),))


def everything_of(box: Box) -> list[int]:
    found = set(box.sessions())
    while more := {pid for pid in pids() if parent(pid) in found} - found:
        found |= more
    return sorted(found)


def listener_of(box: Box) -> int:
    child = running(box.folder, "web1")
    assert child is not None
    return child.pid
