"""Commands on a real server: what arrives, what comes back, and what is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from policies.action import Command, ServerRun
from policies.errors import ActionFailed
from policies.ports import Raw
from tests.tools.permits import permit
from tests.tools.servers.box import LABEL, Box, Make, NoSecrets, command, everything_of, listener_of, living, until
from tools.commands import parse
from tools.servers.connection import COMPLAINT_BYTES, OUTPUT_BYTES
from tools.servers.executor import ServerExecutor
from tools.servers.inventory import Inventory


def line(text: str) -> ServerRun:
    return ServerRun(server="web-1", pipelines=parse(text, glob=None))


async def test_a_pipeline_gives_its_output_and_the_code_of_its_last_program(hands: ServerExecutor) -> None:
    raw = await hands.execute(permit(line("printf 'b\\na\\n' | sort && echo end")))
    assert raw == Raw(text="a\nb\nend", exit_code=0, label=LABEL)


async def test_a_failing_command_is_a_result_with_its_complaint_and_code(hands: ServerExecutor) -> None:
    raw = await hands.execute(permit(line("echo one && ls /missing && echo two")))
    assert raw.exit_code == 2
    assert raw.text.startswith("one\n[stderr]\nls: cannot access") and raw.text.endswith("\n[exit code 2]")
    assert "two" not in raw.text
    assert (await hands.execute(permit(command("false")))).text == "[exit code 1]"
    assert (await hands.execute(permit(command("made-up-program")))).exit_code == 127


async def test_a_command_has_no_input(hands: ServerExecutor) -> None:
    raw = await hands.execute(permit(command("cat")))
    assert (raw.text, raw.exit_code) == ("", 0)


async def test_a_program_is_always_a_file_and_never_a_word_of_the_shell(hands: ServerExecutor) -> None:
    raw = await hands.execute(permit(command("echo", "a\\tb")))  # dash's own echo would print a tab
    assert raw.text == "a\\tb"
    for word in ("exec", "eval", "if", ".", "{", "exit"):
        raw = await hands.execute(permit(command(word, "0")))
        assert (word, raw.exit_code) in ((word, 127), (word, 126))


@pytest.mark.parametrize("program", ["A=1", "-i", ""])
async def test_what_env_would_take_for_its_own_is_refused(hands: ServerExecutor, program: str) -> None:
    with pytest.raises(ActionFailed, match="no program") as failed:
        await hands.execute(permit(command(program, "true")))
    assert failed.value.may_have_acted is False


@pytest.mark.parametrize("redirection", [{"stdin": "/etc/hostname"}, {"stdout": "out"}])
async def test_redirections_are_refused(hands: ServerExecutor, box: Box, redirection: dict[str, Any]) -> None:
    action = ServerRun(server="web-1", pipelines=((Command(argv=("cat",), **redirection),),))
    with pytest.raises(ActionFailed, match="redirections") as failed:
        await hands.execute(permit(action))
    assert failed.value.may_have_acted is False


async def test_handles_are_opened_for_the_server_and_secrets_stay_off_its_command_lines(make: Make) -> None:
    hands = make(secrets := NoSecrets(pin="made-up-pin"))
    raw = await hands.execute(
        permit(command("echo", "⟦email:AAAAAAAAAA⟧"), handles={"⟦email:AAAAAAAAAA⟧": "a@b.example"})
    )
    assert raw.text == "a@b.example"
    with pytest.raises(ActionFailed, match="command line"):
        await hands.execute(permit(command("echo", "secret://pin"), secrets=frozenset({"pin"})))
    assert secrets.asked == []


ODD = [
    "",
    " ",
    "'",
    '"',
    "$HOME",
    "`id`",
    "$(id)",
    ";",
    "a\nb",
    "\n",
    "*",
    "~",
    "\\",
    "é中😀",
    "-n",
    "#",
    "!",
    "&&",
    "\t",
    "\r",
]


@pytest.mark.parametrize(("login", "shell"), [("/usr/bin/dash", "/usr/bin/bash"), ("/usr/bin/bash", "/usr/bin/dash")])
async def test_arguments_arrive_as_they_are_judged_whatever_the_shells(tmp_path: Path, shell: str, login: str) -> None:
    box = Box(tmp_path)
    (box.bin / "sh").symlink_to(shell)  # `sh` on the server
    force = f'ForceCommand {login} -c "$SSH_ORIGINAL_COMMAND"\n'  # as with this login shell
    box.config.write_text(box.config.read_text() + force)
    box.start()
    try:
        hands = ServerExecutor(_inventory(box), NoSecrets(), this_machine=True)
        await _arguments_arrive(hands, examples=6)
        await hands.close()
    finally:
        box.stop()


async def _arguments_arrive(hands: ServerExecutor, *, examples: int) -> None:
    loop = asyncio.get_running_loop()
    words = st.text(st.characters(exclude_characters="\0⟦", codec="utf-8"), max_size=20)

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=[HealthCheck.differing_executors]
    )
    @given(st.lists(st.one_of(words, st.sampled_from(ODD)), min_size=1, max_size=6))
    @example(ODD)
    @example(["x" * 9_000])
    def arrive(arguments: list[str]) -> None:
        action = command("printf", "%s\\0", *arguments)
        future = asyncio.run_coroutine_threadsafe(hands.execute(permit(action)), loop)
        sent = [*action.pipelines[0][0].argv[2:]]
        expected = "".join(f"{word}\0" for word in sent)
        assert future.result(20).text.startswith(expected[:OUTPUT_BYTES])

    await asyncio.to_thread(arrive)


def _inventory(box: Box) -> Inventory:
    return Inventory(servers={"web-1": box.server()})


async def test_output_is_capped_and_the_command_still_ends_as_it_would(hands: ServerExecutor) -> None:
    raw = await hands.execute(permit(line("seq 1000000 && echo never-shown && false")))
    assert raw.exit_code == 1
    assert raw.text.startswith("1\n2\n3\n")
    assert "[cut: only the beginning" in raw.text and "never-shown" not in raw.text
    assert len(raw.text) < OUTPUT_BYTES + 100
    raw = await hands.execute(permit(command("sh", "-c", "seq 1000000 >&2; echo out")))
    assert raw.text.startswith("out\n[stderr]\n1\n2") and "[cut" in raw.text
    assert len(raw.text) < COMPLAINT_BYTES + 100


async def test_all_output_is_there_when_the_command_ends(hands: ServerExecutor) -> None:
    for _ in range(5):  # the exit code may overtake the last of the output
        raw = await hands.execute(permit(command("seq", "8000")))
        assert raw.text.splitlines()[-1] == "8000"


async def test_binary_output_is_shown_with_replacements(hands: ServerExecutor) -> None:
    raw = await hands.execute(permit(command("printf", "\\377\\000a")))
    assert raw.text == "\ufffd\0a"


async def test_a_program_that_closes_its_output_is_waited_for(hands: ServerExecutor) -> None:
    began = time.process_time()
    raw = await hands.execute(permit(command("sh", "-c", "exec >&- 2>&-; sleep 1; exit 5")))
    assert raw.exit_code == 5
    assert time.process_time() - began < 0.5  # waited, and did not spin


async def test_a_daemon_that_keeps_the_output_open_does_not_hold_the_result(hands: ServerExecutor) -> None:
    began = time.monotonic()
    raw = await hands.execute(permit(command("sh", "-c", "sleep 8.25 & echo started")))
    assert (raw.text, raw.exit_code) == ("started", 0)
    assert time.monotonic() - began < 4
    for pid in living("8.25"):
        os.kill(pid, signal.SIGKILL)


TREE = "sleep {n}.1 & (sleep {n}.2 & sleep {n}.3) | sleep {n}.4; wait"


def tree(n: int) -> tuple[ServerRun, Callable[[], list[int]]]:
    """A command that is several processes, and which of them live."""
    return command("sh", "-c", TREE.format(n=n)), lambda: [p for i in range(1, 5) for p in living(f"{n}.{i}")]


@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_a_command_that_outlives_its_time_is_ended_with_its_whole_group(make: Make, box: Box, shell: str) -> None:
    (box.bin / "sh").unlink(missing_ok=True)
    (box.bin / "sh").symlink_to(f"/usr/bin/{shell}")
    try:
        action, alive = tree(711)
        with pytest.raises(ActionFailed) as failed:
            await make(command_s=0.6).execute(permit(action))
        assert str(failed.value) == "server 'web-1' did not finish in 0.6 s; it was ended"
        assert failed.value.may_have_acted is True
        until(lambda: not alive(), seconds=1)
    finally:
        (box.bin / "sh").unlink()


async def test_a_server_that_cannot_confirm_the_end_is_not_said_to_have_ended_it(make: Make, box: Box) -> None:
    hands, (action, alive) = make(command_s=1.2), tree(712)
    task = asyncio.create_task(hands.execute(permit(action)))
    await asyncio.to_thread(until, lambda: len(alive()) == 4)
    sessions = everything_of(box)
    for pid in sessions:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ActionFailed, match=r"may still be running there$") as failed:
            await task
        assert failed.value.may_have_acted is True
    finally:
        for pid in sessions:
            os.kill(pid, signal.SIGCONT)
    await asyncio.to_thread(until, lambda: not alive())


async def test_cancelling_ends_the_remote_group_and_leaves_the_connection_to_others(
    hands: ServerExecutor, box: Box
) -> None:
    await hands.execute(permit(command("true")))
    logins = box.connections()
    action, alive = tree(713)
    other, alive_too = tree(714)
    doomed = asyncio.create_task(hands.execute(permit(action)))
    spared = asyncio.create_task(hands.execute(permit(other)))
    await asyncio.to_thread(until, lambda: len(alive()) == len(alive_too()) == 4)

    began = time.monotonic()
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    await asyncio.to_thread(until, lambda: not alive(), seconds=2)
    assert time.monotonic() - began < 2
    assert len(alive_too()) == 4

    assert (await hands.execute(permit(command("echo", "on")))).text == "on"
    assert box.connections() == logins
    spared.cancel()
    await asyncio.wait({spared})
    await asyncio.to_thread(until, lambda: not alive_too(), seconds=2)


async def test_cancelling_before_the_command_is_sent_means_that_it_never_is(make: Make, box: Box) -> None:
    """Also when the thread has only just begun to connect."""
    hands, listener = make(), listener_of(box)
    os.kill(listener, signal.SIGSTOP)
    try:
        task = asyncio.create_task(hands.execute(permit(command("touch", str(box.srv / "never")))))
        await asyncio.to_thread(until, lambda: hands._connections == {} and _threads("asyncio") >= 1)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 2.5
    finally:
        os.kill(listener, signal.SIGCONT)
    assert (await make().execute(permit(command("true")))).exit_code == 0  # it serves again
    assert not (box.srv / "never").exists()


def _threads(name: str) -> int:
    return sum(name in thread.name for thread in threading.enumerate())


async def test_closing_the_executor_ends_what_runs_over_its_connections(hands: ServerExecutor) -> None:
    action, alive = tree(715)
    task = asyncio.create_task(hands.execute(permit(action)))
    await asyncio.to_thread(until, lambda: len(alive()) == 4)
    await hands.close()
    with pytest.raises(ActionFailed, match="broke off; whether the command finished is not known") as failed:
        await task
    assert failed.value.may_have_acted is True
    await asyncio.to_thread(until, lambda: not alive(), seconds=2)


async def test_two_commands_run_at_once_over_one_connection(hands: ServerExecutor, box: Box) -> None:
    logins = box.connections()
    meeting = box.srv / "meeting"
    os.mkfifo(meeting)
    said, heard = await asyncio.gather(  # neither ends before the other is there
        hands.execute(permit(command("sh", "-c", f"echo here > {meeting}; echo said"))),
        hands.execute(permit(command("cat", str(meeting)))),
    )
    assert (said.text, heard.text) == ("said", "here")
    assert box.connections() == logins + 1


async def test_a_connection_that_died_in_between_is_renewed_once(hands: ServerExecutor, box: Box) -> None:
    await hands.execute(permit(command("true")))
    logins = box.connections()
    box.cut()
    raw = await hands.execute(permit(command("echo", "again")))
    assert raw.text == "again"
    assert box.connections() == logins + 1


async def test_a_command_that_was_sent_is_never_sent_again(hands: ServerExecutor, box: Box) -> None:
    (box.srv / "ran").unlink(missing_ok=True)
    action = command("sh", "-c", f"echo x >> {box.srv}/ran; sleep 716.1")
    task = asyncio.create_task(hands.execute(permit(action)))
    await asyncio.to_thread(until, lambda: living("716.1"))
    logins = box.connections()
    box.cut()
    with pytest.raises(ActionFailed, match="broke off") as failed:
        await task
    assert failed.value.may_have_acted is True
    assert (box.srv / "ran").read_text() == "x\n"
    assert box.connections() == logins
    await asyncio.to_thread(until, lambda: not living("716.1"))


async def test_a_server_without_further_sessions_says_so(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.config.write_text(box.config.read_text().replace("MaxSessions 50", "MaxSessions 0"))
    box.start()
    try:
        hands = ServerExecutor(_inventory(box), NoSecrets(), this_machine=True)
        with pytest.raises(ActionFailed, match="takes no further session") as failed:
            await hands.execute(permit(command("true")))
        assert failed.value.may_have_acted is False
        await hands.close()
    finally:
        box.stop()
