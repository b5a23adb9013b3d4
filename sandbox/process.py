"""Confined children: started, capped, timed, and killed with their whole tree.

A pipeline is a row of argument vectors whose pipes we connect; there is never a shell. Each stage is one
bubblewrap with a process namespace of its own, whose first process holds all the others: when that one is
gone, so are daemons, grandchildren in other sessions and whatever ignores signals.

Not covered: if we ourselves are killed in the few milliseconds in which bubblewrap builds the walls, that
child is left to its limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import bwrap
from sandbox.confinement import Confinement, Level, one_line, require
from sandbox.errors import OutsideWorkspace, SandboxError, SandboxUnavailable
from sandbox.workspace import open_beneath

NOT_FOUND = 127
"""The exit code of a program that is not there, as shells have it (POSIX XCU 2.8.2)."""
KILLED = 128 + signal.SIGKILL
"""The exit code of a program that was killed."""
_PATIENCE_S = 10.0  # for what takes milliseconds: building the walls, dying of SIGKILL
_CENSUS_S = 0.1
_READ_BYTES = 1 << 16  # what a pipe holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One program of a pipeline. Redirections are absolute paths of files below the confinement's roots."""

    argv: tuple[str, ...]
    stdout: Path | None = None
    """Written instead of the next stage's input, or of what the last stage's caller gets."""
    append: bool = False
    stdin: Path | None = None
    """Read instead of the previous stage's output, or of the bytes given to the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How a pipeline ended."""

    codes: tuple[int, ...]
    """One a stage; 128 + n for signal n."""
    stdout: bytes = b""
    stderr: bytes = b""
    """Of all stages, in the order it came."""
    truncated: bool = False
    """There was more output than `output_bytes`; the rest is lost."""
    timed_out: bool = False
    duration_s: float = 0.0
    level: Level
    """The walls that stood round it."""
    not_found: str | None = None
    """The program that is not there inside the walls; then no stage was started."""

    @property
    def code(self) -> int:
        """The first code that is not 0, else 0."""
        return next((code for code in self.codes if code), 0)


async def run(
    pipeline: Sequence[Stage], confinement: Confinement, *, stdin: bytes = b"", least: Level = Level.NAMESPACES
) -> Exit:
    """Runs a pipeline to its end, its deadline or our cancellation; afterwards nothing of it is alive.

    SandboxUnavailable if the walls could not be put up: then that program did not run. OutsideWorkspace or
    UnusableFile for a redirection that is not a plain file below the roots: then none did.
    """
    if not pipeline or not all(stage.argv for stage in pipeline):
        raise ValueError("a pipeline has at least one stage, and every stage names its program")
    level = require(least)
    began = time.monotonic()
    programs: list[Path] = []
    for stage in pipeline:
        if (program := _program(stage.argv[0], confinement)) is None:
            return Exit(codes=(NOT_FOUND,), level=level, not_found=stage.argv[0])
        programs.append(program)
    with _Tree(confinement) as tree:
        tree.start(pipeline, programs, stdin)
        timed_out = not await tree.ended()
    return Exit(
        codes=tuple(child.code(tree.err.kept) for child in tree.children),
        stdout=bytes(tree.out.kept),
        stderr=bytes(tree.err.kept),
        truncated=tree.out.truncated or tree.err.truncated,
        timed_out=timed_out,
        duration_s=time.monotonic() - began,
        level=level,
    )


