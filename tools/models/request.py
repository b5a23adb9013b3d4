"""What is asked of a model, as the bytes of a request its server accepts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from pydantic import JsonValue

from tools.models.arguments import Schema, parsed
from tools.models.dialect import Dialect, Quirk, ThinkingField
from tools.models.messages import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One request, its parts already JSON (see `messages`), so that a long history is only joined."""

    messages: Sequence[bytes]
    tools: bytes | None = None
    """A JSON array of tools; the same bytes each time keep the server's prefix cache."""
    max_reply_tokens: int
    """For the answer; thinking may use as much again."""
    thinking: bool = False
    response_json: bool = False
    tool_choice: str = "auto"
    """`auto`, `none`, `required` or the name of a tool; sent as `auto` where forcing is refused."""


def request_body(
    call: ChatCall, model: str, dialect: Dialect, field: ThinkingField, quirks: Set[Quirk], most: int
) -> bytes:
    """The body of a streaming request of at most `most` answer tokens, without what the quirks forbid.

    One join over the history: nothing of it is looked at, unless a system message may have to be turned.
    """
    thinking = call.thinking and not (call.response_json and Quirk.NO_JSON_WHILE_THINKING in quirks)
    thinking = (thinking or Quirk.ALWAYS_THINKS in quirks) and Quirk.NEVER_THINKS not in quirks
    head: dict[str, JsonValue] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens" if dialect is Dialect.OPENAI else "max_tokens": most,
    }
    if Quirk.NO_THINKING_FIELD not in quirks:
        head |= _thinking(field, thinking, most)
    if call.response_json and not (thinking and Quirk.NO_JSON_WHILE_THINKING in quirks):
        head["response_format"] = {"type": "json_object"}
    tools = call.tools if call.tools and schemas_of(call.tools) else None  # servers refuse an empty list
    if tools and (choice := _choice(call.tool_choice, thinking, quirks)):
        head["tool_choice"] = choice
    messages = b",".join(_one_system(call.messages) if Quirk.ONE_SYSTEM in quirks else call.messages)
    return b"".join((dumps(head)[:-1], b',"tools":' + tools if tools else b"", b',"messages":[', messages, b"]}"))


@lru_cache(maxsize=16)
def schemas_of(tools: bytes) -> Mapping[str, Schema]:
    """Parameter schemas by tool name. Our own bytes: a fault in them is a bug and rises."""
    schemas: dict[str, Schema] = {}
    offered = parsed(tools.decode())
    for tool in offered if isinstance(offered, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            parameters = function.get("parameters")
            schemas[str(function["name"])] = parameters if isinstance(parameters, dict) else {}
    return schemas


def _choice(wanted: str, thinking: bool, quirks: Set[Quirk]) -> JsonValue:
    """The field's value; None leaves the choice to the model, also where forcing it is refused."""
    if wanted in ("auto", "none"):
        return None if wanted == "auto" else wanted
    if Quirk.NO_FORCED_CALL in quirks or (thinking and Quirk.NO_FORCED_CALL_WHILE_THINKING in quirks):
        return None
    return wanted if wanted == "required" else {"type": "function", "function": {"name": wanted}}


def _thinking(field: ThinkingField, thinking: bool, most: int) -> dict[str, JsonValue]:
    match field:
        case ThinkingField.ENABLE_THINKING:
            # `max_tokens` does not count thoughts there; without a budget they are billed without end.
            return {"enable_thinking": thinking} | ({"thinking_budget": most} if thinking else {})
        case ThinkingField.CHAT_TEMPLATE_KWARGS:
            return {"chat_template_kwargs": {"enable_thinking": thinking}}
        case ThinkingField.REASONING_EFFORT:
            return {} if thinking else {"reasoning_effort": "none"}
        case ThinkingField.NONE:
            return {}
        case _:
            assert_never(field)


def _one_system(messages: Sequence[bytes]) -> list[bytes]:
    """The messages with every system or developer role after the first message turned into user."""
    return [*messages[:1], *(_MIDDLE_SYSTEM.sub(b'{"role":"user"', message, count=1) for message in messages[1:])]


_MIDDLE_SYSTEM = re.compile(rb'\A\{"role":"(system|developer)"')
