"""Opens secrets for executors, and for nobody else.

A secret is a value with the hosts it may be sent to. All secrets of a home are one entry of a keyring, so that
no crash leaves half of a change: a desktop's own keyring; elsewhere our own file, sealed with AES-256-GCM, the key
from `$CREDENTIALS_DIRECTORY`, `$REMIT_KEYRING_KEY` or a 0600 file. Never a plaintext backend, never a chain of
backends. This keeps values from readers of the disk; whoever may write to it can put an older file back.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from keyring.backends import SecretService, kwallet, macOS
from keyring.errors import KeyringError

from policies.errors import ActionFailed
from tools.errors import BadSecret, KeyringUnusable

# Asked for by class: what keyring itself would choose depends on plug-ins, the environment and a configuration
# file, and may be a plaintext file or a chain with one in it.
_DESKTOPS = (SecretService.Keyring, kwallet.DBusKeyring, macOS.Keyring)
_ENTRY = "secrets"
_SHORTEST, _LONGEST = 4, 64_000


class Keyring(Protocol):
    """What keeps entries; raises KeyringError."""

    def get_password(self, service: str, username: str) -> str | None:
        """The entry, None when there is none."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep an entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A value and the hosts (or server names) it may be sent to."""

    name: str
    value: str = field(repr=False)
    sinks: tuple[str, ...]


class FileKeyring:
    """One sealed 0600 file for the one entry of a home, for machines without a desktop keyring."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._path = folder / "keyring.sealed"
        self._key, self.key_from = _file_key(folder, environment)

    def get_password(self, service: str, username: str) -> str | None:
        """The entry, None when there is none."""
        try:
            raw = self._path.read_bytes()
            return AESGCM(self._key).decrypt(raw[:12], raw[12:], username.encode()).decode()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyringError(f"{self._path} cannot be read ({error.strerror})") from None
        except (InvalidTag, ValueError):
            raise KeyringError(
                f"{self._path} was changed or sealed with another key; restore the file or the key ({self.key_from})"
            ) from None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep an entry."""
        nonce = secrets.token_bytes(12)
        try:
            with _whole(
                self._path, nonce + AESGCM(self._key).encrypt(nonce, password.encode(), username.encode())
            ) as new:
                new.replace(self._path)
        except OSError as error:
            raise KeyringError(f"{self._path} cannot be written ({error.strerror}); mend its folder") from None


