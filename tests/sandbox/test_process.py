"""Confined children on a real bubblewrap: what they cannot see, reach, keep or outlive."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import confinement
from sandbox.confinement import Confinement, Level
from sandbox.errors import OutsideWorkspace, SandboxUnavailable, UnusableFile
from sandbox.process import KILLED, NOT_FOUND, Exit, Stage, run

SECRET = "sk-made-up-0123456789"


@pytest.fixture
def walls(tmp_path: Path) -> Confinement:
    work = tmp_path / "work"
    work.mkdir()
    return Confinement(
        read_roots=(),
        write_roots=(work,),
        cwd=work,
        cpu_s=20,
        memory_bytes=1 << 30,
        processes=64,
        file_size_bytes=1 << 24,
        wall_s=30,
        output_bytes=1 << 20,
    )


@pytest.fixture
def token() -> Iterator[str]:
    """A number of seconds to sleep, by which a process can be found. No such process is left at the end."""
    seconds = f"9{uuid.uuid4().int % 10**15}"
    yield seconds
    assert alive(seconds) == []


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    confinement.probe.cache_clear()
    yield
    confinement.probe.cache_clear()


def alive(token: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if token.encode() in command:
                found.append(entry.name)
    return found


def sh(script: str, *arguments: str) -> Stage:
    return Stage(argv=("sh", "-c", script, "sh", *arguments))


async def output(script: str, walls: Confinement) -> str:
    ended = await run([sh(script)], walls)
    assert ended.stderr == b""
    assert ended.code == 0
    return ended.stdout.decode()


# What it sees


async def test_a_child_sees_the_system_and_its_roots_and_nothing_else(walls: Confinement, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(SECRET)

    assert set((await output("ls /", walls)).split()) <= {
        *("bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr"),
        tmp_path.parts[1],
    }
    ended = await run([Stage(argv=("cat", str(outside), "/etc/shadow", "/etc/hostname"))], walls)

    assert (ended.code, ended.stdout, ended.stderr.count(b"No such file")) == (1, b"", 3)


async def test_a_child_inherits_nothing_of_our_environment(walls: Confinement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    walls = dataclasses.replace(walls, env={"REPORT": "monthly"})

    seen = await output("env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'", walls)
    listed = {line for line in (await output("env", walls)).splitlines() if not line.startswith("PWD=")}

    assert SECRET not in seen
    assert listed == {
        *("PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8", "REPORT=monthly")
    }


async def test_the_child_s_environment_is_on_no_command_line(walls: Confinement, token: str) -> None:
    walls = dataclasses.replace(walls, env={"TOKEN": token}, wall_s=0.3)

    task = asyncio.create_task(run([Stage(argv=("sleep", "60"))], walls))
    await asyncio.sleep(0)  # until it waits for the started child
    commands = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
    await task

    assert b"bwrap" in commands
    assert token.encode() not in commands


async def test_a_child_writes_only_below_its_write_roots(walls: Confinement, tmp_path: Path) -> None:
    read = tmp_path / "read"
    read.mkdir()
    (read / "given").write_text("given")
    walls = dataclasses.replace(walls, read_roots=(read,))

    script = 'for f in "$0"/new /usr/new /etc/new /dev/new /new /proc/new; do touch "$f" 2>/dev/null && echo "$f"; done; cat "$0/given"; echo kept > kept'
    ended = await run([Stage(argv=("sh", "-c", script, str(read)))], walls)

    assert ended.stdout == b"given"
    assert (walls.cwd / "kept").read_text() == "kept\n"
    assert [path.name for path in read.iterdir()] == ["given"]


async def test_of_nested_roots_the_deeper_decides(walls: Confinement) -> None:
    rules = walls.cwd / "rules"
    rules.mkdir()
    walls = dataclasses.replace(walls, read_roots=(rules,))

    ended = await run([sh("touch free; touch rules/changed")], walls)

    with pytest.raises(OutsideWorkspace):
        await run([Stage(argv=("echo",), stdout=rules / "changed")], walls)

    assert ended.code == 1
    assert (walls.cwd / "free").exists()
    assert not (rules / "changed").exists()


async def test_hidden_files_and_folders_are_empty(walls: Confinement) -> None:
    (walls.cwd / ".env").write_text(SECRET)
    (walls.cwd / "keys").mkdir()
    (walls.cwd / "keys/id").write_text(SECRET)
    walls = dataclasses.replace(walls, hidden=(walls.cwd / ".env", walls.cwd / "keys", walls.cwd / "gone"))

    ended = await run([sh("cat .env; ls keys; echo x > keys/new; echo x > .env; ls -A")], walls)

    assert ended.stdout == b".env\nkeys\n"
    assert (walls.cwd / ".env").read_text() == SECRET


async def test_the_private_tmp_is_new_each_time_and_bounded(walls: Confinement) -> None:
    walls = dataclasses.replace(walls, memory_bytes=64 << 20, file_size_bytes=1 << 30)

    assert await output("echo x > /tmp/kept; ls /tmp | grep kept", walls) == "kept\n"
    ended = await run([sh("ls /tmp | grep kept; head -c 100000000 /dev/zero > /tmp/big")], walls)

    assert b"No space left" in ended.stderr
    assert ended.stdout == b""


async def test_a_child_has_no_network_not_even_ours_on_loopback(walls: Confinement) -> None:
    reached: asyncio.Queue[None] = asyncio.Queue()

    def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.put_nowait(None)
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connect = Stage(argv=("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"))
        inside = await run([connect], walls)
        outside = await asyncio.to_thread(subprocess.run, connect.argv, check=False)
        await reached.get()  # the one from outside; had one come from inside, it would be the second

    assert outside.returncode == 0
    assert b"Connection refused" in inside.stderr
    assert (inside.code, reached.qsize()) == (1, 0)


async def test_a_child_has_no_capability_and_can_get_none(walls: Confinement) -> None:
    seen = await output("grep ^Cap /proc/self/status | cut -f2 | sort -u; id -u", walls)
    ended = await run([Stage(argv=("unshare", "--user", "--map-root-user", "true"))], walls)

    assert seen == f"{'0' * 16}\n1000\n"
    assert ended.code != 0


async def test_a_child_holds_no_descriptor_of_ours(walls: Confinement) -> None:
    # 3 is the folder that is being listed.
    assert (await output("ls /proc/self/fd", walls)).split() == ["0", "1", "2", "3"]


# What goes in and comes out


async def test_stages_are_joined_by_pipes_and_each_has_its_code(walls: Confinement) -> None:
    pipeline = [Stage(argv=("yes", "row")), Stage(argv=("head", "-2")), sh("cat; echo note >&2; exit 3")]

    ended = await run(pipeline, walls)

    assert ended.codes == (141, 0, 3)  # SIGPIPE
    assert ended.code == 141
    assert (ended.stdout, ended.stderr) == (b"row\nrow\n", b"note\n")
    assert ended.level is Level.NAMESPACES


async def test_arguments_are_never_read_by_a_shell(walls: Confinement) -> None:
    words = ("$(id)", "a b", "*", "; touch hacked", "--", "", "中文\n")

    ended = await run([Stage(argv=("printf", "<%s>", *words))], walls)

    assert ended.stdout.decode() == "".join(f"<{word}>" for word in words)
    assert list(walls.cwd.iterdir()) == []


async def test_large_input_and_output_pass_through(walls: Confinement) -> None:
    ended = await run([Stage(argv=("cat",)), Stage(argv=("wc", "-c"))], walls, stdin=b"x" * 5_000_000)

    assert ended.stdout.strip() == b"5000000"


async def test_output_over_the_cap_is_dropped_and_the_child_ends_by_itself(walls: Confinement) -> None:
    walls = dataclasses.replace(walls, output_bytes=10)

    ended = await run([sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; touch done")], walls)

    assert (ended.code, ended.truncated, len(ended.stdout), len(ended.stderr)) == (0, True, 10, 10)
    assert (walls.cwd / "done").exists()


async def test_output_that_just_fits_is_not_called_truncated(walls: Confinement) -> None:
    ended = await run([Stage(argv=("echo", "123"))], dataclasses.replace(walls, output_bytes=4))

    assert (ended.stdout, ended.truncated) == (b"123\n", False)


async def test_redirections_write_append_and_read_files_of_the_roots(walls: Confinement) -> None:
    kept = walls.cwd / "kept"
    kept.write_text("a long old content")

    written = await run([Stage(argv=("echo", "one"), stdout=kept), Stage(argv=("cat",))], walls)
    await run([Stage(argv=("echo", "two"), stdout=kept, append=True)], walls)
    read = await run([Stage(argv=("yes",)), Stage(argv=("cat",), stdin=kept)], walls)

    assert (written.stdout, written.code) == (b"", 0)
    assert kept.read_text() == "one\ntwo\n"
    assert (read.stdout, read.codes[1]) == (b"one\ntwo\n", 0)


async def test_a_redirection_that_leads_out_is_refused_and_nothing_runs(walls: Confinement, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(SECRET)
    read = tmp_path / "read"
    read.mkdir()
    (walls.cwd / "link").symlink_to(outside)
    (walls.cwd / "folder").symlink_to(tmp_path)
    (walls.cwd / "second").hardlink_to(outside)
    os.mkfifo(walls.cwd / "pipe")
    (walls.cwd / "hidden").write_text(SECRET)
    walls = dataclasses.replace(walls, read_roots=(read,), hidden=(walls.cwd / "hidden",))

    for name in ("../outside", "link", "folder/outside", "second", "pipe", "hidden"):
        for stage in (
            Stage(argv=("touch", "ran"), stdout=walls.cwd / name),
            Stage(argv=("touch", "ran"), stdin=walls.cwd / name),
        ):
            with pytest.raises((OutsideWorkspace, UnusableFile)):
                await run([Stage(argv=("touch", "ran")), stage], walls)
    with pytest.raises(OutsideWorkspace):
        await run([Stage(argv=("touch", "ran"), stdout=read / "new")], walls)

    assert outside.read_text() == SECRET
    assert not (walls.cwd / "ran").exists()


# How it ends

STUBBORN = """
trap '' TERM HUP INT
setsid sleep "$1" &
( ( setsid sh -c 'trap "" TERM; exec sleep "$0"' "$1" & ) & )
"""


async def test_daemons_do_not_outlive_their_program(walls: Confinement, token: str) -> None:
    # They hold the output open: it is not waited for.
    ended = await run([sh(STUBBORN + "echo done", token)], walls)

    assert (ended.code, ended.stdout, ended.timed_out) == (0, b"done\n", False)
    assert alive(token) == []


async def test_the_whole_tree_is_killed_when_the_time_is_up(walls: Confinement, token: str) -> None:
    walls = dataclasses.replace(walls, wall_s=1)

    ended = await run([sh(STUBBORN + 'echo begun; sleep "$1"', token), Stage(argv=("cat",))], walls)

    assert (ended.timed_out, ended.codes, ended.stdout) == (True, (KILLED, KILLED), b"begun\n")
    assert ended.duration_s < 5
    assert alive(token) == []


async def test_a_stage_never_takes_the_death_of_the_one_before_for_the_end_of_its_input(walls: Confinement) -> None:
    # Both are killed at the deadline; only the order in which they are keeps the second from acting on half its input.
    walls = dataclasses.replace(walls, wall_s=0.3)
    for _ in range(5):
        ended = await run([Stage(argv=("sleep", "60")), sh("cat > /dev/null; echo acted > acted")], walls)

        assert (ended.timed_out, ended.codes) == (True, (KILLED, KILLED))
        assert not (walls.cwd / "acted").exists()


async def test_the_whole_tree_is_killed_when_we_are_cancelled(walls: Confinement, token: str) -> None:
    begun = asyncio.Event()
    os.mkfifo(walls.cwd / "begun")
    fd = os.open(walls.cwd / "begun", os.O_RDONLY | os.O_NONBLOCK)
    asyncio.get_running_loop().add_reader(fd, begun.set)

    task = asyncio.create_task(run([sh(STUBBORN + 'echo x > begun; sleep "$1"', token)], walls))
    await begun.wait()
    asyncio.get_running_loop().remove_reader(fd)
    os.close(fd)
    there = alive(token)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert there != []
    assert alive(token) == []


async def test_a_run_leaves_no_descriptor_behind(walls: Confinement) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    await run([Stage(argv=("yes",)), Stage(argv=("head", "-1"))], walls)
    with pytest.raises(UnusableFile):
        await run([Stage(argv=("cat",)), Stage(argv=("cat",), stdin=walls.cwd / "missing")], walls)
    await run([Stage(argv=("sleep", "60"))], dataclasses.replace(walls, wall_s=0.01))

    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_many_run_at_once(walls: Confinement) -> None:
    ended = await asyncio.gather(*(run([Stage(argv=("echo", str(n)))], walls) for n in range(12)))

    assert [int(one.stdout) for one in ended] == list(range(12))


@pytest.mark.parametrize(
    ("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -SEGV $$", 139), ("exit 126", 126)]
)
async def test_exit_codes_are_those_of_the_program(walls: Confinement, script: str, code: int) -> None:
    assert (await run([sh(script)], walls)).codes == (code,)


# What it uses


async def test_processor_time_is_limited(walls: Confinement) -> None:
    ended = await run([sh("while :; do :; done")], dataclasses.replace(walls, cpu_s=1))

    assert (ended.code, ended.timed_out) == (KILLED, False)


async def test_memory_is_limited(walls: Confinement) -> None:
    walls = dataclasses.replace(walls, memory_bytes=100 << 20)

    ended = await run([Stage(argv=("head", "-c", "300000000", "/dev/zero")), Stage(argv=("tail",))], walls)

    assert ended.codes[1] == 1
    assert b"memory exhausted" in ended.stderr


async def test_the_size_of_a_file_is_limited(walls: Confinement) -> None:
    walls = dataclasses.replace(walls, file_size_bytes=100_000)

    direct = await run([sh("head -c 200000 /dev/zero > direct")], walls)
    redirected = await run([Stage(argv=("head", "-c", "200000", "/dev/zero"), stdout=walls.cwd / "redirected")], walls)

    assert direct.code != 0
    assert redirected.code != 0
    assert {path.stat().st_size for path in walls.cwd.iterdir()} <= {100_000, 98_304}


async def test_the_number_of_processes_is_limited(walls: Confinement, token: str) -> None:
    walls = dataclasses.replace(walls, processes=12)

    few = await run([sh("for i in 1 2 3 4 5 6; do sleep 0.3 & done; wait; echo fine")], walls)
    many = await run([sh(f"for i in $(seq 60); do sleep {token} & done; wait")], walls)

    assert few.stdout == b"fine\n"
    assert many.code != 0
    assert many.duration_s < 10
    assert not many.timed_out


# What is not there


async def test_a_missing_program_is_told_apart_from_a_failing_one(walls: Confinement, tmp_path: Path) -> None:
    outside = tmp_path / "tool"
    shutil.copy("/usr/bin/true", outside)
    (walls.cwd / "data").write_text("no program")

    for name in ("no-such-program", str(outside), "./data", "", "../tool", "/etc"):
        started = await run([Stage(argv=("touch", "ran")), Stage(argv=(name,))], walls)
        assert started == Exit(codes=(NOT_FOUND,), level=Level.NAMESPACES, not_found=name)

    assert not (walls.cwd / "ran").exists()


async def test_a_program_of_a_root_runs(walls: Confinement) -> None:
    shutil.copy("/usr/bin/echo", walls.cwd / "tool")

    assert (await run([Stage(argv=("./tool", "hello"))], walls)).stdout == b"hello\n"


async def test_walls_that_cannot_be_put_up_are_never_the_command_s_output(walls: Confinement) -> None:
    walls = dataclasses.replace(walls, read_roots=(walls.cwd / "missing",))

    with pytest.raises(SandboxUnavailable, match=r"could not be put up: .*missing.*`remit doctor`"):
        await run([Stage(argv=("true",))], walls)


@pytest.mark.usefixtures("fresh_probe")
async def test_without_bubblewrap_nothing_runs_and_the_operator_is_told_what_to_install(
    walls: Confinement, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SandboxUnavailable, match=r"bubblewrap is missing; install the Debian package"):
        await run([Stage(argv=("touch", "ran"))], walls, least=Level.NONE)

    assert not (walls.cwd / "ran").exists()


@pytest.mark.usefixtures("fresh_probe")
async def test_a_machine_that_forbids_namespaces_is_found_out_before_anything_runs(
    walls: Confinement, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forbidden = tmp_path / "bwrap"
    forbidden.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    forbidden.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SandboxUnavailable, match=r"Permission denied.*AppArmor.*Docker"):
        await run([Stage(argv=("touch", "ran"))], walls)


async def test_a_level_that_is_not_reached_is_refused(walls: Confinement) -> None:
    with pytest.raises(SandboxUnavailable, match="needs confinement level 'full', this machine gives 'namesp"):
        await run([Stage(argv=("touch", "ran"))], walls, least=Level.FULL)

    assert not (walls.cwd / "ran").exists()


async def test_what_would_break_the_walls_by_its_spelling_is_refused(walls: Confinement) -> None:
    for broken in (
        {"env": {"A": "x\0--share-net"}},
        {"env": {"A\0--share-net": "x"}},
        {"env": {"": "x"}},
        {"read_roots": (Path("/"),)},
        {"read_roots": (Path("relative"),)},
        {"read_roots": (Path("/usr/../etc"),)},
        {"cwd": Path("/etc")},
    ):
        with pytest.raises(ValueError, match=r"confinement|working folder"):
            await run([Stage(argv=("true",))], dataclasses.replace(walls, **broken))
    with pytest.raises(ValueError, match="at least one stage"):
        await run([], walls)


# As an ordinary user

AS_A_USER = """
import asyncio, os, sys
from pathlib import Path
from sandbox.confinement import Confinement
from sandbox.process import Stage, run

