"""One effect for each row of a table: which row an action is for, told by what stands in the row, not by a count.

A row is its cells as text, personal values as handles. A row's name is a cell of a column in which the most cells
differ. What strangers wrote may choose among the rows, but nothing that no row holds.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from policies.action import Action, Value
from policies.grounds import recipients
from policies.match.path import Glob, glob
from policies.match.url import UrlPattern, place

Row = tuple[str, ...]
MOST_ROWS = 1000
"""Of a table that a step goes over: it is done at most so often."""


class Table(Value):
    """The rows that a step read or wrote, as far as they are known."""

    columns: Row = ()
    rows: tuple[Row, ...] = ()

    def with_part(self, part: Table, first: int) -> Table:
        """This table after its rows from `first` on were seen again; the part alone where that contradicts it."""
        if self.columns != part.columns or first > len(self.rows):
            return part if first == 0 else self  # what would leave a gap is not taken
        last = first + len(part.rows)
        rest = self.rows[last:] if self.rows[first:last] == part.rows[: len(self.rows) - first] else ()
        return Table(columns=part.columns, rows=(*self.rows[:first], *part.rows, *rest)[:MOST_ROWS])

    @cached_property
    def naming(self) -> tuple[int, ...]:
        """The columns whose cells tell the rows apart best."""
        width = max((len(row) for row in self.rows), default=0)
        differ = [len({row[n] for row in self.rows if n < len(row) and row[n]}) for n in range(width)]
        return tuple(n for n, count in enumerate(differ) if count and count == max(differ))

    def row_for(self, action: Action, pins: Any, used: Iterable[Row], grounded: frozenset[str]) -> Row | None:
        """The first row not used up that `action` is for; None when it is for none, or when that is in doubt.

        Where the plan leaves open where it lands, that place must be the row's. Every field that is named like a
        column says what the row says, and everybody who gets it stands in the row or the plan, or was named otherwise.
        """
        free = Counter(self.rows) - Counter(used)
        given = dict(_given(action))
        fixed = {**(pins.fields or {}), **(pins.arguments or {})}
        said = {name.casefold(): many for name, many in given.items() if name not in fixed}
        open_places = list(_places(action, pins))
        getters = {v for name, values in recipients(action).items() if name not in fixed for v in values}
        values = {value for many in said.values() for value in many}
        for row in self.rows:
            names = {row[n] for n in self.naming if n < len(row) and row[n]}
            if (
                free[row]
                and names & set(open_places or values)
                and (getters - grounded).union(open_places) <= set(row)
                and all(
                    said.get(name.casefold(), {cell}) == {cell} for name, cell in zip(self.columns, row, strict=False)
                )
            ):
                return row
        return None


def table_of(action: Action, text: str) -> tuple[Table, int]:
    """What the result `text` of an action says of a table, and which row is its first; no rows for what is none.

    A table that was read begins with a line about it, then its columns; a line that was cut off is left out.
    """
    if action.kind == "table.write":
        first = action.sheets[0].columns
        rows = (row for sheet in action.sheets if sheet.columns == first for row in sheet.rows)
        return Table(columns=first, rows=tuple(tuple(map(cell_text, row)) for row in rows)[:MOST_ROWS]), 0
    if action.kind == "table.read":
        columns, *found = list(csv.reader(io.StringIO(text.partition("\n")[2]), strict=False)) or [[]]
        whole = tuple(tuple(row) for row in found[: action.limit] if len(row) == len(columns))
        return Table(columns=tuple(columns), rows=whole), action.first_row
    if action.kind == "file.list":
        names = [line.partition("Z  ")[2] for line in text.splitlines() if "Z  " in line]
        return Table(columns=("path",), rows=tuple((name,) for name in names[:MOST_ROWS])), 0
    return Table(), 0


def cell_text(cell: object) -> str:
    """A cell as it stands in a row."""
    return "" if cell is None else str(cell)


def _given(action: Any) -> Iterator[tuple[str, set[str]]]:
    """Field and argument names with all values they have."""
    if action.kind == "tool.call":
        for name, value in action.arguments.items():
            yield name, {cell_text(item) for item in (value if isinstance(value, list) else [value])}
    fields = getattr(action, "fields", ())
    for name in {field.name for field in fields}:
        yield name, {field.value.strip() for field in fields if field.name == name}


def _places(action: Any, pins: Any) -> Iterator[str]:
    """What fills the places that the plan leaves open about where the action lands."""
    if url := getattr(action, "target", None) or getattr(action, "url", None):
        pattern: UrlPattern | None = pins.place
        yield from _filled(pattern.glob if pattern else glob("/**"), place(url).path)
        yield from _asked(url, pattern)
    if path := getattr(action, "path", None):
        yield from _filled(glob(pins.path), path) if pins.path else [str(PurePosixPath(path).with_suffix(""))]
    if (server := getattr(action, "server", None)) and pins.server is None:
        yield server
    if hasattr(action, "pipelines") and pins.pipelines is None:
        yield from (word for pipeline in action.pipelines for command in pipeline for word in command.argv)


def _filled(pattern: Glob, path: str) -> Iterator[str]:
    """What stands where `*` is, and the first segment of what `**` stands for."""
    parts = path.split("/")
    for segment, part in zip(pattern.segments, parts, strict=False):
        head, star, tail = segment.partition("*")
        if star:
            yield unquote(part[len(head) : len(part) - len(tail)])
    if pattern.rest and len(parts) > len(pattern.segments):
        yield unquote(parts[len(pattern.segments)])


def _asked(url: str, pattern: UrlPattern | None) -> Iterator[str]:
    """Values in the query that the plan names without saying which."""
    open_keys = {key for key, want in ((pattern.query or {}) if pattern else {}).items() if want == "any"}
    for pair in place(url).query.split("&"):
        key, _, value = pair.partition("=")
        if unquote(key) in open_keys:
            yield unquote(value)
