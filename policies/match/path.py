"""Paths as globs: literal segments, one `*` inside a segment, `**` as the last segment for any rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

FRESH = "any-other"
"""A segment that no rule names, to stand for whatever a `*` may become."""


@dataclass(frozen=True, kw_only=True)
class Glob:
    """A path pattern. `/a` and `a` differ; `/a/**` matches `/a` too; `*` stands for one segment or a part of it."""

    segments: tuple[str, ...]
    rest: bool
    _strict: re.Pattern[str]
    _loose: re.Pattern[str]

    @property
    def literal(self) -> bool:
        """True when only one path matches."""
        return not self.rest and not any("*" in segment for segment in self.segments)

    def matches(self, path: str) -> bool:
        """True when the canonical `path` is inside the pattern, spelled exactly so."""
        return self._strict.fullmatch(path) is not None

    def touches(self, path: str) -> bool:
        """The same, but letter case and a slash at the end do not help `path` to stay outside."""
        return self._loose.fullmatch(path) is not None

    def samples(self, others: Iterable[Glob]) -> list[str]:
        """Paths inside this pattern, at least one for each set of `others` that such a path can match."""
        others = list(others)
        longest = max(len(g.segments) for g in (self, *others)) + 2
        theirs = [found for other in others for found in other._unrolled(longest)]
        mine = self._unrolled(longest)
        met = [*mine, *(both for a in mine for b in theirs if (both := _meet(a, b)))]
        return sorted({"/".join(s.replace("*", FRESH) for s in segments) or "/" for segments in met})

    def _unrolled(self, longest: int) -> list[tuple[str, ...]]:
        if not self.rest:
            return [self.segments]
        lengths = range(longest - len(self.segments) + 1)
        return [(*self.segments, *("*",) * n) for n in lengths if self.segments or n]


@lru_cache(maxsize=8192)
def glob(text: str) -> Glob:
    """`text` as a pattern; ValueError with a sentence when it is none."""
    segments = tuple(text.split("/"))
    rest = segments[-1] == "**"
    segments = segments[:-1] if rest else segments
    odd = any("**" in s or s.count("*") > 1 or s in (".", "..") for s in segments) or "" in segments[1:-1]
    if not text or not text.isprintable() or "\\" in text or odd:
        raise ValueError(f"{text!r} is no path pattern: one '*' a segment, '**' at the end, no '.', '..' or '//'")
    source = "/".join(re.escape(s).replace(r"\*", "[^/]+" if s == "*" else "[^/]*") for s in segments)
    if rest:  # without a segment before it, `**` is any relative path
        source = f"{source}(?:/.*)?" if segments else "[^/].*"
    strict = re.compile(rf"(?!(?:.*/)?\.\.?(?:/|$)){source}", re.DOTALL)
    loose = re.compile(source.rstrip("/") + "/*", re.DOTALL | re.IGNORECASE)
    return Glob(segments=segments, rest=rest, _strict=strict, _loose=loose)


PathPattern = Annotated[str, AfterValidator(lambda text: glob(text) and text)]
"""Text that is a path pattern."""


def is_under(path: str, root: str) -> bool:
    """True when `path` is `root` or lies below it, without any `..`; links are the executor's to refuse."""
    spelled, top = PurePosixPath(path), PurePosixPath(root)
    return ".." not in spelled.parts and (spelled == top or top in spelled.parents)


def _meet(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...] | None:
    """The segments that lie in both, None when there are none."""
    met = [_meet_segment(a, b) for a, b in zip(mine, theirs, strict=False)]
    return tuple(s for s in met if s is not None) if len(mine) == len(theirs) and None not in met else None


def _meet_segment(mine: str, theirs: str) -> str | None:
    if "*" not in mine:
        mine, theirs = theirs, mine
    (head, star, tail), (other_head, other_star, other_tail) = mine.partition("*"), theirs.partition("*")
    if not star:
        return mine if mine == theirs else None
    if not other_star:
        long_enough = theirs and len(theirs) >= len(head) + len(tail)
        return theirs if long_enough and theirs.startswith(head) and theirs.endswith(tail) else None
    heads, tails = sorted((head, other_head), key=len), sorted((tail, other_tail), key=len)
    fits = heads[1].startswith(heads[0]) and tails[1].endswith(tails[0])
    return f"{heads[1]}*{tails[1]}" if fits else None
