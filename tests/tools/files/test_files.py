"""Text files of the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.action import FileList, FileRead, FileWrite
from policies.errors import ActionFailed, HandleNotAllowed
from policies.labels import TOP, Integrity
from sandbox.workspace import Workspace
from tests.tools.permits import permit
from tools.files import TEXT_BYTES, FilesExecutor


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "r1", quota_bytes=1 << 20)


@pytest.fixture
def files(workspace: Workspace) -> FilesExecutor:
    return FilesExecutor(lambda run: workspace)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("价格 €5\n".encode(), "价格 €5\n"),
        (b"\xef\xbb\xbf" + "价格".encode(), "价格"),
        ("价格".encode("gb18030"), "价格"),
        ("价格".encode("utf-16"), "价格"),
        (b"", ""),
    ],
)
async def test_a_text_is_read_in_the_encodings_offices_use(
    files: FilesExecutor, workspace: Workspace, data: bytes, text: str
) -> None:
    workspace.write("a.txt", data)
    assert (await files.execute(permit(FileRead(path="a.txt")))).text == text


async def test_what_is_read_is_untrusted_and_private(files: FilesExecutor, workspace: Workspace) -> None:
    workspace.write("a.txt", b"x")
    for action in (FileRead(path="a.txt"), FileList()):
        label = (await files.execute(permit(action))).label
        assert (label.integrity, label.readers) == (Integrity.UNTRUSTED, frozenset({"requester"}))


@pytest.mark.parametrize("data", [b"PK\x03\x04rest", b"\x00\x01\x02", b"\xff\xff\xff", b"%PDF-1.7\n"])
async def test_a_binary_file_is_refused_in_words(files: FilesExecutor, workspace: Workspace, data: bytes) -> None:
    workspace.write("a.bin", data)
    with pytest.raises(ActionFailed, match=r"'a\.bin' is no text file") as failed:
        await files.execute(permit(FileRead(path="a.bin")))
    assert failed.value.may_have_acted is False


async def test_the_encoding_that_is_named_is_the_only_one_tried(files: FilesExecutor, workspace: Workspace) -> None:
    workspace.write("a.txt", "价格".encode("gb18030"))
    with pytest.raises(ActionFailed, match="utf-8"):
        await files.execute(permit(FileRead(path="a.txt", encoding="utf-8")))


async def test_a_long_text_is_cut_after_a_line_and_says_so(files: FilesExecutor, workspace: Workspace) -> None:
    workspace.write("a.txt", "行\n".encode() * 30_000)
    text = (await files.execute(permit(FileRead(path="a.txt")))).text
    head, note = text.rsplit("\n[", 1)
    assert head == "行\n" * (TEXT_BYTES // 4)
    assert note == "cut: 27,232 of 60,000 characters are not shown]"


async def test_files_are_listed_with_size_and_time(files: FilesExecutor, workspace: Workspace) -> None:
    assert (await files.execute(permit(FileList()))).text == "The folder is empty."
    workspace.write("b/报表.csv", b"x" * 1234)
    workspace.write("a.txt", b"")
    raw = await files.execute(permit(FileList()))
    first, second = raw.text.splitlines()
    assert (first.split()[0], first.split()[-1], second.split()[0], second.split()[-1]) == (
        "0",
        "a.txt",
        "1,234",
        "b/报表.csv",
    )
    assert raw.rows == 2


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", "a行".encode()),
        ("utf-8-sig", b"\xef\xbb\xbf" + "a行".encode()),
        ("gb18030", "a行".encode("gb18030")),
    ],
)
async def test_a_text_is_written_in_the_encoding_asked_for(
    files: FilesExecutor, workspace: Workspace, encoding: str, data: bytes
) -> None:
    action = FileWrite.model_validate({"path": "new/a.txt", "text": "a行", "encoding": encoding})
    raw = await files.execute(permit(action))
    assert workspace.read("new/a.txt", limit_bytes=100) == data
    assert (raw.text, raw.files, raw.label) == (f"Wrote {len(data)} bytes to 'new/a.txt'.", ("new/a.txt",), TOP)


async def test_handles_are_restored_into_the_file_only_where_allowed(
    files: FilesExecutor, workspace: Workspace
) -> None:
    action = FileWrite(path="a.txt", text="to ⟦email:abcdefghij⟧")
    raw = await files.execute(permit(action, handles={"⟦email:abcdefghij⟧": "li@corp.example"}))
    assert workspace.read("a.txt", limit_bytes=100) == b"to li@corp.example"
    assert "li@corp.example" not in raw.text
    with pytest.raises(HandleNotAllowed):
        await files.execute(permit(FileWrite(path="b.txt", text="to ⟦email:abcdefghij⟧")))
    assert workspace.files() == ("a.txt",)


async def test_trouble_with_a_file_is_a_failure_without_effect(files: FilesExecutor, workspace: Workspace) -> None:
    (workspace.root / "link").symlink_to("/etc/passwd")
    for action in (
        FileRead(path="missing.txt"),
        FileRead(path="link"),
        FileWrite(path="big", text="x" * (2 << 20)),
        FileWrite(path="a", text="\ud800"),
    ):
        with pytest.raises(ActionFailed) as failed:
            await files.execute(permit(action))
        assert failed.value.may_have_acted is False
    assert workspace.files() == ()


async def test_after_a_crash_a_write_is_recognised_by_its_bytes(files: FilesExecutor, workspace: Workspace) -> None:
    action = FileWrite(path="a.txt", text="⟦email:abcdefghij⟧", encoding="utf-8-sig")
    handles = {"⟦email:abcdefghij⟧": "li@corp.example"}
    assert await files.probe(permit(action, handles=handles)) is None
    workspace.write("a.txt", b"li@corp.example")
    assert await files.probe(permit(action, handles=handles)) is None
    done = await files.execute(permit(action, handles=handles))
    assert await files.probe(permit(action, handles=handles)) == done
