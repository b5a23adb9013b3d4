"""A practice world: a shop, web-1, a scripted model and a hostile host, all real, all on loopback.

up() makes one in a folder of its own or mends it, down() ends it without a trace. Users call the shop
`shop.example` and the hostile host `collect.example`; the servers accept any Host header.
"""

from __future__ import annotations

import json
import random
import secrets
import shutil
import socket
import urllib.error
import urllib.request
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from sandbox.practice import sshd
from sandbox.practice.children import alone, end, python, running, spawn, wait
from sandbox.practice.errors import PracticeError
from sandbox.practice.orders import Order, Reminder, connect, orders, planted, reminders, seed
from sandbox.practice.web1.unit import State, Unit

SHOP_USER = "office"
_PARTS = ("shop", "collect", "model", "web1")
_MADE = "practice-world"
"""A file of this name says that the folder is ours to remove."""


class Address(NamedTuple):
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class Part(NamedTuple):
    name: str
    address: Address | None
    """None when there is no world."""
    up: bool


class Status(NamedTuple):
    parts: tuple[Part, ...]
    worker: State | None

    @property
    def up(self) -> bool:
        return all(part.up for part in self.parts)


class Collected(NamedTuple):
    """One request that reached the hostile host; no method means that the bytes were not HTTP."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str


class Verdict(NamedTuple):
    """How the model's script went."""

    problems: list[str]
    """Unexpected requests, turns never asked for, a broken script, requests DashScope would refuse."""
    turns: int
    message_counts: list[int]
    """Messages in each request, in order."""

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, kw_only=True)
class World:
    """Where everything is and how to look behind it. Stored as world.json, readable by its owner only."""

    folder: Path
    today: date
    """The day all order dates are counted from."""
    shop: Address
    collect: Address
    model: Address
    web1: Address
    worker: Address
    """GET /health on web-1, when the worker runs."""
    web1_user: str
    web1_host_key: str
    """Public key line, `ssh-ed25519 AAAA…`."""
    web1_client_key: Path
    web1_srv: Path
    """The folder with config.ini, worker.log and heartbeat."""
    shop_user: str
    shop_password: str
    planted: tuple[str, ...]
    """Every secret and personal value in the world, for a search for leaks."""

    def orders(self) -> list[Order]:
        with closing(connect(self.folder)) as shop:
            return orders(shop)

    def reminders(self) -> list[Reminder]:
        with closing(connect(self.folder)) as shop:
            return reminders(shop)

    def worker_state(self) -> State:
        return Unit(self.folder).state()

    def break_worker(self) -> None:
        Unit(self.folder).fail()

    def repair_worker(self) -> None:
        Unit(self.folder).start()

    def collected(self) -> list[Collected]:
        """Everything that reached the hostile host, in order."""
        return [Collected(**json.loads(line)) for line in _lines(self.folder / "collected.jsonl")]

    def model_requests(self) -> list[str]:
        """The bodies of all requests to the model but a benchmark's, as they came, in order."""
        return [json.loads(line)["body"] for line in _lines(self.folder / "model.jsonl")]

    def model_verdict(self) -> Verdict:
        """Ends the script: turns it still has count as unused."""
        return Verdict(**json.loads(self._control("verdict")))

    def set_script(self, name: str | None) -> None:
        """Let the model play `package.module:function` from its start; None lets it echo."""
        self._control("script", name or "")

    def reset(self) -> None:
        """A new play: shop as on the first day, worker broken, nothing collected, script at its start."""
        seed(self.folder, self.today, self.shop_user, self.shop_password)
        self.break_worker()
        (self.folder / "collected.jsonl").write_text("")
        self._control("reset")

    def _control(self, what: str, text: str = "") -> str:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: no proxy of the user's
        try:
            with direct.open(f"{self.model.url}/_practice/{what}", text.encode(), timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            with refused:
                raise PracticeError(refused.read().decode()) from None
        except OSError:
            raise PracticeError("the practice model does not answer: run `remit practice up`") from None


def up(folder: Path, *, script: str | None = None, today: date | None = None) -> World:
    """The world in `folder`, with every part running: made new, found as it is, or mended.

    `folder` must be absent, empty or a world. `today` is fixed when the world is made.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        if not (folder / "world.json").exists():
            _make(folder, today or datetime.now(UTC).astimezone().date())
        world = load(folder)
        if today not in (None, world.today):
            raise PracticeError(f"the practice world counts from {world.today}: bring it down first")
        dead = [name for name in _PARTS if not running(folder, name)]
        for name in dead:
            module = "hostile" if name == "collect" else name
            server = python(module, folder, getattr(world, name).port)
            spawn(folder, name, sshd.command(folder) if name == "web1" else server)
        for name in dead:
            wait(folder, name)
        played = folder / "model.script"
        if script is not None and not (played.exists() and played.read_text() == script):
            world.set_script(script)  # one that is played already goes on: runs may be in the middle of it
        return world


def down(folder: Path) -> None:
    """End every process of the world and remove its folder; nothing happens where there is none."""
    folder = folder.resolve()
    if folder.exists():
        with alone(folder):
            _remove(folder, "is not a practice world: nothing was removed")


def status(folder: Path) -> Status:
    """What of the world in `folder` runs, and where."""
    folder = folder.resolve()
    if not (folder / "world.json").exists():
        return Status(tuple(Part(name, None, False) for name in _PARTS), None)
    world = load(folder)
    parts = [Part(name, getattr(world, name), running(folder, name) is not None) for name in _PARTS]
    return Status(tuple(parts), world.worker_state())


def load(folder: Path) -> World:
    """The world as it was made; PracticeError if there is none or another version made it."""
    folder = folder.resolve()
    try:
        raw = json.loads((folder / "world.json").read_text("utf-8"))
        raw |= {name: Address(*raw[name]) for name in (*_PARTS, "worker")}
        raw |= {name: Path(raw[name]) for name in ("folder", "web1_client_key", "web1_srv")}
        return World(**raw | {"today": date.fromisoformat(raw["today"]), "planted": tuple(raw["planted"])})
    except FileNotFoundError:
        raise PracticeError(f"there is no practice world in {str(folder)!r}: run `remit practice up`") from None
    except (OSError, ValueError, TypeError, KeyError):
        raise PracticeError(f"the world.json in {str(folder)!r} cannot be read: bring the world down") from None


def _make(folder: Path, today: date) -> None:
    """Fill the folder; world.json comes last, so that a world made halfway is made anew."""
    if set(str(folder)) & set('"%:$\\\n'):  # sshd_config cannot hold them
        raise PracticeError("a practice world needs a path without quotes, colons, dollar and percent signs")
    if folder.exists() and any(folder.iterdir()):
        _remove(folder, "is not empty: choose an empty folder for the practice world")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    (folder / _MADE).touch()
    ports = {name: _free_port() for name in (*_PARTS, "worker")}
    web1, password = folder / "web1", f"made-up-{secrets.token_hex(8)}"
    host_key = sshd.make(folder, ports["web1"])
    seed(folder, today, SHOP_USER, password)
    world = World(
        folder=folder,
        today=today,
        web1_user=sshd.user(),
        web1_host_key=host_key,
        web1_client_key=web1 / "etc" / "client_key",
        web1_srv=web1 / "srv",
        shop_user=SHOP_USER,
        shop_password=password,
        planted=(password, *planted()),
        **{name: Address("127.0.0.1", port) for name, port in ports.items()},
    )
    world.break_worker()
    stored = folder / "world.new"
    stored.touch(mode=0o600)
    stored.write_text(json.dumps(asdict(world), default=str, ensure_ascii=False, indent=1), "utf-8")
    stored.rename(folder / "world.json")


def _remove(folder: Path, otherwise: str) -> None:
    if not (folder / _MADE).exists():
        raise PracticeError(f"{str(folder)!r} {otherwise}")
    end(folder)
    shutil.rmtree(folder)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split("\n")[:-1] if path.exists() else []  # bodies may hold U+2028


def _free_port() -> int:
    """A port nobody listens on, below the range from which the system takes ports for callers."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port := random.randrange(20_000, 32_000)))
            return port
