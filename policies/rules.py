"""A policy: rules that allow, ask or deny, each with the cases its author had in mind.

These values are what `policies.load` makes of a file. The order of rules never matters.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator

from policies.action import KINDS, ActionBase, Command, Name, Text, Value, canonical_json, canonical_url
from policies.grounds import Source
from policies.limits import Limit
from policies.match.command import AnyCommand, CommandPattern, ReadsPattern
from policies.match.neutral import neutral
from policies.match.path import PathPattern, glob
from policies.match.url import UrlPattern
from policies.redact.detect import FAMILIES

FIELDS: dict[str, frozenset[str]] = {
    c.model_fields["kind"].default: frozenset(c.model_fields) for c in ActionBase.__subclasses__()
}
"""The fields of every action kind: a matcher makes sense where its field is."""
LOOKS_AT = {"commands": "pipelines"}
"""The field a matcher looks at, where it has another name."""
MATCHERS = ("url", "path", "server", "commands", "tool", "arguments", "endpoint", "model", "does")
BOUNDS = ("url", "server", "commands", "tool", "arguments")
"""Matchers without which a rule that allows would allow all of the world."""
HANDLES = sorted({"secret", *(detector.type for family in FAMILIES for detector in family.detectors)})
"""The types of handles that there are."""
Where = tuple[str | int, ...]
Mode = Literal["covers", "raises", "touches"]
Holds = Callable[[Any, Any, Mode], bool]


def _many(given: Any) -> Any:
    return given if isinstance(given, tuple) else (given,)


def _kinds(given: Any) -> Any:
    kinds = KINDS if given == "*" else _many(given)
    for kind in kinds:
        if kind not in FIELDS:
            near = difflib.get_close_matches(str(kind), KINDS, n=1)
            raise ValueError(f"{kind!r} is no kind of action" + (f"; did you mean {near[0]!r}?" if near else ""))
    return tuple(sorted(set(kinds)))


def _seconds(given: Any) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", given) if isinstance(given, str) else None
    if found is None:
        raise ValueError("give a time such as 30m, 24h or 7d")
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400}[found[2]]


def _decimal(given: Any) -> Any:
    return Decimal(str(given)) if type(given) in (int, float) else given


Many = (BeforeValidator(_many), Field(min_length=1))
Names = Annotated[tuple[Name, ...], *Many]


class Between(Value):
    """A number within bounds, both included."""

    min: int | float | None = None
    max: int | float | None = None


Argument = Between | tuple[str | int | bool, ...] | str | int | bool | None


class When(Value):
    """A condition on what was in view when the action was proposed; it can refuse or ask, and never grants."""

    untrusted: Literal[True] | None = None
    """The proposal was influenced by something untrusted."""
    sink: Literal["ungrounded"] | None = None
    """Where it lands was named neither by the requester, nor by the accepted plan, nor by a rule that grants."""


class Of(Value):
    """Who and how many must say yes, for how long they may (30m, 24h, 7d), and what happens if nobody answers."""

    group: Name | None = None
    """Who is asked: a group, or a role, of the list of people."""
    not_requester: bool = False
    """True when whoever asked for it cannot be among those who say yes."""
    answers: Annotated[int, Field(ge=1, le=9)] = 1
    within: Annotated[int, BeforeValidator(_seconds)] = 86400
    otherwise: Literal["skip", "stop"] = "skip"


class Money(Value):
    amount: Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, max_digits=12, decimal_places=6)]
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
    url: Annotated[tuple[UrlPattern, ...], *Many] | None = None
    path: Annotated[tuple[PathPattern, ...], *Many] | None = None
    server: Names | None = None
    commands: Annotated[tuple[AnyCommand, ...], *Many] | None = None
    tool: Names | None = None
    arguments: dict[str, Argument] | None = None
    """By name: `any`, one value, a list of values, or `{min, max}`. A name ending in `?` may be absent."""
    endpoint: Names | None = None
    model: Annotated[tuple[str, ...], *Many] | None = None
    does: Annotated[tuple[Literal["read", "submit", "pay", "delete", "login", "upload"], ...], *Many] | None = None
    when: When | None = None
    ask: Literal["plan", "batch", "each"] | None = None
    of: Of | None = None
    restore: tuple[Name, ...] = ()
    """Types of handles that may be opened at this sink."""
    secrets: tuple[Name, ...] = ()
    limit: Limit | None = None
    limits: tuple[Limit, ...] = ()
    """Further ones; all of them hold."""
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()

    @cached_property
    def matchers(self) -> tuple[str, ...]:
        """Names of the matchers that were given."""
        return tuple(name for name in MATCHERS if getattr(self, name) is not None)

    @cached_property
    def hosts(self) -> frozenset[str] | None:
        """The only hosts this rule can be about; None when it does not name them all."""
        named = {pattern.names_host for pattern in self.url or ()}
        return frozenset(host for host in named if host) if named and None not in named else None

    @cached_property
    def checks(self) -> tuple[tuple[Holds, Any], ...]:
        """What `fits` asks, in order."""
        return tuple((_HOLDS[name], getattr(self, name)) for name in self.matchers)

    def fits(self, action: ActionBase, mode: Mode) -> bool:
        """True when every matcher holds: for the whole action, for a part that must be asked, or in any reading."""
        return all(holds(wanted, action, mode) for holds, wanted in self.checks)

    def exact_arguments(self) -> set[str]:
        """Names of the tool arguments whose values this rule names."""
        exact = {k for k, want in (self.arguments or {}).items() if want != "any" and not isinstance(want, Between)}
        return {name.removesuffix("?") for name in exact}

    def scope(self) -> str:
        """What this rule is about, in a few words: never data, only what the policy says."""
        return " ".join(", ".join(map(str, getattr(self, name))) for name in self.matchers) or "anything"

    def faults(self) -> Iterator[tuple[Where, str]]:
        """What is wrong with this rule beyond its shape: where in it, and a sentence."""
        for name in self.matchers:
            if idle := [kind for kind in self.action if LOOKS_AT.get(name, name) not in FIELDS[kind]]:
                yield (name,), f"{name!r} says nothing about {idle[0]}; make that a rule of its own"
        senseless = {
            "deny": ("restore", "secrets", "limit", "limits", "of", "ask"),
            "allow": ("ask", "of", "when"),
            "ask": (),
        }
        for name in senseless[self.effect]:
            if getattr(self, name):
                yield (name,), f"{name!r} has no meaning in a rule with effect {self.effect}"
        for n, command in enumerate(self.commands or ()):
            if self.effect != "deny" and isinstance(command, CommandPattern) and command.runs_others:
                yield ("commands", n), f"{command.program!r} runs other programs; give its exact `args`"
            if self.effect == "deny" and command.model_fields_set - {"program", "args"}:
                yield ("commands", n), "a rule that denies takes `program` and `args`: words that must not occur"
        if self.effect == "deny" and any(url.no_query or url.query is not None for url in self.url or ()):
            yield ("url",), "a rule that denies cannot look at the query; allow the queries that are right"
        for n, handle in enumerate(self.restore):
            if handle not in HANDLES:
                near = difflib.get_close_matches(handle, HANDLES, n=1)
                what = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(HANDLES)}"
                yield ("restore", n), f"{handle!r} is no type of handle; {what}"
        yield from self._case_faults()

    def too_wide(self) -> Iterator[tuple[Where, str]]:
        """Why this rule may be loaded in the practice world only."""
        for kind in self.action if self.effect == "allow" else ():
            for name in (*BOUNDS, *(("path",) if kind.startswith("server.") else ())):
                if LOOKS_AT.get(name, name) in FIELDS[kind] and getattr(self, name) is None:
                    yield ("action",), f"rule {self.id!r} would allow any {kind}; bound it with {name!r}"

    def _case_faults(self) -> Iterator[tuple[Where, str]]:
        primary = next((name for name in ("url", "commands", "path") if name in self.matchers), None)
        for name, wanted in (("match", True), ("not_match", False)):
            if primary and self.effect != "deny" and not getattr(self, name):
                yield (), f"rule {self.id!r} needs a case under {name!r}"
            for n, text in enumerate(getattr(self, name)):
                if primary is None:
                    yield (name, n), "a case needs a matcher for url, commands or path"
                elif self._case_holds(primary, text) is not wanted:
                    yield (name, n), f"case {text!r} {'does not match' if wanted else 'matches'} the rule's {primary!r}"

    def _case_holds(self, primary: str, text: str) -> bool:
        """False also for a text that no action could carry."""
        try:
            case = {"url": _url_case, "commands": _command_case, "path": _path_case}[primary](text)
        except ValueError:
            return False
        return _HOLDS[primary](getattr(self, primary), case, "touches" if self.effect == "deny" else "covers")


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
    trust: tuple[Source, ...] = ()
    """Origins whose words taint nothing and may name recipients."""
    rules: tuple[Rule, ...]

    @field_validator("rules")
    @classmethod
    def _sorted(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(sorted(rules, key=lambda rule: rule.id))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical content; the order of rules in the file does not change it."""
        return hashlib.sha256(canonical_json(_as_before(self.model_dump(mode="json")))).hexdigest()

    @cached_property
    def by_kind(self) -> dict[str, tuple[Rule, ...]]:
        """For every kind the rules that speak about it, by id, those with a condition last."""
        rules = sorted(self.rules, key=lambda rule: (rule.when is not None, rule.id))
        return {kind: tuple(rule for rule in rules if kind in rule.action) for kind in KINDS}

    @cached_property
    def _by_place(self) -> dict[str, tuple[dict[str, list[tuple[int, Rule]]], list[tuple[int, Rule]]]]:
        """For every kind its rules with their position: by the hosts, servers or tools that they name, and others."""
        found: dict[str, tuple[dict[str, list[tuple[int, Rule]]], list[tuple[int, Rule]]]] = {}
        for kind, rules in self.by_kind.items():
            named: dict[str, list[tuple[int, Rule]]] = {}
            anywhere: list[tuple[int, Rule]] = []
            for n, rule in enumerate(rules):
                for name in rule.hosts or rule.server or rule.tool or ():
                    named.setdefault(name, []).append((n, rule))
                if not (rule.hosts or rule.server or rule.tool):
                    anywhere.append((n, rule))
            found[kind] = named, anywhere
        return found

    def rules_about(self, kind: str, places: Iterable[str] | None) -> Iterable[Rule]:
        """`rules_for` without those about other hosts, servers and tools than `places`; None leaves none out."""
        if places is None or kind not in self._by_place:
            return self.rules_for(kind)
        named, anywhere = self._by_place[kind]
        met = {n: rule for place in places for n, rule in named.get(place, ())}
        return [rule for _, rule in sorted([*met.items(), *anywhere], key=itemgetter(0))]

    def rules_for(self, kind: str) -> tuple[Rule, ...]:
        """The rules that speak about a kind; none for a kind that does not exist."""
        return self.by_kind.get(kind, ())

    def instead(self, kind: str) -> str:
        """What is allowed or asked for this kind, in one line for a refusal."""
        return self.scopes.get(kind, f"nothing with {kind}")

    @cached_property
    def scopes(self) -> dict[str, str]:
        """For every kind that may be proposed, a line about where."""
        found = {
            kind: dict.fromkeys(r.scope() for r in rules if r.effect != "deny") for kind, rules in self.by_kind.items()
        }
        return {
            kind: f"{kind} may be proposed for: {'; '.join([*scopes][:6])}" + "; …" * (len(scopes) > 6)
            for kind, scopes in found.items()
            if scopes
        }


