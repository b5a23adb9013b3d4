"""Messages as the JSON fragments a call is joined from, in the one form every server accepts.

A fragment is made once and kept; a call joins them. `role` comes first in each: the endpoint tells roles by
the first bytes. Content is always a string (DashScope refuses lists in tool messages, llama.cpp null).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import JsonValue

from tools.models.reply import ToolCall


def message(role: Literal["system", "user", "assistant"], text: str) -> bytes:
    """A message of plain text."""
    return dumps({"role": role, "content": text})


def assistant(text: str, calls: Iterable[ToolCall]) -> bytes:
    """The model's own turn. Unusable arguments become `{}`: servers refuse broken JSON in the history."""
    return dumps(
        {
            "role": "assistant",
            "content": text,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": dumps(call.arguments or {}).decode()},
                }
                for call in calls
            ],
        }
    )


def result(call_id: str, text: str) -> bytes:
    """What came of the call with this id; every call needs one before the next turn."""
    return dumps({"role": "tool", "tool_call_id": call_id, "content": text})


def dumps(value: JsonValue) -> bytes:
    """Compact UTF-8 JSON; lone surrogates, which no server accepts, become question marks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
