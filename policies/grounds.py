"""Grounds of a recipient: whose words name it. What strangers wrote is none, unless a person raised that one value.

A recipient is a value that says who gets something, inside a place that is granted already: the `to` of a form,
the declared sinks of a tool.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Annotated, Any
from urllib.parse import unquote_plus

from pydantic import BeforeValidator, Field, JsonValue

from policies.action import Action, EffectClass, Name, Text, Value, canonical_json, canonical_url
from policies.labels import Integrity, Label
from policies.match.command import CommandPattern
from policies.match.url import UrlPattern, place

_OneOrMany = (BeforeValidator(lambda given: given if isinstance(given, tuple) else (given,)), Field(min_length=1))
Names = Annotated[tuple[Name, ...], *_OneOrMany]

# Words in the names of fields that say who gets something, in the two languages of our users.
_RECIPIENT = re.compile(
    r"(?<![a-z])(to|cc|bcc|e?mails?|recipients?|receivers?|addressees?|payees?|beneficiar(y|ies)|iban|bic|swift|"
    r"accounts?|phones?|mobiles?|tel|fax|send ?to|mail ?to|ship ?to|forward ?to|(wallet|address)(es)?)(?![a-z])"
    r"|收件|收款|收信|接收|抄送|密送|邮箱|邮件地址|手机|电话|账号|帐号|账户|帐户|卡号|地址"
)
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_BEFORE, _AFTER = rf"(?<![^\W{_CJK}])(?<![@+\-])(?<!\w\.)", rf"(?![^\W{_CJK}])(?![@+\-])(?!\.\w)"


class Source(Value):
    """An origin that the operator trusts: reading it taints nothing, and it may name recipients.

    Pages by `url` (only when every frame is of that host), a `server` or some `commands` on it, or a `tool`; with
    `field`, only that entry of the tool's result, or what stands in the one control of that name when the page
    is opened, is trusted, and reading the rest taints as ever.
    """

    url: Annotated[tuple[UrlPattern, ...], *_OneOrMany] | None = None
    server: Names | None = None
    commands: Annotated[tuple[CommandPattern, ...], *_OneOrMany] | None = None
    tool: Names | None = None
    field: Text | None = None

    def faults(self) -> Iterator[str]:
        """What is wrong with it beyond its shape."""
        if sum(given is not None for given in (self.url, self.server, self.tool)) != 1:
            yield "a trusted source is one of 'url', 'server' and 'tool'"
        if self.commands and not self.server:
            yield "'commands' of a trusted source run on a 'server'"
        if self.field is not None and self.server:
            yield "'field' of a trusted source is in the result of a 'tool', or on a page by its 'url'"
        if any(pattern.names_host is None for pattern in self.url or ()):
            yield "a trusted source names its host"

    def told(self, action: Action, label: Label, data: JsonValue) -> bool:
        """True when what `action` gave came from here alone."""
        given: Any = action
        if self.tool:
            return given.kind == "tool.call" and given.tool in self.tool
        if self.server:
            if getattr(given, "server", None) not in self.server:
                return False
            commands = [command for pipeline in getattr(given, "pipelines", ()) for command in pipeline]
            admitted = [any(p.matches(command) for p in self.commands or ()) for command in commands]
            return self.commands is None or (bool(admitted) and all(admitted))
        page = data.get("url") if isinstance(data, dict) else None
        if not given.kind.startswith("browser.") or not isinstance(page, str):
            return False
        try:
            # Where the page is now, not where it was opened: it may have led elsewhere.
            there = place(canonical_url(page))
            return label.origins == {there.host} and any(p.matches(canonical_url(page)) for p in self.url or ())
        except ValueError:
            return False


def labelled(trust: Iterable[Source], action: Action, label: Label, data: JsonValue) -> Label:
    """The label of a result, raised where all of it came from a trusted source."""
    if label.integrity is Integrity.UNTRUSTED and any(s.field is None and s.told(action, label, data) for s in trust):
        return label.model_copy(update={"integrity": Integrity.SOURCE})
    return label


def trusted_fields(trust: Iterable[Source], action: Action, label: Label, data: JsonValue) -> list[str]:
    """Names of the entries of a result that are trusted, where not all of it is."""
    return sorted({s.field for s in trust if s.field is not None and s.told(action, label, data)})


def words_of(kind: str, fields: Iterable[str], text: str, data: JsonValue) -> tuple[str, ...]:
    """The trusted words of a result: those of its trusted fields, or all if none is named.

    A page that was not opened just now may show what was typed into it; it names nobody.
    """
    if kind.startswith("browser.") and kind != "browser.open":
        return ()
    if not fields:
        return (text,)
    if kind == "browser.open":
        shown = (re.findall(rf'(?m)^ *- [a-z]+ "{re.escape(name)}"(?: \[[^\]]*\])*: *(.+)$', text) for name in fields)
        return tuple(found[0].strip("\"'") for found in shown if len(found) == 1)
    return tuple(canonical_json(data[name]).decode() for name in fields if isinstance(data, dict) and name in data)


def asked_in(action: Action) -> str:
    """What an action says itself, escapes undone: a source that only repeats it names nobody."""
    return unquote_plus(action.canonical.decode())


def recipients(action: Action) -> dict[str, tuple[str, ...]]:
    """By the name of its field or argument, each value that says who gets what this sends. A login sends nothing."""
    if action.kind == "tool.call":
        sinks = action.sinks or (action.arguments if action.effect is not EffectClass.READ else ())
        # What names nobody (an empty text, no items) is nobody's words either.
        return {name: tuple(_parts(action.arguments[name])) or ("",) for name in sinks if name in action.arguments}
    if action.kind != "browser.submit" or action.effect is EffectClass.READ:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for field in action.fields:
        if is_recipient(field.name):
            found[field.name] = (*found.get(field.name, ()), *_parts(field.value))
    return found


def is_recipient(name: str) -> bool:
    """True when a form's field of this name says who gets something."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return _RECIPIENT.search(re.sub(r"[\W_]+|\d+", " ", parted.lower())) is not None


def stands_in(value: str, text: str) -> bool:
    """True when `value` stands in `text` as a whole: no part of a longer word, address or number."""
    return value != "" and re.search(_BEFORE + re.escape(value.casefold()) + _AFTER, text.casefold()) is not None


def _parts(value: JsonValue) -> Iterator[str]:
    """The single values in what may be a list of them."""
    match value:
        case str():
            yield from (part for each in re.split(r"[,;，；、\n]", value) if (part := each.strip()))
        case bool() | None | int() | float():
            yield json.dumps(value)
        case list():
            for item in value:
                yield from _parts(item)
        case dict():
            for name, item in value.items():
                yield name
                yield from _parts(item)
