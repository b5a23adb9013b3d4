"""A model server: one call in, one whole Reply out, with its retries, waits and spend.

Measured with 4 kB messages against a local server (CPU a call, 20 / 400 messages in the history):
`chat.completions.create` 5.4 / 66 ms, `post()` with a joined body and the raw response 0.8 / 3.9 ms, `chat` here,
which decodes and assembles besides, 0.9 / 3.1 ms, httpx2 without the SDK 0.5 / 3.5 ms (400: mostly the socket).
So: `content=` with bytes of our own, and `cast_to=httpx2.Response`, which together with `stream=True` hands out
the response unread and unparsed, for a decoder of our own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from urllib.parse import urlsplit

import httpx2
from openai import APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, Omit, OpenAIError

from tools.errors import EndpointAway, EndpointBroken, EndpointError, EndpointRefused
from tools.models.arguments import parsed
from tools.models.assemble import Asked, Assembly
from tools.models.dialect import DASHSCOPE_QUIRKS, THINKING_FIELDS, Dialect, Quirk, ThinkingField, dialect_of, learned
from tools.models.faults import Trouble, away, broken, judged
from tools.models.reply import NO_USAGE, Reply, Usage
from tools.models.request import ChatCall, request_body, schemas_of
from tools.models.sse import Decoder

__all__ = ["ChatCall", "Endpoint", "EndpointFacts"]

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
        self.quirks = set(DASHSCOPE_QUIRKS if self.dialect is Dialect.DASHSCOPE else ())
        self._field = facts.thinking_field or THINKING_FIELDS[self.dialect]
        self._host = urlsplit(facts.base_url).hostname or facts.base_url
        self._clock, self._sleep = clock, sleep
        self._first_token_s, self._silence_s = first_token_s, silence_s
        self._client = _client(facts.base_url, self._host)

    async def chat(
        self, key: str, call: ChatCall, *, deadline_s: float, on_delta: Callable[[int], None] | None = None
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
            named = (item.get("id") for item in (items if isinstance(items, list) else []) if isinstance(item, dict))
            return tuple(name for name in named if isinstance(name, str))
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
        if not assembly.done and assembly.tokens > 2 * assembly.asked.max_reply_tokens + 512:
            raise Trouble(EndpointBroken, "the model did not stop", "ask again with thinking off, or raise its limit")
        wait_s = DRAIN_S if assembly.done else self._silence_s if assembly.tokens else self._first_token_s
        left_s = until - self._clock()
        patience.reschedule(asyncio.get_running_loop().time() + min(wait_s, left_s))
        return left_s <= wait_s

    def _asked(self, call: ChatCall) -> Asked:
        most = min(call.max_reply_tokens, self.facts.max_reply_tokens)
        body = request_body(call, self.facts.model, self.dialect, self._field, self.quirks, most)
        schemas = schemas_of(call.tools or b"[]")
        return Asked(model=self.facts.model, body=body, turn=len(call.messages), schemas=schemas, max_reply_tokens=most)

    def _learns(self, trouble: Trouble, known: frozenset[Quirk]) -> bool:
        """Whether the refusal taught something that the request did not yet heed."""
        quirk = None if trouble.billed else learned(trouble.said)
        if quirk in known and quirk is Quirk.NO_FORCED_CALL_WHILE_THINKING:
            quirk = Quirk.NO_FORCED_CALL  # it thinks although told not to
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
