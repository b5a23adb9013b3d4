"""What a model answered, after every quirk of its server has been read away."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict, JsonValue, TypeAdapter

_STORED = ConfigDict(extra="forbid", strict=True)


class Finish(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    CALLS = "calls"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call the model asks for. `arguments is None` means: not executable, tell it `fault`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STORED

    id: str
    """Unique among the calls of the conversation, ours where the server's is not."""
    name: str
    """As offered where it can be matched, else what the model wrote; at most 64 of [A-Za-z0-9_-]."""
    arguments: dict[str, JsonValue] | None
    raw: str
    """The arguments as the model wrote them: for the record, never for execution or history."""
    fault: str | None
    """One sentence for the model, without the data."""
    repaired: bool
    """True when name or arguments are not literally what was sent; whoever approves must see that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call or of several added up."""

    __pydantic_config__: ClassVar[ConfigDict] = _STORED

    prompt_tokens: int
    completion_tokens: int
    """Answer, calls and reasoning together."""
    reasoning_tokens: int
    cached_tokens: int
    estimated: bool
    """True when any part is our estimate because the server said nothing or nothing credible."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            estimated=self.estimated or other.estimated,
        )


NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, reasoning_tokens=0, cached_tokens=0, estimated=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole turn of the model."""

    __pydantic_config__: ClassVar[ConfigDict] = _STORED

    text: str
    """The answer without reasoning; empty with calls or when the length limit came first."""
    reasoning_chars: int
    """How much it thought. The thoughts themselves are not kept: nobody is to be shown them."""
    calls: tuple[ToolCall, ...]
    finish: Finish
    usage: Usage
    """All tries of the call added up, cut ones estimated."""
    model: str
    """The name the server gave, which may be a dated alias of the one asked."""

    def to_json(self) -> bytes:
        """The reply as UTF-8 JSON for storing."""
        return _REPLY.dump_json(self)

    @classmethod
    def from_json(cls, stored: bytes | str) -> Reply:
        """The reply that `to_json` stored; raises ValueError for anything else."""
        return _REPLY.validate_json(stored)


_REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)