_LATER: dict[str, Any] = {"trust": [], "not_requester": False, "limits": []}
_LATER |= dict.fromkeys(("sum", "distinct", "at_most", "unit", "by"))
"""Keys that came after the first release, with what they are when left out: so left out, they change no digest."""


def _as_before(given: Any) -> Any:
    if isinstance(given, dict):
        return {k: _as_before(v) for k, v in given.items() if k not in _LATER or v != _LATER[k]}
    return [_as_before(item) for item in given] if isinstance(given, list) else given


class _Case(Value):
    """As much of an action as a case in a rule spells out."""

    url: str | None = None
    path: str | None = None
    pipelines: tuple[tuple[Command, ...], ...] = ()


def _url_case(text: str) -> _Case:
    return _Case(url=canonical_url(text))


def _path_case(text: str) -> _Case:
    return _Case(path=text)


def _command_case(text: str) -> _Case:
    groups = [(is_bar, tuple(words)) for is_bar, words in groupby(shlex.split(text), lambda word: word == "|")]
    return _Case(pipelines=(tuple(Command(argv=neutral(argv)) for is_bar, argv in groups if not is_bar),))


def _url(patterns: tuple[UrlPattern, ...], action: Any, mode: Mode) -> bool:
    target = getattr(action, "target", action.url)
    if mode == "covers":
        return any(pattern.matches(target) for pattern in patterns)
    return any(pattern.touches(url) for pattern in patterns for url in (target, action.url))


