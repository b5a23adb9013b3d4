"""Decoding and assembling by themselves: any cutting of the bytes gives the same reply, and nothing hurts."""

from __future__ import annotations

import json
import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.models.arguments import read
from tools.models.assemble import Asked, Assembly
from tools.models.faults import Trouble
from tools.models.reply import Reply
from tools.models.sse import Decoder
from tools.models.textcalls import text_calls

SCRIPTS = [
    b"".join(case["plays"][0]["parts"])
    for case in runpy.run_path(str(Path(__file__).with_name("cases.py")))["CASES"]
    if len(case["plays"]) == 1 and "parts" in case["plays"][0] and case["number"] not in (90.2, 90.3)
]


def read_in(pieces: list[bytes]) -> Reply | str:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    assembly = Assembly(Asked(model="m", body=b"{}", turn=1, schemas={"count": schema}, max_reply_tokens=9999))
    decoder = Decoder()
    try:
        for piece in pieces:
            for event in decoder.feed(piece):
                assembly.add(event)
        for event in decoder.end():
            assembly.add(event)
        return assembly.reply()
    except Trouble as trouble:
        return trouble.what


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SCRIPTS), st.lists(st.integers(0, 4000), max_size=12), st.booleans())
def test_any_cutting_of_the_bytes_gives_the_same_reply(script: bytes, cuts: list[int], crlf: bool) -> None:
    if crlf:
        script = script.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    ends = sorted({0, len(script), *(cut % (len(script) + 1) for cut in cuts)})
    pieces = [script[start:end] for start, end in pairwise(ends)]

    assert read_in(pieces) == read_in([script]) == read_in([bytes([byte]) for byte in script])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"data: ", b"\n\n", b"{}", b'{"choices":[{"delta":', b"null", b"}]}"]),
        )
    )
)
def test_no_bytes_raise_anything_but_trouble(pieces: list[bytes]) -> None:
    read_in(pieces)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KEYS = """choices delta message content tool_calls function arguments name id index usage error finish_reason model
reasoning_content prompt_tokens_details prompt_tokens code"""
keys = st.sampled_from(KEYS.split())
chunks = st.recursive(
    json_values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)


@settings(max_examples=200, deadline=None)
@given(st.lists(chunks, max_size=4))
def test_no_shape_of_chunk_raises_anything_but_trouble(values: list[Any]) -> None:
    reply = read_in([b"data: " + json.dumps(value).encode() + b"\n\n" for value in values])
    if isinstance(reply, Reply):
        assert Reply.from_json(reply.to_json()) == reply


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text(), json_values.filter(lambda value: value == value and "NaN" not in str(value)), max_size=4)
)
def test_valid_arguments_are_never_changed(values: dict[str, Any]) -> None:
    raw = json.dumps(values)
    found = read(raw, {}, may_close=True)
    if found.fault is None:
        assert found.values == json.loads(raw) and not found.repaired


@given(st.text(alphabet="{}[]\"'“”，：:, \n\\aTrueNone1`</tool_call>", max_size=60))
def test_no_arguments_and_no_text_raise(text: str) -> None:
    found = read(text, {"required": ["a"]}, may_close=True)
    assert (found.values is None) != (found.fault is None)
    text_calls(f"<tool_call>{text}</tool_call>")


def test_a_reply_survives_storing_and_nothing_else_is_read() -> None:
    reply = read_in([SCRIPTS[5]])
    assert isinstance(reply, Reply) and Reply.from_json(reply.to_json()) == reply
    with pytest.raises(ValueError, match="extra"):
        Reply.from_json(reply.to_json()[:-1] + b',"extra":1}')


def test_deep_nesting_is_a_fault_and_not_a_crash() -> None:
    assert read("[" * 200_000, {}, may_close=True).fault
    assert read_in([b"data: " + b"[" * 200_000 + b"\n\n"]) == "part of the reply is not valid JSON in UTF-8"


def test_a_hundred_thousand_deltas_are_read() -> None:  # 90
    chunk = b'data: {"choices":[{"delta":{"content":"x"},"index":0}]}\n\n'
    reply = read_in([chunk * 1000] * 100 + [b"data: [DONE]\n\n"])
    assert isinstance(reply, Reply) and reply.text == "x" * 100_000


def test_a_stream_without_end_of_line_is_capped() -> None:
    decoder = Decoder()
    with pytest.raises(Trouble, match="larger"):
        for _ in range(100):
            decoder.feed(b"x" * 100_000)


def test_many_small_events_are_capped_in_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.models.sse.TOTAL_BYTES", 1_000_000)
    decoder = Decoder()
    with pytest.raises(Trouble, match="larger"):
        for _ in range(20):
            decoder.feed(b"data: 1\n\n" * 10_000)
