"""Every behaviour of the table, over a real socket, as a whole Reply or an error."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tools.errors
from tools.models.endpoint import ChatCall, Endpoint
from tools.models.messages import assistant, dumps, message, result
from tools.models.reply import Reply, ToolCall, Usage

CASES = runpy.run_path(str(Path(__file__).with_name("cases.py")))["CASES"]
KEY = "sk-made-up"


def offered(name: str, **properties: object) -> dict[str, object]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}


TOOLS = dumps(
    [
        offered("get_time"),
        offered("send_message", to={"type": "string"}, text={"type": "string"}),
        offered("count", count={"type": "integer"}),
        offered("tag", tags={"type": "array", "items": {"type": "string"}}, owner={"type": "string"}),
    ]
)


def chat_call(ask: dict[str, Any]) -> ChatCall:
    messages = [message("user", "What time is it?")]
    if ask.get("system_later"):
        messages.append(message("system", "Be brief."))
    if "result" in ask:
        call_id = ask.get("result_id", "call_0123456789abcdef01234567")
        call = ToolCall(id=call_id, name="get_time", arguments={}, raw="", fault=None, repaired=False)
        messages += [assistant("", [call]), result(call_id, ask["result"])]
    known = ("thinking", "response_json", "tool_choice", "tools", "max_reply_tokens")
    return ChatCall(
        **{"messages": messages, "tools": TOOLS, "max_reply_tokens": 1000, **{k: ask[k] for k in known if k in ask}}
    )


def whole(case: dict[str, Any]) -> Reply:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 20,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        "estimated": False,
    }
    given = {"text": "", "reasoning_chars": 0, "calls": [], "finish": "stop", "usage": usage, "model": "qwen3.8-max"}
    return Reply.from_json(json.dumps({key: case.get(key, value) for key, value in given.items()}))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['number']:g} {case['name'][:50]}")
async def test_a_behaviour_of_the_wire_is_read_as_what_it_means(
    case: dict[str, Any], wire: Any, clock: Any, make: Callable[..., Endpoint]
) -> None:
    ask = case.get("ask", {})
    wire.plays = [dict(play) for play in case["plays"]]
    most = {"max_reply_tokens": 2_000_000} if ask.get("max_reply_tokens", 0) > 8192 else {}
    endpoint = make(first_token_s=ask.get("first_token_s", 5.0), **most)

    if "error" in case:
        with pytest.raises(tools.errors.EndpointError) as caught:
            await endpoint.chat(KEY, chat_call(ask), deadline_s=300)
        assert type(caught.value) is getattr(tools.errors, case["error"]), str(caught.value)
        spent = Usage(**case["spent"]) if "spent" in case else None
        assert caught.value.spent == spent
        text = str(caught.value)
        assert (
            "127.0.0.1" in text
            and "'qwen3.8-max'" in text
            and "\n" not in text
            and "What time" not in text
            and KEY not in text
        )
    else:
        assert await endpoint.chat(KEY, chat_call(ask), deadline_s=300) == whole(case)

    assert wire.plays == []  # no script line unused, none asked for in vain
    sent = wire.bodies[-1]
    roles = [item["role"] for item in sent["messages"]]
    for field, value in case.get("sent", {}).items():
        assert (roles if field == "roles" else sent.get(field)) == value
    for slept, (least, most_s) in zip(clock.slept, case.get("slept", []), strict="slept" in case):
        assert least <= slept <= most_s


@pytest.mark.parametrize("number", [n for n in range(1, 97) if n not in {11, 14, 15, 93, 94}])
def test_each_behaviour_has_a_case_or_a_test_that_names_it(number: int) -> None:
    elsewhere = {13, 50, 53, 57, 91, 92}
    assert number in elsewhere or any(int(case["number"]) == number for case in CASES)
