"""What is odd about a policy that loads: rules that never decide anything, and patterns wider than most want."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.action import Value
from policies.match.path import glob
from policies.rules import MATCHERS, Policy, Rule

WRITES = ("browser.click", "browser.submit", "server.write", "tool.call")


class Doubt(Value):
    """A rule and a sentence about it."""

    rule: str
    said: str


def doubts(policy: Policy) -> Iterator[Doubt]:
    """Rules that a stricter or a wider one makes useless, and patterns that admit more than most rules mean to."""
    for rule in policy.rules:
        for other in policy.rules:
            if other.id != rule.id and (said := _beside(rule, other)):
                yield Doubt(rule=rule.id, said=said)
        for said in _wide(rule) if rule.effect != "deny" else ():
            yield Doubt(rule=rule.id, said=said)


def _beside(rule: Rule, other: Rule) -> str | None:
    """What `other` leaves of `rule`, when it is about everything that `rule` is about."""
    if not (other.when is None or other.when == rule.when) or not _inside(rule, other):
        return None
    if other.effect == "deny":
        what = "adds nothing" if rule.effect == "deny" else "is never reached"
        # Of two that say the same the later name is the one too many.
        both = _inside(other, rule) and rule.effect == "deny" and other.when == rule.when
        return None if both and rule.id < other.id else f"it {what}: rule {other.id!r} refuses all of it"
    if rule.effect == "allow" and other.effect == "ask":
        return f"it never allows by itself: rule {other.id!r} asks about all of it"
    gives = {*rule.restore, *rule.secrets} - {*other.restore, *other.secrets}
    if (
        rule.effect == other.effect == "allow"
        and not gives
        and rule.limit in (None, other.limit)
        and rule.limits in ((), other.limits)
    ):
        both = _inside(other, rule) and not {*other.restore, *other.secrets} - {*rule.restore, *rule.secrets}
        return None if both and rule.id < other.id else f"it adds nothing: rule {other.id!r} allows all of it"
    return None


def _inside(rule: Rule, other: Rule) -> bool:
    """True when surely every action that `rule` is about is one that `other` is about."""
    if not set(rule.action) <= set(other.action):
        return False
    return all(
        getattr(other, name) is None
        or (getattr(rule, name) is not None and _within(name, getattr(rule, name), getattr(other, name), other))
        for name in _looks(rule, other)
    )


def _looks(rule: Rule, other: Rule) -> set[str]:
    return {*MATCHERS} & {*rule.matchers, *other.matchers}


def _within(name: str, mine: Any, theirs: Any, other: Rule) -> bool:
    if mine == theirs:
        return True
    match name:
        case "url":
            return all(any(_place_within(a, b, other) for b in theirs) for a in mine)
        case "path":
            return all(any(_glob_within(glob(a), glob(b)) for b in theirs) for a in mine)
        case "commands":
            return other.effect != "deny" and all(any(a == b for b in theirs) for a in mine)
        case "arguments":
            return False
    return set(mine) <= set(theirs)


def _place_within(mine: Any, theirs: Any, other: Rule) -> bool:
    host = mine.host if isinstance(mine.host, str) else f"x.{mine.host.subdomain_of}"
    fits = host == theirs.host if isinstance(theirs.host, str) else host.endswith("." + theirs.host.subdomain_of)
    # A rule that denies looks at no query and, without a port, at none.
    free = other.effect == "deny" and theirs.port is None
    same = free or (mine.port == theirs.port and (theirs.query is None and not theirs.no_query))
    return bool(fits and theirs.scheme in (None, mine.scheme) and same and _glob_within(mine.glob, theirs.glob))


def _glob_within(mine: Any, theirs: Any) -> bool:
    return all(theirs.matches(path) for path in mine.samples([theirs]))


def _wide(rule: Rule) -> Iterator[str]:
    writes = [kind for kind in rule.action if kind in WRITES]
    if writes and rule.effect == "allow" and any(u.path == "/**" and not rule.does for u in rule.url or ()):
        yield f"it allows {writes[0]} on every page of a site; name the paths, or what may be done with 'does'"
    for pattern in rule.url or ():
        if not isinstance(pattern.host, str) and pattern.host.subdomain_of.count(".") == 0:
            yield f"every host below {pattern.host.subdomain_of!r} is meant; name the company's own domain"
        if pattern.scheme is None:
            yield f"{str(pattern)!r} is meant with and without encryption; name the scheme"
    if rule.arguments and all(want == "any" for want in rule.arguments.values()) and rule.effect == "allow":
        yield "every argument of the tool may be anything; bound those that say where it lands"
    if "server.write" in rule.action and any(path in ("/**", "/etc/**") for path in rule.path or ()):
        yield "it covers files that decide who may log in; name the folder that is meant"
