"""The policy guide tells the truth: its rules load, cover every kind of action, and its gate holds a change back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from agent.cli.named import AnyGroup
from policies.action import KINDS
from policies.doubts import doubts
from policies.load import loads
from tests.agent.cli.conftest import Remit, home, remit
from tests.policies.asking import accepted, step
from tests.policies.test_replay import export, of

__all__ = ["home", "remit"]  # fixtures
GUIDE = (Path(__file__).parents[2] / "policies/README.md").read_text("utf-8")
FENCES = re.findall(r"(?m)^(?:<!-- file: (.+?) -->\n)?```(\w+)\n((?s:.*?))^```$", GUIDE)
RULES = [text for name, kind, text in FENCES if kind == "yaml" and not name]
FILES = {name: text for name, _, text in FENCES if name}
HEAD = "version: 1\nname: guide\nrules:\n"


def together():
    return loads(HEAD + "".join(RULES), "guide", groups=AnyGroup())


@pytest.mark.parametrize("text", RULES)
def test_every_block_of_rules_loads_by_itself(text):
    assert loads(HEAD + text, "guide", groups=AnyGroup()).rules


def test_every_kind_of_action_has_a_worked_rule():
    under = together()
    named = {kind for rule in under.rules if len(rule.action) < len(KINDS) for kind in rule.action}
    assert named == set(KINDS)
    asked = {kind for rule in under.rules if rule.effect == "ask" and rule.of and rule.limit for kind in rule.action}
    assert asked >= {
        "file.write",
        "table.write",
        "shell.run",
        "browser.submit",
        "server.run",
        "server.write",
        "tool.call",
    }
    flows = {kind for rule in under.rules if rule.when for kind in rule.action}
    assert flows == set(KINDS)
    assert list(doubts(under)) == []


def test_the_scenarios_of_the_guide_hold(remit: Remit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert remit("policy", "test", "--policy", "policy.yaml", "scenarios.yaml").out.startswith(
        "scenarios.yaml: 4 of 4 hold."
    )
    assert len(YAML(typ="safe", pure=True).load(FILES["scenarios.yaml"])) == 4


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("", "", 0, "nothing changed"),
        ("[restart, worker-1]", "[restart, worker-2]", 1, ""),  # its own cases disagree
        ("effect: allow, action: file.list", "effect: deny, action: file.list", 1, ""),  # a scenario disagrees
        ("", "write", 1, 'type="newly-allowed"'),
    ],
)
def test_the_gate_holds_a_change_back(old: str, new: str, code: int, said: str, home: Path, tmp_path: Path):
    under = loads(FILES["policy.yaml"], "policy.yaml")
    mandate = accepted(under, step(1, "file.write"))
    lines = export(of("file.list", under), of("file.write out/a", under, mandate, seq=2), plans=(mandate,))
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in FILES.items():
        wider = "  - {id: write, effect: allow, action: file.write, why: notes}\n" if "write" in new else ""
        changed = text.replace(old, new) if old and not wider else text + wider
        (tmp_path / name).write_text(changed if name == "policy.yaml" else text)

    done = gate(tmp_path)

    assert done.returncode == code or (code and done.returncode), done.stdout + done.stderr
    if said:
        assert said in (tmp_path / "replay.xml").read_text()
        assert (
            (tmp_path / "replay.md").read_text().startswith("## Policy reminders against what was decided: 2 actions")
        )


def gate(folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(["sh", "gate.sh"], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_commands_of_the_guide_run(home: Path, tmp_path: Path):
    (text,) = (text for name, kind, text in FENCES if kind == "sh" and not name)
    (tmp_path / "gate.sh").write_text("set -e\n" + text)
    done = gate(tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"effect": "deny"' in done.stdout and "nearly" not in done.stderr
