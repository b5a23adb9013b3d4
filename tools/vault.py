"""Opens secrets for executors, and for nobody else.

A secret is a value with the hosts it may be sent to; it stands in the keyring under its name. Accepted are
the desktop's own keyrings; elsewhere our own file: AES-256-GCM per entry, the name as associated data, the
key from `$CREDENTIALS_DIRECTORY`, `$REMIT_KEYRING_KEY` or a 0600 file. Never a plaintext backend, never a
chain of backends.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keyring
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from keyring.backend import KeyringBackend
from keyring.errors import KeyringError, PasswordDeleteError

from policies.errors import ActionFailed
from tools.errors import BadSecret, KeyringUnusable

SERVICE = "remit"
_INDEX = "names"
_ACCEPTED = ("keyring.backends.SecretService", "keyring.backends.kwallet", "keyring.backends.macOS")
_LONGEST = 64_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A value and the hosts (or server names) it may be sent to."""

    name: str
    value: str
    sinks: tuple[str, ...]


class FileKeyring(KeyringBackend):
    """One 0600 file of sealed entries, for machines without a desktop keyring."""

    priority = 0.5  # never chosen by itself: we set the backend explicitly

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._path = folder / "keyring.json"
        self._key, self.key_from = _file_key(folder, environment)

    def get_password(self, service: str, username: str) -> str | None:
        """The entry's value; None when there is none."""
        sealed = self._entries().get(f"{service}/{username}")
        if sealed is None:
            return None
        raw = base64.b64decode(sealed)
        try:
            return AESGCM(self._key).decrypt(raw[:12], raw[12:], f"{service}/{username}".encode()).decode()
        except InvalidTag:
            raise KeyringError(
                f"{self._path} was written with another key; restore that key ({self.key_from})"
            ) from None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Seal and keep a value."""
        nonce = secrets.token_bytes(12)
        sealed = nonce + AESGCM(self._key).encrypt(nonce, password.encode(), f"{service}/{username}".encode())
        self._write({**self._entries(), f"{service}/{username}": base64.b64encode(sealed).decode()})

    def delete_password(self, service: str, username: str) -> None:
        """Forget a value."""
        entries = self._entries()
        if entries.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError(f"no entry {username!r}")
        self._write(entries)

    def _entries(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes()) if self._path.exists() else {}
        except (OSError, ValueError) as error:
            raise KeyringError(
                f"{self._path} cannot be read ({type(error).__name__}); restore it from a copy"
            ) from None
        return {str(k): str(v) for k, v in found.items()}

    def _write(self, entries: dict[str, str]) -> None:
        try:
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as new:  # born 0600
                json.dump(entries, new)
                new.flush()
                os.fsync(new.fileno())
            Path(new.name).replace(self._path)
        except OSError as error:
            raise KeyringError(f"{self._path} cannot be written ({error.strerror})") from None


class Vault:
    """The secrets of one home."""

    def __init__(self, backend: KeyringBackend) -> None:
        self._backend = backend
        keyring.set_keyring(backend)

    @classmethod
    def at(cls, home: Path) -> Vault:
        """The vault in force here: the desktop's keyring if it is an accepted one, else our own file."""
        found = keyring.get_keyring()
        if type(found).__module__ in _ACCEPTED:
            return cls(found)
        return cls(FileKeyring(home))

    @property
    def backend_name(self) -> str:
        """For people: which keyring holds the secrets."""
        if isinstance(self._backend, FileKeyring):
            return f"own file, key from {self._backend.key_from}"
        return type(self._backend).__module__

    def open(self, name: str, *, sink: str) -> str:
        """The value of a secret for a host or server that its record lists; else ActionFailed."""
        secret = self.find(name)
        if secret is None:
            raise ActionFailed(
                f"there is no secret {name!r}; store it with: remit secrets set {name} --for {sink}",
                may_have_acted=False,
            )
        if sink not in secret.sinks:
            raise ActionFailed(
                f"secret {name!r} is for {', '.join(secret.sinks)}, not for {sink}", may_have_acted=False
            )
        return secret.value

    def find(self, name: str) -> Secret | None:
        """The secret, if there is one. KeyringUnusable when the keyring does not answer."""
        try:
            stored = self._backend.get_password(SERVICE, f"secret/{name}")
        except KeyringError as error:
            raise KeyringUnusable(f"the keyring cannot be used: {error}") from None
        if stored is None:
            return None
        record = json.loads(stored)
        return Secret(name=name, value=record["value"], sinks=tuple(record["sinks"]))

    def set(self, secret: Secret) -> None:
        """Keep a secret. BadSecret for one too short to be recognised when it leaks."""
        if not 4 <= len(secret.value) <= _LONGEST:
            raise BadSecret(f"secret {secret.name!r} must have 4 to {_LONGEST} characters, or it cannot be watched for")
        if not secret.sinks:
            raise BadSecret(f"secret {secret.name!r} needs at least one host it may be sent to")
        record = json.dumps({"value": secret.value, "sinks": list(secret.sinks)})
        self._do("set_password", f"secret/{secret.name}", record)
        self._do("set_password", _INDEX, json.dumps(sorted({*self.names(), secret.name})))

    def remove(self, name: str) -> None:
        """Forget a secret; BadSecret when there is none of this name."""
        if name not in self.names():
            raise BadSecret(f"there is no secret {name!r}; see: remit secrets list")
        self._do("delete_password", f"secret/{name}")
        self._do("set_password", _INDEX, json.dumps([n for n in self.names() if n != name]))

    def names(self) -> Sequence[str]:
        """The names of all secrets."""
        try:
            return list(json.loads(self._backend.get_password(SERVICE, _INDEX) or "[]"))
        except KeyringError as error:
            raise KeyringUnusable(f"the keyring cannot be used: {error}") from None

    def all(self) -> Sequence[Secret]:
        """Every secret, so that a run can watch for their values."""
        return [s for name in self.names() if (s := self.find(name)) is not None]

    def _do(self, method: str, *words: str) -> None:
        try:
            getattr(self._backend, method)(SERVICE, *words)
        except KeyringError as error:
            raise KeyringUnusable(f"the keyring cannot be used: {error}") from None


def _file_key(folder: Path, environment: Mapping[str, str]) -> tuple[bytes, str]:
    """The key of the file backend, and where it came from."""
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        path = Path(directory) / "remit-keyring"
        if path.exists():
            return _key_bytes(path.read_text(encoding="ascii"), str(path)), "the service's credentials"
    if given := environment.get("REMIT_KEYRING_KEY"):
        return _key_bytes(given, "REMIT_KEYRING_KEY"), "REMIT_KEYRING_KEY"
    path = folder / "keyring.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as new:
                new.write(base64.b64encode(secrets.token_bytes(32)).decode())
        if path.stat().st_mode & 0o077:
            raise KeyringUnusable(f"{path} can be read by others; run: chmod 600 {path}")
        return _key_bytes(path.read_text(encoding="ascii"), str(path)), "a file only you can read"
    except OSError as error:
        raise KeyringUnusable(f"{path} cannot be used ({error.strerror}); check its folder") from None


def _key_bytes(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise KeyringUnusable(f"{source} does not hold 32 bytes in base64; make one with: openssl rand -base64 32")
    return key
