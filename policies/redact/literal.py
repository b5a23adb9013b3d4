"""The secrets a run knows, found literally in whatever encoding they are written."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from urllib.parse import quote

from policies.errors import SecretTooShort
from policies.redact.detect.detector import Pattern, any_of
from policies.redact.folded import BLANKS, Folded

MIN_CHARACTERS = 4
"""Shorter values would be found all over ordinary text."""

_SPLIT_FROM = 8  # a shorter needle is not looked for across blanks: `12 34` is not the PIN 1234
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")


class Secrets:
    """Known values and the types to report them as; grows while the run goes on."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._needles: dict[bytes, tuple[str, str]] = {}
        self._base64: set[bytes] = set()
        self._wide: dict[str, str] = {}
        self._patterns: tuple[Pattern | None, Pattern | None] | None = None
        for value in values:
            self.add(value)

    def add(self, value: str, type_: str = "secret") -> None:
        """Look for `value` from now on; SecretTooShort, without the value, below four characters.

        One that is known already costs nothing: its first type stays.
        """
        if value in self._values:
            return
        if len(value.strip()) < MIN_CHARACTERS:
            raise SecretTooShort(f"A {type_} needs at least {MIN_CHARACTERS} characters to be kept out of texts.")
        data = value.encode("utf-8", "surrogatepass")
        encoded = {*_shifted(data, base64.b64encode), *_shifted(data, base64.urlsafe_b64encode)}
        plain = {data.hex().encode(), data.hex().upper().encode()}
        if value.isascii():  # its URL, JSON and HTML spellings are found in the decoded layers
            plain.add(data)
        else:  # folding loses the characters, so these spellings are looked for themselves
            spelled = [quote(data, safe=""), quote(data, safe="").lower()]
            for form, every in product(("04x", "04X"), (False, True)):
                spelled.append("".join(f"\\u{ord(c):{form}}" if every or not c.isascii() else c for c in value))
            plain.update(each.encode() for each in spelled)
            self._wide.setdefault(value, type_)
        self._base64 |= encoded
        for needle in encoded | plain:
            squeezed = needle.translate(None, BLANKS)
            self._needles.setdefault(needle if len(squeezed) < _SPLIT_FROM else squeezed, (type_, value))
        self._values.add(value)
        self._patterns = None

    def find(self, layer: Folded, text: str) -> Iterator[tuple[str, str, int, int]]:
        """Type, value and span in the original text of every occurrence in one layer of it, and in `text`."""
        for wide, type_ in self._wide.items():
            at = text.find(wide)
            while at >= 0:
                yield type_, wide, at, at + len(wide)
                at = text.find(wide, at + len(wide))
        short, long = self._patterns = self._patterns or self._compiled()
        yield from self._matches(layer, short)
        if long is not None and long.search(layer.data.translate(None, BLANKS)) is not None:
            yield from self._matches(layer.squeezed(), long)

    def _matches(self, layer: Folded, pattern: Pattern | None) -> Iterator[tuple[str, str, int, int]]:
        position = 0
        while pattern is not None and (match := pattern.search(layer.data, position)) is not None:
            start, end = match.span()
            needle = layer.data[start:end]
            yield *self._needles[needle], *layer.span(*self._with_edges(layer.data, needle, start))
            position = start + 1

    def _compiled(self) -> tuple[Pattern | None, Pattern | None]:
        """Short needles, for where they stand in one piece, and long ones, for where blanks may split them."""
        short = {each for each in self._needles if len(each.translate(None, BLANKS)) < _SPLIT_FROM}
        return any_of(short), any_of(self._needles.keys() - short)

    def _with_edges(self, data: bytes, needle: bytes, start: int) -> tuple[int, int]:
        """The span with the one base64 character on each side that holds the rest of the outer bytes."""
        end = start + len(needle)
        if needle in self._base64:
            start -= start > 0 and data[start - 1] in _BASE64
            end += end < len(data) and data[end] in _BASE64
        return start, end


def _shifted(data: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The base64 characters that depend on nothing but `data`, at each of the three places it can start."""
    for shift in range(3):
        yield encode(bytes(shift) + data)[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
