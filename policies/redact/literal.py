"""The secrets a run knows, found literally in whatever encoding they are written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import AnyStr
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
        self._needles: dict[bytes, tuple[str, str]] = {}
        self._base64: set[bytes] = set()
        self._wide: dict[str, str] = {}
        self._gate: Pattern | None = None
        for value in values:
            self.add(value)

    def add(self, value: str, type_: str = "secret") -> None:
        """Look for `value` from now on; SecretTooShort, without the value, below four characters."""
        if len(value.strip()) < MIN_CHARACTERS:
            raise SecretTooShort(f"A {type_} needs at least {MIN_CHARACTERS} characters to be kept out of texts.")
        data = value.encode("utf-8", "surrogatepass")
        encoded = {*_shifted(data, base64.b64encode), *_shifted(data, base64.urlsafe_b64encode)}
        plain = {data.hex().encode(), data.hex().upper().encode()}
        if value.isascii():  # its URL, JSON and HTML spellings are found in the decoded layers
            plain.add(data.translate(None, BLANKS))
        else:  # folding loses the characters, so these spellings are looked for themselves
            escaped = quote(data, safe="").encode()
            plain |= {escaped, escaped.lower(), json.dumps(value)[1:-1].encode()}
            self._wide.setdefault(value, type_)
        self._base64 |= encoded
        for needle in encoded | plain:
            self._needles.setdefault(needle, (type_, value))
        self._gate = None

    def find(self, layer: Folded, text: str) -> Iterator[tuple[str, str, int, int]]:
        """Type, value and span in the original text of every occurrence in one layer of it, and in `text`."""
        for wide, type_ in self._wide.items():
            yield from ((type_, wide, start, start + len(wide)) for start in _occurrences(text, wide))
        if self._gate is None:
            self._gate = any_of(self._needles)
        if not self._needles or self._gate.search(layer.data.translate(None, BLANKS)) is None:
            return
        for source, shortest in ((layer, 0), (layer.squeezed(), _SPLIT_FROM)):
            for needle, (type_, value) in self._needles.items():
                if len(needle) >= shortest:
                    for start in _occurrences(source.data, needle):
                        yield type_, value, *source.span(*self._with_edges(source.data, needle, start))

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


def _occurrences(text: AnyStr, needle: AnyStr) -> Iterator[int]:
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + len(needle))
