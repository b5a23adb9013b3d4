"""servers.yaml: what is accepted, and how each fault is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.errors import BadInventory
from tools.servers.inventory import Inventory, load_inventory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "MADEUP" * 7 + "M"
GOOD = f"servers:\n  web-1:\n    host: web-1.example\n    user: deploy\n    host_key: {KEY}\n    key: web-1-key\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "servers.yaml"


def test_servers_are_read_with_their_pinned_keys(path: Path) -> None:
    assert load_inventory(path) == Inventory()
    path.write_text("")
    assert load_inventory(path) == Inventory()
    path.write_text(GOOD)
    server = load_inventory(path).servers["web-1"]
    assert (server.host, server.port, server.user, server.host_key, server.key, server.key_file) == (
        *("web-1.example", 22, "deploy", KEY, "web-1-key", None),
    )


def test_a_key_file_is_looked_for_beside_the_inventory(path: Path, tmp_path: Path) -> None:
    path.write_text(GOOD.replace("key: web-1-key", "key_file: keys/web-1"))
    assert load_inventory(path).servers["web-1"].key_file == tmp_path / "keys" / "web-1"
    path.write_text(GOOD.replace("key: web-1-key", "key_file: /etc/keys/web-1"))
    assert load_inventory(path).servers["web-1"].key_file == Path("/etc/keys/web-1")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD + "  web-1:\n    host: x\n", ':7:3: found duplicate key "web-1"'),
        ("servers: [", ":1:11: "),
        ("servers: {a: &a [*a]}", ": servers.a: "),
        (GOOD.replace("user: deploy", "user: 2026-13-45"), ": it cannot be read as YAML in UTF-8"),
        (GOOD.replace("    user: deploy\n", ""), ": servers.web-1.user: field required"),
        (GOOD + "    hostkey: x\n", ": servers.web-1.hostkey: "),
        (GOOD.replace("web-1:", "'web 1; rm':"), ": servers.web 1; rm.[key]: 'web 1; rm' is not a name"),
        (GOOD + "    key_file: k\n", ": servers.web-1: give either key (a secret's name) or key_file"),
        (GOOD.replace("    key: web-1-key\n", ""), ": servers.web-1: give either key"),
        (GOOD.replace("host_key: ssh-ed25519", "host_key: ssh-dss"), ": servers.web-1.host_key: it begins with one of"),
        (GOOD.replace(KEY, KEY[:30]), ": servers.web-1.host_key: "),
        (GOOD.replace(KEY, "ssh-rsa " + KEY.split()[1]), ": servers.web-1.host_key: it does not hold a key of"),
        (GOOD + "    port: 0\n", ": servers.web-1.port: "),
        ("x" * 1_000_001, ": it is larger than 1,000,000 bytes"),
    ],
)
def test_a_fault_names_the_file_and_the_place(path: Path, text: str, fault: str) -> None:
    path.write_text(text)
    with pytest.raises(BadInventory) as bad:
        load_inventory(path)
    assert str(bad.value).startswith(f"{path}{fault}")


def test_bytes_that_are_no_text_are_a_fault(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInventory, match="cannot be read"):
        load_inventory(path)