def _path(patterns: tuple[str, ...], action: Any, mode: Mode) -> bool:
    globs = map(glob, patterns)
    return any(g.matches(action.path) if mode == "covers" else g.touches(action.path) for g in globs)


def _commands(patterns: tuple[CommandPattern | ReadsPattern, ...], action: Any, mode: Mode) -> bool:
    commands = [command for pipeline in action.pipelines for command in pipeline]
    if mode == "touches":
        return any(pattern.touches(command) for command in commands for pattern in patterns)
    inside = (any(pattern.matches(command) for pattern in patterns) for command in commands)
    return all(inside) if mode == "covers" else any(inside)


def _arguments(wanted: dict[str, Argument], action: Any, mode: Mode) -> bool:
    """Granting wants every argument named and nothing else; for the rest an absent one is in doubt and holds."""
    given: dict[str, JsonValue] = action.arguments
    wants = {name.removesuffix("?"): want for name, want in wanted.items()}
    absent = {name for name in wanted if not name.endswith("?")} - given.keys()
    if mode == "covers" and (absent or given.keys() - wants.keys()):
        return False
    return all(_argument_fits(want, given[name]) for name, want in wants.items() if name in given)


def _argument_fits(want: Argument, value: JsonValue) -> bool:
    if isinstance(want, Between):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (want.min is None or want.min <= value) and (want.max is None or value <= want.max)
    choices = want if isinstance(want, tuple) else (want,)
    return want == "any" or any(type(value) is type(choice) and value == choice for choice in choices)


def _named(field: str) -> Holds:
    return lambda names, action, mode: getattr(action, field) in names


_HOLDS: dict[str, Holds] = {
    "url": _url,
    "path": _path,
    "commands": _commands,
    "arguments": _arguments,
    **{name: _named(name) for name in ("server", "tool", "endpoint", "model", "does")},
}
