"""Turns as bytes in DashScope's shapes.

Sources: the provider's documentation of Nov 2026 for bodies, headers and error codes; a capture of
qwen-max for tool deltas (later ones carry an empty id, the last an empty function); reports on vLLM,
SGLang and Ollama for the odd ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias
from uuid import uuid4

from sandbox.practice.script import Call, Calls, Fault, Kind, Say, SayJson, Turn

Json: TypeAlias = dict[str, Any]

SSE = "text/event-stream;charset=UTF-8"
_CREATED = 1763800000
_PIECE = 24
"""Characters of text or arguments in one delta."""

_NUMBERS = count(1)

_BAD = "invalid_request_error"
_INSPECTED = "data_inspection_failed"
_ERRORS = {
    Kind.BAD_KEY: (401, "invalid_api_key", _BAD, "Incorrect API key provided."),
    Kind.RATE_LIMIT: (429, "limit_requests", "limit_requests", "You exceeded your current requests list."),
    Kind.RETRY_AFTER: (429, "limit_requests", "limit_requests", "You exceeded your current requests list."),
    Kind.SERVER_ERROR: (500, "internal_error", "internal_error", "Inference internal error."),
    Kind.CONTEXT_TOO_LONG: (400, "invalid_parameter_error", _BAD, "Range of input length should be [1, 991808]"),
    Kind.INSPECTION: (400, _INSPECTED, _INSPECTED, "Input data may contain inappropriate content."),
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes over the wire, in order: silence, status and headers, parts, ending."""

    parts: list[bytes]
    kind: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """Half of the last part is sent, then the connection is reset."""
    stall: bool = False
    """After the parts nothing comes, not even an end, until the client leaves."""
    wait_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the shape of an answer depends on."""

    model: str
    stream: bool
    usage: bool
    prompt_tokens: int


def error(status: int, code: str, kind: str, message: str, **headers: str) -> Reply:
    """An error in the compatible mode's form."""
    told = {"message": message, "type": kind, "param": None, "code": code}
    body = {"error": told, "id": f"chatcmpl-{uuid4()}", "request_id": str(uuid4())}
    return Reply(status=status, parts=[_raw(body)], headers=headers)


def reply(turn: Turn, asked: Asked) -> Reply:
    """The bytes that play `turn`."""
    if not isinstance(turn, Fault):
        return _shaped(turn, asked, None, 0)
    return _bare(turn.kind, turn.seconds) or _shaped(turn.turn, asked, turn.kind, turn.seconds)


