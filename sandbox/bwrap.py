"""bubblewrap's options for one confinement: what is mounted, in an order that matters."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from sandbox.confinement import PRLIMIT, WALLS, Confinement

ETC = {
    "/etc/passwd": "root:x:0:0::/:/usr/sbin/nologin\nuser:x:1000:1000::/tmp:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\nuser:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
}
"""Files we write for the child, so that it learns nothing of this machine's users and hosts."""

_ETC_OF_THE_MACHINE = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "fonts",
    "mime.types",
)
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108
_SHARED_MEMORY_BYTES = 64 << 20  # what Docker gives /dev/shm


def options(confinement: Confinement, etc_fds: dict[str, int]) -> list[str]:
    """Everything for `bwrap --args`; `etc_fds` holds an open descriptor with the content of each of ETC."""
    made = [*WALLS, *_system(confinement), *_roots(confinement), *_hidden(confinement)]
    for path, fd in etc_fds.items():
        made += ["--ro-bind-data", str(fd), path]
    # Both are memory that no limit counts, so they are closed once everything has been mounted on them.
    made += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(confinement.cwd)]
    for name, value in environment(confinement).items():
        made += ["--setenv", name, value]
    return made


def environment(confinement: Confinement) -> dict[str, str]:
    """All of the child's environment."""
    return _ENVIRONMENT | dict(confinement.env)


def limited(confinement: Confinement, program: Path, arguments: tuple[str, ...]) -> list[str]:
    """The command to run inside: the program under its limits."""
    return [
        PRLIMIT,
        f"--cpu={_limit(resource.RLIMIT_CPU, confinement.cpu_s)}",
        f"--as={_limit(resource.RLIMIT_AS, confinement.memory_bytes)}",
        # One more for bubblewrap's own. The kernel counts none of the real root's: process.py does.
        f"--nproc={_limit(resource.RLIMIT_NPROC, confinement.processes + 1)}",
        f"--fsize={_limit(resource.RLIMIT_FSIZE, confinement.file_size_bytes)}",
        f"--nofile={_limit(resource.RLIMIT_NOFILE, 1024)}",
        "--core=0",
        "--",
        str(program),
        *arguments,
    ]


def _limit(kind: int, value: int) -> int:
    """As asked, or what this process may still give: limits cannot be raised."""
    _, ours = resource.getrlimit(kind)
    return value if ours == resource.RLIM_INFINITY else min(value, ours)


def _system(confinement: Confinement) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        there = Path("/", name)
        if there.is_symlink():
            yield from ("--symlink", str(there.readlink()), str(there))
        elif there.is_dir():
            yield from ("--ro-bind", str(there), str(there))
    for name in _ETC_OF_THE_MACHINE:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev")
    yield from ("--size", str(_SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm")  # noqa: S108
    # Before the roots: a workspace may itself lie below /tmp.
    yield from ("--size", str(confinement.memory_bytes), "--tmpfs", "/tmp")  # noqa: S108


def _roots(confinement: Confinement) -> Iterator[str]:
    read = [(len(root.parts), 1, "--ro-bind", str(root)) for root in confinement.read_roots]
    write = [(len(root.parts), 0, "--bind", str(root)) for root in confinement.write_roots]
    for _, _, how, root in sorted([*read, *write]):
        yield from (how, root, root)


def _hidden(confinement: Confinement) -> Iterator[str]:
    for path in confinement.hidden:
        real = path.resolve()
        if real.is_dir():
            yield from ("--tmpfs", str(real), "--remount-ro", str(real))
        elif real.exists():
            yield from ("--ro-bind", "/dev/null", str(real))
