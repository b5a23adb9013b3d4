"""Tables: read behind walls, written without a formula."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.action import Sheet, TableRead, TableWrite
from policies.errors import ActionFailed, HandleNotAllowed
from policies.labels import Integrity
from policies.ports import Raw
from sandbox.process import Stage, run
from sandbox.workspace import Workspace
from tests.tools.permits import permit
from tools.tables import TablesExecutor, _child, _harmless


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "r1", quota_bytes=64 << 20)


@pytest.fixture
def tables(workspace: Workspace) -> TablesExecutor:
    return TablesExecutor(lambda run: workspace)


def workbook(build: Callable[[openpyxl.Workbook], None]) -> bytes:
    book = openpyxl.Workbook()
    build(book)
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def rows_of(raw: Raw) -> list[list[str]]:
    return list(csv.reader(io.StringIO(raw.text.split("\n", 1)[1])))


async def written(tables: TablesExecutor, workspace: Workspace, *rows: tuple[object, ...]) -> openpyxl.Workbook:
    sheet = Sheet.model_validate({"columns": [f"c{n}" for n in range(len(rows[0]))], "rows": rows})
    await tables.execute(permit(TableWrite(path="w.xlsx", sheets=(sheet,))))
    return openpyxl.load_workbook(io.BytesIO(workspace.read("w.xlsx", limit_bytes=1 << 20)))


# reading


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
async def test_csv_of_any_office_is_read(
    tables: TablesExecutor, workspace: Workspace, encoding: str, delimiter: str
) -> None:
    text = '订单,客户\r\n0012,"李, 明"\r\n\r\n0013,"a""b\nc"\r\n'
    parsed = list(csv.reader(io.StringIO(text)))
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(parsed)
    workspace.write("a.csv", out.getvalue().encode(encoding))
    raw = await tables.execute(permit(TableRead(path="a.csv")))
    assert rows_of(raw) == [["订单", "客户"], ["0012", "李, 明"], ["0013", 'a"b\nc']]
    assert (raw.rows, raw.data, raw.level) == (2, {"columns": ["订单", "客户"]}, "namespaces")
    assert (raw.label.integrity, raw.label.readers) == (Integrity.UNTRUSTED, frozenset({"requester"}))


async def test_a_window_of_rows_comes_with_the_number_of_all(tables: TablesExecutor, workspace: Workspace) -> None:
    workspace.write("a.csv", b"id\n" + b"".join(b"%d\n" % n for n in range(1000)))
    raw = await tables.execute(permit(TableRead(path="a.csv", first_row=990, limit=3)))
    assert raw.text == "[rows 990 to 992, from 0, of 1000]\nid\n990\n991\n992\n"
    raw = await tables.execute(permit(TableRead(path="a.csv", first_row=1000)))
    assert (raw.text.split("\n")[0], raw.rows) == ("[no rows of 1000]", 1000)


async def test_an_empty_table_has_no_columns_and_no_rows(tables: TablesExecutor, workspace: Workspace) -> None:
    workspace.write("a.csv", b"\n")
    raw = await tables.execute(permit(TableRead(path="a.csv")))
    assert (raw.rows, raw.data) == (0, {"columns": []})


async def test_xlsx_cells_are_read_as_a_person_sees_them(tables: TablesExecutor, workspace: Workspace) -> None:
    def build(book: openpyxl.Workbook) -> None:
        page = book.worksheets[0]
        page.title = "订单"
        page.append([])
        page.append(["id", "sum", "on", "at", "yes", "none", "no"])
        page.append(["007", 199.5, datetime(2026, 3, 1), datetime(2026, 3, 1, 8, 30), True, None, 20260301])
        page.append([None, None])
        page.append(["008", 0.1 + 0.2])
        book.create_sheet("合计").append(["x"])

    workspace.write("a.xlsx", workbook(build))
    raw = await tables.execute(permit(TableRead(path="a.xlsx")))
    assert raw.text.startswith("[rows 0 to 1, from 0, of 2 of sheet '订单' (sheets: '订单', '合计')]\n")
    assert rows_of(raw) == [
        ["id", "sum", "on", "at", "yes", "none", "no"],
        ["007", "199.5", "2026-03-01", "2026-03-01 08:30:00", "TRUE", "", "20260301"],
        ["008", "0.3"],
    ]
    raw = await tables.execute(permit(TableRead(path="a.xlsx", sheet="合计")))
    assert rows_of(raw) == [["x"]]
    with pytest.raises(ActionFailed, match="no sheet 'x'; the sheets are '订单', '合计'"):
        await tables.execute(permit(TableRead(path="a.xlsx", sheet="x")))


async def test_a_formula_is_shown_by_its_stored_result_or_its_text_and_never_computed(
    tables: TablesExecutor, workspace: Workspace
) -> None:
    def build(book: openpyxl.Workbook) -> None:
        for row in (["a", "b"], [1, "=1+1"], [2, "=A1*3"]):
            book.worksheets[0].append(row)

    content = workbook(build)
    stored = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stored, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>41</v>").replace(
                b"<f>1+1</f><v />", b"<f>1+1</f><v>41</v>"))  # fmt: skip
    workspace.write("a.xlsx", stored.getvalue())
    raw = await tables.execute(permit(TableRead(path="a.xlsx")))
    assert rows_of(raw) == [["a", "b"], ["1", "41"], ["2", "=A1*3"]]


def bomb(name: str, data: bytes) -> bytes:
    """A real workbook with one part replaced."""
    content = workbook(lambda book: book.worksheets[0].append(["a", "b"]))
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, data if part == name else old.read(part))
    return made.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
HEAD = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
TAIL = b"</sheetData></worksheet>"
ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
BOMBS: dict[str, Callable[[], bytes]] = {
    "unpacks to far more": lambda: bomb(SHEET, b" " * (64 << 20)),
    "too large": lambda: bomb(SHEET, HEAD + b'<row r="900000"><c r="A900000"><v>1</v></c></row>' + TAIL),
    "headings have more than 60,000 characters": lambda: workbook(
        lambda book: book.worksheets[0].append([f"c{n}" + "x" * 3_900 for n in range(450)])
    ),
    "too much to be shown": lambda: workbook(
        lambda book: [book.worksheets[0].append(row) for row in (["a"], ["中" * 3_900] * 450)]
    ),
    "more than 500 columns": lambda: bomb(SHEET, HEAD + b'<row r="1"><c r="XFD1"><v>1</v></c></row>' + TAIL),
    "damaged": lambda: bomb(SHEET, ENTITIES + HEAD + b'<row r="1"><c r="A1"><v>&b;</v></c></row>' + TAIL),
    "is damaged": lambda: bomb(SHEET, HEAD)[:-100],
    "no xlsx file": lambda: b"\xd0\xcf\x11\xe0 an old workbook",
}


@pytest.mark.parametrize("sentence", BOMBS)
async def test_a_hostile_workbook_is_refused_in_words(
    tables: TablesExecutor, workspace: Workspace, sentence: str
) -> None:
    workspace.write("a.xlsx", BOMBS[sentence]())
    with pytest.raises(ActionFailed, match=sentence) as failed:
        await tables.execute(permit(TableRead(path="a.xlsx")))
    assert failed.value.may_have_acted is False


async def test_a_csv_with_too_many_rows_is_refused(tables: TablesExecutor, workspace: Workspace) -> None:
    workspace.write("a.csv", b"1,2\n" * 200_002)
    with pytest.raises(ActionFailed, match="more than 200,000 rows"):
        await tables.execute(permit(TableRead(path="a.csv")))


async def test_long_cells_and_many_of_them_are_cut_and_say_so(tables: TablesExecutor, workspace: Workspace) -> None:
    workspace.write("a.csv", b"a,b\n" + b"1," + b"x" * 50_000 + b"\n" + (b"2," + b"y" * 3_000 + b"\n") * 40)
    raw = await tables.execute(permit(TableRead(path="a.csv")))
    assert "[cut: 46,000 characters]" in raw.text
    assert raw.text.startswith("[rows 0 to 18, from 0, of 41]\n")
    assert len(raw.text) < 64_000
    assert raw.rows == 41


async def test_what_is_no_table_is_refused(tables: TablesExecutor, workspace: Workspace) -> None:
    workspace.write("a.pdf", b"%PDF")
    workspace.write("a.csv", b"\x00\x01")
    for path in ("a.pdf", "a.csv", "missing.csv"):
        with pytest.raises(ActionFailed):
            await tables.execute(permit(TableRead(path=path)))


async def test_the_child_that_reads_sees_only_its_interpreter_and_can_write_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("made-up-secret")
    stage, walls = _child("{}")
    look = f"""
