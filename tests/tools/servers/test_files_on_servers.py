"""Files on a real server: real paths only, all or nothing."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path

import paramiko
import pytest

from policies.action import ServerRead, ServerWrite
from policies.errors import ActionFailed
from policies.ports import Raw
from tests.tools.permits import permit
from tests.tools.servers.box import LABEL, Box, Make, NoSecrets, command, until
from tools.servers.connection import OUTPUT_BYTES
from tools.servers.executor import ServerExecutor


def read(path: Path) -> ServerRead:
    return ServerRead(server="web-1", path=str(path))


def write(path: Path, text: str) -> ServerWrite:
    return ServerWrite(server="web-1", path=str(path), text=text)


@pytest.fixture
def folder(box: Box, tmp_path: Path) -> Path:
    return tmp_path.resolve()


async def refused(hands: ServerExecutor, action: ServerRead | ServerWrite) -> str:
    with pytest.raises(ActionFailed) as failed:
        await hands.execute(permit(action))
    assert failed.value.may_have_acted is False
    return str(failed.value)


async def test_a_file_is_read_as_text_and_large_ones_from_their_beginning(hands: ServerExecutor, folder: Path) -> None:
    (folder / "a b'c").write_text("甲\n")
    assert await hands.execute(permit(read(folder / "a b'c"))) == Raw(text="甲\n", label=LABEL)
    (folder / "large").write_bytes(b"x" * OUTPUT_BYTES + b"y")
    text = (await hands.execute(permit(read(folder / "large")))).text
    assert text == "x" * OUTPUT_BYTES + "\n[cut: only the first 48,000 bytes]"
    (folder / "binary").write_bytes(b"\xff\x00a")
    assert (await hands.execute(permit(read(folder / "binary")))).text == "\ufffd\0a"


async def test_what_is_not_there_is_said(hands: ServerExecutor, folder: Path) -> None:
    missing = folder / "none" / "there"
    assert await refused(hands, read(missing)) == f"server 'web-1' has no '{missing}'; check the path"
    assert "No such file or directory" in await refused(hands, write(missing, "x"))


async def test_links_are_refused_wherever_they_stand_in_the_path(hands: ServerExecutor, folder: Path) -> None:
    (real := folder / "real").mkdir()
    (real / "file").write_text("kept")
    (folder / "way").symlink_to(real)
    (folder / "link").symlink_to(real / "file")
    (folder / "dangling").symlink_to(real / "new")
    for path in (folder / "way" / "file", folder / "link"):
        assert "link" in await refused(hands, read(path))
        assert "link" in await refused(hands, write(path, "changed"))
    assert "link" in await refused(hands, write(folder / "way" / "new", "x"))
    assert "link" in await refused(hands, write(folder / "dangling", "x"))
    assert sorted(p.name for p in real.iterdir()) == ["file"] and (real / "file").read_text() == "kept"
    assert (folder / "link").is_symlink()


async def test_folders_devices_and_pipes_are_no_files(hands: ServerExecutor, folder: Path) -> None:
    os.mkfifo(folder / "pipe")  # opening it would wait for ever
    for path in (folder, folder / "pipe", Path("/dev/zero"), Path("/")):
        assert "name a plain file" in await refused(hands, read(path))
        assert "name a plain file" in await refused(hands, write(path, "x"))


async def test_a_new_file_is_for_its_owner_only_and_an_old_one_keeps_mode_and_owner(
    hands: ServerExecutor, folder: Path
) -> None:
    raw = await hands.execute(permit(write(folder / "new", "甲")))
    assert raw == Raw(text=f"{folder}/new on web-1: 3 bytes written", label=LABEL)
    assert (folder / "new").read_text() == "甲"
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o600

    (old := folder / "old").write_text("before, and longer")
    old.chmod(0o640)
    if os.getuid() == 0:
        os.chown(old, 12, 34)
    before = old.stat()
    await hands.execute(permit(write(old, "after")))
    after = old.stat()
    assert old.read_text() == "after"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino  # a reader of the old one never sees half of it
    assert sorted(p.name for p in folder.iterdir()) == ["new", "old"]


async def test_nobody_else_can_read_a_file_while_it_is_written(
    hands: ServerExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = paramiko.SFTPFile.write

    def watched(self: paramiko.SFTPFile, data: bytes) -> None:
        seen.extend(stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir() if p.name.startswith(".remit-"))
        real(self, data)

    monkeypatch.setattr(paramiko.SFTPFile, "write", watched)
    await hands.execute(permit(write(folder / "new", "x")))
    assert seen == [0o600]


async def test_a_link_laid_for_the_temporary_file_is_not_followed(
    hands: ServerExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "victim").write_text("kept")
    monkeypatch.setattr("tools.servers.connection.secrets.token_hex", lambda size: "guessed")
    (folder / ".remit-guessed").symlink_to(folder / "victim")
    with pytest.raises(ActionFailed, match="could not write"):
        await hands.execute(permit(write(folder / "new", "x")))
    assert (folder / "victim").read_text() == "kept"
    assert not (folder / "new").exists()


async def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(make: Make, folder: Path) -> None:
    (folder / "old").write_text("before")
    hands = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paramiko.SFTPFile, "chmod", _refuse)
        assert "Disk quota exceeded" in await refused(hands, write(folder / "old", "after"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paramiko.SFTPClient, "posix_rename", _refuse)
        assert "Disk quota exceeded" in await refused(hands, write(folder / "old", "after"))
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("old", "before")]


def _refuse(*_: object) -> None:
    raise OSError(122, "words of the server")


async def test_a_write_cut_off_at_the_rename_may_have_happened(
    hands: ServerExecutor, box: Box, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = paramiko.SFTPClient.posix_rename

    def cut_after(self: paramiko.SFTPClient, old: str, new: str) -> None:
        real(self, old, new)
        box.cut()
        raise EOFError

    monkeypatch.setattr(paramiko.SFTPClient, "posix_rename", cut_after)
    with pytest.raises(ActionFailed, match="could not write") as failed:
        await hands.execute(permit(write(folder / "new", "x")))
    assert failed.value.may_have_acted is True
    raw = await hands.probe(permit(write(folder / "new", "x")))
    assert raw is not None and raw.text == f"{folder}/new on web-1: 1 bytes written"


async def test_after_a_crash_the_file_itself_tells_whether_it_was_written(
    hands: ServerExecutor, box: Box, folder: Path
) -> None:
    action = write(folder / "has no", "甲\n")
    assert await hands.probe(permit(action)) is None
    (folder / "has no").write_text("甲\n and more")
    assert await hands.probe(permit(action)) is None
    (folder / "has no").write_text("甲\n")
    raw = await hands.probe(permit(action))
    assert raw == Raw(text=f"{folder}/has no on web-1: 4 bytes written", label=LABEL)

    (folder / "has no").unlink()
    (folder / "has no").mkdir()  # it cannot be looked at, and that says nothing
    with pytest.raises(ActionFailed, match="whether it was written is not known") as failed:
        await hands.probe(permit(action))
    assert failed.value.may_have_acted is True


async def test_cancelling_a_write_leaves_the_old_file(
    hands: ServerExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "old").write_text("before")
    writing, going_on = threading.Event(), threading.Event()
    real = paramiko.SFTPFile.write

    def slow(self: paramiko.SFTPFile, data: bytes) -> None:
        writing.set()
        going_on.wait(5)
        real(self, data)

    monkeypatch.setattr(paramiko.SFTPFile, "write", slow)
    task = asyncio.create_task(hands.execute(permit(write(folder / "old", "after"))))
    await asyncio.to_thread(until, writing.is_set)
    task.cancel()
    await asyncio.sleep(0)
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (folder / "old").read_text() == "before"
    assert (await hands.execute(permit(command("echo", "on")))).text == "on"


async def test_a_secret_is_written_only_where_rule_and_record_let_it(make: Make, folder: Path) -> None:
    secrets = NoSecrets(token="made-up-token")
    hands = make(secrets)
    raw = await hands.execute(permit(write(folder / "t", "secret://token"), secrets=frozenset({"token"})))
    assert (folder / "t").read_text() == "made-up-token" and "made-up" not in raw.text
    assert secrets.asked == [("token", "web-1")]
    assert "no rule lets secret 'token'" in await refused(hands, write(folder / "t", "secret://token"))
    assert secrets.asked == [("token", "web-1")]


async def test_handles_in_a_file_are_opened_last(hands: ServerExecutor, folder: Path) -> None:
    handles = {"⟦email:AAAAAAAAAA⟧": "a@b.example"}
    raw = await hands.execute(permit(write(folder / "f", "to ⟦email:AAAAAAAAAA⟧"), handles=handles))
    assert (folder / "f").read_text() == "to a@b.example"
    assert "a@b" not in raw.text
