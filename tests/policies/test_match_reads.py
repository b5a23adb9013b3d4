"""Commands that only read are allowed, and nothing can be smuggled through a program that only reads."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from policies.action import EffectClass, ServerRun, ShellRun
from policies.decision import Effect
from policies.load import load
from policies.rules import Policy
from tests.policies.asking import ask
from tools.commands import parse
from tools.errors import ToolError

HERE = Path(__file__).parent
SERVER = "web-1$ "


@cache
def ops_read() -> Policy:
    return load(HERE.parents[1] / "policies/presets/ops-read.yaml")


def corpus(name: str) -> list[str]:
    """The lines of a data file; `web-1$ x` is x on a server, the others run in the run's folder."""
    lines = (HERE / "commands" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("## ")]


def effect(line: str) -> Effect:
    """What the shipped policy says to a command as it is typed; a command that cannot be parsed is refused."""
    try:
        pipelines = parse(line.removeprefix(SERVER), glob=None)
    except ToolError:
        return Effect.DENY
    made = ServerRun(server="web-1", pipelines=pipelines) if line.startswith(SERVER) else ShellRun(pipelines=pipelines)
    said = ask(ops_read(), made, attended=False).effect
    assert said is not Effect.ALLOW or made.effect is EffectClass.READ
    return said


def test_honest_commands_are_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = corpus("honest.txt")
    refused = [line for line in lines if effect(line) is not Effect.ALLOW]
    with capsys.disabled():
        print(f" {len(lines) - len(refused)} of {len(lines)} honest commands allowed", end=" ")
    assert len(lines) >= 150 and len(refused) <= 0.04 * len(lines), refused


def test_nothing_is_smuggled_through_a_program_that_reads(capsys: pytest.CaptureFixture[str]) -> None:
    lines = corpus("smuggled.txt")
    passed = [line for line in lines if effect(line) is not Effect.DENY]
    with capsys.disabled():
        print(f" {len(lines) - len(passed)} of {len(lines)} smuggling commands refused", end=" ")
    assert passed == []
    assert len(set(lines)) == len(lines) >= 400
