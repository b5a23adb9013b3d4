"""The versions of the tables. Each is frozen once released; a change is a new version."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text
from sqlalchemy.types import TypeEngine

_TYPES: dict[str, TypeEngine[str] | TypeEngine[int] | TypeEngine[bytes]] = {
    "text": Text(),
    "int": BigInteger().with_variant(Integer(), "sqlite"),
    "bytes": LargeBinary(),
}


def columns(spec: str) -> list[Column[object]]:
    """Columns from `name:type` words; `*` marks the primary key, `?` one that may be NULL."""
    parts = [word.split(":") for word in spec.split()]
    return [
        Column(name, _TYPES[kind.rstrip("*?")], primary_key=kind[-1] == "*", nullable=kind[-1] == "?")
        for name, kind in parts
    ]
