"""What a failed try means: the kinds of trouble, and how an error from the wire is told apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tools.errors import (
    EndpointAway,
    EndpointBroken,
    EndpointBusy,
    EndpointError,
    EndpointRefused,
    PromptRejected,
    PromptTooLong,
)

TRIES = 4
"""Tries of a call whose trouble usually passes."""
LIMIT_PACE_S = 3.0
"""Pace for limits per minute: the three waits between four tries are 63 s."""


@dataclass(eq=False)
class Trouble(Exception):
    """One try failed. Stays inside this package: the endpoint turns the last one into an EndpointError."""

    kind: type[EndpointError]
    what: str
    todo: str
    tries: int = 1
    pace_s: float = 0.5
    """The first wait, where the server asked for none; each next is four times as long."""
    billed: bool = True
    """Whether the try may have cost tokens."""
    said: str = ""
    """The server's own words, lower case, to learn from. Never shown: they may quote the prompt."""
    after_s: float | None = None
    """The wait the server asked for."""


def broken(what: str, *, tries: int = TRIES) -> Trouble:
    """Trouble with bytes that are no reply."""
    return Trouble(EndpointBroken, what, "ask again, or check that the base URL is right", tries)


def away(what: str) -> Trouble:
    """Trouble with reaching the endpoint at all."""
    return Trouble(EndpointAway, what, "check the base URL, the server, and the network or proxy", 2, billed=False)


def judged(status: int, body: object, headers: Mapping[str, str]) -> Trouble:
    """The meaning of an error object, from a status reply (>= 300) or from inside a 200 stream.

    The code is searched first, then the message: the same status stands for passing and permanent causes.
    """
    error = body.get("error", body) if isinstance(body, dict) else body
    parts: Mapping[str, object] = error if isinstance(error, dict) else {"message": error}
    code = f"{parts.get('code')} {parts.get('type')}".lower()
    said = str(parts.get("message") or parts.get("detail") or "").lower()
    known = [trouble for text in (code, said) for words, trouble in _KNOWN.items() if re.search(words, text)]
    trouble = known[0] if known else _by_status(status)
    what = trouble.what
    if not known and (shown := re.sub(r"[^a-z0-9_.-]", "", str(parts.get("code") or "").lower())[:64]):
        what += f" (status {status}, code {shown})"
    return replace(trouble, what=what, billed=status < 300, said=said, after_s=_retry_after_s(headers))


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait the headers ask for: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    try:
        if ms := headers.get("retry-after-ms"):
            return max(0.0, float(ms) / 1000)
        value = headers.get("retry-after", "")
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()) if value else None
    except (ValueError, TypeError):
        return None


# Codes and messages of DashScope, vLLM, llama.cpp, Ollama and OpenAI as of November 2026.
_KNOWN = {
    r"data_?inspection_?failed|inappropriate content|content_filter": Trouble(
        PromptRejected, "content inspection refused this conversation", "take the text that caused it out of it"
    ),
    r"context_length|range of input length|maximum context length|available context size": Trouble(
        PromptTooLong, "the prompt is longer than the model accepts", "shorten it or use a model with a longer context"
    ),
    r"arrearage|p(re|ost)paidbilloverdue|commoditynotpurchased": Trouble(
        EndpointRefused, "the account is in debt or has not bought this product", "settle it with the provider"
    ),
    r"freetieronly": Trouble(
        EndpointRefused, "the free quota of this model is used up", "enable paid use or choose another model"
    ),
    r"invalid_?api_?key|incorrect api key|invalid access token": Trouble(
        EndpointRefused, "the key was not accepted", "check the key, and that it belongs to this region and plan"
    ),
    r"model_?not_?found|not_found_error|unsupported model|model not exist": Trouble(
        EndpointRefused, "there is no such model", "check the name of the model and the key's right to it"
    ),
    r"internalerror\.algo: (expecting|unterminated)": Trouble(
        EndpointBroken, "the model wrote an unreadable tool call", "ask again, or choose another model", 2
    ),
    r"throttling|limit_?requests|limit_burst_rate|insufficient_quota": Trouble(
        EndpointBusy, "the rate limit was reached", "wait, or raise the limit at the provider", TRIES, LIMIT_PACE_S
    ),
}
_KEY = Trouble(EndpointRefused, "the key was not accepted", "check the key and what it may use")
_BUSY = Trouble(EndpointBusy, "the endpoint is busy", "try again later", TRIES)
_STATUS = {
    401: _KEY,
    403: _KEY,
    404: Trouble(EndpointRefused, "address or model not found", "check base URL and model"),
    408: _BUSY,
    409: _BUSY,
    413: Trouble(PromptTooLong, "the request is too large", "shorten the conversation"),
    425: _BUSY,
    429: replace(_BUSY, pace_s=LIMIT_PACE_S),
}


def _by_status(status: int) -> Trouble:
    if status >= 500:
        return Trouble(EndpointBusy, "the server failed", "try again, or look at its log", TRIES)
    if status < 300:
        return Trouble(EndpointBroken, "an error came instead of a reply", "ask again", TRIES)
    if status < 400:
        return Trouble(EndpointRefused, "the endpoint redirects elsewhere", "set the final base URL")
    return _STATUS.get(status) or Trouble(EndpointRefused, "the request was not accepted", "check model and parameters")
