"""A model server on a raw socket that plays prepared bytes, and an endpoint with a clock of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tools.models.endpoint import Endpoint, EndpointFacts


@dataclass
class Wire:
    """What to play, one script a connection try; what was asked; how it ended."""

    plays: list[Any] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    base_url: str = ""
    playing: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client closed its connection."""
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                size = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(size[0].split(b":")[1])) if size else b"{}"
                self.bodies.append(json.loads(body))
                play = self.plays.pop(0)
                await self._play(play(self.bodies[-1]) if callable(play) else play, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _play(self, play: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = play.get("end", "clean")
        if end == "garbage":
            writer.write(b"\x15\x03\x01\x00\x02\x02\x28")
            raise ConnectionError
        if end != "mute":
            headers = {"content-type": "text/event-stream;charset=UTF-8", **play.get("headers", {})}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {play.get('status', 200)} X\r\n{lines}transfer-encoding: chunked\r\n\r\n".encode())
        for part in play.get("parts", []):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            if play.get("paced"):
                await asyncio.sleep(0)
        self.playing.set()
        if end == "clean":
            writer.write(b"0\r\n\r\n")
        elif end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            raise ConnectionError
        elif end == "drop":
            raise ConnectionError
        elif end == "endless":
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(play["again"]), play["again"]))
                await writer.drain()
        else:  # hang, mute
            await reader.readexactly(1)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, limit=2**24)
    wire.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield wire
    server.close()
    await server.wait_closed()


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now += wait_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(wire: Wire, clock: Clock) -> AsyncIterator[Callable[..., Endpoint]]:
    made: list[Endpoint] = []

    def make(base_url: str = "", first_token_s: float = 5.0, silence_s: float = 5.0, **facts: Any) -> Endpoint:
        endpoint = Endpoint(
            EndpointFacts(
                name="test", base_url=base_url or wire.base_url, model="qwen3.8-max", key_name="MADEUP_KEY", **facts
            ),
            clock=clock,
            sleep=clock.sleep,
            first_token_s=first_token_s,
            silence_s=silence_s,
        )
        made.append(endpoint)
        return endpoint

    yield make
    for endpoint in made:
        await endpoint.close()
