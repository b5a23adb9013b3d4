"""A text that comes in chunks is redacted as if it came whole."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.redact.detect import LEARNED_TYPES
from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.redact.stream import REACH, RedactedStream
from policies.redact.vault import MemoryVault
from tests.policies.redact.test_redactor import KEY, SAMPLES, SECRET, spellings

REACH_IN_TESTS = 256


def streamed(chunks: list[str], reach: int = REACH_IN_TESTS) -> str:
    stream = RedactedStream(Redactor(KEY, MemoryVault(), Secrets([SECRET])), reach)
    return "".join([*(stream.feed(chunk) for chunk in chunks), stream.close()])


def whole(text: str) -> str:
    return Redactor(KEY, MemoryVault(), Secrets([SECRET])).redact(text).text


def cut(text: str, sizes: list[int]) -> list[str]:
    chunks = []
    while text:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(text[:size])
        text = text[size:]
    return chunks


# What only its context shows is found without it too, but not in what has gone out already: see RedactedStream.
PIECES = [
    sample
    for sample in SAMPLES
    if not any(each.type in LEARNED_TYPES for each in Redactor(KEY, MemoryVault(), Secrets()).redact(sample).found)
]
pieces = st.one_of(
    st.sampled_from(PIECES), st.just(SECRET), st.just("⟦x"), st.text(max_size=30), st.just("so it goes, and on, "),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces, min_size=10, max_size=60, unique=True), st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_chunks_give_what_the_whole_text_gives(parts: list[str], sizes: list[int]) -> None:
    text = "\n.\n".join(parts)

    assert streamed(cut(text, sizes)) == whole(text)


@pytest.mark.parametrize("size", [1, 7, 256])
@pytest.mark.parametrize("spelling", sorted(spellings(SECRET)))
def test_a_known_secret_is_found_across_chunks_in_every_encoding(spelling: str, size: int) -> None:
    text = f"{'words and words. ' * 40}x: {spellings(SECRET)[spelling]} .{' and more' * 60}"
    stream = streamed(cut(text, [size]))

    assert stream == whole(text)
    assert stream.count("⟦secret:") >= 1


def test_a_key_longer_than_what_is_held_back_is_one_value() -> None:
    body = base64.b64encode(b"MADEUP" * 4 * REACH_IN_TESTS).decode()
    text = f"{'a word, ' * 99}-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----{' then' * 200}"

    assert streamed(cut(text, [50])) == whole(text)


def test_most_of_a_long_text_goes_out_before_its_end() -> None:
    stream = RedactedStream(Redactor(KEY, MemoryVault(), Secrets()))
    out = "".join(stream.feed(f"{n}: somebody@example.com wrote\n") for n in range(2000))

    assert len(out) > 50_000
    assert "@" not in out
    assert len(stream._held) < 2 * REACH
