from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from sandbox.practice.errors import PracticeError
from sandbox.practice.script import Kind
from sandbox.practice.world import World, up
from tools.models.endpoint import Endpoint, EndpointFacts
from tools.models.probe import probe

SMOKE = "sandbox.practice.scripts.smoke:smoke"
HERE = "tests.sandbox.practice.scripts"
HELLO = [{"role": "user", "content": "hello"}]
TOOLS: Any = [{"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}]


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.model.url}/v1", api_key="sk-made-up", max_retries=0, timeout=5) as client:
        yield client


def ask(client: openai.OpenAI, messages: Any = HELLO, **more: Any) -> Any:
    return client.chat.completions.create(model="qwen3.8-max", messages=messages, **more)


def stream(client: openai.OpenAI, messages: Any = HELLO) -> list[Any]:
    return list(ask(client, messages, stream=True, tools=TOOLS, stream_options={"include_usage": True}))


def raw(world: World, streamed: bool = True, **more: Any) -> tuple[int, str, bytes]:
    """Status, content type and body as they come, up to wherever the connection ends."""
    caller = http.client.HTTPConnection(*world.model, timeout=5)
    body = {"model": "qwen3.8-max", "messages": HELLO, "stream": streamed, "stream_options": {"include_usage": True}}
    try:
        caller.request("POST", "/v1/chat/completions", json.dumps(body | more), {"Authorization": "Bearer made-up"})
        answer = caller.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        caller.close()


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_a_streamed_tool_call_has_the_services_shape(world: World, client: openai.OpenAI) -> None:
    world.set_script(SMOKE)
    chunks = stream(client)

    parts = [chunk.choices[0].delta.tool_calls[0] for chunk in chunks[:-2]]
    assert parts[0].function.name == "get_time" and parts[0].function.arguments == "" and parts[0].id
    assert {part.id for part in parts[1:]} == {""}
    assert parts[-1].function.name is None and parts[-1].function.arguments is None
    assert json.loads("".join(part.function.arguments or "" for part in parts)) == {"city": "杭州"}
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].choices == [] and chunks[-1].usage.prompt_tokens > 0


def test_a_script_reads_what_the_tool_answered(world: World, client: openai.OpenAI) -> None:
    world.set_script(SMOKE)
    first = ask(client).choices[0].message
    call = {"role": "assistant", "content": "", "tool_calls": [call.model_dump() for call in first.tool_calls]}
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "clock says 10:24"}
    chunks = stream(client, [*HELLO, call, result])

    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    thought = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks[:-1])
    assert (said, thought) == ("It is 10:24.", "The tool has answered.")
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 5
    verdict = world.model_verdict()
    assert verdict.ok and verdict.turns == 2 and verdict.message_counts == [1, 3]


