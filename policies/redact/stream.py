"""A text that comes in chunks, redacted as it comes."""

from __future__ import annotations

from policies.redact.handle import HANDLE
from policies.redact.redactor import Redactor

REACH = 4096
"""Characters that are held back: no context, number or token that a detector knows is longer. A value that is,
such as a private key, is held until it ends."""


class RedactedStream:
    """Gives what `redact` of the whole text gives, wherever the chunks are cut, but for one thing: a value that only
    its context shows, and that stood without it more than `REACH` characters before, has gone out already."""

    def __init__(self, redactor: Redactor, reach: int = REACH) -> None:
        self._redactor = redactor
        self._reach = reach
        self._before = ""
        """The end of what went out, for values whose context it is."""
        self._held = ""
        self._enough = 2 * reach
        """How much must be held for another look: many small chunks, or a long value, must not cost a scan each."""

    def feed(self, chunk: str) -> str:
        """What can go out now; may be empty."""
        self._held += chunk
        if len(self._held) < self._enough:
            return ""
        out = self._out(len(self._held) - self._reach)
        self._enough = max(2 * self._reach, len(self._held) * 2 if not out else 0)
        return out

    def close(self) -> str:
        """The rest."""
        return self._out(len(self._held))

    def _out(self, upto: int) -> str:
        # Handles in what went out stay as they are, so that scanning it again changes nothing in it.
        shift = len(self._before)
        whole = self._redactor.redact(self._before + self._held)
        if upto == len(self._held):
            return whole.text[shift:]
        own = [match.span() for match in HANDLE.finditer(self._held)]
        for start, end in sorted(
            [*((each.start - shift, each.end - shift) for each in whole.found), *own], reverse=True
        ):
            upto = start if start < upto < end else upto
        if upto <= 0:
            return ""
        written = self._redactor.redact(self._before + self._held[:upto]).text[shift:]
        self._held = self._held[upto:]
        self._before = self._tail(self._before + written)
        return written

    def _tail(self, text: str) -> str:
        """The last part of the text, not beginning inside a handle."""
        cut = max(0, len(text) - self._reach)
        return text[next((m.start() for m in HANDLE.finditer(text) if m.start() < cut < m.end()), cut) :]
