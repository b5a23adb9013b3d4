"""Carries out permitted actions on servers: checked commands, and files under path rules."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from policies.action import Command, ServerRead, ServerRun, ServerWrite
from policies.errors import ActionFailed
from policies.labels import Integrity, Label
from policies.permit import Permit
from policies.ports import Raw
from tools.commands import render
from tools.servers.connection import OUTPUT_BYTES, Connection, Finished, Lost, Stop
from tools.servers.inventory import Inventory, Server

COMMAND_S = 60.0
ANSWER_S = 10.0
_CANCEL_S = 2.0
_SECRET = "secret://"  # noqa: S105  the mark of a reference
T = TypeVar("T")


class Secrets(Protocol):
    """Opens secrets for executors."""

    def open(self, name: str, *, sink: str) -> str:
        """The value, if its record allows this sink; else ActionFailed."""


class ServerExecutor:
    """Commands and files on the servers of an inventory, one connection each, kept until `close`."""

    kinds = frozenset({"server.run", "server.read", "server.write"})

    def __init__(
        self,
        inventory: Inventory,
        secrets: Secrets,
        *,
        command_s: float = COMMAND_S,
        answer_s: float = ANSWER_S,
        this_machine: bool = False,
    ) -> None:
        """`this_machine` lets a server be the machine that governs the run: for the practice world alone."""
        self._inventory, self._secrets, self._this_machine = inventory, secrets, this_machine
        self._command_s, self._answer_s = command_s, answer_s
        self._connections: dict[str, Connection] = {}
        self._locks: dict[str, threading.Lock] = {}

    async def execute(self, permit: Permit) -> Raw:
        """Do it once. ActionFailed tells whether it may have happened."""
        match permit.action_type.__name__:
            case "ServerRun":
                return await self._run(permit)
            case "ServerRead":
                return await self._read(permit)
            case _:
                return await self._write(permit)

    async def probe(self, permit: Permit) -> Raw | None:
        """After a crash: whether the server's file already is what was to be written."""
        action = permit.redeem(ServerWrite)
        try:
            wanted = self._content(permit, action)
            found = await self._on(action.server, lambda c, stop: c.read(action.path, len(wanted) + 1, stop=stop))
        except ActionFailed as error:
            # Not being able to look says nothing about what happened.
            raise ActionFailed(f"whether it was written is not known: {error}", may_have_acted=True) from None
        return _written(action, wanted) if found == wanted else None

    async def close(self) -> None:
        """Close all connections; remote commands of ours are ended."""
        while self._connections:
            await asyncio.to_thread(self._connections.popitem()[1].close)

    async def _run(self, permit: Permit) -> Raw:
        action = permit.redeem(ServerRun)
        text = render(tuple(tuple(_plain(permit, c) for c in pipeline) for pipeline in action.pipelines))

        def run(connection: Connection, stop: Stop) -> Finished:
            return connection.run(text, timeout_s=self._command_s, stop=stop)

        done = await self._on(action.server, run)
        parts = [done.stdout]
        if done.stderr.strip():
            parts.append(f"[stderr]\n{done.stderr}")
        if done.truncated:
            parts.append("[cut: only the beginning of the output was kept]")
        if done.code:
            parts.append(f"[exit code {done.code}]")
        shown = "\n".join(part.rstrip("\n") for part in parts if part)
        return Raw(text=shown, exit_code=done.code, label=_label(action.server))

    async def _read(self, permit: Permit) -> Raw:
        action = permit.redeem(ServerRead)
        data = await self._on(action.server, lambda c, stop: c.read(action.path, OUTPUT_BYTES + 1, stop=stop))
        if data is None:
            raise ActionFailed(f"server {action.server!r} has no {action.path!r}; check the path", may_have_acted=False)
        text = data[:OUTPUT_BYTES].decode("utf-8", "replace")
        more = f"\n[cut: only the first {OUTPUT_BYTES:,} bytes]" if len(data) > OUTPUT_BYTES else ""
        return Raw(text=text + more, label=_label(action.server))

    async def _write(self, permit: Permit) -> Raw:
        action = permit.redeem(ServerWrite)
        data = self._content(permit, action)
        await self._on(action.server, lambda c, stop: c.write(action.path, data, stop=stop))
        return _written(action, data)

    def _content(self, permit: Permit, action: ServerWrite) -> bytes:
        if not action.text.startswith(_SECRET):
            return permit.opened(action.text).encode()
        name = action.text.removeprefix(_SECRET)
        if name not in permit.obligations.secrets:
            raise ActionFailed(f"no rule lets secret {name!r} be written to {action.server!r}", may_have_acted=False)
        return self._secrets.open(name, sink=action.server).encode()

    async def _on(self, name: str, do: Callable[[Connection, Stop], T]) -> T:
        """`do` with the server's connection, in a thread; cancelling ends it, there too, within 2 s."""
        server = self._inventory.servers.get(name)
        if server is None:
            known = ", ".join(sorted(self._inventory.servers)) or "none"
            raise ActionFailed(f"there is no server {name!r} in servers.yaml; known: {known}", may_have_acted=False)
        stop, turn = Stop(), self._locks.setdefault(name, threading.Lock())

        def work() -> T:
            kept = self._connections.get(name)
            try:
                return do(self._connected(name, server, stop, turn), stop)
            except Lost:
                if kept is None:
                    raise
                return do(self._connected(name, server, stop, turn), stop)

        task = asyncio.create_task(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else asks
            threading.Thread(target=stop.ask, daemon=True).start()  # it may have to send, and that may block
            await asyncio.wait({task}, timeout=_CANCEL_S)
            raise

    def _connected(self, name: str, server: Server, stop: Stop, turn: threading.Lock) -> Connection:
        """The kept connection if it is alive, else a new one in its place."""
        with turn:
            kept = self._connections.get(name)
            if kept is not None and kept.alive:
                return kept
            made = Connection(
                name,
                server,
                lambda: self._key(name, server),
                stop=stop,
                answer_s=self._answer_s,
                this_machine=self._this_machine,
            )
            self._connections[name] = made
            return made

    def _key(self, name: str, server: Server) -> str:
        if server.key is not None:
            return self._secrets.open(server.key, sink=name)
        path = Path(server.key_file or "")
        try:
            if not path.stat().st_mode & 0o077:
                return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            pass
        raise ActionFailed(
            f"the key file of server {name!r} is not there, no text, or readable by others; "
            f"correct servers.yaml or run: chmod 600 {path}",
            may_have_acted=False,
        )


def _plain(permit: Permit, command: Command) -> Command:
    """The command with its handles opened, started by env(1).

    So a program is always a file, never a word of the remote shell: its `echo` and `test` differ from shell to
    shell, its `eval` and `if` are no programs.
    """
    program = command.argv[0]
    if command.stdin is not None or command.stdout is not None:
        raise ActionFailed("servers take no redirections; use server_write_file", may_have_acted=False)
    if not program or "=" in program or program.startswith("-"):
        raise ActionFailed(f"{program!r} is no program", may_have_acted=False)
    if any(word.startswith(_SECRET) for word in command.argv):
        raise ActionFailed("a secret on a command line can be read by all users of a server", may_have_acted=False)
    return Command(argv=("env", *(permit.opened(word) for word in command.argv)))


def _written(action: ServerWrite, data: bytes) -> Raw:
    return Raw(text=f"{action.path} on {action.server}: {len(data)} bytes written", label=_label(action.server))


def _label(name: str) -> Label:
    return Label(integrity=Integrity.UNTRUSTED, readers=frozenset({"requester"}), origins=frozenset({name}))
