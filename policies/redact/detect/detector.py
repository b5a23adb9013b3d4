"""What a detector is, and the one loop that runs them: RE2 patterns over folded text, edges checked in code."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import re2  # type: ignore[import-untyped]

from policies.redact.folded import MASK

# A handle counts as part of the word it touches. Otherwise each value replaced would free the next one of a chain
# without blanks, and redacting twice would find more than redacting once.
ALNUM = frozenset((string.ascii_letters + string.digits).encode("ascii") + MASK)
WORD = ALNUM | frozenset(b"_-")
NOTHING: frozenset[int] = frozenset()
_WORDS_BEFORE = 32


Pattern = re.Pattern[bytes]
"""An RE2 pattern under the type of the standard library's, whose `search` and `groups` it shares: RE2 has no types."""


def linear(pattern: bytes) -> Pattern:
    """The pattern compiled by RE2 over single bytes; one that RE2 cannot run in linear time is an error here."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20  # for alternations of many known secrets; the default of 8 MB refuses some hundred
    options.log_errors = False
    return cast(Pattern, re2.compile(pattern, options=options))


def any_of(needles: Iterable[bytes], flags: bytes = b"") -> Pattern | None:
    """A pattern for the literal needles, the longest first where several begin; None when there are none."""
    words = [re2.escape(needle) for needle in sorted(needles, key=len, reverse=True)]
    return linear(flags + b"|".join(words)) if words else None


def _always(_value: bytes) -> bool:
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Detector:
    """One form of one type of value."""

    type: str
    """The type that handles of it carry."""
    pattern: Pattern
    """If it has groups, the first that took part is the value, and the rest only context."""
    needles: Sequence[bytes] = ()
    """Lower-case; where none of them occurs, the pattern cannot match. None given: not known."""
    check: Callable[[bytes], bool] = _always
    """Whether the value found is one: a checksum, a date, not a placeholder."""
    before: frozenset[int] = NOTHING
    """Bytes that may not stand directly before the match."""
    number: bool = False
    """Refused when a letter or digit follows, or `.` or `-` joins it to a digit: it is part of
    an amount, a date or a longer number."""
    unless: Pattern | None = None
    """Refused where this is found in the few characters before the match: they call it something else."""
    learn: bool = False
    """Known only by its context, so its value is looked for literally from then on."""

    def find(self, data: bytes) -> Iterator[tuple[int, int]]:
        """The spans of all values, left to right, not overlapping."""
        position = 0
        while (match := self.pattern.search(data, position)) is not None:
            whole, end = match.span()
            groups = (match.span(group) for group in range(1, self.pattern.groups + 1))
            start, stop = next((span for span in groups if span[0] >= 0), (whole, end))
            if self._stands_alone(data, whole, end) and start < stop and self.check(data[start:stop]):
                yield start, stop
                position = end
            else:
                # A value can begin inside what was refused, but only where `before` lets it. Trying every
                # character instead would make a long refused word quadratic.
                position = whole + 1
                while position < end and data[position - 1] in self.before:
                    position += 1

    def _stands_alone(self, data: bytes, start: int, end: int) -> bool:
        if start and data[start - 1] in self.before:
            return False
        if self.unless is not None and self.unless.search(data[max(0, start - _WORDS_BEFORE) : start]) is not None:
            return False
        left, right = data[max(0, start - 2) : start][::-1], data[end : end + 2]
        return not (self.number and ((right[:1] and right[0] in ALNUM) or _joined(left) or _joined(right)))


@dataclass(frozen=True, kw_only=True)
class Family:
    """Detectors that share a gate: a pattern without which none of them can match."""

    gate: Pattern | None
    detectors: tuple[Detector, ...]
    needles: frozenset[bytes] = field(init=False)
    """Of all its detectors, each looked for once."""

    def __post_init__(self) -> None:
        needles = frozenset(needle for detector in self.detectors for needle in detector.needles)
        object.__setattr__(self, "needles", needles)

    def find(self, data: bytes) -> Iterator[tuple[Detector, int, int]]:
        """All values of the family; one cheap pass when there are none."""
        if self.gate is None or self.gate.search(data) is None:
            return
        lowered = data.lower()
        absent = {needle for needle in self.needles if needle not in lowered}
        for detector in self.detectors:
            if not detector.needles or not absent.issuperset(detector.needles):
                for start, end in detector.find(data):
                    yield detector, start, end


def by_needles(*detectors: Detector) -> Family:
    """A family whose gate is any needle of its detectors; each must have some."""
    needles = {needle for detector in detectors for needle in detector.needles}
    return Family(gate=any_of(needles, b"(?i)"), detectors=detectors)


def _joined(outward: bytes) -> bool:
    return len(outward) == 2 and outward[0] in b".-" and outward[1:].isdigit()
