"""Commands in the run's folder, behind real walls."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.action import ShellRun
from policies.errors import ActionFailed, HandleNotAllowed
from policies.labels import Integrity
from policies.ports import Raw
from sandbox.workspace import Workspace
from tests.tools.permits import permit
from tools.commands import matching, parse
from tools.shell import ShellExecutor


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "r1", quota_bytes=1 << 20)


@pytest.fixture
def shell(workspace: Workspace) -> ShellExecutor:
    return ShellExecutor(lambda run: workspace, timezone="Asia/Shanghai")


def action(text: str, workspace: Workspace) -> ShellRun:
    return ShellRun(pipelines=parse(text, glob=lambda pattern: matching(workspace.files(), pattern)))


async def test_a_pipeline_gives_what_its_last_program_prints(shell: ShellExecutor, workspace: Workspace) -> None:
    workspace.write("a.csv", "甲,3\n乙,1\n".encode())
    raw = await shell.execute(permit(action("sort *.csv | head -n 1", workspace)))
    assert raw == Raw(text="乙,1", exit_code=0, label=raw.label, level="namespaces")
    assert (raw.label.integrity, raw.label.readers) == (Integrity.UNTRUSTED, frozenset({"requester"}))


async def test_a_failing_program_is_a_result_with_its_complaint(shell: ShellExecutor, workspace: Workspace) -> None:
    raw = await shell.execute(permit(action("echo one && ls missing && echo two && echo three", workspace)))
    assert raw.exit_code == 2
    assert raw.text == (
        "one\n[stderr]\n/usr/bin/ls: cannot access 'missing': No such file or directory\n"
        "[exit code 2]\n[not run: 2 commands after the one that failed]"
    )


async def test_the_codes_of_all_stages_are_shown_and_the_last_one_counts(
    shell: ShellExecutor, workspace: Workspace
) -> None:
    raw = await shell.execute(permit(action("ls missing | wc -l && echo on", workspace)))
    assert raw.exit_code == 0
    assert raw.text.startswith("0\non\n[stderr]\n/usr/bin/ls: cannot access")


async def test_redirections_make_files_in_the_folder_and_only_there(
    shell: ShellExecutor, workspace: Workspace, tmp_path: Path
) -> None:
    workspace.write("in.txt", b"b\na\n")
    workspace.write("log", b"old\n")
    raw = await shell.execute(permit(action("sort < in.txt > out.txt && echo new >> log", workspace)))
    assert raw.files == ("log", "out.txt")
    assert workspace.read("out.txt", limit_bytes=99) == b"a\nb\n"
    assert workspace.read("log", limit_bytes=99) == b"old\nnew\n"

    (workspace.root / "away").symlink_to(tmp_path / "outside")
    with pytest.raises(ActionFailed, match="link") as failed:
        await shell.execute(permit(action("echo x > away", workspace)))
    assert failed.value.may_have_acted is False
    assert not (tmp_path / "outside").exists()


async def test_a_child_sees_the_system_its_folder_and_nothing_else(
    shell: ShellExecutor, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("made-up-secret")
    monkeypatch.setenv("MADEUP_TOKEN", "made-up-token")
    raw = await shell.execute(permit(action(f"cat {tmp_path}/secret | cat", workspace)))
    assert "No such file" in raw.text
    raw = await shell.execute(permit(action("env", workspace)))
    names = {line.split("=")[0] for line in raw.text.splitlines()}
    assert "MADEUP_TOKEN" not in names
    assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "TZ", "PWD"}
    raw = await shell.execute(permit(action("ls /sys/class/net /proc/net/tcp", workspace)))
    assert "eth" not in raw.text
    raw = await shell.execute(permit(action("touch /usr/made-up", workspace)))
    assert raw.exit_code == 1
    assert "Read-only file system" in raw.text


async def test_a_missing_program_is_a_clear_failure(shell: ShellExecutor, workspace: Workspace) -> None:
    with pytest.raises(ActionFailed, match="There is no program 'nonesuch'") as failed:
        await shell.execute(permit(action("ls | nonesuch", workspace)))
    assert failed.value.may_have_acted is False
    with pytest.raises(ActionFailed) as failed:
        await shell.execute(permit(action("touch a && nonesuch", workspace)))
    assert failed.value.may_have_acted is True


async def test_a_command_that_does_not_end_is_stopped(workspace: Workspace) -> None:
    shell = ShellExecutor(lambda run: workspace, wall_s=0.3)
    with pytest.raises(ActionFailed, match=r"did not end within 0\.3 s") as failed:
        await shell.execute(permit(action("sleep 60", workspace)))
    assert failed.value.may_have_acted is True


async def test_long_output_is_cut_and_says_so(shell: ShellExecutor, workspace: Workspace) -> None:
    raw = await shell.execute(permit(action("yes | head -n 1000000", workspace)))
    assert raw.exit_code == 0
    assert len(raw.text) < 70_000
    assert "[cut: " in raw.text


async def test_handles_reach_the_program_only_where_allowed(shell: ShellExecutor, workspace: Workspace) -> None:
    todo = action("touch started && echo '⟦email:abcdefghij⟧'", workspace)
    raw = await shell.execute(permit(todo, handles={"⟦email:abcdefghij⟧": "li@corp.example; id"}))
    assert raw.text == "li@corp.example; id"
    workspace.root.joinpath("started").unlink()
    with pytest.raises(HandleNotAllowed):
        await shell.execute(permit(todo))
    assert workspace.files() == ()


async def test_stronger_walls_than_there_are_stop_the_command(shell: ShellExecutor, workspace: Workspace) -> None:
    with pytest.raises(ActionFailed, match="full"):
        await shell.execute(permit(action("touch a", workspace), least_level="full"))
    assert workspace.files() == ()


async def test_a_folder_over_its_limit_is_told(shell: ShellExecutor, workspace: Workspace) -> None:
    raw = await shell.execute(permit(action("dd if=/dev/zero of=big bs=1024 count=1000 status=none", workspace)))
    assert (raw.text, raw.files) == ("", ("big",))
    raw = await shell.execute(permit(action("cp big big2", workspace)))
    assert raw.text == "[the run's folder is over its size limit; remove files]"


async def test_a_folder_nobody_can_walk_through_stops_the_command(shell: ShellExecutor, workspace: Workspace) -> None:
    workspace.root.joinpath(*["d"] * 65).mkdir(parents=True)
    with pytest.raises(ActionFailed, match="nested deeper") as failed:
        await shell.execute(permit(action("touch a", workspace)))
    assert failed.value.may_have_acted is False


async def test_the_time_zone_is_the_one_given(shell: ShellExecutor, workspace: Workspace) -> None:
    assert (await shell.execute(permit(action("date +%Z", workspace)))).text == "CST"


async def test_nobody_guesses_whether_a_command_ran(shell: ShellExecutor, workspace: Workspace) -> None:
    with pytest.raises(ActionFailed) as failed:
        await shell.probe(permit(action("touch a", workspace)))
    assert failed.value.may_have_acted is True
