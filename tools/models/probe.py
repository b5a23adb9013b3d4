"""Whether a model server can be worked with: `remit doctor` asks it three small things."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass, replace

from tools.errors import EndpointError, PromptTooLong
from tools.models.endpoint import ChatCall, Endpoint
from tools.models.messages import message
from tools.models.tokens import estimate

PROMPT_TOKENS = 12_000
"""Longer than Ollama's default contexts, which are 4,096 tokens on small machines."""
_REPLY_TOKENS = 1024
MOST_TOKENS = PROMPT_TOKENS + 500, 3 * _REPLY_TOKENS
"""Most that all three take, as prompt and as reply."""
_TOOL = (
    b'[{"type":"function","function":{"name":"report_number","description":"Report a number.","parameters":'
    b'{"type":"object","properties":{"number":{"type":"integer"}},"required":["number"]}}}]'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What came out."""

    answers: bool
    model: str
    """As the server names it."""
    latency_s: float = 0.0
    """Of the one-word answer."""
    calls_tools: bool = False
    cuts_long_prompts: bool | None = None
    """True: it dropped the front of a long prompt without a word. None: could not be told."""
    reason: str = ""
    """What is wrong, in one sentence for a person; empty when nothing is."""


async def probe(
    endpoint: Endpoint,
    key: str,
    *,
    prompt_tokens: int = PROMPT_TOKENS,
    deadline_s: float = 120.0,
    quick_s: float = math.inf,
) -> Probed:
    """Ask for one word, one tool call, and a word planted at the front of a long prompt.

    Costs about `prompt_tokens` tokens. `deadline_s` is for each of the three; the long prompt is sent only if
    the first answer came within `quick_s`.
    """
    started = time.monotonic()
    seen = Probed(answers=False, model=endpoint.facts.model)
    try:
        word = await endpoint.chat(key, _call("Answer with the one word: ready"), deadline_s=deadline_s)
        seen = replace(seen, answers=True, model=word.model, latency_s=time.monotonic() - started)
        call = _call("Call the tool report_number with the number 7.", tools=_TOOL)
        reply = await endpoint.chat(key, call, deadline_s=deadline_s)
        if not any(call.name == "report_number" and call.arguments == {"number": 7} for call in reply.calls):
            return replace(seen, reason="The model did not make the tool call it was asked for.")
        seen = replace(seen, calls_tools=True)
        if seen.latency_s > quick_s:
            return seen
        cuts, reason = await _cuts(endpoint, key, prompt_tokens, deadline_s)
    except EndpointError as error:
        return replace(seen, reason=str(error))
    return replace(seen, cuts_long_prompts=cuts, reason=reason)


async def _cuts(endpoint: Endpoint, key: str, prompt_tokens: int, deadline_s: float) -> tuple[bool | None, str]:
    canary = f"heron-{secrets.token_hex(3)}"
    line = "Nothing on this line matters for the question that comes after it.\n"
    call = _call(
        f"The password of the day is {canary}. Remember it.",
        line * round(prompt_tokens / estimate(line)),
        "What is the password of the day? Answer with it alone.",
    )
    try:
        reply = await endpoint.chat(key, call, deadline_s=deadline_s)
    except PromptTooLong:
        return False, f"The model takes fewer than {prompt_tokens} tokens, and says so."
    counted = reply.usage.prompt_tokens
    if canary in reply.text:
        return False, ""
    # Against Qwen's vocabulary the estimate of English is 1.14 of the truth, so 0.6 leaves room.
    if not reply.usage.estimated and counted < 0.6 * prompt_tokens:
        return True, (
            f"The server read only {counted} of about {prompt_tokens} tokens and said nothing:"
            " raise its context length (Ollama: num_ctx or OLLAMA_CONTEXT_LENGTH)."
        )
    return None, "The model did not find a word at the front of a long prompt, which may be its memory."


def _call(*texts: str, tools: bytes | None = None) -> ChatCall:
    """The texts as the user's turns, with short answers of the model between them."""
    turns = [part for text in texts for part in (message("user", text), message("assistant", "I have read it."))]
    return ChatCall(messages=turns[:-1], tools=tools, max_reply_tokens=_REPLY_TOKENS)
