"""Known numbers inside longer ones: a value that was put between other digits is found all the same."""

from __future__ import annotations

from collections.abc import Iterator

from policies.redact.detect.detector import linear

SHORTEST = 11
"""Digits; shorter known numbers would be found by chance in order numbers and times."""

_TYPES = frozenset({"phone", "cn_id", "bank_card"})
_RUN = linear(rb"\d(?:[ .-]?[\dXx]){10,}")
_PART = frozenset(b"0123456789Xx")


class Numbers:
    """Values of numeric types in their normal form; any number of them costs the same to look for."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._lengths: set[int] = set()

    def add(self, type_: str, value: str) -> None:
        """Look for this number from now on; other types and shorter numbers are left to their detectors."""
        if type_ in _TYPES and len(value) >= SHORTEST and value.isascii() and value[:-1].isdigit():
            self._types.setdefault(value, type_)
            self._lengths.add(len(value))

    def find(self, data: bytes) -> Iterator[tuple[str, str, int, int]]:
        """Type, value and span of every occurrence, overlapping ones too; linear in `data`."""
        position = 0
        while self._types and (match := _RUN.search(data, position)) is not None:
            start, position = match.span()
            places = [at for at in range(start, position) if data[at] in _PART]
            digits = bytes(data[at] for at in places).decode().upper()
            for length in self._lengths:
                for first in range(len(digits) - length + 1):
                    if (type_ := self._types.get(value := digits[first : first + length])) is not None:
                        yield type_, value, places[first], places[first + length - 1] + 1
