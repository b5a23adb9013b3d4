"""What the practice model says next: turns, and the request a script answers.

A script is a generator function, named `package.module:function`:

    def smoke() -> Script:
        request = yield Call("browser_open", {"url": "http://shop.example/"})
        yield Say(f"It says {request.find(r'Orders found: (\\d+)')}.")

The first turn answers the first request; `yield` gives the next request, the one that carries the
turn's result. A function with one parameter also gets the first request. After a Fault that a client
should try again, simply yield the turn for the next try. Scripts are begun anew for every request and sent
what came before, so they depend on the requests alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from sandbox.practice.errors import PracticeError


@dataclass(frozen=True)
class Say:
    """Text, after reasoning if there is any."""

    text: str
    reasoning: str = ""


@dataclass(frozen=True)
class Call:
    """One tool call. Arguments as a string go out as they are, broken or not."""

    name: str
    arguments: dict[str, Any] | str
    reasoning: str = ""
    text: str = ""


@dataclass(frozen=True, init=False)
class Calls:
    """Several tool calls in one reply."""

    calls: tuple[Call, ...]

    def __init__(self, *calls: Call) -> None:
        object.__setattr__(self, "calls", calls)


@dataclass(frozen=True)
class SayJson:
    """One JSON value as text."""

    value: Any


class Kind(StrEnum):
    """The odd and broken answers the practice model can give."""

    # Answers with an error status.
    BAD_KEY = "401"
    RATE_LIMIT = "429 without Retry-After"
    RETRY_AFTER = "429 with Retry-After of `seconds`"
    SERVER_ERROR = "500"
    CONTEXT_TOO_LONG = "400, input too long"
    INSPECTION = "400, content inspection"
    # Status 200 and no usable answer.
    HTML = "200 with HTML"
    EMPTY = "200 with an empty body"
    CUT = "connection reset inside an event"
    NO_FINISH = "clean end before the finish chunk"
    STALL = "two chunks, then silence until the client leaves"
    NATIVE_ERROR = "native error inside the stream"
    ERROR_FINISH = "finish reason error_finish with the error as text"
    TRUNCATED = "arguments cut in half, finish length"
    TRUNCATED_SILENTLY = "arguments cut in half, finish tool_calls"
    # Odd, and usable.
    SLOW = "`seconds` of silence, then the turn"
    NO_DONE = "no [DONE] after the finish chunk"
    NO_USAGE = "usage absent although asked for"
    EMPTY_ID = "an empty call id in every delta"
    OBJECT_ARGUMENTS = "arguments as an object"
    INDEX_MISSING = "calls without index"
    INDEX_ZERO = "every call has index 0, finish stop"
    REASONING_FIELD = "reasoning in the field `reasoning`"
    HERMES = "tool calls as text in <tool_call> tags, finish stop"


@dataclass(frozen=True)
class Fault:
    """`turn` played in an odd or broken way. `seconds` is read where the kind's text names it."""

    kind: Kind
    turn: Say | Call | Calls | SayJson = Say("This answer is part of a practised fault.")
    seconds: float = 1.0


Turn: TypeAlias = Say | Call | Calls | SayJson | Fault


class ModelRequest:
    """One request to the model, for a script to read."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.messages: list[dict[str, Any]] = raw.get("messages", [])
        self.tools: list[dict[str, Any]] = raw.get("tools", [])

    @property
    def fresh(self) -> bool:
        """Whether this begins a conversation: nothing was answered in it yet."""
        return not any(message.get("role") in ("assistant", "tool") for message in self.messages)

    @property
    def system(self) -> str:
        return "\n".join(self._texts("system"))

    @property
    def user(self) -> str:
        """The last user message."""
        return (self._texts("user") or [""])[-1]

    def tool_texts(self) -> list[str]:
        """What the tools answered, oldest first."""
        return self._texts("tool")

    def last_tool(self) -> str:
        return (self.tool_texts() or [""])[-1]

    def find(self, pattern: str, default: str | None = None) -> str:
        """The newest match in the tools' answers: its first group, or all of it without groups.

        Without a match and a default the script breaks, which the verdict tells.
        """
        for text in reversed(self.tool_texts()):
            if match := re.search(pattern, text):
                return str(match[1] if match.re.groups else match[0])
        if default is None:
            raise PracticeError(f"no tool's answer matches {pattern!r}")
        return default

    def _texts(self, role: str) -> list[str]:
        return [_text(message.get("content")) for message in self.messages if message.get("role") == role]


Script: TypeAlias = Generator[Turn, ModelRequest, None]


def _text(content: Any) -> str:
    if isinstance(content, list):  # content in parts
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else "" if content is None else json.dumps(content)
