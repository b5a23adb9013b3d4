"""A run's folder: what is written is there, and no name leads out of it."""

from __future__ import annotations

import ctypes
import os
import threading
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import OutsideWorkspace, SandboxError, UnusableFile, WorkspaceFull
from sandbox.workspace import Entry, Workspace, open_beneath, parts_of


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs/7K2M", quota_bytes=1000)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file next to the workspace that nothing here may read or change."""
    path = tmp_path / "outside"
    path.write_bytes(b"theirs")
    return path


def test_what_is_written_is_read_and_listed(workspace: Workspace) -> None:
    workspace.write("reports/2026/待收.csv", b"a,b\n")
    workspace.write("notes.txt", b"old")
    workspace.write("notes.txt", b"new!")

    assert workspace.read("notes.txt", limit_bytes=4) == b"new!"
    assert workspace.read("./reports//2026/待收.csv", limit_bytes=100) == b"a,b\n"
    assert workspace.files() == ("notes.txt", "reports/2026/待收.csv")
    at = datetime.fromtimestamp((workspace.root / "notes.txt").stat().st_mtime, UTC)
    assert workspace.listing()[0] == Entry(path=PurePosixPath("notes.txt"), size_bytes=4, modified_at=at)
    assert workspace.used_bytes() == 8


def test_only_its_owner_can_enter(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    workspace = Workspace(tmp_path / "run", quota_bytes=1)

    assert workspace.root.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_a_link_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path)

    with pytest.raises(OSError, match="directory"):
        Workspace(tmp_path / "run", quota_bytes=1)


