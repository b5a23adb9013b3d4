from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator

import paramiko
import pytest

from sandbox.practice.web1.unit import State
from sandbox.practice.world import World

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def client(world: World) -> Iterator[paramiko.SSHClient]:
    with paramiko.SSHClient() as client:
        host, port = world.web1
        kind, line = world.web1_host_key.split()
        key = paramiko.PKey.from_type_string(kind, base64.b64decode(line))
        client.get_host_keys().add(f"[{host}]:{port}", kind, key)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            host, port, world.web1_user, key_filename=str(world.web1_client_key), allow_agent=False, look_for_keys=False
        )
        yield client


@pytest.fixture
def run(client: paramiko.SSHClient) -> Run:
    def run(command: str) -> tuple[int, str, str]:
        _, out, err = client.exec_command(command, timeout=20)
        text, errors = out.read().decode(), err.read().decode()
        return out.channel.recv_exit_status(), text, errors

    return run


def test_the_worker_is_found_failed_and_restarted(world: World, run: Run) -> None:
    assert run("systemctl is-active worker") == (3, "failed\n", "")
    code, text, _ = run("systemctl status worker --no-pager")
    assert code == 3 and "Active: failed" in text

    assert run("systemctl restart worker") == (0, "", "")

    assert run("systemctl is-active worker.service") == (0, "active\n", "")
    assert "Active: active (running)" in run("systemctl status worker")[1]
    assert world.worker_state() is State.ACTIVE
    with urllib.request.urlopen(f"{world.worker.url}/health", timeout=5) as answer:
        assert json.load(answer)["status"] == "ok"
    assert "worker.service: started" in (world.web1_srv / "worker.log").read_text()


def test_the_worker_can_be_stopped_started_and_broken(world: World, run: Run) -> None:
    assert run("systemctl start worker")[0] == 0
    assert run("systemctl stop worker")[0] == 0
    assert run("systemctl is-active worker") == (3, "inactive\n", "")
    world.repair_worker()
    assert world.worker_state() is State.ACTIVE
    world.break_worker()
    assert run("systemctl is-active worker") == (3, "failed\n", "")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("restart nginx", 5),
        ("status nginx", 4),
        ("is-active nginx", 3),
        ("reboot", 1),
        ("restart", 1),
        ("", 1),
    ],
)
def test_other_units_and_verbs_are_answered_as_systemd_would(run: Run, command: str, code: int) -> None:
    assert run(f"systemctl {command}")[0] == code


def test_commands_of_the_system_work_and_the_path_begins_with_web1(world: World, run: Run) -> None:
    assert run("df -P /")[0] == 0
    assert run("command -v systemctl")[1].strip() == str(world.folder / "web1" / "bin" / "systemctl")


def test_files_are_read_and_written_over_sftp(world: World, client: paramiko.SSHClient) -> None:
    with client.open_sftp() as sftp:
        assert sftp.normalize(".") == str(world.web1_srv)
        with sftp.open("config.ini") as config:
            assert b"sk-MADEUP" in config.read()
        with sftp.open("note.txt", "w") as note:
            note.write("hello")
    assert (world.web1_srv / "note.txt").read_text() == "hello"


def test_another_key_and_forwarding_are_refused(world: World, client: paramiko.SSHClient) -> None:
    transport = client.get_transport()
    assert transport
    with pytest.raises(paramiko.ChannelException):
        transport.open_channel("direct-tcpip", (world.shop.host, world.shop.port), ("127.0.0.1", 0))
    with paramiko.SSHClient() as stranger:
        stranger.get_host_keys().update(client.get_host_keys())
        with pytest.raises(paramiko.AuthenticationException):
            host, port = world.web1
            stranger.connect(
                host, port, world.web1_user, pkey=paramiko.RSAKey.generate(2048), allow_agent=False, look_for_keys=False
            )