work = Path(sys.argv[1])
walls = Confinement(read_roots=(), write_roots=(work,), cwd=work, cpu_s=5, memory_bytes=1 << 30, processes=12,
                    file_size_bytes=1 << 20, wall_s=20, output_bytes=1 << 20)

async def main():
    assert os.getuid() != 0
    seen = await run([Stage(argv=("sh", "-c", "id -u; touch made; ls -A; cat /etc/shadow"))], walls)
    assert (seen.stdout, seen.code) == (b"1000\\nmade\\n", 1), seen
    many = await run([Stage(argv=("sh", "-c", "for i in $(seq 60); do sleep 60 & done; wait"))], walls)
    assert b"fork" in many.stderr and many.duration_s < 10, many
    print("held")

asyncio.run(main())
"""


def test_the_walls_stand_for_an_ordinary_user_too(tmp_path: Path) -> None:
    base = Path("/var/tmp", f"remit-{uuid.uuid4().hex}")  # below pytest's folder only its owner can go
    try:
        work = base / "work"
        work.mkdir(parents=True)
        package = Path(confinement.__file__).parent
        shutil.copytree(package, base / "sandbox", ignore=shutil.ignore_patterns("practice", "__pycache__"))
        (base / "try.py").write_text(AS_A_USER)
        base.chmod(0o755)
        work.chmod(0o777)
        user: dict[str, object] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        done = subprocess.run(
            (_python_for_everybody(user), "-B", str(base / "try.py"), str(work)),
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **user,  # type: ignore[call-overload]
        )
    finally:
        shutil.rmtree(base)

    assert (done.stdout, done.stderr) == ("held\n", "")


def _python_for_everybody(user: dict[str, object]) -> str:
    """An interpreter that the user may run; root's own often lies below /root."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            check = (python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))")
            subprocess.run(check, check=True, capture_output=True, cwd="/", **user)  # type: ignore[call-overload]
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.fail("no Python that an ordinary user may run: install the Debian package python3")
