"""What a failed try means: the kinds of trouble, and how an error from the wire is told apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

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


class Trouble(Exception):
    """One try failed. Stays inside this package: the endpoint turns the last one into an EndpointError."""

    def __init__(
        self,
        kind: type[EndpointError],
        what: str,
        todo: str,
        *,
        tries: int = 1,
        billed: bool = True,
        said: str = "",
        pace_s: float = 0.5,
        after_s: float | None = None,
    ) -> None:
        super().__init__(what)
        self.kind, self.what, self.todo, self.tries = kind, what, todo, tries
        self.billed = billed
        """Whether the try may have cost tokens."""
        self.said = said
        """The server's own words, lower case, to learn from. Never shown: they may quote the prompt."""
        self.pace_s = pace_s
        """The first wait, where the server asked for none; each next is four times as long."""
        self.after_s = after_s
        """The wait the server asked for."""


def broken(what: str, *, tries: int = TRIES) -> Trouble:
    """Trouble with bytes that are no reply."""
    return Trouble(EndpointBroken, what, "ask again, or check that the base URL is right", tries=tries)


def away(what: str) -> Trouble:
    """Trouble with reaching the endpoint at all."""
    todo = "check the base URL, that the server runs, and the network or proxy"
    return Trouble(EndpointAway, what, todo, tries=2, billed=False)


def judged(status: int, body: object, headers: Mapping[str, str]) -> Trouble:
    """The meaning of an error object, from a status reply (>= 300) or from inside a 200 stream.

    The code is searched first, then the message: the same status stands for passing and permanent causes.
    """
    error = body.get("error", body) if isinstance(body, dict) else body
    parts: Mapping[str, object] = error if isinstance(error, dict) else {"message": error}
    code = f"{parts.get('code')} {parts.get('type')}".lower()
    said = str(parts.get("message") or parts.get("detail") or "").lower()
    known = _known(code) or _known(said)
    _, kind, what, todo, tries, pace_s = known or _by_status(status)
    if known is None and (shown := re.sub(r"[^a-z0-9_.-]", "", str(parts.get("code") or "").lower())[:64]):
        what += f" (status {status}, code {shown})"
    return Trouble(
        kind,
        what,
        todo,
        tries=tries,
        billed=status < 300,
        said=said,
        pace_s=pace_s,
        after_s=retry_after_s(headers),
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
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


class _Row(NamedTuple):
    words: tuple[str, ...]
    kind: type[EndpointError]
    what: str
    todo: str
    tries: int = 1
    pace_s: float = 0.5


# A limit per minute: three waits of this pace are 63 s.
_LIMIT_PACE_S = 3.0

# Codes and messages of DashScope, vLLM, llama.cpp, Ollama and OpenAI as of November 2026.
_KNOWN = (
    _Row(
        ("data_inspection_failed", "datainspectionfailed", "inappropriate content", "content_filter"),
        PromptRejected,
        "content inspection refused this conversation",
        "take the text that caused it out of the task or its files; every call that holds it fails",
    ),
    _Row(
        (
            "context_length",
            "range of input length",
            "maximum context length",
            "available context size",
        ),
        PromptTooLong,
        "the prompt is longer than the model accepts",
        "shorten the conversation or use a model with a longer context",
    ),
    _Row(
        ("arrearage", "prepaidbilloverdue", "postpaidbilloverdue", "commoditynotpurchased"),
        EndpointRefused,
        "the account is in debt or has not bought this product",
        "settle it with the provider",
    ),
    _Row(
        ("freetieronly",),
        EndpointRefused,
        "the free quota of this model is used up",
        "enable paid use at the provider or choose another model",
    ),
    _Row(
        ("invalid_api_key", "invalidapikey", "incorrect api key", "invalid access token"),
        EndpointRefused,
        "the key was not accepted",
        "check the key, and that it belongs to this region and plan",
    ),
    _Row(
        ("model_not_found", "modelnotfound", "not_found_error", "unsupported model", "model not exist"),
        EndpointRefused,
        "there is no such model",
        "check the name of the model and the key's right to it",
    ),
    _Row(
        ("internalerror.algo: expecting", "internalerror.algo: unterminated"),
        EndpointBroken,
        "the model wrote an unreadable tool call",
        "ask again, or choose another model",
        2,
    ),
    _Row(
        ("throttling", "limit_requests", "limitrequests", "limit_burst_rate", "insufficient_quota"),
        EndpointBusy,
        "the rate limit was reached",
        "wait a minute, or raise the limit at the provider",
        TRIES,
        _LIMIT_PACE_S,
    ),
)


def _known(text: str) -> _Row | None:
    return next((row for row in _KNOWN if any(word in text for word in row.words)), None)


def _by_status(status: int) -> _Row:
    match status:
        case 401 | 403:
            return _Row((), EndpointRefused, "the key was not accepted", "check the key and what it may use")
        case 404:
            return _Row((), EndpointRefused, "address or model not found", "check base URL and model")
        case 413:
            return _Row((), PromptTooLong, "the request is too large", "shorten the conversation")
        case 429:
            return _Row((), EndpointBusy, "the endpoint is busy", "try again later", TRIES, _LIMIT_PACE_S)
        case 408 | 409 | 425:
            return _Row((), EndpointBusy, "the endpoint is busy", "try again later", TRIES)
        case _ if status >= 500:
            return _Row((), EndpointBusy, "the server failed", "try again, or look at its log", TRIES)
        case _ if status < 300:
            return _Row((), EndpointBroken, "an error came instead of a reply", "ask again", TRIES)
        case _ if status < 400:
            return _Row((), EndpointRefused, "the endpoint redirects elsewhere", "set the final base URL")
        case _:
            return _Row((), EndpointRefused, "the request was not accepted", "check model and parameters")
