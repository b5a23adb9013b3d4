"""What a child may read, write, reach and use, and which of the walls stand on this machine."""

from __future__ import annotations

import enum
import functools
import os
import shutil
import subprocess  # noqa: TID251  # the one start that finds out whether starts can be confined
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.errors import SandboxUnavailable


class Level(enum.IntEnum):
    """How strong the walls round a child are. Ordered: a policy names the least it accepts."""

    NONE = 0
    RLIMITS = 1
    LANDLOCK = 2
    NAMESPACES = 3
    FULL = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Confinement:
    """The walls of one child. What is not listed here does not exist for it; there is never a network."""

    read_roots: tuple[Path, ...]
    """Absolute paths, seen at the same place inside. The system's /usr is always there to read."""
    write_roots: tuple[Path, ...]
    """Absolute paths that may be written. Of nested roots the deeper decides, of equal ones reading."""
    cwd: Path
    """Inside a root."""
    cpu_s: int
    """Processor time of each process of the child."""
    memory_bytes: int
    """Address space of each process; also the size of the private /tmp."""
    processes: int
    """Alive at once, in each stage of a pipeline."""
    file_size_bytes: int
    """Of each file the child writes."""
    wall_s: float
    """For the whole pipeline; then its whole tree is killed."""
    output_bytes: int
    """Kept of standard output and of standard error each; the rest is read and dropped."""
    env: Mapping[str, str] = field(default_factory=dict)
    """All the child gets besides PATH, HOME, LANG and TMPDIR. Nothing of ours is inherited."""
    hidden: tuple[Path, ...] = ()
    """Files and folders under the roots that the child finds empty."""

    def __post_init__(self) -> None:
        for path in (*self.read_roots, *self.write_roots, self.cwd, *self.hidden):
            if not path.is_absolute() or path == Path("/") or ".." in path.parts or "\0" in str(path):
                raise ValueError(f"a confinement takes absolute paths below the root, not {str(path)!r}")
        if any(not name or "=" in name or "\0" in name + value for name, value in self.env.items()):
            raise ValueError("a confinement's variables have names without '=', and no NUL anywhere")
        if not any(self.cwd.is_relative_to(root) for root in (*self.read_roots, *self.write_roots)):
            raise ValueError(f"the working folder {str(self.cwd)!r} lies in none of the child's roots")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """The strongest level that really works on this machine, and what keeps it from the next."""

    level: Level
    missing: tuple[str, ...]
    """A sentence each, for the operator."""


WALLS = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
    # One made-up user for all: as root, too, a child is not root for the programs it starts.
    *("--uid", "1000", "--gid", "1000", "--hostname", "remit"),
    *("--die-with-parent", "--new-session", "--clearenv"),
)
"""What bubblewrap puts round every child. There is no way to share the network."""

PRLIMIT = "/usr/bin/prlimit"
"""Sets the limits inside the walls, where they count only the child's own processes (util-linux)."""

ADVICE = (
    "install the Debian package bubblewrap (0.8 or newer); where it is installed, Ubuntu's AppArmor rule "
    "against user namespaces or a container's seccomp profile (Docker: --security-opt seccomp=unconfined) "
    "forbids it"
)


@functools.cache
def probe() -> Reached:
    """The level this machine gives, found by starting one confined child. Asked once per process."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Reached(level=Level.NONE, missing=(f"Children cannot be confined: bubblewrap is missing; {ADVICE}.",))
    trial = (bwrap, *WALLS, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev")
    try:
        os.close(os.pidfd_open(os.getpid()))  # children are killed by descriptors, which old kernels lack
        done = subprocess.run(
            (*trial, "--", PRLIMIT, "--core=0", "--", "/usr/bin/true"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            env={},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Reached(level=Level.NONE, missing=(f"Children cannot be confined ({error}): {ADVICE}.",))
    if done.returncode:
        words = one_line(done.stderr)
        return Reached(level=Level.NONE, missing=(f"Children cannot be confined ({words}): {ADVICE}.",))
    return Reached(level=Level.NAMESPACES, missing=("No seccomp filter and no Landlock rules are applied yet.",))


def require(least: Level) -> Level:
    """The level a child will run at, or SandboxUnavailable if that is below `least`, or no wall at all."""
    reached, least = probe(), max(least, Level.NAMESPACES)
    if reached.level < least:
        raise SandboxUnavailable(
            f"This needs confinement level {least.name.lower()!r}, this machine gives "
            f"{reached.level.name.lower()!r}. {' '.join(reached.missing)}"
        )
    return reached.level


def one_line(raw: bytes | bytearray) -> str:
    """A program's own complaint, short, on one line and printable."""
    text = " ".join(raw.decode("utf-8", "replace").split())[:300]
    return "".join(c if c.isprintable() else "?" for c in text) or "no reason given"
