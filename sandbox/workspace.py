"""One folder per run, and files in it that cannot lead out of it.

Every access walks down from the folder's own descriptor, a name at a time, and follows no link. So a child
that swaps a folder for a link between our check and our use gets a refusal, not a file elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sandbox.errors import OutsideWorkspace, UnusableFile, WorkspaceFull

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_BYTES = 255  # NAME_MAX
_PATH_BYTES = 2048  # half of PATH_MAX, which leaves room for the folder's own path
_DEPTH = 64
_CHUNK_BYTES = 1 << 20
# Control, invisible and bidirectional characters, lone surrogates, line and paragraph separators: they make a
# name read as another on a card or in a log.
_DECEPTIVE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A plain file of the workspace."""

    path: PurePosixPath
    """Relative to the workspace."""
    size_bytes: int
    modified_at: datetime


class Workspace:
    """The folder of one run: only its owner may enter, only names inside it can be used.

    The quota holds for what is written through this object. A child that has the folder as a write root is
    held by its own limits: look at `used_bytes()` when it has ended.
    """

    def __init__(self, root: Path, *, quota_bytes: int) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder(root, (), str(root)) as fd:
            os.fchmod(fd, 0o700)
        self.root = root.resolve()
        self.quota_bytes = quota_bytes

    def resolve(self, relative: str) -> Path:
        """The path of a name that is inside and passes through no link. It need not exist yet.

        A name for cards, policies and children. Not a boundary: the file system may change after the answer,
        so open files with `read`, `write` and `open_beneath`.
        """
        parts = parts_of(relative)
        with (
            contextlib.suppress(FileNotFoundError, UnusableFile),
            _folder(self.root, parts[:-1], relative) as folder,
        ):
            if stat.S_ISLNK(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode):
                raise OutsideWorkspace(f"{relative!r} is a link; name the file itself.")
        return self.root.joinpath(*parts)

    def read(self, relative: str, *, limit_bytes: int) -> bytes:
        """The whole content of a plain file. UnusableFile if there is none, or it is over `limit_bytes`."""
        with os.fdopen(open_beneath(self.root, relative, os.O_RDONLY), "rb") as file:
            content = file.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            raise UnusableFile(f"{relative!r} is larger than the {limit_bytes:,} bytes that may be read at once.")
        return content

    def write(self, relative: str, data: bytes) -> None:
        """Makes or replaces a file: readers see the old content or all of the new, also after a power cut."""
        self._store(relative, io.BytesIO(data), len(data))

    def adopt(self, source: Path, relative: str) -> None:
        """Moves a finished plain file (a download) in under this name; `source` is gone afterwards."""
        with os.fdopen(open_beneath(source.parent, source.name, os.O_RDONLY), "rb") as file:
            self._store(relative, file, os.fstat(file.fileno()).st_size)
        source.unlink()

    def listing(self) -> tuple[Entry, ...]:
        """Every plain file that can be used here, by path.

        Links, pipes, devices and files with deceptive names, which a child may have left, are not listed.
        """
        found: list[Entry] = []
        for parts, seen in self._walk():
            with contextlib.suppress(OutsideWorkspace):
                path = PurePosixPath(*parts_of("/".join(parts)))
                at = datetime.fromtimestamp(seen.st_mtime, UTC)
                found.append(Entry(path=path, size_bytes=seen.st_size, modified_at=at))
        return tuple(sorted(found, key=lambda entry: entry.path))

    def files(self) -> tuple[str, ...]:
        """The names of all files of the listing."""
        return tuple(str(entry.path) for entry in self.listing())

    def used_bytes(self) -> int:
        """How much of the quota is taken, by files that are not listed too."""
        return sum(seen.st_size for _, seen in self._walk())

    def _walk(self) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
        pending: list[tuple[str, ...]] = [()]
        while pending:
            parts = pending.pop()
            if len(parts) > _DEPTH:  # going down costs the square of the depth
                raise UnusableFile(f"The run's folder is nested deeper than {_DEPTH} folders; remove the deepest.")
            # A child may be at work in here: what goes away meanwhile is not there.
            with (
                contextlib.suppress(FileNotFoundError, UnusableFile, OutsideWorkspace),
                _folder(self.root, parts, "/".join(parts)) as folder,
                os.scandir(folder) as entries,
            ):
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((*parts, entry.name))
                    elif entry.is_file(follow_symlinks=False):
                        yield (*parts, entry.name), entry.stat(follow_symlinks=False)

    def _store(self, relative: str, content: BinaryIO, size_bytes: int) -> None:
        parts = parts_of(relative)
        self._make_room(relative, size_bytes)
        try:
            with _folder(self.root, parts[:-1], relative, make=True) as folder:
                _replace(folder, parts[-1], content)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise WorkspaceFull(f"There is no room on the disk for {relative!r}; free some.") from error
            raise _refusal(relative, error) from error

    def _make_room(self, relative: str, size_bytes: int) -> None:
        try:
            replaced = self.resolve(relative).lstat().st_size
        except (FileNotFoundError, NotADirectoryError):
            replaced = 0
        if self.used_bytes() - replaced + size_bytes > self.quota_bytes:
            raise WorkspaceFull(
                f"{relative!r} ({size_bytes:,} bytes) does not fit into this run's {self.quota_bytes:,}; "
                "remove files or write less."
            )


