"""Tables of the run's folder: CSV and xlsx, read by a confined child, written so that no cell is a formula."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import sys
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from policies.action import Cell, TableRead, TableWrite
from policies.errors import ActionFailed
from policies.labels import TOP
from policies.permit import Permit
from policies.ports import Raw
from sandbox.confinement import Confinement
from sandbox.process import Exit, Stage, run
from sandbox.workspace import Workspace
from tools.files import IN_FOLDER, Workspaces, capped, decoded, encoded, holds, sandbox_faults
from tools.shell import least_level

_CHILD = Path(__file__).with_name("table_child.py")
_FILE_BYTES = 50 << 20
_WALL_S = 20.0
_MEMORY_BYTES = 1 << 30
_EXCEL_DIGITS = 10**15
"""A number as large as this would lose its last digits: it is written as text."""
_EXCEL_CHARS = 32_767
_FORMULA_STARTS = tuple("=+-@＝＋－＠")  # OWASP, CSV Injection; the wide ones are read alike in East Asia
_PLAIN_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*%?")
_SHEET_NAME = re.compile(r"[^\[\]:*?/\\\x00-\x1f]{1,31}")


class TablesExecutor:
    """Carries out table.read and table.write."""

    kinds = frozenset({"table.read", "table.write"})

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    async def execute(self, permit: Permit) -> Raw:
        """The asked rows as CSV, with the number of all rows; or a word on what was written."""
        workspace = self._workspaces(permit.run)
        with sandbox_faults(may_have_acted=False):
            if permit.action_type is TableRead:
                return await _read(workspace, permit)
            action = permit.redeem(TableWrite)
            workspace.write(action.path, _file(action, permit))
        return _written(action)

    async def probe(self, permit: Permit) -> Raw | None:
        """A write happened if the file is, byte for byte, what would be written; a reading can be repeated."""
        if permit.action_type is not TableWrite:
            return None
        action = permit.redeem(TableWrite)
        happened = holds(self._workspaces(permit.run), action.path, _file(action, permit))
        return _written(action) if happened else None


async def _read(workspace: Workspace, permit: Permit) -> Raw:
    action = permit.redeem(TableRead)
    kind = _kind(action.path)
    content = workspace.read(action.path, limit_bytes=_FILE_BYTES)
    if kind == "csv":
        content = decoded(content, action.path).encode()
    stage, walls = _child(json.dumps({"kind": kind, **action.model_dump(include={"sheet", "first_row", "limit"})}))
    ended = await run([stage], walls, stdin=content, least=least_level(permit))
    if ended.timed_out:
        raise _unusable(action.path, f"reading it took more than {_WALL_S:g} s; split it")
    if ended.code:
        raise _unusable(action.path, "it is damaged, or needs more memory than a table may")
    table = _answer(action.path, ended)
    if "fault" in table:
        raise _unusable(action.path, table["fault"])
    shown, total = table["rows"], table["total"]
    what = f"rows {action.first_row} to {action.first_row + len(shown) - 1}, from 0," if shown else "no rows"
    where = f" of sheet {table['sheet']!r} (sheets: {', '.join(map(repr, table['sheets']))})" if kind == "xlsx" else ""
    return Raw(
        text=f"[{what} of {total}{where}]\n" + capped(_csv([table["columns"], *shown], lineterminator="\n")),
        data={"columns": table["columns"]},
        rows=total,
        label=IN_FOLDER,
        level=ended.level.name.lower(),
    )


def _answer(path: str, ended: Exit) -> dict[str, Any]:
    try:
        answer = None if ended.truncated else json.loads(ended.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _unusable(path, "what was read of it is too much to be shown; split it")
    return answer


def _child(asked: str) -> tuple[Stage, Confinement]:
    """The interpreter and the packages it needs; the table comes by standard input, so there is no file to see."""
    specs = [importlib.util.find_spec(name) for name in ("openpyxl", "et_xmlfile", "defusedxml")]
    packages = [Path(spec.origin).parent for spec in specs if spec and spec.origin]
    python = Path(sys.executable).resolve()
    site = sorted({str(package.parent) for package in packages})
    walls = Confinement(
        read_roots=(_CHILD, *packages, *({Path(sys.base_prefix), python.parent} - {Path("/usr")})),
        write_roots=(),
        cwd=packages[0],
        cpu_s=int(_WALL_S),
        memory_bytes=_MEMORY_BYTES,
        processes=4,
        file_size_bytes=0,
        wall_s=_WALL_S,
        output_bytes=1 << 20,
    )
    return Stage(argv=(str(python), "-I", "-S", "-B", str(_CHILD), asked, *site)), walls


def _kind(path: str) -> str:
    match PurePosixPath(path).suffix.lower():
        case ".csv" | ".tsv" | ".txt":
            return "csv"
        case ".xlsx" | ".xlsm":
            return "xlsx"
    raise _unusable(path, "the name of a table ends with .csv or .xlsx")


def _unusable(path: str, why: str) -> ActionFailed:
    return ActionFailed(f"The table {path!r} cannot be used: {why}.", may_have_acted=False)


def _written(action: TableWrite) -> Raw:
    sheets = "; ".join(f"{s.name!r} with {len(s.rows)} rows of {', '.join(s.columns)}" for s in action.sheets)
    rows = sum(len(sheet.rows) for sheet in action.sheets)
    return Raw(text=f"Wrote {action.path!r}: {sheets}.", files=(action.path,), rows=rows, label=TOP)


def _file(action: TableWrite, permit: Permit) -> bytes:
    """The bytes of the file, the same for the same cells."""

    def opened(cells: Iterable[Cell]) -> list[Cell]:
        return [permit.opened(cell) if isinstance(cell, str) else cell for cell in cells]

    tables = {permit.opened(s.name): [opened(row) for row in (s.columns, *s.rows)] for s in action.sheets}
    if len({name.casefold() for name in tables}) < len(action.sheets):
        raise _unusable(action.path, "two sheets have the same name")
    for header, *rows in tables.values():
        if any(len(row) != len(header) for row in rows):
            raise _unusable(action.path, "every row needs as many cells as there are columns, null for an empty one")
    if _kind(action.path) == "xlsx":
        return _xlsx(action.path, tables)
    if len(tables) > 1:
        raise _unusable(action.path, "a CSV file holds one sheet; name an .xlsx file for more")
    safe = [[_harmless(cell) for cell in row] for rows in tables.values() for row in rows]
    # All texts in quotes: a program for which ';' separates would else end a cell early and see another begin.
    return encoded(_csv(safe, quoting=csv.QUOTE_NONNUMERIC), action.encoding, action.path)


def _csv(rows: Iterable[Sequence[Cell]], **style: Any) -> str:
    out = io.StringIO()
    csv.writer(out, **style).writerows(rows)
    return out.getvalue()


def _harmless(cell: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula when it opens the CSV file."""
    if not isinstance(cell, str) or _PLAIN_NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}" if cell.startswith(("\t", "\r", "\n")) or cell.lstrip().startswith(_FORMULA_STARTS) else cell


