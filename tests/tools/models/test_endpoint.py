"""What an endpoint does over time: waits, deadlines, cancelling, learning, and what it never sends."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.errors import EndpointAway, EndpointBroken, EndpointBusy, EndpointError, EndpointRefused
from tools.models.dialect import Dialect, Quirk, dialect_of
from tools.models.endpoint import ChatCall, Endpoint, EndpointFacts
from tools.models.messages import assistant, dumps, message, result
from tools.models.probe import Probed, probe
from tools.models.reply import NO_USAGE, ToolCall

WIRE = runpy.run_path(str(Path(__file__).with_name("cases.py")))
GOOD, t, c, e, f, calls, stop = (WIRE[name] for name in ("GOOD", "t", "c", "e", "f", "calls", "stop"))
KEY = "sk-made-up"
Make = Callable[..., Endpoint]


def ask(text: str = "x", **more: Any) -> ChatCall:
    return ChatCall(**{"messages": [message("user", text)], "max_reply_tokens": 100, **more})


async def test_a_reply_that_never_ends_is_stopped_by_our_own_count(wire: Any, make: Make) -> None:  # 53, 91
    thought = c({"content": None, "reasoning_content": "and so on " * 20})
    wire.plays = [{"end": "endless", "again": thought}]

    with pytest.raises(EndpointBroken, match="did not stop") as caught:
        await make().chat(KEY, ask(), deadline_s=60)

    await asyncio.wait_for(wire.left.wait(), 5)
    assert caught.value.spent and caught.value.spent.estimated and 712 <= caught.value.spent.completion_tokens < 20_000


async def test_silence_midway_is_asked_again_and_both_tries_are_counted(wire: Any, make: Make) -> None:  # 50
    wire.plays = [{"parts": [t("hal"), t("f")], "end": "hang"}, {"parts": GOOD}]

    reply = await make(silence_s=0.05).chat(KEY, ask(), deadline_s=60)

    assert reply.text == "好" and reply.usage.estimated and reply.usage.completion_tokens == 21


async def test_a_slow_first_token_has_more_patience_than_silence_later(wire: Any, make: Make) -> None:  # 50
    wire.plays = [{"parts": [b": working\n\n"], "end": "hang"}] * 2

    endpoint = make(first_token_s=0.15, silence_s=0.001)
    started = asyncio.get_running_loop().time()
    with pytest.raises(EndpointAway, match="stays silent"):
        await endpoint.chat(KEY, ask(), deadline_s=60)

    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_the_deadline_ends_a_stream_that_keeps_coming(wire: Any, make: Make, clock: Any) -> None:
    def slow(_: object) -> dict[str, Any]:
        clock.now += 100
        return {"parts": [t("a")], "end": "hang"}

    wire.plays = [slow]
    with pytest.raises(EndpointAway, match="time allowed") as caught:
        await make().chat(KEY, ask(), deadline_s=100)
    assert caught.value.spent is not None


async def test_no_wait_reaches_past_the_deadline(wire: Any, make: Make, clock: Any) -> None:
    wire.plays = [e(429, "limit_requests", "x", **{"retry-after": "50"})]

    with pytest.raises(EndpointBusy) as caught:
        await make().chat(KEY, ask(), deadline_s=40)

    assert clock.slept == [] and caught.value.spent is None


async def test_cancelling_closes_the_connection_at_once(wire: Any, make: Make) -> None:
    wire.plays = [{"parts": [t("a")], "end": "hang"}]
    task = asyncio.create_task(make().chat(KEY, ask(), deadline_s=60))
    await wire.playing.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.wait_for(wire.left.wait(), 5)


async def test_calls_share_one_connection_and_say_how_far_they_are(wire: Any, make: Make) -> None:
    wire.plays = [{"parts": GOOD}, {"parts": GOOD}]
    endpoint, seen = make(), []

    for _ in range(2):
        await endpoint.chat(KEY, ask(), deadline_s=60, on_delta=seen.append)

    assert wire.connections == 1
    assert seen and seen == sorted(seen[: len(seen) // 2]) * 2


async def test_a_body_that_stays_open_after_done_is_a_whole_reply(
    wire: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.models.endpoint.DRAIN_S", 0.02)
    wire.plays = [{"parts": GOOD, "end": "hang"}]

    assert (await make().chat(KEY, ask(), deadline_s=60)).text == "好"


async def test_what_a_refusal_taught_is_remembered(wire: Any, make: Make) -> None:
    wire.plays = [WIRE["FORCED"], {"parts": GOOD}, {"parts": GOOD}, {"parts": GOOD}]
    endpoint = make()
    forced = ask(tools=dumps([{"type": "function", "function": {"name": "f"}}]), tool_choice="f")

    for thinking in (True, True, False):
        call = ChatCall(
            messages=forced.messages, tools=forced.tools, max_reply_tokens=9, tool_choice="f", thinking=thinking
        )
        await endpoint.chat(KEY, call, deadline_s=60)

    assert endpoint.quirks == {Quirk.NO_FORCED_CALL_WHILE_THINKING}
    name = {"type": "function", "function": {"name": "f"}}
    assert [body.get("tool_choice") for body in wire.bodies] == [name, None, None, name]


async def test_a_refusal_that_comes_back_is_heeded_further_and_then_an_error(wire: Any, make: Make) -> None:
    wire.plays = [WIRE["FORCED"]] * 3
    endpoint = make()

    with pytest.raises(EndpointRefused):
        await endpoint.chat(KEY, ask(thinking=True), deadline_s=60)

    assert endpoint.quirks == {Quirk.NO_FORCED_CALL_WHILE_THINKING, Quirk.NO_FORCED_CALL}


async def test_dashscope_is_never_sent_what_it_documents_as_refused() -> None:
    endpoint = Endpoint(
        EndpointFacts(name="d", base_url="https://dashscope.aliyuncs.com/compatible-mode/v1", model="m", key_name="k")
    )
    system = [message("system", "a"), message("user", "b"), message("system", "c")]
    call = ask(messages=system, thinking=True, tools=b'[{"function":{"name":"f"}}]', tool_choice="required")
    head = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100}
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "user", "content": "c"}]

    assert sent(endpoint, call) == {
        **head,
        "enable_thinking": True,
        "thinking_budget": 100,
        "messages": messages,
        "tools": [{"function": {"name": "f"}}],
    }
    assert sent(endpoint, ask(thinking=True, response_json=True, tools=b"[]", tool_choice="none")) == {
        **head,
        "enable_thinking": False,
        "response_format": {"type": "json_object"},
        "messages": [{"role": "user", "content": "x"}],
    }
    await endpoint.close()


def sent(endpoint: Endpoint, call: ChatCall) -> object:
    return json.loads(endpoint._asked(call).body)


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", Dialect.DASHSCOPE),
        ("https://cn-hongkong.dashscope.aliyuncs.com/v1", Dialect.DASHSCOPE),
        ("https://ws1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1", Dialect.DASHSCOPE),
        ("https://dashscope.aliyuncs.com.evil.test/v1", Dialect.GENERIC),
        ("http://127.0.0.1:11434/v1", Dialect.OLLAMA),
        ("https://api.openai.com/v1", Dialect.OPENAI),
        ("http://10.0.0.5:8000/v1", Dialect.GENERIC),
    ],
)
def test_a_dialect_is_told_by_the_whole_host(url: str, dialect: Dialect) -> None:
    assert dialect_of(url) is dialect


async def test_a_redirect_is_not_followed(wire: Any, make: Make) -> None:
    wire.plays = [{"status": 307, "headers": {"location": f"{wire.base_url}/elsewhere"}}]

    with pytest.raises(EndpointRefused, match="redirects"):
        await make().chat(KEY, ask(), deadline_s=60)

    assert len(wire.heads) == 1


async def test_loopback_is_reached_without_the_proxy_and_nothing_of_this_machine_is_told(
    wire: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up-other")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-made-up")
    wire.plays = [{"parts": GOOD}, {"parts": GOOD}]
    endpoint = make()

    await endpoint.chat(KEY, ask(), deadline_s=60)
    await endpoint.chat("", ask(), deadline_s=60)

    names = {line.split(":")[0].lower() for line in wire.heads[0].splitlines()[1:] if line}
    assert names == {"host", "connection", "accept", "accept-encoding", "content-type", "content-length"} | {
        "user-agent",
        "authorization",
        "x-stainless-retry-count",
    }
    assert f"authorization: Bearer {KEY}" in wire.heads[0]
    assert "authorization" not in wire.heads[1].lower()


@pytest.mark.parametrize("key", ["sk-made-up\n", "sk-made-up\r\nX-Evil: 1", "sk-мade-up", "sk made-up"])
async def test_a_key_no_header_can_carry_is_refused_without_showing_it(key: str, wire: Any, make: Make) -> None:
    for tried in (make().chat(key, ask(), deadline_s=9), make().models(key)):
        with pytest.raises(EndpointRefused) as caught:
            await tried
        assert key.strip() not in str(caught.value)
    assert wire.heads == []


async def test_nobody_listening_is_told_after_one_more_try(wire: Any, make: Make, clock: Any) -> None:  # 89
    endpoint = make(base_url="http://127.0.0.1:1/v1")

    with pytest.raises(EndpointAway, match="could not be reached") as caught:
        await endpoint.chat(KEY, ask(), deadline_s=60)

    assert len(clock.slept) == 1 and caught.value.spent is None


async def test_a_name_that_does_not_exist_is_told(make: Make) -> None:
    with pytest.raises(EndpointAway):
        await make(base_url="http://nowhere.invalid/v1").chat(KEY, ask(), deadline_s=0.9)


async def test_another_key_works_after_a_refused_one(wire: Any, make: Make) -> None:  # 89
    wire.plays = [e(401, "invalid_api_key", "Incorrect API key provided."), {"parts": GOOD}]
    endpoint = make()

    with pytest.raises(EndpointRefused):
        await endpoint.chat("sk-made-up-old", ask(), deadline_s=60)

    assert (await endpoint.chat(KEY, ask(), deadline_s=60)).text == "好"


async def test_the_models_of_a_server_are_listed(wire: Any, make: Make) -> None:  # 13
    wire.plays = [{"parts": [b'{"object":"list","data":[{"id":"a"},{"id":"b","owned_by":"library"},{"id":3}]}']}]
    assert await make().models(KEY) == ("a", "b")


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (e(401, "invalid_api_key", "x"), EndpointRefused),
        ({"parts": [b"<html>"]}, EndpointBroken),
        ({"end": "mute"}, EndpointAway),
    ],
)
async def test_a_list_of_models_that_fails_is_one_error(
    play: dict[str, Any], kind: type, wire: Any, make: Make
) -> None:
    wire.plays = [play]
    with pytest.raises(EndpointError) as caught:
        await make().models(KEY, deadline_s=0.2)
    assert type(caught.value) is kind


def test_messages_have_the_one_form_every_server_takes() -> None:
    good = ToolCall(id="c1", name="f", arguments={"a": "明"}, raw="{'a': '明'}", fault=None, repaired=True)
    bad = ToolCall(id="c2", name="f", arguments=None, raw='{"a', fault="cut", repaired=False)

    assert message("user", "\ud83d明") == '{"role":"user","content":"?明"}'.encode()
    assert result("c1", "ok") == b'{"role":"tool","tool_call_id":"c1","content":"ok"}'
    assert (
        assistant("", [good, bad])
        == (
            '{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":'
            '{"name":"f","arguments":"{\\"a\\":\\"明\\"}"}},{"id":"c2","type":"function","function":'
            '{"name":"f","arguments":"{}"}}]}'
        ).encode()
    )


def canary(body: dict[str, Any], prompt_tokens: int) -> dict[str, Any]:
    word = body["messages"][0]["content"].split(" is ")[1].split(".")[0]
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 5}
    return {"parts": [t(word), c({}, "stop"), WIRE["u"](**usage), WIRE["DONE"]]}


SEVEN = {"parts": calls(f("report_number", '{"number": 7}'))}
SHORT = {
    "parts": [t("I do not know."), c({}, "stop"), WIRE["u"](prompt_tokens=4096, completion_tokens=5), WIRE["DONE"]]
}
FORGOT = {
    "parts": [t("I do not know."), c({}, "stop"), WIRE["u"](prompt_tokens=11_000, completion_tokens=5), WIRE["DONE"]]
}
TOO_LONG = e(400, 400, "This model's maximum context length is 4096 tokens.")


@pytest.mark.parametrize(
    ("last", "cuts", "reason"),
    [
        (lambda body: canary(body, 11_000), False, ""),
        (SHORT, True, "The server read only 4096 of about 12000 tokens and said nothing"),
        (FORGOT, None, "did not find a word"),
        (TOO_LONG, False, "fewer than 12000 tokens, and says so"),
    ],
)
async def test_a_probe_tells_whether_long_prompts_are_cut(
    last: Any, cuts: bool | None, reason: str, wire: Any, make: Make
) -> None:
    wire.plays = [{"parts": stop(t("ready"))}, SEVEN, last]

    probed = await probe(make(), KEY)

    assert reason in probed.reason
    assert probed == Probed(
        answers=True,
        model="qwen3.8-max",
        latency_s=probed.latency_s,
        calls_tools=True,
        cuts_long_prompts=cuts,
        reason=probed.reason,
    )
    assert 40_000 < len(wire.bodies[2]["messages"][2]["content"]) < 46_000


async def test_a_probe_tells_what_is_missing(wire: Any, make: Make) -> None:
    wire.plays = [e(401, "invalid_api_key", "x")]
    assert (await probe(make(), KEY)).reason.startswith("The key was not accepted (127.0.0.1, model")

    wire.plays = [{"parts": GOOD}, {"parts": GOOD}]
    probed = await probe(make(), KEY)
    assert (probed.answers, probed.calls_tools, probed.cuts_long_prompts) == (True, False, None)
    assert "did not make the tool call" in probed.reason


def test_usage_of_several_tries_adds_up_and_stays_marked() -> None:
    assert NO_USAGE + NO_USAGE == NO_USAGE
