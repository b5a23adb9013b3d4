"""The arguments of a tool call, read from what models really write.

Only what has one reading is repaired, and what was repaired says so: whoever approves the action must see it.
Everything else becomes a fault for the model. Whether the result fits the schema (unknown keys, ranges) is
the caller's check; the schema serves here to choose among readings only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from pydantic_core import from_json

Schema = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Values to use, or the fault to tell the model; never both."""

    values: dict[str, JsonValue] | None = None
    fault: str | None = None
    repaired: bool = False


def read(raw: str, schema: Schema, *, may_close: bool) -> Arguments:
    """The arguments in `raw`. `may_close` allows a lost `"}` at the end to be put back.

    Set it only when the model is known to have finished by itself: an end that was cut off looks the same.
    """
    text = raw.strip()
    required = schema.get("required")
    needed = [key for key in required if isinstance(key, str)] if isinstance(required, list) else []
    if not text and not needed:
        return Arguments(values={})
    try:
        value, repaired = _decoded(text, needed, may_close=may_close)
    except (ValueError, RecursionError) as error:
        return Arguments(fault=f"The arguments are not valid JSON ({error}). Call again with one JSON object.")
    if not isinstance(value, dict):
        return Arguments(fault="The arguments must be one JSON object. Call again.")
    coerced = {key: _coerced(item, _property(schema, key)) for key, item in value.items()}
    return Arguments(values=coerced, repaired=repaired or coerced != value)


def parsed(text: str) -> JsonValue:
    """Strict JSON: no duplicate keys, no NaN, no lone surrogates. Raises ValueError or RecursionError."""
    value: JsonValue = json.loads(text, object_pairs_hook=_unique)
    from_json(text, allow_inf_nan=False)  # stricter than json, but without a say on duplicate keys
    return value


def _decoded(text: str, needed: list[str], *, may_close: bool) -> tuple[JsonValue, bool]:
    """The value and whether it was repaired; raises the error of the strict reading."""
    try:
        value = parsed(text)
    except ValueError as error:
        if fence := _FENCED.fullmatch(text):
            return _decoded(fence[1], needed, may_close=may_close)[0], True
        try:
            return parsed(_mended(text)), True
        except ValueError:
            closed = [value for end in ('"}', "}") if may_close and (value := _closed(text + end, needed))]
            if len(closed) == 1:
                return closed[0], True
            raise error from None
    if isinstance(value, str) and isinstance(inner := parsed(value), dict):
        return inner, True
    return value, False


def _closed(text: str, needed: list[str]) -> dict[str, JsonValue] | None:
    try:
        value = parsed(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and all(key in value for key in needed) else None


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value


_FENCED = re.compile(r"```\w*\s*\n(.*?)\n?\s*```", re.S)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|“(?:[^”\\]|\\.)*”|[^"\'“”]+', re.S)
_WIDE = str.maketrans("，：｛｝［］", ",:{}[]")
_LITERALS = {"True": "true", "False": "false", "None": "null"}
_ESCAPES = {"\\'": "'", '"': '\\"'}
_KINDS = {dict: "object", list: "array", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _mended(text: str) -> str:
    """`text` with punctuation outside strings, and the quotes of strings, as JSON has them.

    Quotes that do not pair up leave a gap between tokens; then nothing is changed.
    """
    tokens = _TOKEN.findall(text)
    if sum(map(len, tokens)) != len(text):
        return text
    return "".join(_string(token) if token[0] in "\"'“" else _outside(token) for token in tokens)


def _outside(token: str) -> str:
    token = re.sub(r"\b(True|False|None)\b", lambda found: _LITERALS[found[0]], token.translate(_WIDE))
    return re.sub(r",(\s*[}\]])", r"\1", token)


def _string(token: str) -> str:
    body = token[1:-1]
    if token[0] != '"':
        body = re.sub(r'\\.|"', lambda found: _ESCAPES.get(found[0], found[0]), body, flags=re.S)
    return '"' + re.sub(r"[\x00-\x1f]", lambda found: json.dumps(found[0])[1:-1], body) + '"'


def _property(schema: Schema, key: str) -> Schema:
    properties = schema.get("properties")
    found = properties.get(key) if isinstance(properties, dict) else None
    return found if isinstance(found, dict) else {}


def _types(schema: Schema) -> set[str]:
    """The types a schema names itself or in `anyOf`; empty when it names none."""
    named = schema.get("type")
    options = schema.get("anyOf")
    types = {item for item in (named if isinstance(named, list) else [named]) if isinstance(item, str)}
    for option in options if isinstance(options, list) else []:
        types |= _types(option) if isinstance(option, dict) else set()
    return types


def _coerced(value: JsonValue, schema: Schema) -> JsonValue:
    """A string that stands for the one other type the schema wants, as that type; else unchanged."""
    if isinstance(value, dict):
        return {key: _coerced(item, _property(schema, key)) for key, item in value.items()}
    if isinstance(value, list):
        items = schema.get("items")
        return [_coerced(item, items) for item in value] if isinstance(items, dict) else value
    types = _types(schema)
    if not isinstance(value, str) or not types or "string" in types:
        return value
    try:
        inner = parsed(value.strip().lower() if value.strip() in _LITERALS else value)
    except (ValueError, RecursionError):
        return value
    kind = _KINDS.get(type(inner), "string")
    return inner if kind in types or (kind == "integer" and "number" in types) else value
