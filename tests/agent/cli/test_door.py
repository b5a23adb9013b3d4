"""Bad input and trouble end in one sentence and the right exit code; nothing is begun because a check failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.agent.cli.conftest import Remit

ROOT = Path(__file__).parents[3]
PROGRAM = Path(sys.executable).with_name("remit")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("",), "the task is empty; say in words what should be done"),
        (("x" * 20_001,), "the task has 20,001 characters, at most 20,000; give more with --file"),
        (("a task", "--file", "/nowhere/made-up"), "there is no file '/nowhere/made-up' to hand over; check --file"),
        (("a task", "--policy", "none.yaml"), "there is no policy 'none.yaml'; make one with: remit init"),
    ],
)
def test_a_task_that_cannot_be_begun_begins_nothing(arguments: tuple[str, ...], sentence: str, remit: Remit) -> None:
    said = remit("run", *arguments)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"remit: {sentence}")
    assert said.err.count("\n") == 1
    assert remit("runs", "list").out == ""


def test_without_a_model_the_way_to_one_is_said(remit: Remit, home: Path) -> None:
    (home / "settings.toml").unlink()

    said = remit("run", "a task", "--json")

    assert said.code == 2
    assert json.loads(said.err) == {"error": "no model is configured; run: remit init"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("language = 'fr'", "language: input should be 'en' or 'zh'; correct this setting"),
        ("browser = 'x'\nlanguge = 'en'", "settings.toml:2: there is no setting 'languge'; did you mean 'language'?"),
        (
            "\n[model]\nbase-url = 'x'",
            "settings.toml:3: there is no setting 'model.base-url'; did you mean 'base_url'?",
        ),
        ("zebra = 1", "settings.toml:1: there is no setting 'zebra'; remove it"),
        ("[model]\ncontext_tokens = 5", "settings.toml:2: model.context_tokens: input should be greater than"),
        ("model = 'qwen'", "settings.toml:1: model is a table; write [model] and its settings below it"),
        ("language = ", "correct the file or move it away"),
        ("approvers = ['x']", "only a practice home takes further names; remove the setting"),
        ("[hosts]\n'shop.example' = '10.0.0.1:80'", "names map to loopback only"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: str, sentence: str, remit: Remit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REMIT_LANGUAGE")
    (home / "settings.toml").write_text(settings)

    said = remit("runs", "list")

    assert said.code == 2
    assert str(home / "settings.toml") in said.err
    assert sentence in said.err


@pytest.mark.parametrize("arguments", [("dance",), ("runs", "dance"), ("run",), ("approve",), ("--dance",)])
def test_a_wrong_command_line_is_told_with_its_usage(arguments: tuple[str, ...], remit: Remit) -> None:
    said = remit(*arguments)

    assert said.code == 2
    assert "Usage: " in said.err


def test_help_names_the_exit_codes(remit: Remit) -> None:
    said = remit("--help")

    assert said.code == 0
    for code in ("0 done", "2 bad input", "6 the ledger does not verify", "130 after Ctrl-C"):
        assert code in " ".join(said.out.split())


def test_a_store_that_cannot_be_opened_is_one_sentence(remit: Remit, home: Path) -> None:
    (home / "store.sqlite3").write_text("this is no database, whatever its name says")

    said = remit("runs", "list")

    assert said.code == 4
    assert said.err.count("\n") == 1


def test_a_folder_with_packages_of_our_names_changes_nothing(home: Path, tmp_path: Path) -> None:
    for name in ("agent", "tools", "policies", "sandbox"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported from the current folder')")

    done = subprocess.run(
        (PROGRAM, "runs", "list", "--json"), cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_left_is_no_trouble(unbuffered: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    command = (PROGRAM, "policy", "check", str(home / "policy.yaml"))

    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("out", ["note.txt", "note.txt/deeper", "link"])
def test_a_folder_that_cannot_be_made_is_said_before_anything_begins(
    out: str, remit: Remit, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")

    for command in (("run", "a task"), ("runs", "resume", run_id), ("runs", "files", run_id)):
        said = remit(*command, "--out", out)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"remit: nothing can be put into {out!r}: ")
        assert "is no folder; name another folder with --out\n" in said.err
    assert remit("runs", "list", "--json").out.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "text"), [("servers.yaml", "servers: [web-1"), ("tools/a.yaml", "name: a\nprogram: none\n")]
)
def test_a_home_with_a_fault_begins_no_run(file: str, text: str, remit: Remit, home: Path) -> None:
    (home / file).parent.mkdir(exist_ok=True)
    (home / file).write_text(text)

    said = remit("run", "a task")

    assert (said.code, said.out) == (2, "")
    assert file.split("/")[-1] in said.err
    assert remit("runs", "list", "--json").out == ""


def test_a_start_that_fails_leaves_a_run_that_failed_and_says_why(
    remit: Remit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.errors import BadSettings
    from agent.wiring import App

    def hands(*_: object) -> None:
        raise BadSettings("the made-up part is missing; get it")

    monkeypatch.setattr(App, "hands", hands)
    assert remit("run", "a task").code == 2

    (run,) = remit("runs", "list", "--json").objects
    assert run["status"] == "failed"
    assert "Not done: the made-up part is missing; get it" in remit("runs", "show", run["run"]).out


def test_a_wrong_script_of_the_demo_touches_nothing(remit: Remit, home: Path) -> None:
    said = remit("practice", "demo", "--script", "angry")

    assert (said.code, said.err) == (2, "remit: there is no script 'angry'; choose exact, sloppy or hostile\n")
    assert not home.with_name("home-demo").exists()


def test_the_demo_never_plays_in_a_home_of_a_person(
    remit: Remit, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = home.rename(tmp_path / "mine-demo")
    monkeypatch.setenv("REMIT_HOME", str(mine))
    before = {path: path.read_bytes() for path in mine.iterdir()}

    said = remit("practice", "demo")

    assert (
        said.code,
        said.err.endswith("is no practice home; set REMIT_HOME to your own home, or leave it out\n"),
    ) == (2, True)
    assert {path: path.read_bytes() for path in mine.iterdir()} == before


def test_the_version_is_printed(remit: Remit) -> None:
    assert (said := remit("--version")).code == 0
    assert said.out == f"remit {version('remit')}\n"