def _bare(kind: Kind, seconds: float) -> Reply | None:
    """Faults that have nothing of a turn in them."""
    native = {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded, please try again later."}
    match kind:
        case Kind.RETRY_AFTER:
            return error(*_ERRORS[kind], Retry_After=f"{seconds:g}")
        case Kind.HTML:
            return Reply(kind="text/html", parts=[b"<html><body><h1>Gateway</h1></body></html>"])
        case Kind.EMPTY:
            return Reply(parts=[b""])
        case Kind.NATIVE_ERROR:
            return Reply(kind=SSE, parts=[_event(native)])
    return error(*_ERRORS[kind]) if kind in _ERRORS else None


def _shaped(turn: Say | Call | Calls | SayJson, asked: Asked, kind: Kind | None, seconds: float) -> Reply:
    deltas, finish = _deltas(turn, kind)
    head: Json = {"created": _CREATED, "system_fingerprint": None, "model": asked.model, "id": f"chatcmpl-{uuid4()}"}
    usage = None if kind is Kind.NO_USAGE else _usage(deltas, asked)
    cut, stall, wait_s = kind is Kind.CUT, kind is Kind.STALL, seconds if kind is Kind.SLOW else 0.0
    if not asked.stream:
        choice = {"message": _fold(deltas), "finish_reason": finish, "index": 0, "logprobs": None}
        whole = _raw({"choices": [choice], "object": "chat.completion", "usage": usage, **head})
        return Reply(parts=[whole], cut=cut, stall=stall, wait_s=wait_s)

    def chunk(*choices: tuple[Json, str | None], usage: Json | None = None) -> bytes:
        shown = [{"delta": d, "finish_reason": f, "index": 0, "logprobs": None} for d, f in choices]
        return _event({"choices": shown, "object": "chat.completion.chunk", "usage": usage, **head})

    parts = [chunk((delta, None)) for delta in deltas]
    if cut or stall:
        return Reply(kind=SSE, parts=parts[:2], cut=cut, stall=stall)
    if kind is Kind.NO_FINISH:
        return Reply(kind=SSE, parts=parts)
    parts.append(chunk(({"content": ""} if finish == "stop" else {}, finish)))
    if asked.usage and usage:
        parts.append(chunk(usage=usage))
    if kind is not Kind.NO_DONE:
        parts.append(b"data: [DONE]\n\n")
    return Reply(kind=SSE, parts=parts, wait_s=wait_s)


def _deltas(turn: Say | Call | Calls | SayJson, kind: Kind | None) -> tuple[list[Json], str]:
    """The deltas that carry `turn`, in the odd form that `kind` asks for, and the finish reason."""
    calls = turn.calls if isinstance(turn, Calls) else (turn,) if isinstance(turn, Call) else ()
    text, reasoning = (turn.text, turn.reasoning) if isinstance(turn, Say | Call) else ("", "")
    if isinstance(turn, SayJson):
        text = json.dumps(turn.value, ensure_ascii=False)
    finish = "tool_calls" if calls and kind is not Kind.INDEX_ZERO else "stop"
    if kind is Kind.TRUNCATED:
        finish = "length"
    elif kind is Kind.ERROR_FINISH:
        text, reasoning, calls, finish = "Throttling: Requests throttling triggered.", "", (), "error_finish"
    elif kind is Kind.HERMES:
        text, calls, finish = text + "".join(map(_hermes, calls)), (), "stop"
    name = "reasoning" if kind is Kind.REASONING_FIELD else "reasoning_content"
    deltas: list[Json] = [{"content": None, name: piece} for piece in _pieces(reasoning)]
    deltas += [{"content": piece, **({name: None} if reasoning else {})} for piece in _pieces(text)]
    parts = [part for index, call in enumerate(calls) for part in _call_parts(index, call, kind)]
    deltas += [{"content": None, "tool_calls": [part]} for part in parts]
    return [{"role": "assistant", **(deltas[0] if deltas else {"content": ""})}, *deltas[1:]], finish


def _call_parts(index: int, call: Call, kind: Kind | None) -> list[Json]:
    """One call as tool deltas: first name and id, then pieces of the arguments, then nothing."""
    call_id = "" if kind is Kind.EMPTY_ID else f"call_{next(_NUMBERS):022d}"
    arguments = _arguments(call)
    if kind in (Kind.TRUNCATED, Kind.TRUNCATED_SILENTLY):
        arguments = arguments[: max(len(arguments) // 2, 1)]
    place = {} if kind is Kind.INDEX_MISSING else {"index": 0 if kind is Kind.INDEX_ZERO else index}
    if kind in (Kind.INDEX_MISSING, Kind.INDEX_ZERO, Kind.OBJECT_ARGUMENTS):  # such servers send a call in one piece
        value = json.loads(arguments) if kind is Kind.OBJECT_ARGUMENTS else arguments
        return [{"function": {"name": call.name, "arguments": value}, **place, "id": call_id, "type": "function"}]
    functions: list[Json] = [{"arguments": piece} for piece in _pieces(arguments)]
    rest = [{"function": function, **place, "id": "", "type": "function"} for function in [*functions, {}]]
    return [{"function": {"name": call.name, "arguments": ""}, **place, "id": call_id, "type": "function"}, *rest]


def _fold(deltas: list[Json]) -> Json:
    """The message of an answer that is not streamed: the same turn with the same oddity, in one piece."""
    message: Json = {"role": "assistant", "content": ""}
    for delta in deltas:
        for name in ("content", "reasoning_content", "reasoning"):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        for part in delta.get("tool_calls", ()):
            if part["function"].get("name"):
                message.setdefault("tool_calls", []).append({**part, "function": dict(part["function"])})
            elif "arguments" in part["function"]:
                message["tool_calls"][-1]["function"]["arguments"] += part["function"]["arguments"]
    return message


def _usage(deltas: list[Json], asked: Asked) -> Json:
    """Made-up but steady counts: four bytes of the request or four characters of the answer to a token."""
    thought = sum(len(delta.get("reasoning_content") or delta.get("reasoning") or "") for delta in deltas) // 4
    written = thought + max(len(str([delta.get("content") or delta.get("tool_calls") for delta in deltas])) // 4, 1)
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": asked.prompt_tokens + written,
        "completion_tokens_details": {"reasoning_tokens": thought},
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _arguments(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)


def _hermes(call: Call) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {_arguments(call)}}}\n</tool_call>'


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _raw(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _event(value: Json) -> bytes:
    return b"data: " + _raw(value) + b"\n\n"
