"""Text as detectors see it: one byte a character, encodings taken off, and a way back to the original offsets."""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from urllib.parse import unquote

WIDE, INVISIBLE, MASK = b"\x80", b"\x81", b"\x82"
"""Stand for: any character without an ASCII form, a zero-width one, and a place already taken by a handle."""

MARKED = (
    "密码口令钥是为私牌授权元"
    "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领挂学警港澳"  # licence plates
    "省市区县镇乡村路街道巷弄号楼栋幢座单室层地址住"  # addresses
    "护照通行证回台湾胞电话手机订运流水批"  # what stands before a number
)
"""Chinese characters that patterns need to tell apart; the rest are `WIDE`. Room for 112."""

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
# Fifteen characters hold the shortest number worth finding. In lines of 60 to 76 as mail and PEM wrap it, or in one.
_BASE64_TEXT = re.compile(
    rb"(?<![\w+/-])(?:[\w+/-]{60,76}(?:\r?\n[\w+/-]{60,76})*(?:\r?\n[\w+/-]{1,76})?|[\w+/-]{14,})={0,2}(?![\w+/-])",
    re.ASCII,
)
_UNJOINED = re.compile(rb"[A-Za-z0-9]{14,}={0,2}")
_JOINTS = b"+/_-"
_STANDARD = bytes.maketrans(b"-_", b"+/")
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

    def layers(self, rounds: int = _ROUNDS) -> Iterator[Folded]:
        """This layer, then the ones with JSON, URL and HTML escapes taken off, each from the one before, and at last
        what stands in base64 in the last of them, with its own layers."""
        yield (layer := self)
        for _ in range(rounds):
            if _ESCAPE.search(layer.data) is None:
                break
            layer = layer.replaced((m.start(), m.end(), _decode(m[0])) for m in _ESCAPE.finditer(layer.data))
            yield layer
        if rounds and (blobs := list(_blobs(layer.data))):
            ends = [0, *(end for _, end, _ in blobs)]
            gaps = ((end, blob[0], b"\n") for end, blob in zip(ends, blobs, strict=False))
            changes = [each for pair in zip(gaps, blobs, strict=True) for each in pair]
            yield from layer.replaced([*changes, (ends[-1], len(layer.data), b"\n")]).layers(rounds - 1)

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


def _blobs(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Every stretch that is base64 of a text, and that text; a path or name before it is told from it by its joints."""
    for match in _BASE64_TEXT.finditer(data):
        parts = [match.span()]
        if match[0].translate(None, _JOINTS) != match[0]:
            parts += [
                (match.start() + each.start(), match.start() + each.end()) for each in _UNJOINED.finditer(match[0])
            ]
        for start, end in parts:
            if (plain := _from_base64(data[start:end])) is not None:
                yield start, end, plain
                if (start, end) == match.span():
                    break


def _from_base64(blob: bytes) -> bytes | None:
    core = blob.rstrip(b"=").translate(_STANDARD, b"\r\n")
    if len(core) % 4 == 1 or b"\x00" in binascii.a2b_base64(core[: min(16, len(core) & ~3)]):
        return None
    try:
        text = binascii.a2b_base64(core + b"=" * (-len(core) % 4)).decode("utf-8")
    except (ValueError, binascii.Error):
        return None
    return fold(text) if all(each.isprintable() or each in "\t\r\n" for each in text) else None


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
