"""Tool calls that a server left in the text, in either form Qwen models write.

    <tool_call>{"name": "f", "arguments": {…}}</tool_call>
    <tool_call><function=f><parameter=a>…</parameter></function></tool_call>

A text is calls only when all of it is: a tag quoted in prose, in a code block or left open runs nothing.
"""

from __future__ import annotations

import re

from tools.models.arguments import parsed
from tools.models.messages import dumps

_MOST_CHARS = 256_000
_FUNCTION = re.compile(r"\s*<function=([^<>\s]+)>(.*)</function>\s*", re.S)
_PARAMETER = re.compile(r"\s*<parameter=([^<>\s]+)>")
_END = "</parameter>"


def text_calls(text: str) -> list[tuple[str, str]]:
    """Name and raw JSON arguments of each call; empty unless the whole text is calls."""
    calls: list[tuple[str, str]] = []
    rest = text.strip()
    while rest and len(text) <= _MOST_CHARS:
        body, closed, rest = rest.removeprefix("<tool_call>").partition("</tool_call>")
        call = _xml(body) or _hermes(body)
        if not text.strip().startswith("<tool_call>") or not closed or call is None:
            return []
        rest = rest.lstrip()
        if rest and not rest.startswith("<tool_call>"):
            return []
        calls.append(call)
    return calls


def _hermes(body: str) -> tuple[str, str] | None:
    try:
        value = parsed(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.keys() != {"name", "arguments"}:
        return None
    name, arguments = value["name"], value["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return name, dumps(arguments).decode()


def _xml(body: str) -> tuple[str, str] | None:
    """Values are raw text; what they stand for is decided by the tool's schema."""
    function = _FUNCTION.fullmatch(body)
    values: dict[str, str] = {}
    rest = function[2] if function else ""
    while head := _PARAMETER.match(rest):
        value, closed, rest = rest[head.end() :].partition(_END)
        if not closed or head[1] in values:
            return None
        values[head[1]] = value.removeprefix("\n").removesuffix("\n")
    return (function[1], dumps(dict(values)).decode()) if function and not rest.strip() else None
