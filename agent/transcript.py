"""The conversation of one run: message fragments in the store, joined for each model call.

Each message is turned into JSON once and kept as bytes; a call costs the new messages and one join. The
chain digest names the exact prompt without hashing all of it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from tools.models.tokens import estimate


class Messages(Protocol):
    """Where fragments are kept."""

    def append(self, run: str, position: int, fragment: bytes) -> None:
        """Keep a fragment at a position, replacing what a lost advance left there."""

    def all(self, run: str) -> list[bytes]:
        """All fragments in order."""


class Transcript:
    """The first `length` messages of a run; later ones in the store are leftovers of a lost advance."""

    def __init__(self, store: Messages, run: str, length: int = 0) -> None:
        self._store, self._run = store, run
        self.fragments: list[bytes] = []
        self._texts: list[str] = []
        self._chain = hashlib.sha256()
        self.tokens = 0.0
        """Estimated tokens of all of it."""
        self._unchecked = 0
        for fragment in store.all(run)[:length] if length else ():
            self._take(fragment)

    def __len__(self) -> int:
        return len(self.fragments)

    @property
    def digest(self) -> str:
        """Names this exact sequence of messages."""
        return self._chain.hexdigest()

    def append(self, fragment: bytes) -> None:
        """Add a message (a fragment made by `tools.models.messages`), here and in the store."""
        self._store.append(self._run, len(self.fragments), fragment)
        self._take(fragment)

    def unchecked(self) -> Sequence[str]:
        """The messages that no leak check has seen yet, as text."""
        return [f.decode() for f in self.fragments[self._unchecked :]]

    def checked(self) -> None:
        """Note that everything so far has passed the check."""
        self._unchecked = len(self.fragments)

    def _take(self, fragment: bytes) -> None:
        self.fragments.append(fragment)
        self._chain.update(len(fragment).to_bytes(8, "big") + fragment)
        self.tokens += estimate(fragment.decode())
