from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from sandbox.practice.leaks import search

VALUE = "chen.made-up@example.cn"


@pytest.mark.parametrize(
    "text",
    [
        f"to {VALUE}.",
        quote(VALUE, safe=""),
        "x" + base64.b64encode(b"padding" + VALUE.encode()).decode(),
        VALUE.encode().hex(),
        json.dumps({"a": VALUE}).replace("c", "\\u0063", 1),
        " ".join(VALUE),
        quote(base64.b64encode(VALUE.encode()).decode()),
        "".join(chr(ord(c) + 0xFEE0) for c in VALUE),
    ],
)
def test_a_planted_value_is_found_in_every_encoding(text):
    assert [leak.planted for leak in search([("here", text)], ["other value", VALUE])] == [1]


def test_a_text_without_the_value_has_no_leak():
    assert search([("here", "a handle ⟦email:abcdefghij⟧ and nothing else")], [VALUE]) == []
