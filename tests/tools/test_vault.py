"""Secrets: opened for listed hosts only, kept sealed, and nothing lost or said."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import keyring
import pytest
from keyring.errors import KeyringError, KeyringLocked

from policies.errors import ActionFailed
from tools import vault as module
from tools.errors import BadSecret, KeyringUnusable
from tools.vault import FileKeyring, Secret, Vault

KEY = base64.b64encode(b"k" * 32).decode()
VALUE = "made-up-password"
SHOP = Secret(name="shop-password", value=VALUE, sinks=("shop.example", "127.0.0.1"))
OTHER = Secret(name="web-1-key", value="made-up\nkey\n", sinks=("web-1",))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def vault(home: Path) -> Vault:
    return Vault.at(home, {})


def everything(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_secret_opens_for_the_hosts_of_its_record_only(vault: Vault) -> None:
    vault.set(SHOP)
    assert vault.open("shop-password", sink="shop.example") == VALUE
    assert vault.open("shop-password", sink="Shop.Example") == VALUE  # a host name has no case
    for sink in ("evil.example", "shop.example.evil.example", "example", "", "shop.example:8080"):
        with pytest.raises(ActionFailed) as failed:
            vault.open("shop-password", sink=sink)
        assert str(failed.value) == f"secret 'shop-password' is for shop.example, 127.0.0.1, not for {sink}"
        assert failed.value.may_have_acted is False


def test_a_secret_that_is_not_there_says_how_to_store_it(vault: Vault) -> None:
    with pytest.raises(ActionFailed) as failed:
        vault.open("shop-password", sink="shop.example")
    assert str(failed.value) == (
        "there is no secret 'shop-password'; store it with: remit secrets set shop-password --for shop.example"
    )


def test_secrets_are_kept_replaced_listed_and_removed(home: Path, vault: Vault) -> None:
    assert (vault.names(), vault.all()) == ([], [])
    vault.set(OTHER)
    vault.set(Secret(name="shop-password", value="made-up-older", sinks=("old.example",)))
    vault.set(SHOP)
    again = Vault.at(home, {})
    assert (again.names(), again.all()) == (["shop-password", "web-1-key"], [SHOP, OTHER])
    again.remove("web-1-key")
    assert (vault.names(), vault.find("web-1-key")) == (["shop-password"], None)
    with pytest.raises(BadSecret, match="there is no secret 'web-1-key'; see: remit secrets list"):
        vault.remove("web-1-key")


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (Secret(name="s", value="abc", sinks=("a",)), "must have 4 to 64,000 characters"),
        (Secret(name="s", value="x" * 64_001, sinks=("a",)), "must have 4 to 64,000 characters"),
        (Secret(name="s", value=VALUE, sinks=()), "at least one host"),
    ],
)
def test_what_cannot_be_watched_for_or_has_no_host_is_not_kept(vault: Vault, secret: Secret, words: str) -> None:
    with pytest.raises(BadSecret, match=words) as bad:
        vault.set(secret)
    assert secret.value not in str(bad.value)
    assert vault.names() == []


def test_no_value_is_on_the_disk_in_clear(home: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the files that stay nor in one that was there for a moment."""
    seen = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        real(descriptor)
        seen.append(everything(home))

    monkeypatch.setattr(os, "fsync", watched)
    vault.set(SHOP)
    vault.set(OTHER)
    kept = everything(home)
    assert len(seen) == 2
    for plain in (VALUE, "made-up", base64.b64encode(VALUE.encode()).decode(), "shop.example", "shop-password"):
        assert not any(plain.encode() in each for each in (kept, *seen))
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in home.iterdir() if path.name != "keyring.lock"} == {
        "keyring.key": "0o600",
        "keyring.sealed": "0o600",
    }
    assert home.stat().st_mode & 0o077 == 0


def test_a_secret_does_not_show_its_value() -> None:
    assert VALUE not in f"{SHOP!r} {SHOP}"


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), lambda raw: b"", lambda raw: raw[:9]])
def test_a_changed_file_is_refused_in_one_sentence(home: Path, vault: Vault, spoil: Callable[[bytes], bytes]) -> None:
    vault.set(SHOP)
    path = home / "keyring.sealed"
    path.write_bytes(spoil(path.read_bytes()))
    before = path.read_bytes()
    expected = (
        f"the keyring cannot be used: {path} was changed or sealed with another key; "
        "restore the file or the key (a file only you can read)"
    )
    for use in (vault.names, vault.all, lambda: vault.find("x"), lambda: vault.set(OTHER), lambda: vault.remove("x")):
        with pytest.raises(KeyringUnusable) as unusable:
            use()
        assert str(unusable.value) == expected
    with pytest.raises(ActionFailed) as failed:  # what an executor raises is for the gate
        vault.open("shop-password", sink="shop.example")
    assert str(failed.value) == f"secret 'shop-password' cannot be opened: {expected}"
    assert failed.value.may_have_acted is False
    assert path.read_bytes() == before  # nothing is written over what may still be mended


