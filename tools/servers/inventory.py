"""The servers a person enrolled: address, user, pinned host key, and where the private key is."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from policies.action import Name
from tools.errors import BadInventory

LARGEST_BYTES = 1_000_000
_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


class Server(BaseModel):
    """One server. Its host key is pinned here; a change of it stops everything on that server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: Annotated[str, Field(min_length=1)]
    host_key: str
    """The line of the server's public key, as in known_hosts without the name."""
    key: Name | None = None
    """Name of the secret that holds the private key."""
    key_file: Path | None = None
    """A file that holds it and that nobody else can read; from the inventory's folder."""

    @field_validator("host_key")
    @classmethod
    def _is_one(cls, line: str) -> str:
        kind, encoded, *_ = [*line.split(), "", ""]
        if kind not in _KINDS:
            raise ValueError(f"it begins with one of {', '.join(_KINDS)}")
        blob = base64.b64decode(encoded, validate=True)  # binascii.Error is a ValueError
        if blob[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind.encode() or len(blob) < 50:
            raise ValueError(f"it does not hold a key of the kind {kind}")
        return line

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.key is None) == (self.key_file is None):
            raise ValueError("give either key (a secret's name) or key_file")
        return self


class Inventory(BaseModel):
    """All servers by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    servers: dict[Name, Server] = Field(default_factory=dict)


def load_inventory(path: Path) -> Inventory:
    """The inventory, empty when the file is not there; BadInventory names the file and the line or the field."""
    if not path.exists():
        return Inventory()
    try:
        stored = path.read_bytes()
        if len(stored) > LARGEST_BYTES:
            raise BadInventory(f"{path}: it is larger than {LARGEST_BYTES:,} bytes; correct the file")
        inventory = Inventory.model_validate(YAML(typ="safe", pure=True).load(stored.decode("utf-8")) or {})
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise BadInventory(f"{place}: {error.problem}; correct the file") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise BadInventory(f"{path}: {field}: {what[:1].lower()}{what[1:]}; correct the entry") from None
    except (OSError, ValueError, YAMLError):  # a ValueError also for a date that is none
        raise BadInventory(f"{path}: it cannot be read as YAML in UTF-8; correct the file") from None
    placed = {
        name: server.model_copy(update={"key_file": path.parent / server.key_file}) if server.key_file else server
        for name, server in inventory.servers.items()
    }
    return Inventory(servers=placed)
