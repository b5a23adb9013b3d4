"""A practice home for each module of journeys, put back after each test, and what must hold after any trouble."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox.practice.children import MARK
from sandbox.practice.command import Said
from sandbox.practice.script import Call
from sandbox.practice.world import up
from tests.journeys.here import here
from tools.testing import Plays, Practice


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Practice]:
    with Practice(tmp_path_factory.mktemp("practice"), remit=here) as practice:
        shutil.copytree(
            practice.home, practice.home.parent / "as made", ignore=shutil.ignore_patterns("world", "*.sqlite3*")
        )
        yield practice


@pytest.fixture
def practice(home: Practice) -> Iterator[Practice]:
    """After the test nothing that it started is left, and the ledger of the whole home verifies."""
    yield home
    shutil.copytree(home.home.parent / "as made", home.home, dirs_exist_ok=True)
    up(home.world.folder)  # what the test ended of the world runs again
    home.world.reset()
    assert left_behind() == []
    assert home.remit("audit", "verify").code == 0


def left_behind() -> list[str]:
    """Command lines of this process's children that are no practice world's."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # it ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            world = MARK.encode() in (folder / "environ").read_bytes() or command.startswith("sshd:")
            if parent == os.getpid() and not world:
                found.append(command)
    return found


def shown(
    practice: Practice, script: Plays, *options: str, policy: str = "allow-all.yaml", task: str = "Do it."
) -> Said:
    """`remit run` over this script, as a person at a pipe sees it."""
    practice.play(script)
    return practice.remit("run", "--accept", "--policy", str(practice.home / policy), *options, "--", task)


def plan(*steps: dict, **more: object) -> Call:
    return Call("submit_plan", {"summary": "A little work.", "steps": list(steps), **more})


def line_with(said: Said, words: str) -> str:
    """The first line of what was said that holds these words."""
    found = [line for line in (said.out + said.err).splitlines() if words in line]
    assert found, f"no {words!r} in:\n{said.out}{said.err}"
    assert "Traceback" not in said.err
    return found[0]
