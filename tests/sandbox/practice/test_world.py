from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from sandbox.practice.children import MARK, ROOT, Child, running
from sandbox.practice.errors import PracticeError
from sandbox.practice.web1.unit import State
from sandbox.practice.world import World, down, load, status, up


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a world"
    yield folder
    down(folder)


def processes(folder: Path) -> list[int]:
    """All that carry the world's mark, and its sshd, which hides its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in told and b"\0" in told:
            found.append(int(entry.name))
    return found


def child(folder: Path, name: str) -> Child:
    return Child(*json.loads((folder / f"{name}.child").read_text()))


def test_up_twice_gives_the_same_world_and_down_leaves_nothing(folder: Path) -> None:
    world = up(folder)
    world.repair_worker()
    assert len(processes(folder)) >= 5  # three servers, sshd, the worker

    assert up(folder) == world == load(folder)
    assert status(folder).up and status(folder).worker is State.ACTIVE
    assert (folder / "world.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700

    down(folder)
    assert processes(folder) == [] and not folder.exists()
    assert not any(part.up or part.address for part in status(folder).parts)
    down(folder)


@pytest.mark.parametrize("name", ["shop", "collect", "model", "web1"])
def test_a_dead_part_is_started_again_at_its_old_address(folder: Path, name: str) -> None:
    script = "sandbox.practice.scripts.smoke:smoke"
    world = up(folder, script=script)
    before = child(folder, name)
    os.kill(before.pid, signal.SIGKILL)
    os.waitpid(before.pid, 0)
    assert [part.name for part in status(folder).parts if not part.up] == [name]

    assert up(folder) == world
    assert status(folder).up
    assert "never asked" in world.model_verdict().problems[0]  # the script is still the same


def test_a_reused_pid_is_not_killed(folder: Path) -> None:
    up(folder)
    with subprocess.Popen(["sleep", "60"]) as innocent:
        (folder / "shop.child").write_text(json.dumps([innocent.pid, child(folder, "shop").started]))
        assert not status(folder).parts[0].up
        down(folder)
        assert innocent.poll() is None
        innocent.kill()


def test_a_command_left_behind_on_web1_ends_with_the_world(folder: Path) -> None:
    world = up(folder)
    ssh = ["ssh", "-F", "none", "-i", str(world.web1_client_key), "-p", str(world.web1.port), "-o", "BatchMode=yes"]
    ssh += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    command = [*ssh, f"{world.web1_user}@127.0.0.1", "setsid sleep 60 >/dev/null 2>&1 & echo $!"]
    left = int(subprocess.run(command, capture_output=True, check=True, timeout=20).stdout)
    assert left in processes(folder)

    down(folder)
    assert processes(folder) == [] and not Path(f"/proc/{left}/cwd").exists()


def test_a_reset_starts_a_new_play_in_the_same_processes(folder: Path) -> None:
    world = up(folder, today=date(2026, 1, 31))
    world.repair_worker()
    before = [child(folder, name) for name in ("shop", "collect", "model", "web1")]

    world.reset()

    assert world.worker_state() is State.FAILED
    assert (world.reminders(), world.collected(), world.model_requests()) == ([], [], [])
    assert [child(folder, name) for name in ("shop", "collect", "model", "web1")] == before
    assert all(running(folder, name) for name in ("shop", "collect", "model", "web1"))
    assert world.orders()[0].due_on < date(2026, 1, 31)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")

    with pytest.raises(PracticeError, match="not empty"):
        up(tmp_path)
    with pytest.raises(PracticeError, match="not a practice world"):
        down(tmp_path)
    with pytest.raises(PracticeError, match="there is no practice world"):
        load(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_a_world_made_halfway_is_made_anew(folder: Path) -> None:
    up(folder)
    (folder / "world.json").unlink()

    assert up(folder).orders()
    down(folder)
    assert processes(folder) == []


def test_another_day_or_an_unreadable_world_is_an_error(folder: Path) -> None:
    up(folder, today=date(2026, 1, 31))
    with pytest.raises(PracticeError, match="counts from 2026-01-31"):
        up(folder, today=date(2026, 2, 1))
    (folder / "world.json").write_text("{}")
    with pytest.raises(PracticeError, match="cannot be read"):
        up(folder)


def test_a_path_that_sshd_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PracticeError, match="percent"):
        up(tmp_path / "100%")


def test_two_ups_at_once_make_one_world(folder: Path) -> None:
    found: list[World] = []
    threads = [threading.Thread(target=lambda: found.append(up(folder))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0] == found[1]


def test_folders_called_like_our_packages_do_not_get_in_the_way(folder: Path, tmp_path: Path) -> None:
    for name in ("tools", "agent", "sandbox"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    program = (
        f"from pathlib import Path; from sandbox.practice.world import up; up(Path({str(folder)!r})).repair_worker()"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env=environment, check=True, timeout=30)

    assert status(folder).up and status(folder).worker is State.ACTIVE  # and it outlives who made it
    assert MARK not in os.environ
