"""Searches what was sent and stored for planted values, through the usual encodings."""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BLANKS = re.compile(r"[\s\u200b-\u200d\u2060\ufeff-]+")


class Leak(NamedTuple):
    """A planted value found: where, and which of the planted ones."""

    where: str
    planted: int


def search(texts: Iterable[tuple[str, str]], planted: Iterable[str]) -> list[Leak]:
    """Every planted value that occurs in the (place, text) pairs, in any reading of the text."""
    wanted = [(n, value, _BLANKS.sub("", value)) for n, value in enumerate(planted)]
    found: list[Leak] = []
    for where, text in texts:
        readings = list(_readings(text))
        tight = [_BLANKS.sub("", reading) for reading in readings]
        for n, value, joined in wanted:
            if any(value in r for r in readings) or any(joined in t for t in tight):
                found.append(Leak(where, n))
    return found


def _readings(text: str, depth: int = 2) -> Iterator[str]:
    """The text as it is, and as each decoder reads it; decoders are stacked twice."""
    yield text
    if depth == 0:
        return
    decoded = {
        unicodedata.normalize("NFKC", text),
        unquote_plus(text),
        html.unescape(text),
        _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text).replace('\\"', '"').replace("\\n", "\n").replace("\\/", "/"),
        " ".join(_bytes_in(text)),
    }
    for reading in decoded - {text, ""}:
        yield from _readings(reading, depth - 1)


def _bytes_in(text: str) -> Iterator[str]:
    for match in _BASE64.finditer(text):
        blob = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        for shift in range(4):  # a value may begin anywhere in a longer encoded run
            part = blob[shift:]
            part = part[:-1] if len(part) % 4 == 1 else part
            part += "=" * (-len(part) % 4)
            try:
                yield base64.b64decode(part).decode("utf-8", "replace")
            except binascii.Error:
                continue
    for match in _HEX.finditer(text):
        yield bytes.fromhex(match[0]).decode("utf-8", "replace")
