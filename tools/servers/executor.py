"""Carries out permitted actions on servers: checked commands, and files under path rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from policies.action import Command, ServerRead, ServerRun, ServerWrite
from policies.errors import ActionFailed
from policies.labels import Integrity, Label
from policies.permit import Permit
from policies.ports import Raw
from tools.commands import render
from tools.servers.connection import OUTPUT_BYTES, Connection, Finished
from tools.servers.inventory import Inventory

COMMAND_S = 60.0
T = TypeVar("T")


class Secrets(Protocol):
    """Opens secrets for executors."""

    def open(self, name: str, *, sink: str) -> str:
        """The value, if its record allows this sink; else ActionFailed."""


class ServerExecutor:
    """Commands and files on the servers of an inventory, one connection each, kept until `close`."""

    kinds = frozenset({"server.run", "server.read", "server.write"})

    def __init__(self, inventory: Inventory, secrets: Secrets) -> None:
        self._inventory, self._secrets = inventory, secrets
        self._connections: dict[str, Connection] = {}

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
        wanted = permit.opened(action.text).encode()
        try:
            found = await self._on(action.server, lambda c: c.read(action.path, len(wanted) + 1))
        except ActionFailed as error:
            if "has no" in str(error):
                return None
            raise
        return self._written(action, len(wanted)) if found == wanted else None

    async def close(self) -> None:
        """Close all connections; remote commands of ours are ended."""
        for connection in self._connections.values():
            await asyncio.to_thread(connection.close)
        self._connections.clear()

    async def _run(self, permit: Permit) -> Raw:
        action = permit.redeem(ServerRun)
        commands = [c for pipeline in action.pipelines for c in pipeline]
        if any(c.stdin or c.stdout for c in commands):
            raise ActionFailed("servers take no redirections; use server_write_file", may_have_acted=False)
        opened = tuple(
            tuple(Command(argv=tuple(permit.opened(a) for a in c.argv)) for c in pipeline)
            for pipeline in action.pipelines
        )
        began: list[bool] = []

        def run(connection: Connection) -> Finished:
            return connection.run(render(opened), stdin=b"", timeout_s=COMMAND_S, began=lambda: began.append(True))

        done = await self._on(action.server, run, began)
        text = done.stdout + (f"\n[stderr]\n{done.stderr}" if done.stderr.strip() else "")
        if done.truncated:
            text += f"\n[cut at {OUTPUT_BYTES} bytes]"
        return Raw(text=text, exit_code=done.code, label=_label(action.server))

    async def _read(self, permit: Permit) -> Raw:
        action = permit.redeem(ServerRead)
        data = await self._on(action.server, lambda c: c.read(action.path, OUTPUT_BYTES + 1))
        text = data[:OUTPUT_BYTES].decode("utf-8", "replace")
        more = f"\n[cut at {OUTPUT_BYTES} bytes]" if len(data) > OUTPUT_BYTES else ""
        return Raw(text=text + more, label=_label(action.server))

    async def _write(self, permit: Permit) -> Raw:
        action = permit.redeem(ServerWrite)
        data = permit.opened(action.text).encode()
        await self._on(action.server, lambda c: c.write(action.path, data))
        return self._written(action, len(data))

    def _written(self, action: ServerWrite, size: int) -> Raw:
        return Raw(text=f"{action.path} on {action.server}: {size} bytes written", label=_label(action.server))

    async def _on(self, name: str, do: Callable[[Connection], T], began: list[bool] | None = None) -> T:
        """`do` with the server's connection, in a thread; cancelling closes it, and so what runs over it."""
        server = self._inventory.servers.get(name)
        if server is None:
            known = ", ".join(sorted(self._inventory.servers)) or "none"
            raise ActionFailed(f"there is no server {name!r} in servers.yaml; known: {known}", may_have_acted=False)

        def work() -> T:
            connection = self._connections.get(name)
            if connection is None or not connection.alive:
                connection = self._connections[name] = Connection(name, server, lambda: self._private_key(name))
            return do(connection)

        task = asyncio.create_task(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if connection := self._connections.pop(name, None):
                await asyncio.to_thread(connection.close)
            await asyncio.wait({task}, timeout=5)
            raise

    def _private_key(self, name: str) -> str:
        server = self._inventory.servers[name]
        if server.key is not None:
            return self._secrets.open(server.key, sink=name)
        try:
            return Path(server.key_file or "").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise ActionFailed(
                f"the key file of server {name!r} cannot be read; correct servers.yaml",
                may_have_acted=False,
            ) from None


def _label(name: str) -> Label:
    return Label(integrity=Integrity.UNTRUSTED, readers=frozenset({"requester"}), origins=frozenset({name}))
