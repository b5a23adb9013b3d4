"""Sealing: everything that a person wrote or a page showed is stored as AES-256-GCM ciphertext.

A sealed value is `v1|key-id|nonce|ciphertext`; its associated data names the row it belongs to, so that it
opens nowhere else. Each run has a data key, kept wrapped by the master key: destroying the data key erases
the run's contents while its chain of digests stays valid.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.errors import StoreUnreadable
from policies.ledger import Checkpoint
from policies.verifier import key_id, statement

KEY_BYTES = 32
_NONCE_BYTES = 12
"""The size that NIST SP 800-38D recommends; random, as one key seals far fewer than 2**32 values."""


def new_key() -> bytes:
    """A fresh AES-256 key."""
    return secrets.token_bytes(KEY_BYTES)


class Seal:
    """One key that seals and opens bytes. `id` is a fingerprint of the key and tells nothing about it."""

    def __init__(self, key: bytes) -> None:
        self.id = hashlib.sha256(b"remit key id" + key).hexdigest()[:16]
        self._key, self._cipher, self._head = key, AESGCM(key), f"v1|{self.id}|".encode()

    def seal(self, plain: bytes, *row: str) -> bytes:
        """`plain` sealed for the row named, for instance `("bodies", run, "17")`."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._head + nonce + b"|" + self._cipher.encrypt(nonce, plain, _bound_to(row))

    def open(self, sealed: bytes, *row: str) -> bytes:
        """What was sealed for this row; StoreUnreadable for another key, another row or a changed value."""
        start, place = len(self._head), "/".join(row)
        if not sealed.startswith(self._head):
            raise StoreUnreadable(
                f"{place!r} is not sealed under key {self.id!r}; restore the store and its keys together"
            )
        nonce, text = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES + 1 :]
        try:
            return self._cipher.decrypt(nonce, text, _bound_to(row))
        except (InvalidTag, ValueError):
            raise StoreUnreadable(f"{place!r} was changed after it was sealed; restore it from a backup") from None

    def derived(self, purpose: str) -> bytes:
        """A key for another purpose, such as the HMAC of handles."""
        return hmac.digest(self._key, f"remit {purpose}".encode(), "sha256")


class Keys:
    """The master keys: the last one seals and signs, earlier ones still open and check."""

    def __init__(self, keys: Sequence[bytes], source: str) -> None:
        """`source` says where the keys come from, for messages."""
        self._seals = {seal.id: seal for seal in map(Seal, keys)}
        self._signing = {name: seal.derived("signature") for name, seal in self._seals.items()}
        self._current, self._source = list(self._seals.values())[-1], source

    @classmethod
    def load(cls, folder: Path) -> Keys:
        """The keys in `folder/keys.json`; the file is made, readable by its owner alone, when there is none.

        Raises StoreUnreadable when the file is broken or others may read it.
        """
        path = folder / "keys.json"
        try:
            if not path.exists():
                _create(path)
            if path.stat().st_mode & 0o077:
                raise StoreUnreadable(f"{str(path)!r} can be read by others; change that with: chmod 600 {path}")
            stored = json.loads(path.read_bytes())
            keys = [base64.b64decode(key, validate=True) for key in stored["keys"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = getattr(error, "strerror", None) or "it is broken"
            raise StoreUnreadable(
                f"the key file {str(path)!r} cannot be used ({why}); restore it from a backup"
            ) from None
        if stored.get("version") != 1 or not keys or any(len(key) != KEY_BYTES for key in keys):
            raise StoreUnreadable(f"the key file {str(path)!r} is of another version or cut; restore it from a backup")
        return cls(keys, str(path))

    def wrap(self, plain: bytes, *row: str) -> bytes:
        """`plain`, a data key or a checkpoint, sealed under the current master key."""
        return self._current.seal(plain, *row)

    def unwrap(self, wrapped: bytes, *row: str) -> bytes:
        """What `wrap` sealed; StoreUnreadable names the master key that is missing."""
        name = wrapped.split(b"|", 2)[1].decode(errors="replace") if wrapped.startswith(b"v1|") else "?"
        if name not in self._seals:
            raise StoreUnreadable(
                f"the store is sealed under key {name!r}, which {self._source} does not hold; "
                "restore that key file from your backup, or move the store away to begin a new one"
            )
        return self._seals[name].open(wrapped, *row)

    def sign(self, *parts: str) -> str:
        """A mark that only a holder of the current key can make for these parts: `v1|key-id|HMAC-SHA256`."""
        return f"v1|{self._current.id}|{_mac(self._signing[self._current.id], parts)}"

    def signed(self, mark: str, *parts: str) -> bool:
        """True when `mark` was made by `sign` for exactly these parts, under any key we hold."""
        version, _, rest = mark.partition("|")
        name, _, digest = rest.partition("|")
        key = self._signing.get(name)
        return version == "v1" and key is not None and hmac.compare_digest(digest, _mac(key, parts))

    def counted_as(self, *parts: str) -> str:
        """The name under which values are counted that stand nowhere in clear; the first key's, so that it lasts."""
        return _mac(next(iter(self._seals.values())).derived("counters"), parts)

    def attest(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint signed under the current key."""
        private = self._checkpoint_key(self._current)
        named = checkpoint.model_copy(update={"key": key_id(private.public_key().public_bytes_raw())})
        digest = named.computed()
        return named.model_copy(update={"hash": digest, "signature": private.sign(statement(digest)).hex()})

    def public(self) -> dict[str, str]:
        """The public halves, in hex by their names, of the keys that sign checkpoints or did; the last one does."""
        keys = [self._checkpoint_key(s).public_key().public_bytes_raw() for s in self._seals.values()]
        return {key_id(key): key.hex() for key in keys}

    @staticmethod
    def _checkpoint_key(seal: Seal) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(seal.derived("checkpoints"))


def _bound_to(row: Sequence[str]) -> bytes:
    return "\x1f".join(row).encode()


def _mac(key: bytes, parts: Sequence[str]) -> str:
    return hmac.digest(key, _bound_to(parts), "sha256").hex()


def _create(path: Path) -> None:
    """Make the file whole or not at all; of several processes that try, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    text = json.dumps({"version": 1, "keys": [base64.b64encode(new_key()).decode()]})
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
