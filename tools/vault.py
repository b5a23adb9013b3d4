"""Opens secrets for executors, and for nobody else.

A secret is a value with the hosts it may be sent to; it stands in the keyring under its name. Accepted are
the desktop's own keyrings; elsewhere our own file: AES-256-GCM per entry, the name as associated data, the
key from `$CREDENTIALS_DIRECTORY`, `$REMIT_KEYRING_KEY` or a 0600 file. Never a plaintext backend, never a
chain of backends. Values are kept against readers of the disk; whoever may write it can bring back old ones.
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
from keyring.errors import KeyringError, PasswordDeleteError
from pydantic import TypeAdapter, ValidationError

from policies.action import Name
from policies.errors import ActionFailed
from tools.errors import BadSecret, KeyringUnusable

# Asked for one by one, best first: what keyring itself would choose depends on plug-ins, environment and a
# configuration file, and may be a chain with a plaintext file in it.
_DESKTOPS = (SecretService.Keyring, kwallet.DBusKeyring, macOS.Keyring)
_INDEX = "names"
_SHORTEST, _LONGEST = 4, 64_000


class Keyring(Protocol):
    """What keeps values by name; raises KeyringError."""

    def get_password(self, service: str, username: str) -> str | None: ...

    def set_password(self, service: str, username: str, password: str) -> None: ...

    def delete_password(self, service: str, username: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A value and the hosts (or server names) it may be sent to."""

    name: str
    value: str = field(repr=False)
    sinks: tuple[str, ...]