BAD_NAMES = (
    *("", ".", "/", "/etc/passwd", "//x", "..", "../outside", "a/../../outside", "a/..", "reports/.."),
    *("a\0b", "a\nb", "a\x1b[2Jb", "a\x7f", "\u202egnp.exe", "a\u200bb", "a\ud800", "a\u2028b"),
    *("x" * 256, "中" * 86, "a/" * 1025),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_not_plainly_inside_is_refused(workspace: Workspace, outside: Path, name: str) -> None:
    source = outside.with_name("download")
    source.write_bytes(b"x")
    for attempt in (
        lambda: workspace.resolve(name),
        lambda: workspace.read(name, limit_bytes=10),
        lambda: workspace.write(name, b"ours"),
        lambda: workspace.adopt(source, name),
    ):
        with pytest.raises(OutsideWorkspace) as refused:
            attempt()
        assert str(refused.value).isprintable()
    assert outside.read_bytes() == b"theirs"
    assert workspace.used_bytes() == 0


def test_a_name_resolves_inside_whether_it_is_there_or_not(workspace: Workspace) -> None:
    workspace.write("a/b", b"")

    assert workspace.resolve("a/b") == workspace.root / "a/b"
    assert workspace.resolve("new/./deep//file.txt") == workspace.root / "new/deep/file.txt"


@pytest.mark.parametrize("name", ["link", "folder/outside", "inside", "dangling"])
def test_no_link_is_followed(workspace: Workspace, outside: Path, name: str) -> None:
    workspace.write("real", b"real")
    (workspace.root / "link").symlink_to(outside)
    (workspace.root / "folder").symlink_to(outside.parent)
    (workspace.root / "inside").symlink_to("real")
    (workspace.root / "dangling").symlink_to(outside.with_name("missing"))

    for attempt in (
        lambda: workspace.resolve(name),
        lambda: workspace.read(name, limit_bytes=10),
        lambda: workspace.write(name, b"ours"),
    ):
        with pytest.raises(OutsideWorkspace, match="link"):
            attempt()
    assert outside.read_bytes() == b"theirs"
    assert not outside.with_name("missing").exists()
    assert workspace.files() == ("real",)


def test_a_second_name_of_an_outer_file_is_neither_read_nor_written_through(
    workspace: Workspace, outside: Path
) -> None:
    (workspace.root / "second").hardlink_to(outside)

    with pytest.raises(UnusableFile, match="one name"):
        workspace.read("second", limit_bytes=10)
    workspace.write("second", b"ours")

    assert workspace.read("second", limit_bytes=10) == b"ours"
    assert outside.read_bytes() == b"theirs"


@pytest.mark.timeout(5)
def test_a_pipe_is_refused_at_once(workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "pipe")

    with pytest.raises(UnusableFile):
        workspace.read("pipe", limit_bytes=10)
    with pytest.raises(UnusableFile):
        open_beneath(workspace.root, "pipe", os.O_WRONLY)
    with pytest.raises(UnusableFile):
        workspace.adopt(workspace.root / "pipe", "adopted")
    assert workspace.files() == ()


def test_what_is_no_plain_file_is_told_apart_from_what_is_outside(workspace: Workspace) -> None:
    workspace.write("folder/file", b"12345")

    for name, limit_bytes in (("missing", 9), ("no/such/file", 9), ("folder", 9), ("folder/file/x", 9)):
        with pytest.raises(UnusableFile, match=name):
            workspace.read(name, limit_bytes=limit_bytes)
    with pytest.raises(UnusableFile, match="larger than the 4 bytes"):
        workspace.read("folder/file", limit_bytes=4)
    with pytest.raises(UnusableFile, match="no plain file"):
        workspace.write("folder", b"")
    with pytest.raises(UnusableFile):
        workspace.write("folder/file/x", b"")
    assert workspace.files() == ("folder/file",)


def test_a_folder_swapped_for_a_link_in_between_gives_a_refusal_not_the_file_elsewhere(
    workspace: Workspace, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_bytes(b"theirs")
    workspace.write("swapped/file", b"ours")
    real, link = workspace.root / "swapped", workspace.root / "link"
    exchange = ctypes.CDLL(None).renameat2  # AT_FDCWD is -100, RENAME_EXCHANGE 2
    link.symlink_to(theirs)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            assert exchange(-100, os.fsencode(real), -100, os.fsencode(link), 2) == 0

    swapper = threading.Thread(target=swap)
    swapper.start()
    outcomes = []
    try:
        for _ in range(400):
            try:
                outcomes.append(workspace.read("swapped/file", limit_bytes=10))
                workspace.write("swapped/file", b"ours")
            except SandboxError:
                outcomes.append(b"refused")
    finally:
        stop.set()
        swapper.join()

    assert set(outcomes) <= {b"ours", b"refused"}
    assert b"ours" in outcomes
    assert [(path.name, path.read_bytes()) for path in theirs.iterdir()] == [("file", b"theirs")]


def test_the_quota_holds_and_what_is_replaced_gives_its_room_back(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write("a", b"x" * 900)
    workspace.write("a", b"y" * 1000)
    source = tmp_path / "download"
    source.write_bytes(b"z")

    with pytest.raises(WorkspaceFull, match="does not fit"):
        workspace.write("b", b"z")
    with pytest.raises(WorkspaceFull, match="does not fit"):
        workspace.adopt(source, "b")

    assert source.exists()
    assert workspace.read("a", limit_bytes=1000) == b"y" * 1000
    assert workspace.files() == ("a",)


def test_a_full_disk_leaves_the_old_content_and_no_remains(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write("a", b"old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(WorkspaceFull, match="no room on the disk"):
            workspace.write("a", b"new")

    assert [path.name for path in workspace.root.iterdir()] == ["a"]
    assert workspace.read("a", limit_bytes=10) == b"old"


def test_a_download_is_moved_in(workspace: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "download.part"
    source.write_bytes(b"rows")
    workspace.adopt(source, "exports/orders.csv")

    assert workspace.read("exports/orders.csv", limit_bytes=10) == b"rows"
    assert not source.exists()


def test_only_plain_files_are_adopted(workspace: Workspace, outside: Path) -> None:
    link = outside.with_name("link")
    link.symlink_to(outside)

    with pytest.raises(OutsideWorkspace):
        workspace.adopt(link, "adopted")
    with pytest.raises(UnusableFile):
        workspace.adopt(outside.parent, "adopted")
    assert (workspace.files(), outside.read_bytes()) == ((), b"theirs")


def test_what_a_child_left_with_a_deceptive_name_counts_but_is_not_listed(workspace: Workspace) -> None:
    for name in (b"\xff\xfe", b"a\nb", "\u202etxt.exe".encode()):
        (workspace.root / os.fsdecode(name)).write_bytes(b"12345")

    assert (workspace.files(), workspace.used_bytes()) == ((), 15)


def test_a_very_deep_tree_is_refused_not_walked(workspace: Workspace) -> None:
    fd = os.open(workspace.root, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)

    with pytest.raises(UnusableFile, match="nested deeper"):
        workspace.write("a", b"")


names = st.text(st.sampled_from("a中./\\ \0\n~$*-") | st.characters(), max_size=30)


@given(names)
def test_every_accepted_name_is_below_the_folder_and_stays_itself(name: str) -> None:
    try:
        parts = parts_of(name)
    except OutsideWorkspace:
        return
    root = Path("/w/run")
    path = root.joinpath(*parts)

    assert os.path.normpath(path) == str(path)
    assert path.is_relative_to(root)
    assert path != root
    assert parts_of("/".join(parts)) == parts


@given(st.lists(st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=20), min_size=1))
def test_ordinary_names_are_accepted(parts: list[str]) -> None:
    parts = [part.replace("/", "-") for part in parts if part.replace("/", "-") not in {".", ".."}] or ["x"]

    assert parts_of("/".join(parts)) == tuple(parts)