def _xlsx(path: str, tables: dict[str, list[list[Cell]]]) -> bytes:
    from openpyxl import Workbook  # takes 0.2 s
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter
    from openpyxl.utils.exceptions import IllegalCharacterError

    book = Workbook()
    book.remove(book.worksheets[0])
    for name, rows in tables.items():
        if not _SHEET_NAME.fullmatch(name):
            raise _unusable(path, r"a sheet's name has 1 to 31 characters and none of []:*?/\ ")
        page = book.create_sheet(name)
        page.freeze_panes = "A2"
        for at, row in enumerate(rows, 1):
            for column, value in enumerate(row, 1):
                try:
                    _put(page.cell(at, column), value)
                except (IllegalCharacterError, ValueError) as error:
                    raise _unusable(path, f"a cell in row {at} is too long or holds a control character") from error
        for column, values in enumerate(zip(*rows[:200], strict=True), 1):
            page.cell(1, column).font = Font(bold=True)
            page.column_dimensions[get_column_letter(column)].width = min(max(map(_width, values)), 60) + 2
    made = io.BytesIO()
    book.save(made)
    return _timeless(made.getvalue())


def _put(cell: Any, value: Cell) -> None:
    if isinstance(value, int | float) and abs(value) < _EXCEL_DIGITS:
        cell.value = value
        if isinstance(value, float) and round(value, 2) == value:
            cell.number_format = "0.00"  # money, mostly
    elif value is not None:
        if len(text := str(value)) > _EXCEL_CHARS:
            raise ValueError("too long")
        cell.value = text
        cell.data_type = "s"  # INVARIANT: set after the value, which makes "=…" a formula
        cell.quotePrefix = _harmless(text) != text  # stays text when a person edits the cell


def _width(value: Cell) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in str(value))


def _timeless(book: bytes) -> bytes:
    """The same workbook without the time of writing, so that a probe can compare bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"2000-01-01T00:00:00Z", data)
            new.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # ZipInfo's own date is 1980
    return made.getvalue()
