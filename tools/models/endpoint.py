"""A model server: one call in, one whole Reply out, with its retries, waits and spend.

Measured with 4 kB messages against a local server (CPU a call, 20 / 400 messages in the history):
`chat.completions.create` 5.9 / 73 ms, `post()` with a joined body and the raw response 0.8 / 5.2 ms, httpx2
without the SDK 0.5 / 4.4 ms. So: `content=` with bytes of our own, `cast_to=httpx2.Response`, which together
with `stream=True` hands out the response unread and unparsed, and our own decoder.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import assert_never
from urllib.parse import urlsplit

import httpx2
from openai import APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, Omit, OpenAIError
from pydantic import JsonValue

from tools.errors import EndpointAway, EndpointBroken, EndpointError, EndpointRefused
from tools.models.arguments import Schema, parsed
from tools.models.assemble import Asked, Assembly
from tools.models.dialect import Dialect, Quirk, ThinkingField, dialect_of, learned, quirks_of, thinking_field_of
from tools.models.faults import Trouble, away, broken, judged
from tools.models.messages import dumps
from tools.models.reply import NO_USAGE, Reply, Usage
from tools.models.sse import Decoder

CONNECT_S = 10.0
DRAIN_S = 1.0
"""How long a body may take to end after `[DONE]`; read to its end, its connection serves the next call."""
LONGEST_WAIT_S = 60.0
"""Most that is waited between tries; DashScope's limits recover within a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """A model at an address, as configured."""

    name: str
    base_url: str
    model: str
    key_name: str
    """The name of the key in the vault."""
    thinking_field: ThinkingField | None = None
    """None: by dialect."""
    price_in: Decimal | None = None
    """Per million tokens, in `currency`; None means unknown, not free."""
    price_out: Decimal | None = None
    currency: str = "CNY"
    context_tokens: int = 131_072
    max_reply_tokens: int = 8_192


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


