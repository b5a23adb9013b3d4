"""`remit policy replay`: what another policy would have said to what was recorded."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import DONE, FAILED
from agent.cli.desk import JsonOption, desk
from agent.cli.named import PolicyOption, named_policy


class Format(StrEnum):
    """In which form the result is given."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    SARIF = "sarif"
    HTML = "html"


class Forbidden(StrEnum):
    """What must not come of a change of the policy."""

    ALLOWED = "newly-allowed"
    ASKED = "newly-asked"
    DENIED = "newly-denied"
    UNKNOWN = "unknown"


def register(policy: typer.Typer) -> None:
    """Add the commands of this module."""
    policy.command("replay")(replay)


def replay(
    policy: PolicyOption = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Compare with this policy, not with what was decided.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only runs since: 30d, or 2026-10-01.")] = None,
    export: Annotated[
        Path | None, typer.Option("--from", help="An export of the ledger instead of this home; - is standard input.")
    ] = None,
    forbid: Annotated[
        list[Forbidden] | None, typer.Option("--forbid", help="End with 1 if there is a change of this kind.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How the result is given.")] = Format.TABLE,
    json: JsonOption = False,
) -> int:
    """Judge recorded actions by another policy, and say what would be decided otherwise. Nothing is done."""
    from agent.errors import BadSettings  # start-up time
    from agent.language import Language
    from agent.replay import FORMATS
    from agent.settings import load_settings
    from policies.replay import replay as replayed

    chosen, older = named_policy(policy), named_policy(against) if against else None
    if since is not None and export is not None:
        raise BadSettings("'--since' is about this home, and '--from' about an export; give one of them")
    with ExitStack() as held:
        lines = _exported(held, export) if export is not None else _recorded(held, since)
        found = replayed(lines, chosen, older)
    sys.stdout.write(FORMATS["json" if json else form.value](found, Language(load_settings().language)))
    return FAILED if any(found.counts[kind.value] for kind in forbid or ()) else DONE


def _exported(held: ExitStack, path: Path) -> Iterator[dict[str, Any]]:
    from agent.errors import BadSettings  # start-up time

    stream = sys.stdin if str(path) == "-" else held.enter_context(path.open("rb"))
    for number, line in enumerate(stream, 1):
        try:
            found = json_text.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or (number == 1 and (found.get("type"), found.get("format")) != ("export", 1)):
            raise BadSettings(
                f"{str(path)!r} is no export of the ledger: line {number}; make one with: remit audit export"
            )
        yield found


def _recorded(held: ExitStack, since: str | None) -> Iterator[dict[str, Any]]:
    from agent.audit.export import lines  # start-up time
    from agent.audit.period import since as begun

    at = held.enter_context(desk())
    now = at.app.clock.now()
    runs = None if since is None else list(at.app.store.ledger.active(begun(since, now)))
    return lines(at.app.store, runs, at=now, decisions=False)
