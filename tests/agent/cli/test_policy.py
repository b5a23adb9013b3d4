"""`remit policy check` names every fault at its place, and starts quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.cli.conftest import Remit, ask

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
        {"file": str(policy), "policy": "mine", "rules": 1, "faults": [], "doubts": [], "signed_by": ""}
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


def test_each_action_gets_the_decision_that_it_would_get_live(remit: Remit, tmp_path: Path) -> None:
    strangers, remind = {"untrusted": True}, "http://shop.example/orders/17/remind"
    form = {"kind": "browser.submit", "url": remind, "target": remind, "method": "post", "fields": []}
    form["control"] = {"role": "button", "name": "Send"}
    write = {"kind": "file.write", "path": "a.txt", "text": "x"}
    plan = {"summary": "write", "steps": [{"n": 1, "title": "write", "kind": "file.write"}]}
    given = [
        ({"kind": "shell.run", "command": "cat a.csv | wc -l"}, "allow", ["shell-look"]),
        ({"kind": "shell.run", "argv": ["cat", "/etc/passwd"]}, "deny", []),
        ({"kind": "shell.run", "pipelines": [[["cat", "a"], ["wc", "-l"]]]}, "allow", ["shell-look"]),
        ({"kind": "shell.run", "pipelines": [[{"argv": ["cat", "a"]}]]}, "allow", ["shell-look"]),
        (
            {"kind": "server.run", "server": "web-1", "command": "systemctl restart worker"},
            "ask",
            ["web1-restart-worker"],
        ),
        ({"kind": "server.run", "server": "web-1", "command": "uptime && sudo id"}, "deny", []),
        ({"kind": "browser.open", "url": "http://shop.example/orders", "context": strangers}, "allow", ["shop-read"]),
        (
            {"kind": "browser.open", "url": "http://x.example/", "context": strangers},
            "deny",
            ["untrusted-chooses-no-sink"],
        ),
        (form, "ask", ["shop-remind"]),
        (form | {"attended": False}, "deny", ["shop-remind"]),
        (write, "ask", ["files-write"]),
        (write | {"plan": plan}, "allow", ["files-write"]),
    ]
    path = tmp_path / "actions.jsonl"
    path.write_text("".join(json.dumps({"id": f"n{n}"} | line) + "\n" for n, (line, *_) in enumerate(given)))

    said = remit("policy", "decide", "--policy", "back-office", "--actions", str(path))

    assert said.code == 0
    got = [(line["id"], line["effect"], line["rules"]) for line in said.objects]
    assert got == [(f"n{n}", effect, rules) for n, (_, effect, rules) in enumerate(given)]
    assert all(line.keys() == {"id", "effect", "rules", "reason"} and line["reason"] for line in said.objects)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("nonsense", "no JSON object"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ('{"kind": "file.list", "kind": "file.read", "path": "a"}', "given twice"),
        ('{"kind": "tool.call", "tool": "t", "arguments": {"n": NaN}}', "NaN"),
        ('{"kind": "file.fly"}', "file.fly"),
        ('{"kind": "file.list", "more": 1}', "more"),
        ('{"kind": "file.read", "path": "../x"}', "path"),
        ('{"kind": "shell.run"}', "'command', 'argv' and 'pipelines'"),
        ('{"kind": "shell.run", "argv": ["ls"], "command": "ls"}', "'command', 'argv' and 'pipelines'"),
        ('{"kind": "shell.run", "argv": []}', "argv"),
        ('{"kind": "shell.run", "pipelines": 3}', "no action"),
        ('{"kind": "shell.run", "command": 3}', "text"),
        ('{"kind": "shell.run", "command": "cat `id`"}', "CmdSubst"),
        ('{"kind": "shell.run", "command": "ls; id"}', "more than one statement"),
        ('{"kind": "shell.run", "command": "cat \'a"}', "cannot be parsed"),
        ('{"kind": "shell.run", "command": "cat *.csv", "files": ["a.txt"]}', "no file of the run's folder"),
        ('{"kind": "server.run", "server": "web-1", "command": "cat *.csv"}', "pattern"),
        ('{"kind": "file.list", "context": {"untrusted": "no"}}', "context"),
        ('{"kind": "file.list", "plan": {"steps": 1}}', "no action"),
    ],
)
def test_a_line_that_is_no_action_is_denied(line: str, word: str, remit: Remit) -> None:
    said = remit(
        "policy", "decide", "--policy", "back-office", "--actions", "-", typed=f'\n{line}\n{{"kind":"file.list"}}\n'
    )

    assert said.code == 0
    assert [(found["id"], found["effect"]) for found in said.objects] == [(2, "deny"), (3, "allow")]
    assert word in said.objects[0]["reason"]


def test_a_pattern_stands_for_any_two_files_where_no_names_are_given(remit: Remit) -> None:
    commands = ("cat *.csv", "uniq *.csv", "cat '*.csv'", "cat a?.csv")
    lines = "".join(json.dumps({"kind": "shell.run", "command": command}) + "\n" for command in commands)

    said = remit("policy", "decide", "--policy", "back-office", "--actions", "-", typed=lines)

    assert [found["effect"] for found in said.objects] == ["allow", "deny", "allow", "allow"]


def test_a_command_is_judged_alike_as_text_and_as_vectors(remit: Remit) -> None:
    words = ["git", "status", "-s"]
    forms = (
        {"command": "git status -s"},
        {"argv": words},
        {"pipelines": [[words]]},
        {"pipelines": [[{"argv": words}]]},
    )
    lines = "".join(json.dumps({"kind": "shell.run"} | form) + "\n" for form in forms)

    said = remit("policy", "decide", "--policy", "ops-read", "--actions", "-", typed=lines)

    assert [found["effect"] for found in said.objects] == ["allow"] * 4


def test_without_a_name_the_policy_in_force_decides(remit: Remit, home: Path) -> None:
    line = '{"kind": "shell.run", "command": "ls"}\n'
    assert remit("policy", "decide", "--actions", "-", typed=line).objects[0]["effect"] == "allow"
    (home / "policy.yaml").unlink()
    assert remit("policy", "decide", "--actions", "-", typed=line).code == 2
    assert "no policy 'nowhere.yaml'" in remit("policy", "decide", "--policy", "nowhere.yaml", "--actions", "-").err


def test_an_effect_that_a_plan_would_cover_is_shown_with_planned(remit: Remit) -> None:
    line = '{"kind": "table.write", "path": "a.csv", "sheets": [{"columns": ["a"], "rows": []}]}\n'
    for more, effect in (((), "ask"), (("--planned",), "allow")):
        said = remit("policy", "decide", "--policy", "back-office", "--actions", "-", *more, typed=line)
        assert said.objects[0]["effect"] == effect


def test_why_an_action_is_refused_is_explained(remit: Remit) -> None:
    said = remit("policy", "explain", "--policy", "back-office", "--command", "cat /etc/passwd")

    assert said.code == 0
    assert said.out.startswith("deny  no rule of policy 'back-office' allows this shell.run\n")
    assert "  nearly shell-look (allow):\n    commands is cat /etc/passwd, and the rule is about ls" in said.out
    assert said.out.splitlines()[-1].startswith("  shell.run may be proposed for: ls")
    told = remit("policy", "explain", "--policy", "back-office", "--url", "http://x.example/", "--untrusted", "--json")
    assert (told.objects[0]["effect"], told.objects[0]["matched"][0]["standing"]) == ("deny", "decides")
    assert remit("policy", "explain", "--policy", "back-office", '{"kind": "file.list"}').out.startswith("allow  ")
    assert remit("policy", "explain", "--policy", "back-office", "nonsense").code == 2


def test_a_policy_is_described_in_sentences_and_as_a_table(remit: Remit, monkeypatch: pytest.MonkeyPatch) -> None:
    said = remit("policy", "describe", "--policy", "read-only").out.splitlines()
    assert said[0] == "Policy read-only: what no rule speaks about is refused."
    assert (
        "- Allowed: server.run for web-1 df [-h -P], uptime, free [-h -m]. Because looking changes nothing. [server-look]"
        in said
    )
    table = remit("policy", "describe", "--policy", "read-only", "--table").out.splitlines()
    assert table[0].split("\t") == ["who", "may", "what", "where", "rule"]
    assert "everyone\tdeny\tevery action\t*\tuntrusted-chooses-no-sink" in table
    assert {row["rule"] for row in remit("policy", "describe", "--policy", "read-only", "--json").objects} >= {"pages"}
    monkeypatch.setenv("REMIT_LANGUAGE", "zh")
    assert "策略 read-only" in remit("policy", "describe", "--policy", "read-only").out


def test_the_schema_is_printed_as_json(remit: Remit) -> None:
    assert json.loads(remit("policy", "schema").out)["title"] == "Remit policy"


def test_what_is_odd_about_a_policy_is_told_and_fails_only_when_strict(remit: Remit, policy: Path) -> None:
    policy.write_text(GOOD + "  - {id: no, effect: deny, action: browser.open, why: not today}\n")

    said = remit("policy", "check", str(policy))

    assert said.code == 0
    assert said.out.splitlines()[1] == f"{policy}: rule look: it is never reached: rule 'no' refuses all of it."
    assert remit("policy", "check", str(policy), "--strict").code == 1
    assert remit("policy", "check", str(policy), "--strict", "--json").code == 1
    assert remit("policy", "check", str(policy), "--json").objects[0]["doubts"][0]["rule"] == "look"


SCENARIOS = """
- {id: read, kind: browser.open, url: http://shop.example/orders/17, expect: allow, rule: look}
- {id: other, kind: browser.open, url: http://shop.example/account, expect: deny}
- {id: text, kind: shell.run, command: "cat $(id)", expect: deny}
"""


def test_scenarios_are_compared_with_what_is_decided(remit: Remit, policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "scenarios.yaml"
    file.write_text(SCENARIOS)
    said = remit("policy", "test", str(file), "--policy", str(policy))
    assert (said.code, said.out) == (0, f"{file}: 3 of 3 hold.\n")

    file.write_text(SCENARIOS.replace("rule: look", "rule: lock").replace("expect: deny}", "expect: ask}", 1))
    said = remit("policy", "test", str(file), "--policy", str(policy))
    assert said.code == 1
    assert said.out.splitlines()[0].startswith(f"{file}: read: expected allow by lock, and it is allow: ")
    assert said.out.splitlines()[-1] == f"{file}: 1 of 3 hold."
    assert [row["holds"] for row in remit("policy", "test", str(file), "--policy", str(policy), "--json").objects] == [
        False,
        False,
        True,
    ]


def test_a_rule_that_no_scenario_reaches_is_named(remit: Remit, policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "scenarios.yaml"
    file.write_text("- {kind: file.list, expect: deny}\n")
    assert (
        remit("policy", "test", str(file), "--policy", str(policy)).out.splitlines()[1] == "No scenario reaches: look"
    )


@pytest.mark.parametrize("text", ["a: 1", "- {kind: file.list}", "- {kind: file.list, expect: maybe}", "- [", "- 3"])
def test_a_file_that_holds_no_scenarios_is_named(text: str, remit: Remit, policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "scenarios.yaml"
    file.write_text(text)
    said = remit("policy", "test", str(file), "--policy", str(policy))
    assert said.code == 2 and str(file) in said.err


def test_recorded_runs_are_replayed_from_the_home_and_from_an_export(remit: Remit, run_id: str, tmp_path: Path) -> None:
    ask(run_id, rows=2)
    none = tmp_path / "none.yaml"
    none.write_text(GOOD)

    here = remit("policy", "replay", "--policy", str(none), "--format", "json")
    exported = tmp_path / "export.jsonl"
    exported.write_text(remit("audit", "export", "--decisions").out)
    there = remit("policy", "replay", "--policy", str(none), "--from", str(exported), "--json")

    assert here.code == there.code == 0
    assert here.objects == there.objects
    (found,) = here.objects
    assert (found["actions"], found["first"]) == (2, {run_id: 2} if found["changes"][0]["seq"] == 2 else {run_id: 1})
    assert {(c["change"], c["where"]) for c in found["changes"]} == {
        ("newly-denied", "web-1 systemctl restart worker-1"),
        ("newly-denied", "web-1 systemctl restart worker-2"),
    }


def test_a_forbidden_change_fails(remit: Remit, run_id: str, policy: Path) -> None:
    ask(run_id)
    for forbidden, code in ((("newly-denied",), 1), (("newly-allowed",), 0), (("newly-allowed", "newly-denied"), 1)):
        options = [word for kind in forbidden for word in ("--forbid", kind)]
        assert remit("policy", "replay", "--policy", str(policy), *options).code == code
    assert (
        remit("policy", "replay", "--policy", str(policy), "--since", "2099-01-01", "--forbid", "newly-denied").code
        == 0
    )
    assert remit("policy", "replay", "--policy", str(policy), "--from", str(policy)).code == 2
    assert remit("policy", "replay", "--policy", str(policy), "--since", "1d", "--from", str(policy)).code == 2


FLAGS = ("--name", "ours", "--site", "https://erp.example.com", "--submit", "/orders/*/remind", "--server", "web-9")


def test_an_interview_writes_a_policy_that_loads_and_does_what_was_said(remit: Remit, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    typed = "ours\nhttps://erp.example.com/\n/orders/*/remind\nweb-9\n"

    assert remit("policy", "new", str(file), typed=typed).out.startswith(f"Written: {file}")

    assert file.read_text() == remit("policy", "new", *FLAGS).out
    assert remit("policy", "check", "--strict", str(file)).code == 0
    form = {"url": "https://erp.example.com/orders/1", "target": "https://erp.example.com/orders/1/remind"}
    form |= {"kind": "browser.submit", "method": "post", "fields": [], "control": {"role": "button", "name": "Send"}}
    lines = (
        {"kind": "browser.open", "url": "https://erp.example.com/a"},
        form,
        {"kind": "server.run", "server": "web-9", "command": "uptime"},
        {"kind": "server.run", "server": "web-9", "command": "reboot"},
        {"kind": "shell.run", "command": "ls"},
    )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    said = remit("policy", "decide", "--policy", str(file), "--actions", "-", typed=text)
    assert [line["effect"] for line in said.objects] == ["allow", "ask", "allow", "deny", "deny"]


def test_a_new_policy_holds_only_what_was_named_and_overwrites_nothing(remit: Remit, policy: Path) -> None:
    assert "browser" not in remit("policy", "new", "--name", "ours").out
    assert remit("policy", "new", str(policy), *FLAGS).code == 2
    assert policy.read_text() == GOOD
    for flags in (("--site", "ftp://x"), ("--submit", "/x"), ("--server", "a b"), ("--name", "{x}: y")):
        assert remit("policy", "new", *flags).code == 2
