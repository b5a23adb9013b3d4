"""Server-sent events from bytes that arrive in any pieces.

The SDK's own decoder drops a last event without a blank line and a first one behind a byte-order mark, breaks
on comments after an id line, and turns HTML, plain JSON and an empty body into an empty stream.
"""

from __future__ import annotations

from tools.models.faults import broken

EVENT_BYTES = 8_000_000
"""Most bytes of one event: a 5 MB one has been seen to be legitimate."""
TOTAL_BYTES = 64_000_000
"""Most bytes of one reply; longer than any model's output limit in the most wordy framing."""


class Decoder:
    """Bytes in, the data of whole events out. A body that is one JSON document counts as one event."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of a line whose end has not come; a list, or one-byte writes cost O(n²)
        self._held = 0
        self._total = 0
        self._data: list[bytes] = []
        self._first = True
        self._document = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this chunk completed. Raises Trouble past a cap or for a page of HTML."""
        self._held += len(chunk)
        self._total += len(chunk)
        if self._held > EVENT_BYTES or self._total > TOTAL_BYTES:
            raise broken("the reply is larger than we accept", tries=1)
        if self._document or b"\n" not in chunk:
            self._parts.append(chunk)
            return []
        *lines, rest = b"".join((*self._parts, chunk)).split(b"\n")
        return self._take(lines, rest)

    def end(self) -> list[bytes]:
        """The last event, also when its blank line never came."""
        if not self._document:
            events = self._take([b"".join(self._parts), b""], b"")
            if not self._document:
                return events
        document = b"".join(self._parts)
        if document.startswith(b"<"):
            raise broken("a web page came instead of a reply")
        return [document]

    def _take(self, lines: list[bytes], rest: bytes) -> list[bytes]:
        events: list[bytes] = []
        for at, line in enumerate(lines):
            line = line.removesuffix(b"\r")
            if self._first and (start := line.lstrip(_BLANK)):
                self._first = False
                line = start
                if start[:1] in b"{<":
                    self._document = True
                    self._parts = [b"\n".join((start, *lines[at + 1 :], rest))]
                    return []
            if line.startswith(b"data:"):
                self._data.append(line[5:])
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        self._parts = [rest]
        self._held = len(rest) + sum(map(len, self._data))
        return events


_BLANK = b" \t\r\n\xef\xbb\xbf"
