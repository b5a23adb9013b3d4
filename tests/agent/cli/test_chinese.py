"""Whole commands as a person reads them whose system speaks Chinese; programs get English."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.cli.screen import Screen
from agent.events import Event
from agent.language import Language
from policies.action import ACTION
from policies.dryrun import preflight
from policies.load import load
from policies.mandate import Pins, Plan, PlannedStep
from policies.outcome import Failed, Refused
from tests.agent.cli.conftest import Remit, ask, opened


@pytest.fixture(autouse=True)
def _in_china(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REMIT_LANGUAGE")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")


def test_help_is_chinese_whole(remit: Remit) -> None:
    said = remit("--help")

    assert said.code == 0
    assert said.out.startswith("用法：")
    assert "面向办公和服务器工作的开源智能体，只做您授权的事。" in said.out
    assert "  --help     显示本说明后退出。" in said.out
    assert "退出码：0 完成；" in said.out
    assert "Usage" not in said.out and "Commands" not in said.out


def test_help_of_a_command_says_what_must_be_given_and_what_is_assumed(remit: Remit) -> None:
    said = remit("run", "--help").out

    assert "用文字描述的任务。  [必填]" in said
    assert "要交给它的文件；可重复。" in said
    assert "[required]" not in said


def test_help_of_a_group_lists_its_commands(remit: Remit) -> None:
    assert "verify  校验一次运行或全部运行的账本链" in remit("audit", "--help").out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dance",), "没有命令 'dance'。"),
        (("run",), "缺少参数 'task'。"),
        (("--dance",), "没有选项 --dance"),
        (("approve", "Q1", "--row", "x"), "'--row' 的值无效：应为整数"),
    ],
)
def test_a_wrong_command_line_is_told_in_chinese(arguments: tuple[str, ...], sentence: str, remit: Remit) -> None:
    said = remit(*arguments)

    assert said.code == 2
    assert f"错误：{sentence}" in said.err
    assert "用法：" in said.err


def test_an_unknown_id_is_told_in_chinese_but_to_programs_in_english(remit: Remit) -> None:
    assert remit("runs", "show", "ZZ").err == "remit: 没有以 'ZZ' 开头的运行；查看：remit runs list\n"
    assert json.loads(remit("runs", "show", "ZZ", "--json").err) == {
        "error": "no run begins with 'ZZ'; see: remit runs list"
    }


def test_a_bad_policy_is_told_with_its_places(remit: Remit, tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nname: p\nrules:\n  - {id: a, effect: allow, action: file.read, explain: reading}\n")

    said = remit("policy", "check", str(policy))

    assert said.code == 2
    assert said.out.splitlines() == [
        f"{policy}:4:5: 缺少键 'why'",
        f"{policy}:4:47: 未知的键 'explain'；请删除",
    ]


def test_broken_settings_are_told_in_the_language_of_the_system(remit: Remit, home: Path) -> None:
    (home / "settings.toml").write_text("approvers = ['x']")

    said = remit("runs", "list")

    assert "只有练习主目录可以设置其他答复人；请删除此设置" in said.err


def test_the_language_of_the_settings_goes_before_the_systems(remit: Remit, home: Path) -> None:
    (home / "settings.toml").write_text('language = "en"')

    assert remit("runs", "show", "ZZ").err.startswith("remit: no run begins with")


def test_a_dry_run_tells_why_a_step_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = load(home / "policy.yaml")
    pins = Pins(url="http://collect.example/x")
    plan = Plan(summary="s", steps=(PlannedStep(n=1, title="send it", kind="browser.open", pins=pins),))
    with opened() as app:
        judged = preflight(plan, policy, principal="p", now=app.clock.now())

    Screen(Language("zh")).plan(plan, judged.model_dump(mode="json"), policy.name)

    said = capsys.readouterr().out
    assert "计划（只根据您的话）" in said
    assert "拒绝" in said
    assert "策略 'back-office' 中没有规则允许此 browser.open" in said


def test_outcomes_are_told_in_chinese_with_values_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    action = ACTION.validate_python({"kind": "file.read", "path": "no order was deleted.txt"})
    refused = Refused(rules=("r",), reason="rule 'r' refuses it: looking changes nothing")
    screen = Screen(Language("zh"))

    screen.event(Event(kind="outcome", action=action, outcome=refused))
    screen.event(Event(kind="outcome", action=action, outcome=Failed(reason="There is no file 'a.txt'.")))

    said = capsys.readouterr().out
    assert "读取 no order was deleted.txt" in said
    assert "规则 r: 查看不会改变任何东西" in said
    assert "没有文件 'a.txt'。" in said


def test_a_card_is_chinese_but_its_values_are_not_touched(remit: Remit, run_id: str) -> None:
    ask(run_id)

    said = remit("questions").out

    assert "服务器" in said and "web-1" in said
