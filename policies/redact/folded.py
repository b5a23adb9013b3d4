"""Text as detectors see it: one byte a character, encodings taken off, and a way back to the original offsets."""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from urllib.parse import unquote

WIDE, INVISIBLE, MASK = b"\x80", b"\x81", b"\x82"
"""Stand for: any character without an ASCII form, a zero-width one, and a place already taken by a handle."""

MARKED = "密码口令钥是为"
"""Chinese characters that patterns need to tell apart; the rest are `WIDE`. Room for about 100."""

BLANKS = b" \t\r\n\x0b\x0c" + INVISIBLE

_ROUNDS = 3
_BLANK_RUN = re.compile(rb"[%b]+" % BLANKS)
# The first byte of each branch is fixed and all repeats are bounded: linear. `%XX` is taken one UTF-8 character
# at a time, so that an encoded number next to encoded Chinese keeps its own edges.
_ESCAPE = re.compile(
    rb"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"'\\/nrtbf])"
    rb"|%(?:[0-7][0-9a-fA-F]|[cdCD][0-9a-fA-F]%[89abAB][0-9a-fA-F]|[eE][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){2}"
    rb"|[fF][0-7](?:%[89abAB][0-9a-fA-F]){3})"
    rb"|&(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[a-zA-Z]{2,8};)"
    rb"|\x81"
)
_LONGEST_ESCAPE = 12
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def fold(text: str) -> bytes:
    """One byte a character: full-width and other compatibility forms as ASCII, the rest as the marks above."""
    return text.encode("ascii") if text.isascii() else text.translate(_FOLD).encode("latin-1")


def marked(text: str) -> bytes:
    """The bytes that stand for `text`, for patterns; its characters must be ASCII or in `MARKED`, else ValueError."""
    if WIDE in (folded := fold(text)):
        raise ValueError(f"{text!r} holds a character that is not in MARKED: add it there")
    return folded


class Folded:
    """A layer of a text: its bytes, and where each stretch of them stands in the layer below."""

    def __init__(self, data: bytes, below: Folded | None = None) -> None:
        self.data = data
        self._below = below
        self._runs: list[tuple[int, int, bool]] = []
        """Where each stretch begins here and below, and whether it is the same bytes there."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that a non-empty span of this layer came from, whole escapes included."""
        if self._below is None:
            return start, end
        first, last = (bisect_right(self._runs, at, key=itemgetter(0)) - 1 for at in (start, end - 1))
        (at, source, same), (last_at, stop, last_same) = self._runs[first], self._runs[last]
        source += (start - at) if same else 0
        stop = stop + end - last_at if last_same else self._runs[last + 1][1]
        return self._below.span(source, stop)

    def cuts_escape(self, at: int) -> bool:
        """Whether an escape stands across this place, so that what begins here begins elsewhere once decoded."""
        near = _ESCAPE.finditer(self.data, max(0, at - _LONGEST_ESCAPE), at + _LONGEST_ESCAPE)
        return any(match.start() < at < match.end() for match in near)

    def layers(self) -> Iterator[Folded]:
        """This layer, then the ones with JSON, URL and HTML escapes taken off, each from the one before."""
        yield (layer := self)
        for _ in range(_ROUNDS):
            if _ESCAPE.search(layer.data) is None:
                return
            layer = layer.replaced((m.start(), m.end(), _decode(m[0])) for m in _ESCAPE.finditer(layer.data))
            yield layer

    def squeezed(self) -> Folded:
        """The layer without blanks and invisible characters."""
        return self.replaced((m.start(), m.end(), b"") for m in _BLANK_RUN.finditer(self.data))

    def replaced(self, changes: Iterable[tuple[int, int, bytes]]) -> Folded:
        """A layer on this one with spans, in order and not overlapping, written as other bytes."""
        parts: list[bytes] = []
        above = Folded(b"", self)
        at = done = 0
        for start, end, data in changes:
            parts += (self.data[done:start], data)
            above._runs += ((at, done, True), (at + start - done, start, False))
            at += start - done + len(data)
            done = end
        above._runs.append((at, done, True))
        above.data = b"".join((*parts, self.data[done:]))
        return above


def _decode(escape: bytes) -> bytes:
    text = escape.decode("latin-1")
    if text[0] == "%":
        plain = unquote(text)
    elif text[0] == "&":
        plain = html.unescape(text)
    elif text[0] != "\\":  # invisible
        plain = ""
    else:
        plain = chr(int(text[2:], 16)) if text[1] in "ux" else _CONTROL.get(text[1], text[1])
    return fold(plain)


class _Fold(dict[int, str]):
    """Code point -> the Latin-1 character that stands for it, worked out when first met."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = self._folded(chr(code))
        return folded

    def _folded(self, character: str) -> str:
        if character in MARKED:
            return chr(0x90 + MARKED.index(character))
        category = unicodedata.category(character)
        if category == "Cf" or "\ufe00" <= character <= "\ufe0f":  # zero-width, bidirectional, variation selectors
            return INVISIBLE.decode("latin-1")
        plain = "-" if category == "Pd" or character == "−" else unicodedata.normalize("NFKC", character)
        digit = unicodedata.decimal(plain, None) if len(plain) == 1 else None
        plain = plain if digit is None else str(digit)
        return plain if len(plain) == 1 and plain.isascii() else WIDE.decode("latin-1")


_FOLD = _Fold()