class Vault:
    """The secrets of one home."""

    def __init__(self, backend: Keyring, home: Path) -> None:
        self._backend, self._home = backend, home
        self._service = f"remit {home.resolve()}"  # a desktop has one keyring, but may have several homes

    @classmethod
    def at(cls, home: Path, environment: Mapping[str, str] = os.environ) -> Vault:
        """The vault in force here: our own file where it is in use or a key is given for it, else the desktop's."""
        own = (home / "keyring.sealed").exists() or _given_key(environment) is not None
        for desktop in () if own else _DESKTOPS:
            if desktop.viable:
                return cls(desktop(), home)
        return cls(FileKeyring(home, environment), home)

    @property
    def backend_name(self) -> str:
        """For people: which keyring holds the secrets."""
        if isinstance(self._backend, FileKeyring):
            return f"own file, key from {self._backend.key_from}"
        return type(self._backend).__module__

    def open(self, name: str, *, sink: str) -> str:
        """The value of a secret for a host or server that its record lists; else ActionFailed."""
        try:
            secret = self.find(name)
        except KeyringUnusable as error:
            raise ActionFailed(f"secret {name!r} cannot be opened: {error}", may_have_acted=False) from None
        if secret is None:
            wanted = f"there is no secret {name!r}; store it with: remit secrets set {name} --for {sink}"
            raise ActionFailed(wanted, may_have_acted=False)
        if sink.lower() not in {listed.lower() for listed in secret.sinks}:
            raise ActionFailed(
                f"secret {name!r} is for {', '.join(secret.sinks)}, not for {sink}", may_have_acted=False
            )
        return secret.value

    def find(self, name: str) -> Secret | None:
        """The secret, if there is one. KeyringUnusable when the keyring does not answer."""
        return self._kept().get(name)

    def set(self, secret: Secret) -> None:
        """Keep a secret. BadSecret for one too short to be recognised when it leaks."""
        if not _SHORTEST <= len(secret.value) <= _LONGEST:
            size = f"{_SHORTEST} to {_LONGEST:,} characters"
            raise BadSecret(f"secret {secret.name!r} must have {size}, or it cannot be watched for")
        if not secret.sinks:
            raise BadSecret(f"secret {secret.name!r} needs at least one host it may be sent to")
        with self._changed() as kept:
            kept[secret.name] = secret

    def remove(self, name: str) -> None:
        """Forget a secret; BadSecret when there is none of this name."""
        with self._changed() as kept:
            if kept.pop(name, None) is None:
                raise BadSecret(f"there is no secret {name!r}; see: remit secrets list")

    def all(self) -> Sequence[Secret]:
        """Every secret by name, so that a run can watch for their values."""
        return [secret for _, secret in sorted(self._kept().items())]

    def names(self) -> Sequence[str]:
        """The names of all secrets."""
        return sorted(self._kept())

    def _kept(self) -> dict[str, Secret]:
        try:
            stored = json.loads(self._backend.get_password(self._service, _ENTRY) or "{}")
            return {n: Secret(name=n, value=str(r["value"]), sinks=tuple(r["sinks"])) for n, r in stored.items()}
        except KeyringError as error:
            raise KeyringUnusable(f"the keyring cannot be used: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise KeyringUnusable(f"the keyring's entry {self._service!r} is not one of ours; remove it") from None

    @contextlib.contextmanager
    def _changed(self) -> Iterator[dict[str, Secret]]:
        """The secrets, to be kept as the block leaves them; no other process changes them meanwhile."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._home / "keyring.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield (kept := self._kept())
                stored = {secret.name: {"value": secret.value, "sinks": secret.sinks} for secret in kept.values()}
                self._backend.set_password(self._service, _ENTRY, json.dumps(stored))
        except KeyringError as error:
            raise KeyringUnusable(f"the keyring cannot be used: {error}") from None
        except OSError as error:
            raise KeyringUnusable(f"{self._home} cannot be written ({error.strerror}); mend the folder") from None


def _given_key(environment: Mapping[str, str]) -> tuple[bytes, str] | None:
    """The key that the service manager or the environment gives for our own file, and where it came from."""
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        path = Path(directory) / "remit-keyring"
        if path.exists():
            return _key_in(path), "the service's credentials"
    if given := environment.get("REMIT_KEYRING_KEY"):
        return _key_bytes(given.encode(), "REMIT_KEYRING_KEY"), "REMIT_KEYRING_KEY"
    return None


def _file_key(folder: Path, environment: Mapping[str, str]) -> tuple[bytes, str]:
    """The key of our own file, and where it came from; made when there is neither key nor file."""
    if given := _given_key(environment):
        return given
    path, sealed = folder / "keyring.key", folder / "keyring.sealed"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            if sealed.exists():
                raise KeyringUnusable(f"{path} is missing, and {sealed} opens with no other key; restore it")
            key = base64.b64encode(secrets.token_bytes(32))
            with _whole(path, key) as new, contextlib.suppress(FileExistsError):  # who was first is right
                path.hardlink_to(new)
        if path.stat().st_mode & 0o077:
            raise KeyringUnusable(f"{path} can be read by others; run: chmod 600 {path}")
    except OSError as error:
        raise KeyringUnusable(f"{path} cannot be used ({error.strerror}); check its folder") from None
    return _key_in(path), "a file only you can read"


def _key_in(path: Path) -> bytes:
    try:
        return _key_bytes(path.read_bytes(), str(path))
    except OSError as error:
        raise KeyringUnusable(f"{path} cannot be read ({error.strerror})") from None


def _key_bytes(text: bytes, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise KeyringUnusable(f"{source} does not hold 32 bytes in base64; make one with: openssl rand -base64 32")
    return key


@contextlib.contextmanager
def _whole(path: Path, content: bytes) -> Iterator[Path]:
    """A new 0600 file beside `path` with all of `content` on disk; gone afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".keyring-")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield new
    finally:
        new.unlink(missing_ok=True)
