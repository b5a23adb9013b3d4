"""The servers a person enrolled: address, user, pinned host key, and where the private key is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from policies.action import Name
from tools.errors import BadInventory

LARGEST_BYTES = 1_000_000


class Server(BaseModel):
    """One server. Its host key is pinned here; a change of it stops everything on that server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: str
    host_key: Annotated[str, Field(pattern=r"^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+( .*)?$")]
    """The line of the server's public key, as in known_hosts without the name."""
    key: Name | None = None
    """Name of the secret that holds the private key."""
    key_file: Path | None = None


class Inventory(BaseModel):
    """All servers by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    servers: dict[Name, Server] = Field(default_factory=dict)


def load_inventory(path: Path) -> Inventory:
    """The inventory, empty when the file is not there; BadInventory names file, line and field."""
    if not path.exists():
        return Inventory()
    try:
        text = path.read_bytes()[: LARGEST_BYTES + 1].decode("utf-8")
        stored = YAML(typ="safe", pure=True).load(text) or {}
        inventory = Inventory.model_validate(stored)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise BadInventory(f"{place}: {error.problem}; correct the file") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise BadInventory(f"{path}: it cannot be read ({type(error).__name__}); correct the file") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"])
        raise BadInventory(f"{path}: {field}: {first['msg'].lower()}; correct the entry") from None
    for name, server in inventory.servers.items():
        if (server.key is None) == (server.key_file is None):
            raise BadInventory(f"{path}: servers.{name}: give either key (a secret's name) or key_file")
    return inventory
