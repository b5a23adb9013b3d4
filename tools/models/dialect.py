"""What a model server calls things, by where it is, and what it has told us since."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

_DASHSCOPE = re.compile(r"dashscope[\w-]*\.aliyuncs\.com|.*\.(dashscope|maas)\.aliyuncs\.com|.*\.alicloudapi\.com")


class Dialect(StrEnum):
    """The kind of server."""

    DASHSCOPE = "dashscope"
    OLLAMA = "ollama"
    OPENAI = "openai"
    GENERIC = "generic"
    """vLLM, SGLang, llama.cpp and what behaves like them."""


class ThinkingField(StrEnum):
    """Where a request says whether the model shall think."""

    ENABLE_THINKING = "enable_thinking"
    CHAT_TEMPLATE_KWARGS = "chat_template_kwargs"
    REASONING_EFFORT = "reasoning_effort"
    NONE = "none"


class Quirk(StrEnum):
    """What a server does not accept; known beforehand or learned from its 400."""

    NO_FORCED_CALL = "no forced call"
    NO_FORCED_CALL_WHILE_THINKING = "no forced call while thinking"
    NO_JSON_WHILE_THINKING = "no JSON mode while thinking"
    ALWAYS_THINKS = "always thinks"
    NEVER_THINKS = "never thinks"
    NO_THINKING_FIELD = "no thinking field"
    ONE_SYSTEM = "one system message"


def dialect_of(base_url: str) -> Dialect:
    """The dialect spoken at this address; GENERIC when nothing tells."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    if _DASHSCOPE.fullmatch(host):
        return Dialect.DASHSCOPE
    if host == "api.openai.com" or host.endswith(".openai.azure.com"):
        return Dialect.OPENAI
    return Dialect.OLLAMA if parts.port == 11434 or host.split(".")[0] == "ollama" else Dialect.GENERIC


THINKING_FIELDS = {
    Dialect.DASHSCOPE: ThinkingField.ENABLE_THINKING,
    Dialect.GENERIC: ThinkingField.CHAT_TEMPLATE_KWARGS,
    Dialect.OLLAMA: ThinkingField.REASONING_EFFORT,
    Dialect.OPENAI: ThinkingField.NONE,
}
DASHSCOPE_QUIRKS = frozenset({Quirk.NO_JSON_WHILE_THINKING, Quirk.NO_FORCED_CALL_WHILE_THINKING, Quirk.ONE_SYSTEM})
"""Documented, so that no request has to fail first."""

_LESSONS = {
    r"restricted to true|enable_thinking must be set to true": Quirk.ALWAYS_THINKS,
    r"restricted to false|enable_thinking must be set to false": Quirk.NEVER_THINKS,
    r"json mode": Quirk.NO_JSON_WHILE_THINKING,
    r"tool_choice.*thinking": Quirk.NO_FORCED_CALL_WHILE_THINKING,
    r"tool_choice": Quirk.NO_FORCED_CALL,
    r"system message must be|unexpected message role": Quirk.ONE_SYSTEM,
    r"enable_thinking|chat_template_kwargs": Quirk.NO_THINKING_FIELD,
}


def learned(said: str) -> Quirk | None:
    """What the message of a refusal, in lower case, says the server does not accept."""
    return next((quirk for words, quirk in _LESSONS.items() if re.search(words, said)), None)
