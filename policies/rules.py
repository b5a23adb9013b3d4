"""A policy: rules that allow, ask or deny, each with the cases its author had in mind.

These values are what `policies.load` makes of a file. The order of rules never matters.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, field_validator

from policies.action import KINDS, ActionBase, Command, Name, Text, Value, canonical_json, canonical_url
from policies.match.command import CommandPattern
from policies.match.path import glob
from policies.match.url import UrlPattern

FIELDS: dict[str, frozenset[str]] = {
    c.model_fields["kind"].default: frozenset(c.model_fields) for c in ActionBase.__subclasses__()
}
"""The fields of every action kind: a matcher makes sense where its field is."""
LOOKS_AT = {"commands": "pipelines"}
"""The field a matcher looks at, where it has another name."""
MATCHERS = ("url", "path", "server", "commands", "tool", "arguments", "endpoint", "model", "does")
REQUIRED = ("url", "server", "commands", "tool")
"""Matchers that a rule which allows such an action must have; else it would allow all of the world."""
Where = tuple[str | int, ...]
Does = Literal["read", "submit", "pay", "delete", "login", "upload"]
Mode = Literal["covers", "raises", "touches"]


def _many(given: Any) -> Any:
    return given if isinstance(given, tuple) else (given,)


def _kinds(given: Any) -> Any:
    kinds = KINDS if given == "*" else _many(given)
    for kind in kinds:
        if kind not in FIELDS:
            raise ValueError(f"{kind!r} is no kind of action")
    return tuple(sorted(set(kinds)))


def _duration(given: Any) -> Any:
    found = re.fullmatch(r"([1-9][0-9]{0,3})(m|h|d)", given) if isinstance(given, str) else None
    if found is None:
        raise ValueError("give a time such as 30m, 24h or 7d")
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400}[found[2]]


def _number(given: Any) -> Any:
    return Decimal(str(given)) if isinstance(given, int | float) and not isinstance(given, bool) else given


def _pattern(text: str) -> str:
    return glob(text).text


Number = Annotated[Decimal, BeforeValidator(_number)]


class Between(Value):
    """A number within bounds, both included."""

    min: Number | None = None
    max: Number | None = None


Argument = Between | tuple[str | int | bool, ...] | str | int | bool | None
Many = BeforeValidator(_many)
PathPattern = Annotated[str, AfterValidator(_pattern)]


class When(Value):
    """A condition on what was in view when the action was proposed. Each key can only be given, not negated."""

    untrusted: Literal[True] | None = None
    """The proposal was influenced by something untrusted."""
    sink: Literal["ungrounded"] | None = None
    """Where it lands was named neither by the requester, nor by the accepted plan, nor by a rule."""


class Of(Value):
    """Who is asked, how many must say yes, until when, and what happens if nobody answers."""

    group: Name | None = None
    answers: Annotated[int, Field(ge=1, le=9)] = 1
    within: Annotated[int, BeforeValidator(_duration)] = 86400
    """Seconds; written as 30m, 24h, 7d."""
    otherwise: Literal["skip", "stop"] = "skip"


class Limit(Value):
    """At most `count` times in a run, an hour or a day (UTC)."""

    count: Annotated[int, Field(ge=0)]
    per: Literal["run", "hour", "day"]


class Money(Value):
    amount: Annotated[Number, Field(ge=0, max_digits=12, decimal_places=6)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Limits(Value):
    """What one run may use."""

    steps: Annotated[int, Field(ge=0)] = 60
    minutes: Annotated[int, Field(ge=0)] = 60
    tokens: Annotated[int, Field(ge=0)] = 400_000
    money: Money | None = None


class Rule(Value):
    """One rule. Every matcher given must hold; a matcher left out looks at nothing."""

    id: Name
    effect: Literal["allow", "ask", "deny"]
    action: Annotated[tuple[str, ...], BeforeValidator(_kinds), Field(min_length=1)]
    why: Annotated[Text, Field(min_length=1)]
    url: Annotated[tuple[UrlPattern, ...] | None, Many, Field(min_length=1)] = None
    path: Annotated[tuple[PathPattern, ...] | None, Many, Field(min_length=1)] = None
    server: Annotated[tuple[Name, ...] | None, Many, Field(min_length=1)] = None
    commands: Annotated[tuple[CommandPattern, ...] | None, Many, Field(min_length=1)] = None
    tool: Annotated[tuple[Name, ...] | None, Many, Field(min_length=1)] = None
    arguments: dict[str, Argument] | None = None
    """By name: `any`, one value, a list of values, or `{min, max}`. A name ending in `?` may be absent."""
    endpoint: Annotated[tuple[Name, ...] | None, Many, Field(min_length=1)] = None
    model: Annotated[tuple[str, ...] | None, Many, Field(min_length=1)] = None
    does: Annotated[tuple[Does, ...] | None, Many, Field(min_length=1)] = None
    when: When | None = None
    ask: Literal["plan", "batch", "each"] | None = None
    of: Of | None = None
    restore: tuple[Name, ...] = ()
    """Types of handles that may be opened at this sink."""
    secrets: tuple[Name, ...] = ()
    limit: Limit | None = None
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()

    @cached_property
    def matchers(self) -> tuple[str, ...]:
        """Names of the matchers that were given."""
        return tuple(name for name in MATCHERS if getattr(self, name) is not None)

    def fits(self, action: ActionBase, mode: Mode) -> bool:
        """True when every matcher holds: for the whole action, for a part that must be asked, or in any reading."""
        return all(_HOLDS[name](getattr(self, name), action, mode) for name in self.matchers)

    def scope(self) -> str:
        """What this rule is about, in a few words: never data, only what the policy says."""
        parts = [", ".join(map(str, getattr(self, n))) for n in self.matchers if n != "arguments"]
        return " ".join(parts) or "anything"

    def faults(self) -> Iterator[tuple[Where, str]]:
        """What is wrong with this rule beyond its shape: where in it, and a sentence."""
        for name in self.matchers:
            if idle := [k for k in self.action if LOOKS_AT.get(name, name) not in FIELDS[k]]:
                yield (name,), f"{name!r} says nothing about {idle[0]}; make it a rule of its own"
        if self.effect == "deny":
            yield from self._denying_faults()
        else:
            yield from self._granting_faults()
        yield from self._case_faults()

    def _denying_faults(self) -> Iterator[tuple[Where, str]]:
        for name in ("restore", "secrets", "limit", "of", "ask"):
            if getattr(self, name):
                yield (name,), f"{name!r} has no meaning in a rule that denies"
        for n, url in enumerate(self.url or ()):
            if url.query is not None or url.no_query:
                yield ("url", n), "a rule that denies cannot look at the query; allow the queries that are right"
        for n, command in enumerate(self.commands or ()):
            if command.options is not None or command.operands is not None or command.stdin or command.stdout:
                yield ("commands", n), "a rule that denies takes `program` and `args` only: words that must not occur"

    def _granting_faults(self) -> Iterator[tuple[Where, str]]:
        if self.effect == "allow":
            for name in ("ask", "of", "when"):
                if getattr(self, name) is not None:
                    yield (name,), f"{name!r} has no meaning in a rule that allows"
        for n, command in enumerate(self.commands or ()):
            if command.runs_others:
                yield ("commands", n), f"{command.program!r} runs other programs; give its exact `args`"
        if self.matchers and {"url", "path", "commands"} & set(self.matchers):
            for name in ("match", "not_match"):
                if not getattr(self, name):
                    yield (), f"rule {self.id!r} needs at least one case under {name!r}"

    def too_wide(self) -> Iterator[tuple[Where, str]]:
        """Why this rule may be loaded in the practice world only."""
        if self.effect != "allow":
            return
        for kind in self.action:
            needed = (*REQUIRED, *(("path",) if kind.startswith("server.") else ()))
            missing = [n for n in needed if LOOKS_AT.get(n, n) in FIELDS[kind] and getattr(self, n) is None]
            if missing:
                yield (), f"rule {self.id!r} would allow {kind} without any bound; add {missing[0]!r}"
                return

    def _case_faults(self) -> Iterator[tuple[Where, str]]:
        primary = next((n for n in ("url", "commands", "path") if n in self.matchers), None)
        for name, wanted in (("match", True), ("not_match", False)):
            for n, text in enumerate(getattr(self, name)):
                if primary is None:
                    yield (name, n), "cases need a matcher for url, commands or path"
                    continue
                try:
                    held = self._case_holds(primary, text)
                except ValueError as error:
                    held = False
                    if wanted:
                        yield (name, n), f"the case has no canonical form: {error}"
                        continue
                if held is not wanted:
                    said = "does not match" if wanted else "matches"
                    yield (name, n), f"the case {text!r} {said} the rule's {primary}"

    def _case_holds(self, primary: str, text: str) -> bool:
        mode: Mode = "touches" if self.effect == "deny" else "covers"
        match primary:
            case "url":
                return _url(self.url or (), _Case(url=canonical_url(text)), mode)
            case "commands":
                return _commands(self.commands or (), _Case(pipelines=(_pipeline(text),)), mode)
            case _:
                return _path(self.path or (), _Case(path=text), mode)


class Policy(Value):
    """All rules that are in force, and what a run may use."""

    version: Literal[1]
    name: Name
    practice_only: bool = False
    """Loads only in the practice world."""
    unplanned: Literal["ask", "deny", "allow"] = "ask"
    """What becomes of an effect that no planned step covers."""
    accept_plan: Literal["ask", "when_all_allowed"] = "ask"
    least_level: Literal["full", "namespaces", "landlock", "rlimits", "none"] = "namespaces"
    limits: Limits = Limits()
    rules: tuple[Rule, ...]

    @field_validator("rules")
    @classmethod
    def _sorted(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(sorted(rules, key=lambda rule: rule.id))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical content; the order of rules in the file does not change it."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()

    @cached_property
    def by_kind(self) -> dict[str, tuple[Rule, ...]]:
        """For every kind of action the rules that speak about it."""
        return {kind: tuple(r for r in self.rules if kind in r.action) for kind in KINDS}

    def rules_for(self, kind: str) -> tuple[Rule, ...]:
        """The rules that speak about a kind, by id; none for a kind that does not exist."""
        return self.by_kind.get(kind, ())

    def instead(self, kind: str) -> str:
        """What is allowed or asked for this kind, in one line for a refusal."""
        scopes = dict.fromkeys(r.scope() for r in self.rules_for(kind) if r.effect != "deny")
        shown = "; ".join(list(scopes)[:6]) + ("; …" if len(scopes) > 6 else "")
        return f"{kind} may be proposed for: {shown}" if scopes else f"nothing: this policy has no {kind}"


class _Case(Value):
    """As much of an action as a case in a rule spells out."""

    url: str | None = None
    path: str | None = None
    pipelines: tuple[tuple[Command, ...], ...] = ()


def _pipeline(text: str) -> tuple[Command, ...]:
    words, commands = shlex.split(text), [list[str]()]
    for word in words:
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    return tuple(Command(argv=tuple(argv)) for argv in commands)


def _url(patterns: tuple[UrlPattern, ...], action: Any, mode: Mode) -> bool:
    target = getattr(action, "target", None)
    if mode == "covers":
        return any(p.matches(target or action.url) for p in patterns)
    return any(p.touches(url) for p in patterns for url in (action.url, target) if url)


def _path(patterns: tuple[str, ...], action: Any, mode: Mode) -> bool:
    if mode == "covers":
        return any(glob(p).matches(action.path) for p in patterns)
    return any(glob(p).touches(action.path) for p in patterns)


def _commands(patterns: tuple[CommandPattern, ...], action: Any, mode: Mode) -> bool:
    commands = (command for pipeline in action.pipelines for command in pipeline)
    if mode == "covers":
        return all(any(p.matches(c) for p in patterns) for c in commands)
    if mode == "raises":
        return any(p.matches(c) for c in commands for p in patterns)
    return any(p.touches(c) for c in commands for p in patterns)


def _arguments(wanted: dict[str, Argument], action: Any, mode: Mode) -> bool:
    given: dict[str, JsonValue] = action.arguments
    names = {name.removesuffix("?") for name in wanted}
    if mode == "covers" and not given.keys() <= names:
        return False
    for name, want in wanted.items():
        plain = name.removesuffix("?")
        if plain not in given:
            if mode == "covers" and plain == name:
                return False
        elif not _argument_fits(want, given[plain]):
            return False
    return True


def _argument_fits(want: Argument, value: JsonValue) -> bool:
    if isinstance(want, Between):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        number = Decimal(str(value))
        return (want.min is None or number >= want.min) and (want.max is None or number <= want.max)
    choices = want if isinstance(want, tuple) else (want,)
    return want == "any" or any(type(value) is type(c) and value == c for c in choices)


def _named(field: str) -> Callable[[tuple[str, ...], Any, Mode], bool]:
    return lambda names, action, mode: getattr(action, field) in names


_HOLDS: dict[str, Callable[[Any, ActionBase, Mode], bool]] = {
    "url": _url,
    "path": _path,
    "commands": _commands,
    "arguments": _arguments,
    **{name: _named(name) for name in ("server", "tool", "endpoint", "model", "does")},
}