def test_two_calls_and_json_come_in_one_reply(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:two_calls")
    assert [call.function.name for call in ask(client).choices[0].message.tool_calls] == ["get_time", "send_message"]

    world.set_script(f"{HERE}:json_plan")
    assert json.loads(ask(client).choices[0].message.content) == {"goal": "见面"}

    world.set_script(f"{HERE}:broken_arguments")
    assert ask(client).choices[0].message.tool_calls[0].function.arguments == '{"city": "杭'


def test_a_script_with_a_parameter_gets_the_first_request(world: World, client: openai.OpenAI) -> None:
    world.set_script("sandbox.practice.scripts.smoke:greeting")

    assert ask(client).choices[0].message.content == "You said: hello"


def test_keys_are_refused_in_the_services_words(world: World, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided") as refused:
        ask(client.with_options(api_key="sk-refused-made-up"))
    assert refused.value.code == "invalid_api_key"
    caller = http.client.HTTPConnection(*world.model, timeout=5)
    caller.request("GET", "/v1/models")
    assert caller.getresponse().status == 401
    caller.close()
    assert next(model.id for model in client.models.list()) == "qwen3.8-max"


def test_requests_are_kept_in_order_and_without_the_key(world: World, client: openai.OpenAI) -> None:
    ask(client)
    ask(client, [{"role": "user", "content": "你好"}])

    first, second = map(json.loads, world.model_requests())
    assert first["messages"] == HELLO and second["messages"][0]["content"] == "你好"
    assert "sk-made-up" not in (world.folder / "model.jsonl").read_text()


def test_a_request_after_the_end_is_an_error_and_a_new_run_is_not(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:json_plan")
    ask(client)
    with pytest.raises(openai.InternalServerError, match="was not expected"):
        ask(client, [*HELLO, {"role": "assistant", "content": "x"}, *HELLO])
    assert "was not expected" in world.model_verdict().problems[0]

    world.reset()
    ask(client)
    with pytest.raises(openai.InternalServerError):  # the end is noticed only by asking
        ask(client, [*HELLO, {"role": "assistant", "content": "x"}, *HELLO])
    assert ask(client).choices[0].message.content == '{"goal": "见面"}'


def test_a_new_run_after_the_last_turn_starts_the_script_anew(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:json_plan")

    assert ask(client).choices[0].message.content == ask(client).choices[0].message.content
    assert world.model_verdict().ok


def after(*said: str, task: Any = HELLO) -> list[dict[str, str]]:
    """A conversation in which the model said these things, and the person the same again after each."""
    answered = [{"role": "assistant", "content": text} for text in said]
    return [*task, *(part for one in answered for part in (one, *task))]


def said(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def test_runs_at_the_same_time_do_not_disturb_each_other(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:counts")
    other = [{"role": "user", "content": "something else"}]

    assert (said(ask(client)), said(ask(client, other)), said(ask(client))) == ("one", "one", "one")
    assert said(ask(client, after("one", task=other))) == "two after one"
    assert said(ask(client, after("one"))) == "two after one"
    assert said(ask(client, after("one", "two", task=other))) == "three after two"
    assert "never came" in world.model_verdict().problems[0]


def test_runs_of_the_same_task_go_their_own_ways(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:counts")
    ask(client)
    ask(client)

    for way in ("left", "right"):
        assert said(ask(client, after(way))) == f"two after {way}"
    for way in ("right", "left"):
        assert said(ask(client, after(way, "then"))) == "three after then"
    assert world.model_verdict().ok


def test_a_plan_that_was_only_previewed_is_planned_again(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:counts")

    for _ in range(2):  # the dry run asks only once
        assert said(ask(client)) == "one"
    assert said(ask(client, after("one"))) == "two after one"
    assert said(ask(client, after("one"))) == "two after one"  # asked again, because the answer was lost
    ask(client, after("one", "two"))
    assert world.model_verdict().ok


async def test_a_doctor_in_between_is_answered_and_changes_nothing(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:counts")
    ask(client)
    endpoint = Endpoint(EndpointFacts(name="main", base_url=f"{world.model.url}/v1", model="m", key_name="model-key"))

    found = await probe(endpoint, "sk-made-up")
    await endpoint.close()

    assert (found.answers, found.calls_tools, found.cuts_long_prompts, found.reason) == (True, True, False, "")
    assert said(ask(client, after("one"))) == "two after one"
    ask(client, after("one", "two"))
    assert world.model_verdict().ok


def test_a_conversation_that_was_never_begun_is_told(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:counts")
    ask(client)
    world.set_script(f"{HERE}:counts")

    with pytest.raises(openai.InternalServerError, match=r"does not know this conversation.*start the task again"):
        ask(client, after("one"))
    assert not world.model_verdict().ok


def test_a_world_that_is_up_goes_on_with_its_conversations(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:counts")
    ask(client)

    up(world.folder, script=f"{HERE}:counts")

    assert said(ask(client, after("one"))) == "two after one"


def test_a_client_may_shorten_what_tools_answered_long_ago(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:remembers")
    calls = ask(client).choices[0].message.tool_calls
    call = {"role": "assistant", "content": "", "tool_calls": [call.model_dump() for call in calls]}

    def answered(content: str) -> list[Any]:
        return [*HELLO, call, {"role": "tool", "tool_call_id": calls[0].id, "content": content}]

    assert said(ask(client, answered("clock says 10:24"))) == "noted"
    later = [*answered("left out"), {"role": "assistant", "content": "noted"}, *HELLO]
    assert said(ask(client, later)) == "it was 10:24"


def test_unused_turns_are_told(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:impatient")
    assert "never asked" in world.model_verdict().problems[0]

    world.reset()
    with pytest.raises(openai.RateLimitError):
        ask(client)
    assert "turns left" in world.model_verdict().problems[0]


def test_a_broken_script_is_told(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:fails")
    ask(client)
    with pytest.raises(openai.InternalServerError, match="never there"):
        ask(client, after("first"))
    assert "broke the practice script" in world.model_verdict().problems[0]
    for missing in ("sandbox.practice.scripts.smoke:nothing", "no.such.module:x", "smoke"):
        with pytest.raises(PracticeError, match="cannot be loaded"):
            world.set_script(missing)


def test_faults_are_retried_by_asking_again(world: World, client: openai.OpenAI) -> None:
    world.set_script(f"{HERE}:impatient")
    with pytest.raises(openai.RateLimitError) as limited:
        ask(client)
    assert limited.value.code == "limit_requests" and "retry-after" not in limited.value.response.headers
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert ask(client).choices[0].message.content == "third time lucky"
    assert world.model_verdict().ok


def test_every_fault_has_its_own_face(world: World) -> None:
    world.set_script(f"{HERE}:faults")
    seen: dict[Kind, Any] = {}
    for kind in Kind:
        began = time.monotonic()
        try:
            if kind is Kind.STALL:
                seen[kind] = stalled(world)
            else:
                seen[kind] = raw(world)
        except (ConnectionError, http.client.HTTPException) as cut:
            seen[kind] = cut
        if kind is Kind.SLOW:
            assert time.monotonic() - began > 0.05
    assert world.model_verdict().problems == []

    statuses = {kind: found[0] for kind, found in seen.items() if isinstance(found, tuple) and found[0] != 200}
    assert statuses == {
        Kind.BAD_KEY: 401, Kind.RATE_LIMIT: 429, Kind.RETRY_AFTER: 429,
        Kind.SERVER_ERROR: 500, Kind.CONTEXT_TOO_LONG: 400, Kind.INSPECTION: 400,
    }  # fmt: skip
    assert isinstance(seen[Kind.CUT], ConnectionError | http.client.IncompleteRead)
    assert seen[Kind.STALL].count(b"data: ") == 2
    assert seen[Kind.HTML][1] == "text/html" and seen[Kind.EMPTY][2] == b""
    assert b"[DONE]" not in seen[Kind.NO_DONE][2] and b"[DONE]" in seen[Kind.EMPTY_ID][2]
    assert not any(event["usage"] for event in events(seen[Kind.NO_USAGE][2]))
    assert "choices" not in events(seen[Kind.NATIVE_ERROR][2])[-1]

    def finish(kind: Kind) -> Any:
        return [c["finish_reason"] for e in events(seen[kind][2]) for c in e["choices"] if c["finish_reason"]]

    assert finish(Kind.NO_FINISH) == []
    assert (finish(Kind.TRUNCATED), finish(Kind.TRUNCATED_SILENTLY)) == (["length"], ["tool_calls"])
    assert (finish(Kind.ERROR_FINISH), finish(Kind.INDEX_ZERO)) == (["error_finish"], ["stop"])

    def calls(kind: Kind) -> list[Any]:
        deltas = [choice["delta"] for event in events(seen[kind][2]) for choice in event["choices"]]
        return [part for delta in deltas for part in delta.get("tool_calls") or ()]

    assert {part["id"] for part in calls(Kind.EMPTY_ID)} == {""}
    assert calls(Kind.OBJECT_ARGUMENTS)[0]["function"]["arguments"] == {"city": "杭州"}
    assert not any("index" in part for part in calls(Kind.INDEX_MISSING))
    assert {part["index"] for part in calls(Kind.INDEX_ZERO)} == {0} and len(calls(Kind.INDEX_ZERO)) == 2
    assert not calls(Kind.HERMES) and "<tool_call>" in text(seen[Kind.HERMES][2])
    assert b'"reasoning":' in seen[Kind.REASONING_FIELD][2]


def text(body: bytes) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events(body) for choice in event["choices"])


def stalled(world: World) -> bytes:
    """What comes before the silence; the server is still waiting when this caller leaves."""
    body = json.dumps({"model": "qwen3.8-max", "messages": HELLO, "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer made-up\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(world.model, timeout=5) as caller:
        caller.sendall((head + body).encode())
        read = b""
        while read.count(b"data: ") < 2:
            read += caller.recv(1 << 16)
        caller.settimeout(0.2)
        with pytest.raises(TimeoutError):
            caller.recv(1 << 16)
    return read


CALL = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tools": []}, "too short"),
        ({"messages": []}, "role of user"),
        ({"messages": [*HELLO, {"role": "system", "content": "x"}]}, "must be at the beginning"),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "call_9", "content": "x"}]}, "must be a response"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, *HELLO]}, "must be followed"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}]}, "must be followed"),
        (
            {
                "messages": [
                    *HELLO,
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": []},
                ]
            },
            "must be a string",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{**CALL, "function": {"arguments": "{"}}]}]},
            "Expect",
        ),
        ({"tools": [{"function": {"name": "search"}}]}, "not allowed to be"),
        ({"enable_thinking": True, "tool_choice": "required"}, "thinking mode"),
        ({"response_format": {"type": "json_object"}}, "the word 'json'"),
        ({"messages": "hello"}, "form of chat completions"),
    ],
)
def test_what_the_service_would_refuse_is_refused_and_told(world: World, body: dict[str, Any], words: str) -> None:
    status, _, answer = raw(world, **body)

    assert status == 400 and words in json.loads(answer)["error"]["message"]
    assert words in world.model_verdict().problems[0]


def test_a_benchmark_model_plays_n_calls_and_counts_messages(world: World, client: openai.OpenAI) -> None:
    messages: list[Any] = list(HELLO)
    while True:
        answer = client.chat.completions.create(model="bench-get_time-3", messages=messages, tools=TOOLS)
        message = answer.choices[0].message
        if not message.tool_calls:
            break
        messages.append({"role": "assistant", "content": "", "tool_calls": [message.tool_calls[0].model_dump()]})
        messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "10:24"})

    assert message.content == "Done."
    assert world.model_verdict().message_counts == [1, 3, 5, 7]
    assert world.model_requests() == []
