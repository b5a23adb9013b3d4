"""What a command works at: an open home, the person's language, and a way to print what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.width import width
from agent.errors import StoreUnreadable

if TYPE_CHECKING:
    from agent.language import Language
    from agent.runs import Runs
    from agent.wiring import App

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
RunArgument = Annotated[str, typer.Argument(help="The run's id, or how it begins; see: remit runs list")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """One command's view of the home."""

    app: App
    runs: Runs
    say: Language
    as_json: bool

    def own(self, run: str, requester: str, *, by: str = "") -> Callable[[str], str]:
        """How texts of a run are shown on this screen: personal values for its requester alone, secrets for nobody."""
        for_requester = (by or self.app.settings.principal) == requester and not self.as_json
        try:
            return self.app.redactor(run).shown if for_requester else str
        except StoreUnreadable:  # erased: there are no values any more
            return str

    def rows(self, names: Sequence[str], found: Iterable[Sequence[Any]], *, none: str = "") -> None:
        """Rows as JSON objects by name, or under the names: in columns on a terminal, tabs between them in a pipe.

        Where there are no rows, `none` says so on standard error, which no program takes for one.
        """
        if self.as_json:
            for row in found:
                self.object(dict(zip(names, row, strict=True)))
            return
        lines = [[self.say(name) for name in names], *([_cell(value) for value in row] for row in found)]
        if len(lines) == 1:
            print(self.say(none), file=sys.stderr)
            return
        if not sys.stdout.isatty():
            for line in lines:
                print("\t".join(line))
            return
        widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            padded = (cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True))
            print("  ".join(padded).rstrip())

    def tell(self, sentence: str, **facts: object) -> None:
        """A sentence about some facts, in the person's language; as JSON the facts alone."""
        if self.as_json:
            self.object(facts)
        else:
            print(self.say(sentence, **facts))

    def object(self, found: Any) -> None:
        """One JSON object on a line."""
        print(json.dumps(found, ensure_ascii=False, default=str))


@contextmanager
def desk(*, as_json: bool = False) -> Iterator[Desk]:
    """The home of this process, opened for one command and closed after it."""
    import asyncio  # start-up time, like the rest

    from agent.language import Language
    from agent.runs import Runs
    from agent.settings import load_settings
    from agent.wiring import App

    app = App(load_settings())
    try:
        yield Desk(app=app, runs=Runs(app), say=Language(app.settings.language), as_json=as_json)
    finally:
        asyncio.run(app.close())


def _cell(value: Any) -> str:
    from policies.question import visible  # start-up time

    text = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else str(value)
    return visible(text).replace("\n", "⏎")