def run_trusted(argv: Sequence[str], *, stdin: bytes, timeout_s: float) -> tuple[int, bytes, bytes]:
    """Exit code, output and complaint of a program that Remit itself ships (a parser), without walls.

    For programs and options that we wrote down; only `stdin` may come from outside. It blocks: milliseconds.
    SandboxUnavailable if it cannot be started or takes longer.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout_s, env={}, cwd="/", check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        name = Path(argv[0]).name
        raise SandboxUnavailable(f"{name!r}, a part of Remit, does not run; install Remit anew.") from error
    return done.returncode, done.stdout, done.stderr


class _Tree:
    """All processes of a pipeline, and their output. Leaving it kills what is left."""

    def __init__(self, confinement: Confinement) -> None:
        self._confinement = confinement
        self.children: list[_Child] = []
        self.out = _Capture(confinement.output_bytes)
        self.err = _Capture(confinement.output_bytes)

    def __enter__(self) -> _Tree:
        return self

    def __exit__(self, *_: object) -> None:
        # Without a wait that could be cancelled a second time: what was killed is gone within milliseconds. The last
        # stage goes first, or it would take the death of the one before for the end of its input, and act on half.
        with contextlib.ExitStack() as ends:
            ends.callback(self.out.close)
            ends.callback(self.err.close)
            for child in self.children:
                ends.callback(child.end)

    def start(self, pipeline: Sequence[Stage], programs: Sequence[Path], stdin: bytes) -> None:
        """Starts every stage, and closes on our side what the children hold: they must see ends of files."""
        with contextlib.ExitStack() as theirs:
            source = _held(theirs, stdin)
            theirs.callback(os.close, self.err.end)
            ends: list[tuple[int, int]] = []
            for left, stage in zip(range(len(pipeline) - 1, -1, -1), pipeline, strict=True):
                following, sink = os.pipe() if left else (-1, self.out.end)
                theirs.callback(os.close, sink)
                if left:
                    theirs.callback(os.close, following)
                flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if stage.append else os.O_TRUNC)
                stdin_fd = self._redirected(theirs, stage.stdin, os.O_RDONLY, source)
                ends.append((stdin_fd, self._redirected(theirs, stage.stdout, flags, sink)))
                source = following
            for stage, program, (reads, writes) in zip(pipeline, programs, ends, strict=True):
                command = bwrap.limited(self._confinement, program, stage.argv[1:])
                self.children.append(_Child(self._confinement, command, reads, writes, self.err.end))

    async def ended(self) -> bool:
        """True when every stage has ended by itself, False when the time was up."""
        deadline = time.monotonic() + self._confinement.wall_s
        # The kernel counts no processes of the real root, also not of one that is another user inside: we do.
        root = os.getuid() == 0
        while alive := [child for child in self.children if not _ready(child.outer, 0)]:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            await _readable(alive[0].outer, min(left_s, _CENSUS_S) if root else left_s)
            for child in alive if root else ():
                # Two are bubblewrap's.
                if child.population() > self._confinement.processes + 2:
                    child.kill()
        return True

    def _redirected(self, theirs: contextlib.ExitStack, path: Path | None, flags: int, otherwise: int) -> int:
        if path is None:
            return otherwise
        fd = _redirection(path, self._confinement, flags)
        theirs.callback(os.close, fd)
        return fd


class _Child:
    """One stage: bubblewrap outside (`outer`) and the first process of its namespace (`_first`)."""

    def __init__(self, confinement: Confinement, command: list[str], stdin: int, stdout: int, stderr: int) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self._status, status = os.pipe()
            ours.callback(os.close, self._status)
            theirs.callback(os.close, status)
            etc = {path: _held(theirs, text.encode()) for path, text in bwrap.ETC.items()}
            options = ["--json-status-fd", str(status), *bwrap.options(confinement, etc)]
            # By a descriptor: a command line can be read by every user of the machine, and that of the
            # namespace's first process by the child, with its environment.
            listed = _held(theirs, b"".join(os.fsencode(option) + b"\0" for option in options))
            self._process = subprocess.Popen(
                (shutil.which("bwrap") or "bwrap", "--args", str(listed), "--", *command),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={},
                cwd="/",
                pass_fds=(status, listed, *etc.values()),
                start_new_session=True,
            )
            ours.callback(self._process.wait)
            undo = ours.enter_context(contextlib.ExitStack())
            undo.callback(self._process.kill)
            theirs.close()
            self.outer = os.pidfd_open(self._process.pid)
            self._pidfds: tuple[int, ...] = (self.outer,)
            ours.callback(os.close, self.outer)
            # A wait of some milliseconds that cannot be cancelled: before the first process is known, killing
            # bubblewrap could leave it behind.
            self._told = _until_newline(self._status)
            self._killed = False
            if self._told:
                # Its number cannot have gone to another yet: the kernel gives out all others before.
                with contextlib.suppress(ProcessLookupError):  # ended already, and its namespace with it
                    self._pidfds += (os.pidfd_open(self._facts()["child-pid"]),)
                    ours.callback(os.close, self._pidfds[-1])
            undo.pop_all()
            self._ours = ours.pop_all()

    def kill(self) -> None:
        """Sends the last signal to the namespace's first process, with which the kernel ends all others."""
        self._killed |= not _ready(self.outer, 0)
        for pidfd in reversed(self._pidfds):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def end(self) -> None:
        """Kills what is left, and returns when every process of the stage is gone."""
        self.kill()
        if not all(_ready(pidfd, _PATIENCE_S) for pidfd in self._pidfds):
            raise SandboxError("A confined program did not die when it was killed; look at the machine's disks.")
        while more := os.read(self._status, _READ_BYTES):
            self._told += more
        self._ours.close()

    def code(self, stderr: bytes | bytearray) -> int:
        """The program's exit code. SandboxUnavailable if bubblewrap never came to start it."""
        code = self._facts().get("exit-code")
        if code is None and self._told and (self._killed or self._process.returncode < 0):
            code = KILLED
        if code is None:
            raise SandboxUnavailable(
                f"The walls round a child could not be put up: {one_line(stderr)}. See `remit doctor`."
            )
        return code

    def population(self) -> int:
        """How many processes there are in the namespace, bubblewrap's two included."""
        namespace, found = self._facts().get("pid-namespace"), 0
        for process in Path("/proc").glob("[0-9]*/ns/pid"):
            with contextlib.suppress(OSError):  # it has ended, or is nobody's to look at
                found += process.stat().st_ino == namespace
        return found

    def _facts(self) -> dict[str, int]:
        """What bubblewrap says: a line when the namespace is there, another only when a program ran in it."""
        return {name: value for line in self._told.splitlines() for name, value in json.loads(line).items()}