class Endpoint:
    """One model server. Remembers what it was taught by refusals; keeps its connections."""

    def __init__(
        self,
        facts: EndpointFacts,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        first_token_s: float = 180.0,
        silence_s: float = 60.0,
    ) -> None:
        self.facts = facts
        self.dialect = dialect_of(facts.base_url)
        self.quirks = quirks_of(self.dialect)
        self._field = facts.thinking_field or thinking_field_of(self.dialect)
        self._host = urlsplit(facts.base_url).hostname or facts.base_url
        self._clock, self._sleep = clock, sleep
        self._first_token_s, self._silence_s = first_token_s, silence_s
        self._client = _client(facts.base_url, self._host)

    async def chat(
        self,
        key: str,
        call: ChatCall,
        *,
        deadline_s: float,
        on_delta: Callable[[int], None] | None = None,
    ) -> Reply:
        """The model's whole turn, within `deadline_s` from now, retries included.

        `on_delta` gets the estimated tokens of the reply so far, after each piece. Raises EndpointError; its
        `spent`, like the reply's `usage`, adds up all tries. Cancelling closes the connection at once.
        """
        until = self._clock() + deadline_s
        spent, tries = NO_USAGE, 0
        while True:
            tries += 1
            quirks = frozenset(self.quirks)
            assembly = Assembly(self._asked(call))
            try:
                await self._read(key, assembly, until, on_delta)
                reply = assembly.reply()
                return replace(reply, usage=spent + reply.usage)
            except Trouble as trouble:
                spent = spent + assembly.usage() if trouble.billed else spent
                if self._learns(trouble, quirks):
                    tries -= 1
                    continue
                wait_s = _wait_s(trouble, tries)
                if tries >= trouble.tries or self._clock() + wait_s >= until:
                    raise self._error(trouble, spent) from None
            await self._sleep(wait_s)

    async def models(self, key: str, *, deadline_s: float = 30.0) -> tuple[str, ...]:
        """The model names the server lists. Raises EndpointError."""
        try:
            headers = _headers(key)
            async with asyncio.timeout(deadline_s):
                response = await self._client.get("/models", cast_to=httpx2.Response, options={"headers": headers})
            listed = parsed(response.text)
        except Trouble as error:
            trouble = error
        except APIStatusError as error:
            trouble = judged(error.status_code, error.body, error.response.headers)
        except (OpenAIError, TimeoutError):
            trouble = away("the endpoint does not answer")
        except (ValueError, RecursionError):
            trouble = broken("the list of models is not JSON")
        else:
            items = listed.get("data") if isinstance(listed, dict) else None
            names = [item.get("id") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
            return tuple(name for name in names if isinstance(name, str))
        raise self._error(trouble, NO_USAGE)

    async def close(self) -> None:
        """Close the connections; the endpoint cannot be used after."""
        await self._client.close()

    async def _read(self, key: str, assembly: Assembly, until: float, on_delta: Callable[[int], None] | None) -> None:
        """Send the request of one try and feed what comes back to its assembly. Raises Trouble."""
        response: httpx2.Response | None = None
        last = False
        try:
            async with asyncio.timeout(None) as patience:
                last = self._wait_more(patience, assembly, until)
                response = await self._send(key, assembly.asked.body)
                decoder = Decoder()
                async for chunk in response.aiter_bytes():
                    if assembly.done:
                        continue
                    for event in decoder.feed(chunk):
                        assembly.add(event)
                    if on_delta:
                        on_delta(int(assembly.tokens))
                    last = self._wait_more(patience, assembly, until)
                for event in decoder.end():
                    assembly.add(event)
        except TimeoutError:
            if not assembly.done:
                raise _late(assembly, last=last) from None
        except httpx2.HTTPError:
            if not assembly.done:
                raise broken("the connection broke in the middle of the reply") from None
        finally:
            if response is not None:
                await response.aclose()

    async def _send(self, key: str, body: bytes) -> httpx2.Response:
        streamed: bool = True  # a variable, because the overload for a literal True demands a stream class
        try:
            response = await self._client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                content=body,
                options={"headers": _headers(key)},
                stream=streamed,
            )
        except APIStatusError as error:
            raise judged(error.status_code, error.body, error.response.headers) from None
        except OpenAIError:
            raise away("the endpoint could not be reached") from None
        assert isinstance(response, httpx2.Response)
        return response

    def _wait_more(self, patience: asyncio.Timeout, assembly: Assembly, until: float) -> bool:
        """Set how long the next bytes may take; True when the deadline is what limits it."""
        if assembly.tokens > 2 * assembly.asked.max_reply_tokens + 512:
            raise Trouble(EndpointBroken, "the model did not stop", "ask again with thinking off, or raise its limit")
        wait_s = DRAIN_S if assembly.done else self._silence_s if assembly.tokens else self._first_token_s
        left_s = until - self._clock()
        patience.reschedule(asyncio.get_running_loop().time() + min(wait_s, left_s))
        return left_s <= wait_s

    def _asked(self, call: ChatCall) -> Asked:
        most = min(call.max_reply_tokens, self.facts.max_reply_tokens)
        return Asked(
            model=self.facts.model,
            body=self._body(call, most),
            turn=len(call.messages),
            schemas=_schemas(call.tools or b"[]"),
            max_reply_tokens=most,
        )

    def _body(self, call: ChatCall, most: int) -> bytes:
        quirks = self.quirks
        thinking = call.thinking and not (call.response_json and Quirk.NO_JSON_WHILE_THINKING in quirks)
        thinking = (thinking or Quirk.ALWAYS_THINKS in quirks) and Quirk.NEVER_THINKS not in quirks
        head: dict[str, JsonValue] = {
            "model": self.facts.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if self.dialect is Dialect.OPENAI else "max_tokens": most,
        }
        if Quirk.NO_THINKING_FIELD not in quirks:
            head |= _thinking(self._field, thinking, most)
        if call.response_json and not (thinking and Quirk.NO_JSON_WHILE_THINKING in quirks):
            head["response_format"] = {"type": "json_object"}
        tools = call.tools if call.tools and _schemas(call.tools) else None
        forced = call.tool_choice not in ("auto", "none")
        refused = Quirk.NO_FORCED_CALL in quirks or (thinking and Quirk.NO_FORCED_CALL_WHILE_THINKING in quirks)
        if tools and call.tool_choice != "auto" and not (forced and refused):
            plain = call.tool_choice in ("none", "required")
            name: JsonValue = {"type": "function", "function": {"name": call.tool_choice}}
            head["tool_choice"] = call.tool_choice if plain else name
        messages = _one_system(call.messages) if Quirk.ONE_SYSTEM in quirks else call.messages
        return b"".join(
            (
                dumps(head)[:-1],
                b',"tools":' + tools if tools else b"",
                b',"messages":[',
                b",".join(messages),
                b"]}",
            )
        )

    def _learns(self, trouble: Trouble, known: frozenset[Quirk]) -> bool:
        """Whether the refusal taught something that the request did not yet heed."""
        quirk = None if trouble.billed else learned(trouble.said, self._field)
        if quirk is None or quirk in known:
            return False
        self.quirks.add(quirk)
        return True

    def _error(self, trouble: Trouble, spent: Usage) -> EndpointError:
        what = trouble.what[:1].upper() + trouble.what[1:]
        return trouble.kind(
            f"{what} ({self._host}, model {self.facts.model!r}): {trouble.todo}.",
            spent=spent if spent != NO_USAGE else None,
        )