class FileKeyring:
    """One 0600 file of sealed entries, for machines without a desktop keyring. It belongs to one home."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._path = folder / "keyring.json"
        self._key, self.key_from = _file_key(folder, environment)

    def get_password(self, service: str, username: str) -> str | None:
        """The entry's value; None when there is none."""
        sealed = self._entries().get(username)
        if sealed is None:
            return None
        try:
            raw = base64.b64decode(sealed, validate=True)
            return AESGCM(self._key).decrypt(raw[:12], raw[12:], username.encode()).decode()
        except (InvalidTag, ValueError):
            raise KeyringError(
                f"{self._path} was changed or written with another key; restore the file or the key ({self.key_from})"
            ) from None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Seal and keep a value."""
        nonce = secrets.token_bytes(12)
        sealed = nonce + AESGCM(self._key).encrypt(nonce, password.encode(), username.encode())
        self._write({**self._entries(), username: base64.b64encode(sealed).decode()})

    def delete_password(self, service: str, username: str) -> None:
        """Forget a value."""
        entries = self._entries()
        if entries.pop(username, None) is None:
            raise PasswordDeleteError(f"there is no entry {username!r}")
        self._write(entries)

    def _entries(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise KeyringError(f"{self._path} cannot be read; restore it from a copy")
        return {str(name): str(sealed) for name, sealed in found.items()}

    def _write(self, entries: dict[str, str]) -> None:
        try:
            with _whole(self._path, json.dumps(entries)) as new:
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
        own = (home / "keyring.json").exists() or _given(environment) is not None
        for backend in () if own else _DESKTOPS:
            if backend.viable:
                return cls(backend(), home)
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
            raise ActionFailed(
                f"there is no secret {name!r}; store it with: remit secrets set {name} --for {sink}",
                may_have_acted=False,
            )
        if sink.lower() not in {listed.lower() for listed in secret.sinks}:
            raise ActionFailed(
                f"secret {name!r} is for {', '.join(secret.sinks)}, not for {sink}", may_have_acted=False
            )
        return secret.value

    def find(self, name: str) -> Secret | None:
        """The secret, if there is one. KeyringUnusable when the keyring does not answer."""
        with _answering():
            stored = self._backend.get_password(self._service, f"secret/{name}")
            if stored is None:
                return None
            try:
                record = json.loads(stored)
                return Secret(name=name, value=str(record["value"]), sinks=tuple(map(str, record["sinks"])))
            except (ValueError, KeyError, TypeError):
                raise KeyringError(f"its entry for {name!r} is not one of ours; remove and set it again") from None

    def set(self, secret: Secret) -> None:
        """Keep a secret. BadSecret for one too short to be recognised when it leaks."""
        if not _SHORTEST <= len(secret.value) <= _LONGEST:
            raise BadSecret(
                f"secret {secret.name!r} must have {_SHORTEST} to {_LONGEST} characters, or it cannot be watched for"
            )
        if not secret.sinks:
            raise BadSecret(f"secret {secret.name!r} needs at least one host it may be sent to")
        try:
            TypeAdapter(Name).validate_python(secret.name)
        except ValidationError:
            raise BadSecret(f"{secret.name!r} is no name for a secret; use letters, digits, '.', '_' or '-'") from None
        record = json.dumps({"value": secret.value, "sinks": list(secret.sinks)})
        # INVARIANT: every kept value has its name in the index, at any moment: by it leaks are watched for.
        with self._alone():
            self._list({*self._listed(), secret.name})
            self._backend.set_password(self._service, f"secret/{secret.name}", record)

    def remove(self, name: str) -> None:
        """Forget a secret; BadSecret when there is none of this name."""
        with self._alone():
            if name not in self._listed():
                raise BadSecret(f"there is no secret {name!r}; see: remit secrets list")
            with contextlib.suppress(PasswordDeleteError):  # named only: a crash came between
                self._backend.delete_password(self._service, f"secret/{name}")
            self._list({*self._listed()} - {name})

    def names(self) -> Sequence[str]:
        """The names of all secrets."""
        return [secret.name for secret in self.all()]

    def all(self) -> Sequence[Secret]:
        """Every secret, so that a run can watch for their values."""
        with _answering():
            listed = self._listed()
        return [secret for name in listed if (secret := self.find(name)) is not None]

    def _listed(self) -> list[str]:
        try:
            return [str(name) for name in json.loads(self._backend.get_password(self._service, _INDEX) or "[]")]
        except (ValueError, TypeError):
            raise KeyringError(f"its entry {_INDEX!r} is not one of ours; set your secrets again") from None

    def _list(self, names: set[str]) -> None:
        self._backend.set_password(self._service, _INDEX, json.dumps(sorted(names)))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process changes secrets meanwhile: it would write back what it has read before."""
        try:
            with (self._home / "keyring.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with _answering():
                    yield
        except OSError as error:
            raise KeyringUnusable(f"{self._home} cannot be written ({error.strerror}); mend the folder") from None


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except KeyringError as error:
        raise KeyringUnusable(f"the keyring cannot be used: {error}") from None


def _given(environment: Mapping[str, str]) -> tuple[Path | None, str] | None:
    """Where the service or the environment gives a key for our own file: a path, or None and the key."""
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        path = Path(directory) / "remit-keyring"
        if path.exists():
            return path, ""
    key = environment.get("REMIT_KEYRING_KEY")
    return (None, key) if key else None


def _file_key(folder: Path, environment: Mapping[str, str]) -> tuple[bytes, str]:
    """The key of the file backend, and where it came from."""
    given = _given(environment)
    if given is not None and given[0] is None:
        return _key_bytes(given[1].encode(), "REMIT_KEYRING_KEY"), "REMIT_KEYRING_KEY"
    path = given[0] if given and given[0] else folder / "keyring.key"
    try:
        if given is not None:
            return _key_bytes(path.read_bytes(), str(path)), "the service's credentials"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            if (folder / "keyring.json").exists():
                raise KeyringUnusable(f"{path} is missing, without it {folder}/keyring.json is shut; restore it")
            with _whole(path, base64.b64encode(secrets.token_bytes(32)).decode()) as new:
                with contextlib.suppress(FileExistsError):  # another process was first: its key counts
                    path.hardlink_to(new)
        if path.stat().st_mode & 0o077:
            raise KeyringUnusable(f"{path} can be read by others; run: chmod 600 {path}")
        return _key_bytes(path.read_bytes(), str(path)), "a file only you can read"
    except OSError as error:
        raise KeyringUnusable(f"{path} cannot be used ({error.strerror}); check its folder") from None


@contextlib.contextmanager
def _whole(path: Path, text: str) -> Iterator[Path]:
    """A new 0600 file beside `path` with this text, on disk; gone afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".keyring-")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield new
    finally:
        new.unlink(missing_ok=True)


def _key_bytes(text: bytes, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise KeyringUnusable(f"{source} does not hold 32 bytes in base64; make one with: openssl rand -base64 32")
    return key
