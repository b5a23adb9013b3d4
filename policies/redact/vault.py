"""Where the values behind handles are kept, one vault a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from policies.redact.handle import Handle


class HandleVault(Protocol):
    """Keeps each handle's value for as long as its run may need it; a stored one encrypts."""

    def put(self, handle: Handle, type_: str, value: str) -> None:
        """Keep `value` under `handle`; it is there for `get` when this returns. Never called twice for one handle."""

    def get(self, handle: Handle) -> str | None:
        """The value exactly as it was spelled, or None when this run never made that handle."""

    def values(self) -> Iterable[tuple[Handle, str]]:
        """Every handle with its value; read once, when a redactor is made for the run."""


class MemoryVault:
    """A vault that lasts as long as the object: for dry runs, filters and tests."""

    def __init__(self) -> None:
        self._values: dict[Handle, str] = {}

    def put(self, handle: Handle, type_: str, value: str) -> None:
        self._values[handle] = value

    def get(self, handle: Handle) -> str | None:
        return self._values.get(handle)

    def values(self) -> Iterable[tuple[Handle, str]]:
        return tuple(self._values.items())
