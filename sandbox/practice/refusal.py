"""What the real service refuses: requests that a lenient test server would let pass."""

from __future__ import annotations

import json
from typing import Any


def refusal(raw: dict[str, Any]) -> str:
    """Why DashScope would answer this request with a 400, in its words (error-code page, Nov 2026); else empty."""
    messages: list[dict[str, Any]] = raw["messages"]
    roles, tools = [message["role"] for message in messages], raw.get("tools", ())
    forced = raw.get("tool_choice", "auto") not in ("auto", "none")
    wants_json = (raw.get("response_format") or {}).get("type") == "json_object"
    faults = {
        "[] is too short - 'tools'": tools == [],
        "Tool names are not allowed to be [search]": any(tool["function"]["name"] == "search" for tool in tools),
        "The tool_choice parameter does not support being set to required or object in thinking mode": forced
        and raw.get("enable_thinking"),
        "The input messages do not contain elements with the role of user.": "user" not in roles,
        "System message must be at the beginning.": not {"user", "assistant", "tool"}.issuperset(roles[1:]),
        "'messages' must contain the word 'json' in some form.": wants_json and "json" not in str(messages).lower(),
    }
    return next((words for words, found in faults.items() if found), "") or _tool_history(messages)


def _tool_history(messages: list[dict[str, Any]]) -> str:
    owed: set[str] = set()
    for message in [*messages, {"role": "end"}]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in owed:
                return 'messages with role "tool" must be a response to a preceding message with "tool_calls".'
            if not isinstance(message["content"], str):
                return "input content must be a string."
            owed.remove(message["tool_call_id"])
        elif owed:
            return (
                'An assistant message with "tool_calls" must be followed by tool messages responding to each of them.'
            )
        for call in message.get("tool_calls") or ():
            owed.add(call["id"])
            try:
                json.loads(call["function"]["arguments"])
            except ValueError as broken:
                return str(broken)
    return ""
