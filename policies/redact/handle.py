"""Handles: the typed placeholders `⟦type:code⟧` that stand for a value nobody here may see."""

from __future__ import annotations

import hmac
import re
from typing import NewType

from policies.redact.folded import INVISIBLE, fold

Handle = NewType("Handle", str)
"""The whole placeholder with its brackets, as it stands in text."""

HANDLE = re.compile(r"⟦([a-z][a-z0-9_]{1,31}):([a-z2-7]{10})⟧")
"""Group 1 is the type, group 2 the code. Bounded repeats, one way to match: linear."""

OPENING = "⟦"
BRACKETS = "⟦⟧"
ESCAPED_OPENING = "(U+27E6)"
"""What a foreign `⟦` becomes. Plain words, because an escape such as `\\u27e6` or `&#10214;` would turn into a
real bracket again as soon as somebody decodes the text."""

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_VALUE_CHARACTERS = 7


def handle_for(run_key: bytes, type_: str, normal: str, spelling: str, attempt: int = 0) -> Handle:
    """The handle of a value: equal values are recognised within a run, and nothing can be guessed without its key.

    The first seven characters of the code say which value it is (HMAC of type and `normal`), the last three which
    spelling of it (`138 0013 8000` or `13800138000`), so that each spelling is restored exactly as it was.
    `attempt` above 0 gives another code, for the case that a code is already taken by a different value.
    """
    value = _code(run_key, "value", type_, normal)[:_VALUE_CHARACTERS]
    variant = _code(run_key, "spelling", type_, normal, spelling, str(attempt))[: 10 - _VALUE_CHARACTERS]
    return Handle(f"⟦{type_}:{value}{variant}⟧")


def identity(handle: str) -> str:
    """The part of a handle that all spellings of one value share."""
    return handle[: -(10 - _VALUE_CHARACTERS) - 1]


def type_of(handle: str) -> str:
    """The type that a handle names."""
    return handle[1 : handle.index(":")]


def handles_in(text: str) -> tuple[tuple[str, Handle], ...]:
    """Every well-formed handle in the text with its type, in order; that it is ours is for the vault to say."""
    return tuple((match[1], Handle(match[0])) for match in HANDLE.finditer(text))


def joined_handle(text: str) -> Handle | None:
    """The first handle that a letter, a digit or another handle touches, invisible characters aside; else None.

    Restored there, its value would be part of a longer word, which detectors take for something else.
    """
    folded = fold(text)
    for match in HANDLE.finditer(text):
        before, after = match.start() - 1, match.end()
        while before >= 0 and folded[before] == INVISIBLE[0]:
            before -= 1
        while after < len(folded) and folded[after] == INVISIBLE[0]:
            after += 1
        if (before >= 0 and _joins(folded, text, before)) or (after < len(folded) and _joins(folded, text, after)):
            return Handle(match[0])
    return None


def escape_lookalikes(text: str) -> str:
    """The text with every `⟦` written as `(U+27E6)`, so that nothing in it can be, or be joined into, a handle.

    For whatever comes from outside. A reader sees what stood there; a machine does not turn it back.
    """
    return text.replace(OPENING, ESCAPED_OPENING)


def _joins(folded: bytes, text: str, at: int) -> bool:
    return folded[at : at + 1].isalnum() or text[at] in BRACKETS


def _code(run_key: bytes, *parts: str) -> str:
    message = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return "".join(_BASE32[byte % 32] for byte in hmac.digest(run_key, message, "sha256")[:10])
