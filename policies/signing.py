"""Signatures over the files that govern: who put exactly these bytes in force.

A signature stands beside its file as `FILE.sig`. It covers the bytes, so a changed comment needs a new one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from policies.action import Value
from policies.errors import BadPolicy


class Signature(Value):
    """Who signed which bytes; `signature` is Ed25519 in base64."""

    version: Literal[1] = 1
    by: str
    sha256: str
    signature: str


def sign(data: bytes, by: str, key: Ed25519PrivateKey) -> Signature:
    """The signature of `by` over these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return Signature(by=by, sha256=digest, signature=base64.b64encode(key.sign(_signed(digest, by))).decode())


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half, as the settings name it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def signer(data: bytes, name: str, stored: bytes | None, signers: Mapping[str, str]) -> str:
    """Who signed the file `name` with this content; BadPolicy unless it is one of `signers`, by their public key."""
    if stored is None:
        raise BadPolicy(f"{name}: the file is not signed, so it is not in force; sign it with: remit policy sign FILE")
    try:
        signature = Signature.model_validate_json(stored)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signers[signature.by], validate=True))
        raw = base64.b64decode(signature.signature, validate=True)
    except KeyError:
        raise BadPolicy(f"{name}: its signer {signature.by!r} is not among 'signers' in settings.toml") from None
    except (ValidationError, ValueError):
        raise BadPolicy(f"{name}: its signature or the signer's key cannot be read; sign it again") from None
    digest = hashlib.sha256(data).hexdigest()
    try:
        if digest != signature.sha256:
            raise InvalidSignature
        key.verify(raw, _signed(digest, signature.by))
    except InvalidSignature:
        raise BadPolicy(
            f"{name}: the file was changed after it was signed by {signature.by!r}; sign it again"
        ) from None
    return signature.by


def _signed(digest: str, by: str) -> bytes:
    return f"remit policy file 1\n{digest}\n{by}".encode()