def parts_of(relative: str) -> tuple[str, ...]:
    """The names a path is made of, or OutsideWorkspace if it is not plainly below a folder."""
    path = PurePosixPath(relative)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise OutsideWorkspace(f"{relative!r} is no name inside the run's folder; give a relative one without '..'.")
    if any(unicodedata.category(character) in _DECEPTIVE for character in relative):
        raise OutsideWorkspace(f"{relative!r} has control or invisible characters in it; name the file without them.")
    if len(os.fsencode(relative)) > _PATH_BYTES or any(len(os.fsencode(part)) > _NAME_BYTES for part in path.parts):
        raise OutsideWorkspace(f"{relative[:40]!r}… is too long; a name has at most {_NAME_BYTES} bytes.")
    return path.parts


def open_beneath(root: Path, relative: str, flags: int) -> int:
    """An open descriptor of a plain file below `root`, which os.O_CREAT makes and os.O_TRUNC empties.

    Follows no link and never waits: a pipe without a writer is refused. So is a file with a second name,
    which may lie outside. The caller closes the descriptor.
    """
    parts = parts_of(relative)
    wary = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with _folder(root, parts[:-1], relative) as folder:
        try:
            fd = os.open(parts[-1], wary, 0o600, dir_fd=folder)
        except OSError as error:
            raise _refusal(relative, error) from error
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
        os.close(fd)
        raise UnusableFile(f"{relative!r} is no plain file with one name.")
    os.set_blocking(fd, True)
    if flags & os.O_TRUNC:  # only now is it known whose content goes
        os.ftruncate(fd, 0)
    return fd


@contextlib.contextmanager
def _folder(root: Path, parts: tuple[str, ...], relative: str, *, make: bool = False) -> Iterator[int]:
    fd = os.open(root, _FOLDER)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=fd)
            try:
                deeper = os.open(part, _FOLDER, dir_fd=fd)
            except OSError as error:
                if _is_link(part, fd):
                    raise OutsideWorkspace(f"{relative!r} passes through a link; name the file itself.") from error
                raise _refusal(relative, error) from error
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _refusal(relative: str, error: OSError) -> OutsideWorkspace | UnusableFile:
    match error.errno:
        case errno.ELOOP:
            return OutsideWorkspace(f"{relative!r} is a link; name the file itself.")
        case errno.ENOENT:
            return UnusableFile(f"There is no file {relative!r}.")
        case errno.ENOTDIR | errno.EISDIR | errno.ENXIO | errno.EACCES:
            return UnusableFile(f"{relative!r} is no plain file, or lies below one; name another.")
        case _:
            raise error


def _replace(folder: int, name: str, content: BinaryIO) -> None:
    temporary = f".{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
            shutil.copyfileobj(content, file, _CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)  # the new name, too, outlives a power cut
