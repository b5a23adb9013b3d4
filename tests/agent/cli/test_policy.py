"""`remit policy check` names every fault at its place, and starts quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.cli.conftest import Remit

GOOD = """version: 1
name: mine
rules:
  - id: look
    effect: allow
    action: browser.open
    url: http://shop.example/orders/*
    why: the job
    match: [http://shop.example/orders/17]
    not_match: [http://shop.example/account]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_policy_is_said_to_be_good(remit: Remit, policy: Path) -> None:
    assert remit("policy", "check", str(policy)).out == f"{policy}: policy mine, 1 rules, all cases hold.\n"
    assert remit("policy", "check", str(policy), "--json").objects == [
        {"file": str(policy), "policy": "mine", "rules": 1, "faults": []}
    ]


@pytest.mark.parametrize(
    ("good", "bad", "line", "column", "word"),
    [
        ("effect: allow", "efect: allow", 5, 5, "did you mean 'effect'"),
        ("browser.open", "browser.opn", 6, 13, "'browser.opn' is no kind of action; did you mean 'browser.open'?"),
        ("name: mine", "name: mine\nname: yours", 3, 1, "'name' is given twice"),
        ("[http://shop.example/account]", "[http://shop.example/orders/3]", 10, 17, "'http://shop.example/orders/3'"),
    ],
)
def test_a_fault_is_named_at_its_place(
    good: str, bad: str, line: int, column: int, word: str, remit: Remit, policy: Path
) -> None:
    policy.write_text(GOOD.replace(good, bad))

    said, as_json = remit("policy", "check", str(policy)), remit("policy", "check", str(policy), "--json")

    assert said.code == as_json.code == 2
    sentences = [s for s in said.out.splitlines() if s.startswith(f"{policy}:{line}:{column}: ") and word in s]
    assert len(sentences) == 1
    fault = {"line": line, "column": column, "fault": sentences[0].split(": ", 1)[1]}
    assert fault in as_json.objects[0]["faults"]


def test_all_files_are_checked_and_one_fault_is_enough(remit: Remit, policy: Path, tmp_path: Path) -> None:
    said = remit("policy", "check", str(tmp_path / "none.yaml"), str(policy))

    assert said.code == 2
    missing = "the policy cannot be read: No such file or directory; name another file"
    assert said.out.startswith(f"{tmp_path / 'none.yaml'}: {missing}\n")
    assert "policy mine" in said.out
    fault = {"line": None, "column": None, "fault": missing}
    assert remit("policy", "check", str(tmp_path / "none.yaml"), "--json").objects[0]["faults"] == [fault]


def test_the_policy_of_the_practice_world_loads_nowhere_else(remit: Remit, home: Path) -> None:
    everything = Path(__file__).parents[3] / "sandbox" / "practice" / "allow-all.yaml"

    assert remit("policy", "check", str(everything)).code == 2
    (home / "settings.toml").write_text("practice = true\n")
    assert remit("policy", "check", str(everything)).code == 0


def test_checking_a_policy_imports_no_more_than_loading_one(policy: Path) -> None:
    program = f"""
import sys
from agent.cli.door import run
code = run(["policy", "check", {str(policy)!r}])
print(code, *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    command = (sys.executable, "-c", program)
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True)

    code, *imported = done.stdout.splitlines()[-1].split()
    assert code == "0"
    heavy = {"langgraph", "playwright", "paramiko", "openai", "sqlalchemy", "keyring", "openpyxl", "cryptography"}
    assert heavy & set(imported) == set()
