"""A person of the practice world who answers questions, in a process of its own, through `remit approve`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sandbox.practice.errors import PracticeError

NAME = "practice-approver"
"""The identity, which only practice homes accept."""


def answer(home: Path, question: str, *, because: str = "") -> None:
    """Say yes to a question of this home, or no when there is a reason; PracticeError when it does not count."""
    words = ["reject", "--because", because] if because else ["approve"]
    program = str(Path(sys.executable).with_name("remit"))
    done = subprocess.run(
        [program, *words, question, "--as", NAME],
        env={**os.environ, "REMIT_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise PracticeError(f"the practice approver could not answer {question}: {done.stderr.strip()}")
