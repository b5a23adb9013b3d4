"""Short scripts that end in trouble, to see that nothing is lost by it."""

from __future__ import annotations

from typing import Any

from sandbox.practice.script import Call, Fault, Kind, Say, Script


def _plan(*steps: dict[str, Any]) -> Call:
    return Call("submit_plan", {"summary": "A little work.", "steps": list(steps)})


_NOTE = {"title": "a note", "tool": "write_file", "path": "note.txt", "expect": {"check": "file", "path": "note.txt"}}


def _local(seconds: int) -> Script:
    command = f"sleep {seconds}"
    yield _plan({"title": "wait", "tool": "run_command", "command": command})
    yield Call("run_command", {"command": command})
    yield Say("Done.")


def sleep60() -> Script:
    """A local command that takes a minute; each of these takes its own time, so that they can be told apart."""
    yield from _local(60)


def sleep62() -> Script:
    yield from _local(62)


def sleep63() -> Script:
    yield from _local(63)


def sleep64() -> Script:
    yield from _local(64)


def remote61() -> Script:
    """A command on web-1 that takes a minute."""
    yield _plan({"title": "wait", "tool": "server_run", "server": "web-1", "command": "sleep 61"})
    yield Call("server_run", {"server": "web-1", "command": "sleep 61"})
    yield Say("Done.")


def staller() -> Script:
    """A model that falls silent in the middle of its turn."""
    yield _plan(_NOTE)
    yield Fault(Kind.STALL)


def note() -> Script:
    """One file, written once, with an unknown tool and broken arguments on the way."""
    yield _plan(_NOTE)
    yield Call("write_fiel", {"path": "note.txt", "text": "x"})
    yield Call("write_file", '{"path": "note.txt", "text": "hel')
    yield Call("write_file", {"path": "note.txt", "text": "hello"})
    yield Say("Done.")


def refused_key() -> Script:
    """A key that the endpoint does not take, then one that it does."""
    yield Fault(Kind.BAD_KEY)
    yield _plan(_NOTE)
    yield Call("write_file", {"path": "note.txt", "text": "hello"})
    yield Say("Done.")


def throttled() -> Script:
    """A rate limit and a cut stream, which are tried again."""
    yield Fault(Kind.RETRY_AFTER, seconds=0)
    yield _plan(_NOTE)
    yield Fault(Kind.CUT)
    yield Call("write_file", {"path": "note.txt", "text": "hello"})
    yield Say("Done.")
