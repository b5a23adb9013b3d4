"""The `remit` command as a person of the practice world calls it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Said(NamedTuple):
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


def remit(home: Path, *words: str, environment: Mapping[str, str] = os.environ, timeout_s: float = 120) -> Said:
    """Call `remit` over this home with nobody at the terminal; TimeoutExpired when it does not end."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("remit")), *words],
        env={**environment, "REMIT_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)
