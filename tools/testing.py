"""Fixtures for tests of a policy, an own tool or Remit itself: real runs in the practice world, by a scripted model.

    @pytest.fixture
    def practice(tmp_path):
        with Practice(tmp_path) as practice:
            yield practice

    def test_the_price_list_is_never_overwritten(practice):
        step = {"title": "a note", "tool": "write_file", "path": "prices.csv"}
        played = practice.run("Write prices.csv.", policy=Path("my-policy.yaml"), script=[
            Call("submit_plan", {"summary": "One file.", "steps": [step]}),
            Call("write_file", {"path": "prices.csv", "text": "x"}),
            Say("Done."),
        ])
        assert played.events("denied")[0]["rules"] == ["prices-are-kept"]
        assert played.files == {}

A script is a list of turns, a generator function at the top of your test file (it gets the model's requests, for
instance to find a ref), or the name of one: `package.module:function`. Turns are in `sandbox.practice.script`.
Everything but the model is real: shop, web-1, browser, gate, ledger. Own tools go into `practice.home / "tools"`.
Each command is a process as a user starts it; `Practice(folder, remit=…)` takes another way to run one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from sandbox.practice import approver, command
from sandbox.practice.command import Said
from sandbox.practice.errors import PracticeError
from sandbox.practice.script import Script, Turn
from sandbox.practice.scripts import given
from sandbox.practice.world import World, down, load

Plays: TypeAlias = str | Sequence[Turn] | Callable[..., Script]


@dataclass(frozen=True, kw_only=True)
class Played:
    """What came of one command that advanced a run, and of the run so far."""

    run: str
    code: int
    """The command's exit code, as in the README."""
    standing: str
    """done, rejected, failed, previewed, waiting, held or stopped."""
    trouble: str
    """Why it is held, stopped or not done, in one sentence."""
    report: dict[str, Any]
    """Empty until the run has ended."""
    questions: tuple[str, ...]
    """Ids of the questions that wait."""
    files: dict[str, bytes]
    """The run's folder, by path."""
    requests: list[dict[str, Any]]
    """What the model was asked since the script began; protected values are handles, as it saw them."""
    ledger: list[dict[str, Any]]
    """The entries of `remit audit show`."""

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The ledger's entries of these names, such as allowed, denied, asked, done or failed."""
        return [entry for entry in self.ledger if entry["event"] in names]


class Practice:
    """A practice home with its world in `folder`; `with` ends it. Nothing of the user's own home is touched."""

    def __init__(self, folder: Path, *, remit: Callable[..., Said] | None = None) -> None:
        # Sealed: a setting of the developer's, such as another model or store, must not reach a test.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("REMIT_")}
        self._remit = remit or partial(command.remit, environment=clean)
        self.home = folder / "remit-practice"
        self.remit("practice", "up")
        self.world: World = load(self.home / "world")
        self._asked = 0

    def __enter__(self) -> Practice:
        return self

    def __exit__(self, *_: object) -> None:
        down(self.home / "world")

    def remit(self, *words: str) -> Said:
        """Call any command over this home."""
        return self._remit(self.home, *words)

    def run(self, task: str, *options: str, script: Plays, policy: Path | None = None, accept: bool = True) -> Played:
        """Play the script against the task; without `accept` the run waits until its plan is answered.

        PracticeError when the command does not start a run, or when a finished run left turns of the script unused
        or asked for more.
        """
        self.play(script)
        words = ["--policy", str(policy or self.home / "policy.yaml"), *(["--accept"] if accept else []), *options]
        return self._played(self.remit("run", "--json", *words, "--", task))

    def resume(self, run: str) -> Played:
        """Go on with a run that waits, was held or was stopped."""
        return self._played(self.remit("runs", "resume", "--json", run))

    def answer(self, question: str, *, because: str = "") -> None:
        """Say yes, or no when there is a reason, as a practice identity."""
        approver.answer(self.home, question, because=because)

    def play(self, script: Plays) -> None:
        """Let the model begin this script."""
        if not isinstance(script, str):
            given.give(self.world.folder, script)
        self._asked = len(self.world.model_requests())
        self.world.set_script(script if isinstance(script, str) else given.PLAY)

    def _played(self, said: Said) -> Played:
        told = [json.loads(line) for line in said.out.splitlines()]
        if not told or "standing" not in told[-1]:
            raise PracticeError(f"the command ended with {said.code}: {said.err.strip()}")
        last, folder = told[-1], self.home / "runs" / told[-1]["run"]
        if last["standing"] == "done" and (problems := self.world.model_verdict().problems):
            raise PracticeError(f"the script did not fit the run: {'; '.join(problems)}")
        return Played(
            run=last["run"],
            code=said.code,
            standing=last["standing"],
            trouble=last["trouble"],
            report=last["report"] or {},
            questions=tuple(last["questions"]),
            files={str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()},
            requests=[json.loads(body) for body in self.world.model_requests()[self._asked :]],
            ledger=[json.loads(x) for x in self.remit("audit", "show", "--json", last["run"]).out.splitlines()],
        )
