"""The signing key of a person, kept in the keyring of the home, and the signatures beside files that govern."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policies.load import read
from policies.signing import sign

if TYPE_CHECKING:
    from agent.wiring import App

NAME = "policy-signing-key"
_NOWHERE = ("signing.invalid",)
"""A secret names the hosts it may be sent to; no host can have this name (RFC 2606)."""


def signing_key(app: App) -> Ed25519PrivateKey:
    """The key of this home; made when there is none."""
    if (kept := app.vault.find(NAME)) is None:
        made = Ed25519PrivateKey.generate()
        app.keep_secret(NAME, base64.b64encode(made.private_bytes_raw()).decode(), _NOWHERE)
        return made
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(kept.value))


def write_signature(path: Path, by: str, key: Ed25519PrivateKey) -> None:
    """Put the signature of the file, as it is now, beside it. BadPolicy for a file that cannot be read."""
    signature = sign(read(path).encode(), by, key)
    path.with_name(f"{path.name}.sig").write_text(f"{signature.model_dump_json()}\n", encoding="utf-8")
