"""Limits of business on a rule: how often, how much in sum, to how many different, in a window and for each key."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from policies.action import Action, Name, Text, Value
from policies.decision import Reservation
from policies.match.url import place

MILLION = 1_000_000
UNCOUNTABLE = -1
"""Amount of a reservation whose field is missing, twice there, or not a plain number."""
_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,12})(?:\.(?!\d{3}$)\d{1,6})?")


def _decimal(given: Any) -> Any:
    return Decimal(str(given)) if type(given) in (int, float) else given


class Limit(Value):
    """At most `count` times; or, of a field, at most `at_most` in sum or so many different values; in a window of UTC.

    A field is one of a form, an argument of a tool, or `url`, `host`, `path`, `server`. `by` counts apart for each
    value that a field has, such as a payee. What cannot be counted is refused.
    """

    count: Annotated[int, Field(ge=0)] | None = None
    sum: Annotated[Text, Field(min_length=1)] | None = None
    distinct: Annotated[Text, Field(min_length=1)] | None = None
    at_most: Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, max_digits=15, decimal_places=6)] | None = None
    unit: Name | None = None
    """What a sum is in, such as CNY: for people."""
    by: Annotated[Text, Field(min_length=1)] | None = None
    per: Literal["run", "hour", "day", "week", "month"]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.count, self.sum, self.distinct)) != 1:
            raise ValueError("a limit is one of 'count', 'sum' and 'distinct'")
        if (self.count is None) != (self.at_most is not None):
            raise ValueError("'at_most' belongs to 'sum' and 'distinct', which need it")
        if self.distinct and self.at_most != int(self.at_most or 0):
            raise ValueError("'at_most' of 'distinct' is a whole number")
        return self

    def reservation(self, rule: str, action: Action, run: str) -> Reservation:
        """What one `action` under `rule` takes of it. Values stand as they are in the action, handles included."""
        what = f":sum:{self.sum}" if self.sum else f":distinct:{self.distinct}" if self.distinct else ""
        key = f"rule:{rule}:{self.per}{what}{f':by:{self.by}' if self.by else ''}"
        key += f":{run}" if self.per == "run" else ""
        amount, most = 1, self.count or 0
        members: tuple[str, ...] = ()
        of: list[JsonValue] = values_of(action, self.by) if self.by else [""]
        if self.sum:
            amount, most = _millionths(values_of(action, self.sum)), int((self.at_most or 0) * MILLION)
        if self.distinct:
            found = [part for value in values_of(action, self.distinct) for part in _parts(value)]
            members, most = tuple(dict.fromkeys(found)), int(self.at_most or 0)
            amount = len(members) or UNCOUNTABLE
        if len(of) != 1 or not isinstance(of[0], str | int) or (self.by and of[0] == ""):
            amount, of = UNCOUNTABLE, [""]
        return Reservation(
            key=key,
            limit=most,
            amount=amount,
            window=self.per,
            unit=(self.unit or "") if self.sum else "",
            scale=MILLION if self.sum else 1,
            by=str(of[0]),
            members=members,
        )


def values_of(action: Action, name: str) -> list[JsonValue]:
    """Every value that the field of this name has in the action."""
    given: Any = action
    if given.kind == "tool.call" and name in given.arguments:
        return [given.arguments[name]]
    if found := [field.value for field in getattr(given, "fields", ()) if field.name == name]:
        return found
    url = getattr(given, "target", None) or getattr(given, "url", None)
    if name in ("url", "host") and url:
        return [url if name == "url" else place(url).host]
    if name in ("path", "server") and getattr(given, name, None):
        return [getattr(given, name)]
    return []


def told_apart(reservation: Reservation, opened: Callable[[str], str]) -> Reservation:
    """The reservation with its values as they really are, the same however they are spelled.

    A handle stands for a value in one run only, and limits hold over runs. The store keeps none of them in clear.
    """
    if not (reservation.by or reservation.members):
        return reservation
    members = dict.fromkeys(_plain(opened(member)) for member in reservation.members)
    return reservation.model_copy(update={"by": _plain(opened(reservation.by)), "members": tuple(members)})


def written(amount: int, scale: int, unit: str) -> str:
    """An amount as people write it: 3, or 1,200.00 CNY."""
    if scale == 1:
        return f"{amount}"
    plain = f"{Decimal(amount) / scale:,.6f}".rstrip("0")
    whole, _, rest = plain.partition(".")
    return f"{whole}.{rest:0<2}" + (f" {unit}" if unit else "")


def _millionths(values: list[JsonValue]) -> int:
    match values:
        case [bool()]:
            return UNCOUNTABLE
        case [int() | float() as number] if number >= 0:
            exact = Decimal(str(number))
        case [str() as text] if _NUMBER.fullmatch(text.strip()) and text.isascii():
            exact = Decimal(text.strip().replace(",", ""))
        case _:
            return UNCOUNTABLE
    return int((exact * MILLION).to_integral_value(ROUND_CEILING))  # up: many crumbs must not count as nothing


def _parts(value: JsonValue) -> list[str]:
    if isinstance(value, list):
        return [part for item in value for part in _parts(item)]
    return [p for part in re.split(r"[,;，；、\n]", str(value)) if (p := part.strip())]


def _plain(value: str) -> str:
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", value)).casefold()