_PLATFORM = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
_HEADERS: Mapping[str, str | Omit] = {
    "Accept-Encoding": "identity",
    # Neither this machine's build nor accounts of OpenAI in its environment concern other providers.
    **{f"X-Stainless-{name}": Omit() for name in _PLATFORM},
    "OpenAI-Organization": Omit(),
    "OpenAI-Project": Omit(),
}


def _headers(key: str) -> dict[str, str | Omit]:
    if not (key.isascii() and key.isprintable()) or " " in key:
        todo = "store it again without blanks, line ends or other characters around it"
        raise Trouble(EndpointRefused, "the key is not one a header can carry", todo, billed=False)
    return {**_HEADERS, "Authorization": f"Bearer {key}" if key else Omit()}


def _client(base_url: str, host: str) -> AsyncOpenAI:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")
    # A redirect would carry the prompt to a host nobody judged; a proxy would take loopback off this machine.
    http = DefaultAsyncHttpxClient(
        follow_redirects=False, trust_env=not loopback, timeout=httpx2.Timeout(None, connect=CONNECT_S)
    )
    return AsyncOpenAI(base_url=base_url, api_key="sent per call", max_retries=0, http_client=http)


@lru_cache(maxsize=16)
def _schemas(tools: bytes) -> Mapping[str, Schema]:
    """Parameter schemas by tool name. Our own bytes: a fault in them is a bug and rises."""
    schemas: dict[str, Schema] = {}
    offered = parsed(tools.decode())
    for tool in offered if isinstance(offered, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            parameters = function.get("parameters")
            schemas[str(function["name"])] = parameters if isinstance(parameters, dict) else {}
    return schemas


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


def _late(assembly: Assembly, *, last: bool) -> Trouble:
    if last:
        todo = "allow more time, or use a faster model"
        return Trouble(EndpointAway, "no whole reply came in the time allowed", todo)
    if assembly.tokens:
        return broken("the reply stopped midway")
    return Trouble(EndpointAway, "the endpoint stays silent", "look at the server's load and log", tries=2)


def _wait_s(trouble: Trouble, tries: int) -> float:
    if trouble.after_s is not None:
        return min(trouble.after_s, LONGEST_WAIT_S)
    # Spread, so that calls refused together do not come back together.
    return trouble.pace_s * 4.0 ** (tries - 1) * random.uniform(1, 1.25)  # noqa: S311