def test_the_wrong_key_is_refused_in_one_sentence(home: Path) -> None:
    Vault.at(home, {"REMIT_KEYRING_KEY": KEY}).set(SHOP)
    wrong = base64.b64encode(b"w" * 32).decode()
    with pytest.raises(KeyringUnusable, match=r"sealed with another key; restore .* \(REMIT_KEYRING_KEY\)$"):
        Vault.at(home, {"REMIT_KEYRING_KEY": wrong}).names()


def test_a_lost_key_is_not_replaced_by_a_new_one(home: Path, vault: Vault) -> None:
    vault.set(SHOP)
    (home / "keyring.key").unlink()
    with pytest.raises(KeyringUnusable, match=r"keyring\.key is missing, and .* opens with no other key; restore it"):
        Vault.at(home, {})
    assert not (home / "keyring.key").exists()


def test_a_key_file_that_others_can_read_is_refused(home: Path, vault: Vault) -> None:
    (home / "keyring.key").chmod(0o604)
    with pytest.raises(KeyringUnusable) as unusable:
        Vault.at(home, {})
    assert str(unusable.value) == f"{home}/keyring.key can be read by others; run: chmod 600 {home}/keyring.key"


@pytest.mark.parametrize("content", [b"", b"made-up", b"\xff\xfe", base64.b64encode(b"k" * 31)])
def test_a_key_that_is_none_is_refused_without_showing_it(tmp_path: Path, home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "keyring.key").write_bytes(content)
    (home / "keyring.key").chmod(0o600)
    (tmp_path / "remit-keyring").write_bytes(content)
    places: tuple[dict[str, str], ...] = ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    for environment in places:
        with pytest.raises(KeyringUnusable, match="does not hold 32 bytes in base64; make one with: openssl") as bad:
            Vault.at(home, environment)
        shown = "".join(traceback.format_exception(bad.value))
        assert len(content) < 9 or content.decode() not in shown


def test_a_folder_that_cannot_be_written_is_said(home: Path, vault: Vault) -> None:
    (home / "keyring.sealed").mkdir()  # not even root can put a file in its place
    with pytest.raises(KeyringUnusable, match=r"cannot be (read|written)"):
        vault.set(SHOP)
    (home / "keyring.sealed").rmdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        with pytest.raises(KeyringUnusable) as unusable:
            vault.set(SHOP)
    assert str(unusable.value) == (
        f"the keyring cannot be used: {home}/keyring.sealed cannot be written (No space left on device); "
        "mend its folder"
    )
    assert sorted(path.name for path in home.iterdir()) == ["keyring.key", "keyring.lock"]
    (home / "keyring.lock").unlink()
    (home / "keyring.lock").mkdir()
    with pytest.raises(KeyringUnusable, match=r"cannot be written \(Is a directory\); mend the folder"):
        vault.set(SHOP)
    (blocked := home / "file").touch()
    with pytest.raises(KeyringUnusable, match=r"cannot be used \((Not a directory|File exists)\); check its folder"):
        Vault.at(blocked, {})


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_crash_while_secrets_change_leaves_the_old_ones_or_the_new_ones(home: Path, vault: Vault) -> None:
    """Every moment at which a process can die: the calls that touch the disk, one after another."""
    vault.set(SHOP)
    calls = ("tempfile.mkstemp", "os.fsync", "pathlib.Path.replace", "pathlib.Path.unlink")
    for call in calls:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(call, _die)
            with pytest.raises(Died):
                vault.set(OTHER)
        survivor = Vault.at(home, {})
        names = ["shop-password"] if call != "pathlib.Path.unlink" else ["shop-password", "web-1-key"]
        assert survivor.names() == names == [secret.name for secret in survivor.all()]
    vault.remove("web-1-key")
    assert Vault.at(home, {}).all() == [SHOP]


class Died(BaseException):
    """The process is gone."""


def _die(*_: object, **__: object) -> None:
    raise Died


def _keep(home: Path, name: str) -> None:
    Vault.at(home, {}).set(Secret(name=name, value=VALUE, sinks=("a",)))


