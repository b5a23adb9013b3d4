"""Every place from which something can leave this process: a child, a connection, a browser.

Imports alone do not show them, so the syntax trees of the four packages are read. This finds what is written in the
open; it is no defence against code that hides.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "tools", "policies", "sandbox")

# Importing one of these is a way out already: nothing in them is of use without one.
MODULES = (
    *("subprocess", "multiprocessing", "pty", "concurrent.futures.process", "ctypes", "webbrowser"),
    *("urllib.request", "http.client", "xmlrpc", "ftplib", "smtplib", "poplib", "imaplib", "socketserver"),
    *("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp", "websockets", "websocket"),
    *("paramiko", "playwright", "openai", "langsmith"),
)
# Of these only some names are.
CALLS = {
    "os": ("system", "popen", "exec", "spawn", "posix_spawn", "fork"),
    "asyncio": ("create_subprocess", "open_connection", "open_unix_connection", "subprocess"),
    "importlib": ("import_module",),
    "builtins": ("__import__", "eval", "exec"),
    "sandbox": ("process.run_trusted",),  # without walls: for programs that Remit itself ships
}
# And of this one all but some.
HARMLESS_OF_SOCKET = {"gethostname", "gaierror", "timeout", "IPPROTO_TCP", "TCP_NODELAY", "AF_INET", "AF_INET6"}
# On whatever object: they are those of an event loop.
METHODS = {
    *("subprocess_exec", "subprocess_shell", "create_connection", "create_unix_connection"),
    *("create_datagram_endpoint", "sock_connect", "sock_sendto"),
}

ANY = "any way"

# Who may, and by which way: a file, or a folder with a slash at its end. Only executors behind a permit and the walls
# belong here. A line whose way is not used any more fails, too: this list only shrinks, or somebody said why it grows.
ALLOWED: dict[str, set[str]] = {
    "agent/runs.py": {"langsmith"},  # switches tracing off, which LangGraph brings along
    "sandbox/confinement.py": {"subprocess"},  # tries once whether children can be confined
    "sandbox/process.py": {"subprocess"},  # starts every confined child
    "sandbox/setup.py": {"subprocess"},  # runs before anything of ours is installed
    "sandbox/practice/": {ANY},  # the world to practise in: its own servers
    "tools/browser/": {"playwright"},
    "tools/commands.py": {"sandbox.process.run_trusted"},  # the parser of command text
    "tools/models/endpoint.py": {"httpx2", "openai"},
    "tools/servers/connection.py": {"paramiko"},
}


def ways_out(source: str) -> set[str]:
    """The modules and names by which this source can leave the process."""
    return set(_found(ast.parse(source)))


def _found(tree: ast.Module) -> Iterator[str]:
    names = {name: f"builtins.{name}" for name in CALLS["builtins"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[(alias.asname or alias.name).partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                yield from _judged(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield from _judged(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            yield from _judged(_dotted(node, names))
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            yield node.attr


def _judged(dotted: str) -> Iterator[str]:
    module, _, name = dotted.partition(".")
    yield from (known for known in MODULES if f"{dotted}.".startswith(f"{known}."))
    if name and any(name.startswith(call) for call in CALLS.get(module, ())):
        yield dotted
    if module == "socket" and name and name.partition(".")[0] not in HARMLESS_OF_SOCKET:
        yield "socket"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            return names.get(name, "")
        case ast.Attribute(value=value, attr=name):
            before = _dotted(value, names)
            return f"{before}.{name}" if before else ""
        case _:
            return ""


def test_nothing_leaves_this_process_but_where_it_is_listed() -> None:
    unlisted: list[str] = []
    used: dict[str, set[str]] = {place: set() for place in ALLOWED}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            place = next((p for p in ALLOWED if name == p or (p.endswith("/") and name.startswith(p))), None)
            ways = ways_out(path.read_text())
            allowed = ALLOWED[place] if place else set()
            if place:
                used[place] |= {ANY} if ways and ANY in allowed else ways
            unlisted += [f"{name} uses {way}" for way in sorted(ways - allowed) if ANY not in allowed]

    unused = [f"{place}: {way}" for place, ways in ALLOWED.items() for way in sorted(ways - used[place])]
    assert (unlisted, unused) == ([], [])


@pytest.mark.parametrize(
    ("source", "way"),
    [
        ("import subprocess", "subprocess"),
        ("def f():\n    import subprocess as s", "subprocess"),
        ("from subprocess import run", "subprocess"),
        ("from os import system as s", "os.system"),
        ("import os\nos.execvp('a', [])", "os.execvp"),
        ("import os as o\ncall = o.posix_spawn", "os.posix_spawn"),
        ("import os.path\nos.popen('ls')", "os.popen"),
        ("import asyncio\nasyncio.create_subprocess_shell('ls')", "asyncio.create_subprocess_shell"),
        ("from asyncio import open_connection", "asyncio.open_connection"),
        ("import asyncio.subprocess", "asyncio.subprocess"),
        ("import socket\ns = socket.socket()", "socket"),
        ("from socket import create_connection", "socket"),
        ("import urllib.request", "urllib.request"),
        ("from urllib import request", "urllib.request"),
        ("import httpx2", "httpx2"),
        ("from playwright.async_api import async_playwright", "playwright"),
        ("import paramiko.client", "paramiko"),
        ("loop.subprocess_exec(f, 'ls')", "subprocess_exec"),
        ("__import__('subprocess')", "builtins.__import__"),
        ("import importlib\nimportlib.import_module(name)", "importlib.import_module"),
    ],
)
def test_a_way_out_is_seen_however_it_is_spelled(source: str, way: str) -> None:
    assert way in ways_out(source)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ",
        "import asyncio\nasyncio.sleep(1)",
        "import socket\nsocket.gethostname()",
        "from urllib.parse import urlsplit",
        "self.system('x')",
        "requests = []\nrequests.append(1)",
        "from sandbox import process\nprocess.run",
    ],
)
def test_what_only_looks_like_one_is_left_alone(source: str) -> None:
    assert ways_out(source) == set()
