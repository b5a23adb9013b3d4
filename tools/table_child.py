"""Reads a table on standard input; run by tools.tables as a confined child, with nothing but this and openpyxl.

The bytes come from strangers. What is too large is refused before it is unpacked where that can be known, and
else by the limits of the child. Formulas are never computed: the stored result is shown, or the formula's text.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

ROWS = 200_000
_CELLS = 2_000_000
_COLUMNS = 500
_ENTRIES = 5_000
_UNPACKED_BYTES = 200 << 20
_RATIO = 200
"""Sheets of real offices pack 5 to 50 times (XML repeats itself); asked only above 10 MB."""
_CELL_CHARS = 4_000
_SHOWN_CHARS = 60_000


class Fault(Exception):
    """A sentence about the file, for the model."""


def table(content: bytes, kind: str, sheet: str | None, first_row: int, limit: int) -> dict[str, Any]:
    """The columns, the rows from `first_row`, as text, and the number of all rows; empty rows do not count."""
    if kind == "csv":
        return _window(_csv(content.decode()), first_row, limit)
    _check_archive(content)
    import openpyxl  # here, where the walls are

    if not openpyxl.DEFUSEDXML:
        raise Fault("the part that reads XML safely is missing; install Remit anew")
    values = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    sheets = [page.title for page in values.worksheets]
    name = sheet if sheet is not None else next(iter(sheets), "")
    if name not in sheets:
        raise Fault(f"it has no sheet {name!r}; the sheets are {', '.join(map(repr, sheets))}")
    rows: Iterable[Any] = _rows(values[name])
    if _has_formulas(content):
        formulas = openpyxl.load_workbook(io.BytesIO(content), read_only=True)
        both = itertools.zip_longest(rows, _rows(formulas[name]), fillvalue=())
        rows = ([f if v is None else v for v, f in itertools.zip_longest(*pair)] for pair in both)
    return _window(rows, first_row, limit) | {"sheet": name, "sheets": sheets}


def _window(rows: Iterable[Any], first_row: int, limit: int) -> dict[str, Any]:
    filled = _filled(rows)
    columns = [_text(cell) for cell in next(filled, ())]
    if sum(map(len, columns)) > _SHOWN_CHARS:
        raise Fault(f"its headings have more than {_SHOWN_CHARS:,} characters")
    shown: list[list[str]] = []
    total, room = 0, _SHOWN_CHARS - sum(map(len, columns))
    for total, row in enumerate(filled, 1):
        if total > ROWS:
            raise Fault(f"it has more than {ROWS:,} rows; split it")
        if first_row < total <= first_row + limit and room > 0:
            texts = [_text(cell) for cell in row]
            room -= sum(len(text) + 1 for text in texts)
            if room > 0 or not shown:
                shown.append(texts)
    return {"columns": columns, "rows": shown, "total": total}


def _filled(rows: Iterable[Any]) -> Iterator[list[Any]]:
    cells = 0
    for number, row in enumerate(rows):
        cells += len(row) + 1
        if cells > _CELLS or number > 2 * ROWS:
            raise Fault("it is too large to be read as one table; split it")
        kept = list(row)
        while kept and kept[-1] in (None, ""):
            kept.pop()
        if len(kept) > _COLUMNS:
            raise Fault(f"it has more than {_COLUMNS} columns")
        if kept:
            yield kept


def _rows(page: Any) -> Iterator[Any]:
    page.reset_dimensions()  # what the file says of its size is not believed
    return iter(page.iter_rows(values_only=True))


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        text = str(cell).upper()
    elif isinstance(cell, float):
        text = f"{cell:.15g}"  # as spreadsheets show them: 15 digits
    elif isinstance(cell, datetime):
        text = str(cell).removesuffix(" 00:00:00")
    else:
        text = "" if cell is None else str(getattr(cell, "text", cell))  # an array formula has its text inside
    return text if len(text) <= _CELL_CHARS else f"{text[:_CELL_CHARS]}[cut: {len(text) - _CELL_CHARS:,} characters]"


def _csv(text: str) -> Iterator[list[str]]:
    head = [line for line in itertools.islice(io.StringIO(text), 20) if line.strip()]
    widths = {d: min(map(len, csv.reader(head, delimiter=d)), default=0) for d in ",;\t|"}
    return csv.reader(io.StringIO(text, newline=""), delimiter=max(widths, key=lambda d: widths[d]))


def _check_archive(content: bytes) -> None:
    if not content.startswith(b"PK"):
        raise Fault("it is no xlsx file; save an older format as .xlsx first")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)  # zipfile unpacks no more of an entry than it says
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > _ENTRIES or unpacked > _UNPACKED_BYTES or unpacked > max(10 << 20, _RATIO * packed):
        raise Fault("it unpacks to far more than a table needs, so it was not opened")


def _has_formulas(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = [name for name in archive.namelist() if "worksheets/" in name]
        return any(re.search(rb"<(\w+:)?f[ >/]", archive.read(name)) for name in sheets)


if __name__ == "__main__":
    sys.path += sys.argv[2:]
    try:
        answer = table(sys.stdin.buffer.read(), **json.loads(sys.argv[1]))
    except Fault as fault:
        answer = {"fault": str(fault)}
    sys.stdout.write(json.dumps(answer))
