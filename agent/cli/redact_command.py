"""`remit redact`: a filter that takes out of a text what must not be seen."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import DONE
from agent.errors import BadSettings

if TYPE_CHECKING:
    from policies.redact.redactor import Redactor

_CHUNK = 65_536


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("redact")(redact)


def redact(
    jsonl: Annotated[
        bool,
        typer.Option("--jsonl", help="JSON lines with id and text in; the same out, with what was found and where."),
    ] = False,
    types: Annotated[
        str | None, typer.Option(metavar="TYPE,…", help="Look for these types only; all without it.")
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Put back the values of a run's handles; never secrets.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="The run whose handles are put back, for its requester only.")] = None,
) -> int:
    """Copy standard input to standard output with a handle in place of each secret and each personal value."""
    if restore != (run is not None):
        raise BadSettings("--restore and --run go together: handles are put back for one run")
    for stream in (sys.stdin, sys.stdout):  # bytes that are not UTF-8 and line ends pass unchanged
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    if run is not None:
        _restored(run, jsonl=jsonl)
        return DONE
    new = _redactors(_wanted(types))
    if jsonl:
        for line in _lines():
            found = new().redact(line["text"])
            spans = [{"type": each.type, "start": each.start, "end": each.end} for each in found.found]
            _put({"id": line.get("id"), "text": found.text, "found": spans})
        return DONE
    from policies.redact.stream import RedactedStream  # start-up time

    redacted = RedactedStream(new())
    while chunk := sys.stdin.read(_CHUNK):
        sys.stdout.write(redacted.feed(chunk))
    sys.stdout.write(redacted.close())
    return DONE


def _redactors(types: frozenset[str] | None) -> Callable[[], Redactor]:
    """Makes redactors that know nothing of each other's texts, with handles that are the same in all."""
    import secrets  # start-up time, like the rest

    from policies.redact.literal import Secrets
    from policies.redact.redactor import Redactor
    from policies.redact.vault import MemoryVault

    key = secrets.token_bytes(32)
    return lambda: Redactor(key, MemoryVault(), Secrets(), types)


def _wanted(types: str | None) -> frozenset[str] | None:
    if types is None:
        return None
    from policies.rules import HANDLES  # start-up time

    wanted = frozenset(each.strip() for each in types.split(","))
    if unknown := sorted(wanted - set(HANDLES)):
        raise BadSettings(f"{unknown[0]!r} is no type of value; there are {', '.join(HANDLES)}")
    return wanted


def _restored(run: str, *, jsonl: bool) -> None:
    from agent.cli.desk import desk  # start-up time

    with desk() as at:
        found = at.runs.find(run)
        if found.principal != at.app.settings.principal:
            raise BadSettings(f"run {found.id} was not asked for by you, so its values are not shown to you")
        shown = at.own(found.id, found.principal)
        if not jsonl:
            sys.stdout.write(shown(sys.stdin.read()))
            return
        for line in _lines():
            _put({**line, "text": shown(line["text"])})


def _lines() -> Iterator[dict[str, Any]]:
    import json  # start-up time

    for number, row in enumerate(sys.stdin, 1):
        if not row.strip():
            continue
        try:
            line = json.loads(row)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("text"), str):
            raise BadSettings(f'line {number} of the input should be JSON with a "text"')
        yield line


def _put(line: dict[str, Any]) -> None:
    import json  # start-up time

    written = json.dumps(line, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON may hold
        written = json.dumps(line)
    print(written)