class _Capture:
    """The first bytes of a stream. The rest is read and dropped: a full pipe would stop its writer."""

    def __init__(self, limit_bytes: int) -> None:
        self.kept = bytearray()
        self.truncated = False
        self._limit_bytes = limit_bytes
        self._fd, self.end = os.pipe()
        os.set_blocking(self._fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._take)

    def close(self) -> None:
        """Takes what is left in the pipe. The writers are gone."""
        while self._take():
            pass
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _take(self) -> bool:
        try:
            chunk = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._fd)
            return False
        room = self._limit_bytes - len(self.kept)
        self.kept += chunk[:room]
        self.truncated |= len(chunk) > room
        return True


def _program(name: str, confinement: Confinement) -> Path | None:
    """Where a program is, inside as outside, or None if it cannot be seen from inside."""
    if "/" in name:
        path = os.path.normpath(confinement.cwd / name)
    else:
        path = shutil.which(name, path=bwrap.environment(confinement)["PATH"]) or ""
    real = Path(path).resolve()
    seen = (Path("/usr"), *confinement.read_roots, *confinement.write_roots)
    usable = path and real.is_file() and os.access(real, os.X_OK) and _below(real, seen)
    return Path(path) if usable and not _below(real, confinement.hidden) else None


def _redirection(path: Path, confinement: Confinement, flags: int) -> int:
    # Of equal roots reading decides, as in bwrap.options.
    roots = [(len(root.parts), 1, root) for root in confinement.read_roots]
    roots += [(len(root.parts), 0, root) for root in confinement.write_roots]
    _, only_read, root = max(((n, r, root) for n, r, root in roots if path.is_relative_to(root)), default=(0, 1, None))
    if root is None or (only_read and flags != os.O_RDONLY) or _below(path, confinement.hidden):
        raise OutsideWorkspace(f"{str(path)!r} cannot be redirected to or from: the child may not use it so.")
    return open_beneath(root, str(path.relative_to(root)), flags)


def _below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root.resolve()) for root in roots)


def _held(owner: contextlib.ExitStack, content: bytes) -> int:
    """A descriptor to read these bytes from. Memory, not a pipe: nobody has to keep writing."""
    fd = os.memfd_create("remit")
    owner.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _until_newline(fd: int) -> bytes:
    """The first line of a pipe, or nothing if it ends before or stays silent."""
    told = b""
    while not told.endswith(b"\n"):
        if not _ready(fd, _PATIENCE_S) or not (more := os.read(fd, _READ_BYTES)):
            return b""
        told += more
    return told


def _ready(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


async def _readable(fd: int, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_reader(fd, seen.set)
    try:
        async with asyncio.timeout(timeout_s):
            await seen.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(fd)
