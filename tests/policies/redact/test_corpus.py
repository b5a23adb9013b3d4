"""How much is found, and how much too much, in labelled lines: one half was there while detectors were written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from policies.redact.detect import SECRET_TYPES
from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.redact.vault import MemoryVault

HALVES = ("corpus_tuned.txt", "corpus_held_out.txt")
MARKS = re.compile("[«»]")


class Line(NamedTuple):
    text: str
    values: tuple[tuple[str, int, int], ...]


class Figures(NamedTuple):
    secrets: float
    """Share of the values of credentials that were covered from end to end, as credentials."""
    personal: float
    precision: float
    """Share of what was found that touches a value."""
    faults: tuple[str, ...]


def corpus(name: str) -> list[Line]:
    lines = []
    for row in (Path(__file__).parent / name).read_text("utf-8").splitlines():
        if not row.startswith("# "):
            types, _, marked = row.partition("\t")
            places = [match.start() - n for n, match in enumerate(MARKS.finditer(marked))]
            spans = zip(types.split(","), places[::2], places[1::2], strict=types != "-")
            lines.append(Line(MARKS.sub("", marked), tuple(spans)))
    return lines


def measured(lines: list[Line]) -> Figures:
    covered = {True: 0, False: 0}
    labelled = {True: 0, False: 0}
    right = wrong = 0
    faults = []
    for text, values in lines:
        found = Redactor(b"k" * 32, MemoryVault(), Secrets()).redact(text).found
        for type_, start, end in values:
            secret = type_ in SECRET_TYPES
            labelled[secret] += 1
            if any(f.start <= start and end <= f.end and (f.type in SECRET_TYPES) == secret for f in found):
                covered[secret] += 1
            else:
                faults.append(f"missed {type_}: {text}")
        for each in found:
            if any(each.start < end and start < each.end for _, start, end in values):
                right += 1
            else:
                wrong += 1
                faults.append(f"wrong {each.type} {text[each.start : each.end]!r}: {text}")
    shares = {secret: covered[secret] / labelled[secret] for secret in labelled}
    return Figures(shares[True], shares[False], right / (right + wrong), tuple(faults))


@pytest.mark.parametrize("half", HALVES)
def test_nearly_everything_is_found_and_nearly_nothing_else(half: str) -> None:
    secrets, personal, precision, faults = measured(corpus(half))
    print(f"{half}: secrets {secrets:.1%}, personal data {personal:.1%}, precision {precision:.1%}", *faults, sep="\n")

    assert secrets >= 0.97
    assert personal >= 0.96
    assert precision >= 0.96


def test_the_corpus_is_large_and_hard_enough() -> None:
    lines = [line for half in HALVES for line in corpus(half)]

    assert len(lines) >= 600
    assert sum(not line.values for line in lines) >= 0.4 * len(lines)
