"""A person of the practice world who answers questions, in a process of its own, through `remit approve`."""

from __future__ import annotations

from pathlib import Path

from sandbox.practice.command import remit
from sandbox.practice.errors import PracticeError

NAME = "practice-approver"
"""The identity, which only practice homes accept."""


def answer(home: Path, question: str, *, because: str = "") -> None:
    """Say yes to a question of this home, or no when there is a reason; PracticeError when it does not count."""
    words = ["reject", "--because", because] if because else ["approve"]
    done = remit(home, *words, question, "--as", NAME, timeout_s=60)
    if done.code:
        raise PracticeError(f"the practice approver could not answer {question}: {done.err.strip()}")
