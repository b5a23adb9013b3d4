"""Text files of the run's folder: listed, read and written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from policies.action import FileList, FileRead, FileWrite
from policies.errors import ActionFailed
from policies.labels import TOP, Integrity, Label
from policies.permit import Permit
from policies.ports import Raw
from sandbox.errors import SandboxError
from sandbox.workspace import Workspace

Workspaces = Callable[[str], Workspace]
"""The folder of a run, by the run's id."""

IN_FOLDER = Label(integrity=Integrity.UNTRUSTED, readers=frozenset({"requester"}), origins=frozenset({"workspace"}))
"""The label of what stands in the run's folder: a download, a child or the person may have put it there."""

TEXT_BYTES = 64 << 10
"""The most of a result that is shown."""
_FILE_BYTES = 32 << 20
_LISTED = 500


class FilesExecutor:
    """Carries out file.list, file.read and file.write."""

    kinds = frozenset({"file.list", "file.read", "file.write"})

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    async def execute(self, permit: Permit) -> Raw:
        """The listing, the text, or a word on what was written. ActionFailed if the file cannot be used."""
        workspace = self._workspaces(permit.run)
        with sandbox_faults(may_have_acted=False):
            if permit.action_type is FileList:
                permit.redeem(FileList)
                return _listed(workspace)
            if permit.action_type is FileRead:
                return _read(workspace, permit.redeem(FileRead))
            action = permit.redeem(FileWrite)
            data = encoded(permit.opened(action.text), action.encoding, action.path)
            workspace.write(action.path, data)
        return _written(action, data)

    async def probe(self, permit: Permit) -> Raw | None:
        """A write happened if the file holds exactly what would be written; a reading can be done again."""
        if permit.action_type is not FileWrite:
            return None
        action = permit.redeem(FileWrite)
        data = encoded(permit.opened(action.text), action.encoding, action.path)
        return _written(action, data) if holds(self._workspaces(permit.run), action.path, data) else None


@contextlib.contextmanager
def sandbox_faults(*, may_have_acted: bool) -> Iterator[None]:
    """Lets what the walls refuse come out as ActionFailed, with the same sentence."""
    try:
        yield
    except SandboxError as error:
        raise ActionFailed(str(error), may_have_acted=may_have_acted) from error


def holds(workspace: Workspace, path: str, data: bytes) -> bool:
    """Whether the file has exactly this content."""
    with contextlib.suppress(SandboxError):
        return workspace.read(path, limit_bytes=len(data)) == data
    return False


def decoded(data: bytes, name: str, encoding: str = "auto") -> str:
    """The text of a file: UTF-8 or UTF-16 by its mark, else UTF-8, else GB18030. ActionFailed if it is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        tries = ["utf-16"]
    else:
        tries = ["utf-8-sig", "gb18030"] if encoding == "auto" else [encoding.replace("utf-8", "utf-8-sig")]
    for candidate in tries:
        with contextlib.suppress(UnicodeDecodeError):
            if "\0" not in (text := data.decode(candidate)):
                return text
    raise ActionFailed(f"{name!r} is no text file ({' or '.join(tries)}).", may_have_acted=False)


def encoded(text: str, encoding: str, name: str) -> bytes:
    """The bytes of a file to write. ActionFailed for a text that the encoding cannot hold."""
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ActionFailed(
            f"The text for {name!r} has a character that {encoding} cannot hold.", may_have_acted=False
        ) from error


def capped(text: str) -> str:
    """The first 64 kB of a text, whole lines if there are any, with a note of what is missing."""
    if len(text.encode()) <= TEXT_BYTES:
        return text
    head = text.encode()[:TEXT_BYTES].decode(errors="ignore")
    head = head[: head.rfind("\n") + 1] or head
    return f"{head}\n[cut: {len(text) - len(head):,} of {len(text):,} characters are not shown]"


def _listed(workspace: Workspace) -> Raw:
    entries = workspace.listing()
    lines = [f"{e.size_bytes:>12,}  {e.modified_at:%Y-%m-%d %H:%M:%S}Z  {e.path}" for e in entries[:_LISTED]]
    lines += [f"[cut: {len(entries) - _LISTED} more files]"] if len(entries) > _LISTED else []
    return Raw(text="\n".join(lines) or "The folder is empty.", rows=len(entries), label=IN_FOLDER)


def _read(workspace: Workspace, action: FileRead) -> Raw:
    data = workspace.read(action.path, limit_bytes=_FILE_BYTES)
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b")):
        raise ActionFailed(f"{action.path!r} is no text file; read an .xlsx as a table.", may_have_acted=False)
    return Raw(text=capped(decoded(data, action.path, action.encoding)), label=IN_FOLDER)


def _written(action: FileWrite, data: bytes) -> Raw:
    return Raw(text=f"Wrote {len(data):,} bytes to {action.path!r}.", files=(action.path,), label=TOP)