import os, pathlib, socket
for path in ({str(tmp_path / "secret")!r}, {str(Path(__file__))!r}, "/etc/shadow", {str(Path.home() / ".bashrc")!r}):
    assert not os.path.exists(path), path
for path in ("/tmp/x", {str(Path(walls.cwd) / "x")!r}):
    try:
        pathlib.Path(path).write_text("x")
    except OSError:
        continue
    raise AssertionError(path)
assert [name for _, name in socket.if_nameindex()] == ["lo"]
"""
    ended = await run([Stage(argv=(stage.argv[0], "-I", "-S", "-c", look))], walls)
    assert (ended.code, ended.stderr) == (0, b"")


# writing


async def test_numbers_stay_numbers_and_ids_stay_text(tables: TablesExecutor, workspace: Workspace) -> None:
    row = ("11010519491231002X", "007", 6222021234567890123, 199.5, -3, 0.125, True, None, "2026-03-01", "12")
    page = (await written(tables, workspace, row)).worksheets[0]
    assert [cell.value for cell in page[2]] == [
        *("11010519491231002X", "007", "6222021234567890123", 199.5, -3, 0.125, True, None, "2026-03-01", "12")
    ]
    assert [cell.data_type for cell in page[2]] == [*"sssnnnbnss"]
    assert [page["D2"].number_format, page["E2"].number_format, page["F2"].number_format] == [
        "0.00",
        "General",
        "General",
    ]


async def test_a_workbook_is_pleasant_to_read(tables: TablesExecutor, workspace: Workspace) -> None:
    page = (await written(tables, workspace, ("短", "x" * 200), ("客户名称和地址", 1))).worksheets[0]
    assert page.freeze_panes == "A2"
    assert page["A1"].font.b is True
    assert not page["A2"].font.b
    assert (page.column_dimensions["A"].width, page.column_dimensions["B"].width) == (16, 62)


FORMULAS = ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1+1", '=HYPERLINK("http://x")']


@pytest.mark.parametrize("text", FORMULAS)
async def test_no_cell_of_a_workbook_becomes_a_formula(tables: TablesExecutor, workspace: Workspace, text: str) -> None:
    sheet = Sheet(columns=(text,), rows=((text,), ("⟦email:abcdefghij⟧",)))
    action = TableWrite(path="w.xlsx", sheets=(sheet,))
    await tables.execute(permit(action, handles={"⟦email:abcdefghij⟧": text}))
    content = workspace.read("w.xlsx", limit_bytes=1 << 20)
    page = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    for cell in page["A"]:
        assert cell.data_type != "f"
        assert str(cell.value).replace("\n", "\r") == text.replace("\n", "\r")
        assert cell.quotePrefix is True
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert b"<f" not in archive.read(SHEET).replace(b"<font", b"")


@pytest.mark.parametrize("text", FORMULAS)
async def test_no_cell_of_a_csv_file_becomes_a_formula(tables: TablesExecutor, workspace: Workspace, text: str) -> None:
    sheet = Sheet(columns=(text,), rows=((text,), ("⟦email:abcdefghij⟧",)))
    action = TableWrite(path="w.csv", sheets=(sheet,))
    await tables.execute(permit(action, handles={"⟦email:abcdefghij⟧": text}))
    content = workspace.read("w.csv", limit_bytes=9999).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(content, newline=""))) == [[f"'{text}"]] * 3


@given(st.text())
def test_a_harmless_cell_starts_with_nothing_that_computes(text: str) -> None:
    made = _harmless(text)
    assert isinstance(made, str)
    assert made in (text, f"'{text}")
    if made.lstrip()[:1] in ("=", "+", "-", "@") and made:
        float(made.replace(",", "").replace(".", "").rstrip("%"))


async def test_csv_keeps_numbers_bare_and_texts_quoted(tables: TablesExecutor, workspace: Workspace) -> None:
    sheet = Sheet(columns=("id", "sum"), rows=(("007", -199.5), ("-12.50", 3), ("a;=1", None)))
    await tables.execute(permit(TableWrite(path="w.csv", sheets=(sheet,))))
    assert workspace.read("w.csv", limit_bytes=999) == (
        b'\xef\xbb\xbf"id","sum"\r\n"007",-199.5\r\n"-12.50",3\r\n"a;=1",""\r\n'
    )


@pytest.mark.parametrize("path", ["w.csv", "w.xlsx"])
async def test_what_is_written_is_read_back(tables: TablesExecutor, workspace: Workspace, path: str) -> None:
    sheet = Sheet(columns=("客户", "sum"), rows=(("李明", 12.5), ("007", -3)))
    raw = await tables.execute(permit(TableWrite(path=path, sheets=(sheet,))))
    assert raw.text == f"Wrote {path!r}: 'Sheet1' with 2 rows of 客户, sum."
    assert (raw.files, raw.rows) == ((path,), 2)
    back = await tables.execute(permit(TableRead(path=path)))
    assert rows_of(back) == [["客户", "sum"], ["李明", "12.5"], ["007", "-3"]]


async def test_the_same_cells_give_the_same_bytes_and_a_probe_knows_them(
    tables: TablesExecutor, workspace: Workspace
) -> None:
    action = TableWrite(path="w.xlsx", sheets=(Sheet(columns=("a",), rows=(("⟦email:abcdefghij⟧",),)),))
    handles = {"⟦email:abcdefghij⟧": "li@corp.example"}
    assert await tables.probe(permit(action, handles=handles)) is None
    done = await tables.execute(permit(action, handles=handles))
    assert "li@corp.example" not in done.text
    with zipfile.ZipFile(io.BytesIO(workspace.read("w.xlsx", limit_bytes=1 << 20))) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert b">2000-01-01T00:00:00Z<" in archive.read("docProps/core.xml")
    assert await tables.probe(permit(action, handles=handles)) == done
    with pytest.raises(HandleNotAllowed):
        await tables.execute(permit(action))


def sheet(name: str = "S", columns: tuple[str, ...] = ("a",), rows: tuple[tuple[str, ...], ...] = ()) -> Sheet:
    return Sheet(name=name, columns=columns, rows=rows)


@pytest.mark.parametrize(
    ("path", "sheets"),
    [
        ("w.docx", (sheet(),)),
        ("w.csv", (sheet("A"), sheet("B"))),
        ("w.xlsx", (sheet("A"), sheet("a"))),
        ("w.xlsx", (sheet("x/y"),)),
        ("w.xlsx", (sheet("x" * 32),)),
        ("w.xlsx", (sheet(rows=(("a", "b"),)),)),
        ("w.xlsx", (sheet(rows=(("\x01",),)),)),
        ("w.xlsx", (sheet(rows=(("x" * 32_768,),)),)),
        ("w.csv", (sheet(rows=(("\ud800",),)),)),
    ],
)
async def test_a_table_that_cannot_be_is_a_failure_without_effect(
    tables: TablesExecutor, workspace: Workspace, path: str, sheets: tuple[Sheet, ...]
) -> None:
    with pytest.raises(ActionFailed) as failed:
        await tables.execute(permit(TableWrite(path=path, sheets=sheets)))
    assert failed.value.may_have_acted is False
    assert workspace.files() == ()
