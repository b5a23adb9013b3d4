"""The conversation of one run: message fragments in the store, joined for each model call.

Each message is turned into JSON once and kept as bytes; a call costs the new messages and one join. The
chain digest names the exact prompt without hashing all of it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from tools.models.messages import result
from tools.models.tokens import estimate

_ASSISTANT, _RESULT = b'{"role":"assistant"', b'{"role":"tool"'
_WORTH_BYTES = 400
"""A shorter result is left as it is."""


class Messages(Protocol):
    """Where fragments are kept."""

    def put(self, run: str, fragments: Mapping[int, bytes]) -> None:
        """Keep fragments, by position, replacing what stands there."""

    def all(self, run: str) -> list[bytes]:
        """All fragments in order."""


class Transcript:
    """The first `length` messages of a run; later ones in the store are leftovers of a lost advance."""

    def __init__(self, store: Messages, run: str, length: int = 0) -> None:
        self._store, self._run, self._unchecked = store, run, 0
        self.fragments: list[bytes] = []
        self._chain = hashlib.sha256()
        self.tokens = 0.0
        """Estimated tokens of all of it."""
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
        self._store.put(self._run, {len(self.fragments): fragment})
        self._take(fragment)

    def shorten(self, most_tokens: float) -> None:
        """Leave out the oldest results until at most so many tokens remain, if that is possible; the store follows.

        Task, plan, the model's own turns and what it has not read yet stay. The ledger keeps every result whole.
        """
        read = max((n for n, fragment in enumerate(self.fragments) if fragment.startswith(_ASSISTANT)), default=0)
        changed: dict[int, bytes] = {}
        for position, fragment in enumerate(self.fragments[:read]):
            if self.tokens <= most_tokens:
                break
            if fragment.startswith(_RESULT) and len(fragment) > _WORTH_BYTES:
                whole = json.loads(fragment)
                said = f"[left out to save room: {len(whole['content']):,} characters that you have read]"
                changed[position] = result(whole["tool_call_id"], said)
                self.tokens += estimate(changed[position].decode()) - estimate(fragment.decode())
        self._store.put(self._run, changed)
        for position, fragment in changed.items():
            self.fragments[position] = fragment
        self._chain = hashlib.sha256()
        for fragment in self.fragments:
            self._chain.update(_framed(fragment))

    def unchecked(self) -> Sequence[str]:
        """The messages that no leak check has seen yet, as text."""
        return [f.decode() for f in self.fragments[self._unchecked :]]

    def checked(self) -> None:
        """Note that everything so far has passed the check."""
        self._unchecked = len(self.fragments)

    def _take(self, fragment: bytes) -> None:
        self.fragments.append(fragment)
        self._chain.update(_framed(fragment))
        self.tokens += estimate(fragment.decode())


def _framed(fragment: bytes) -> bytes:
    """With its length, so that no other sequence of messages has the same digest."""
    return len(fragment).to_bytes(8, "big") + fragment