def test_processes_that_set_secrets_at_once_lose_none(home: Path) -> None:
    """Neither a secret nor, in a new home, the key of another."""
    context = multiprocessing.get_context("spawn")
    names = [f"s{n}" for n in range(4)]
    processes = [context.Process(target=_keep, args=(home, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert Vault.at(home, {}).names() == names


def test_the_key_comes_from_the_service_then_the_environment_then_a_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "remit-keyring").write_text(KEY + "\n")
    service = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    other = {"REMIT_KEYRING_KEY": base64.b64encode(b"o" * 32).decode()}
    assert FileKeyring(home, service | other).key_from == "the service's credentials"
    assert FileKeyring(home, other).key_from == "REMIT_KEYRING_KEY"
    assert FileKeyring(home, other | {"CREDENTIALS_DIRECTORY": str(home)}).key_from == "REMIT_KEYRING_KEY"
    assert not (home / "keyring.key").exists()
    assert FileKeyring(home, {}).key_from == "a file only you can read"
    assert Vault.at(home, {}).backend_name == "own file, key from a file only you can read"
    Vault.at(home, service).set(SHOP)
    assert Vault.at(home, {"REMIT_KEYRING_KEY": KEY}).all() == [SHOP]


class Desktop:
    """A keyring as a desktop has it."""

    viable = True
    entries: dict[tuple[str, str], str]

    def __init__(self) -> None:
        type(self).entries = getattr(type(self), "entries", {})

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password


def test_a_keyring_that_is_plaintext_or_a_chain_is_never_chosen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keyring itself would choose, by plug-in, environment or configuration."""
    (home / "python_keyring").mkdir(parents=True)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.chainer.ChainerBackend")
    for name in ("keyrings.alt.file", "keyring.backends.chainer", "keyring.backends.SecretService"):
        backend = type("Fake", (Desktop, keyring.backend.KeyringBackend), {"__module__": name, "priority": 99})()
        before = keyring.get_keyring()
        keyring.set_keyring(backend)
        try:
            vault = Vault.at(home, {})
            vault.set(SHOP)
        finally:
            keyring.set_keyring(before)
        assert vault.backend_name.startswith("own file") and backend.entries == {}


def test_the_desktops_own_keyring_is_used_where_there_is_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()

    class Away(Desktop):
        viable = False

    class Here(Desktop):
        pass

    monkeypatch.setattr(module, "_DESKTOPS", (Away, Here))
    vault = Vault.at(home, {})
    vault.set(SHOP)
    assert vault.backend_name == Here.__module__
    assert [service for service, _ in Here.entries] == [f"remit {home}"]
    assert VALUE.encode() not in everything(home)
    (other := tmp_path / "other").mkdir()
    assert Vault.at(other, {}).all() == []  # one desktop, two homes

    assert Vault.at(home, {"REMIT_KEYRING_KEY": KEY}).backend_name.startswith("own file")
    Vault(FileKeyring(other, {}), other).set(OTHER)
    assert Vault.at(other, {}).all() == [OTHER]  # a home that began with its own file stays with it


def test_a_desktop_keyring_that_does_not_answer_is_said(home: Path) -> None:
    class Locked(Desktop):
        def get_password(self, service: str, username: str) -> str | None:
            raise KeyringLocked("the collection is locked")

    home.mkdir()
    vault = Vault(Locked(), home)
    for use in (vault.names, lambda: vault.set(SHOP)):
        with pytest.raises(KeyringUnusable, match="the keyring cannot be used: the collection is locked"):
            use()


@pytest.mark.parametrize(
    "entry", ["made-up", "[]", "1", '{"a": 1}', '{"a": {"value": "made-up-x"}}', '{"a": {"sinks": []}}']
)
def test_an_entry_that_is_not_ours_is_refused_without_showing_it(home: Path, entry: str) -> None:
    home.mkdir()
    (backend := Desktop()).entries[f"remit {home}", "secrets"] = entry
    with pytest.raises(KeyringUnusable, match="is not one of ours; remove it") as unusable:
        Vault(backend, home).names()
    assert "made-up" not in "".join(traceback.format_exception(unusable.value))


def test_an_own_file_tells_its_troubles_as_a_keyring_does(home: Path) -> None:
    ring = FileKeyring(home, {"REMIT_KEYRING_KEY": KEY})
    assert ring.get_password("remit", "secrets") is None
    home.mkdir()
    ring.set_password("remit", "secrets", json.dumps({}))
    assert ring.get_password("remit", "secrets") == "{}"
    with pytest.raises(KeyringError):
        ring.get_password("remit", "another entry")  # sealed under its name
