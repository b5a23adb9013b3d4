"""Which requests a page of an allowed host may make by itself, from the policy's own rules."""

from __future__ import annotations

from policies.action import canonical_url
from policies.layers import Layered
from policies.rules import Policy, Rule

_KINDS = ("browser.open", "browser.submit", "browser.click", "browser.download")
_SENDS = frozenset({"browser.submit", "browser.click"})
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})


def named_hosts(policy: Policy) -> frozenset[str] | None:
    """The host names that exist for the browser; None when a rule allows more than names tell.

    A rule without a url adds no host, except in the practice world, where all hosts are our own.
    """
    if isinstance(policy, Layered):
        named = [found for layer in policy.layers if (found := named_hosts(layer)) is not None]
        return frozenset.intersection(*named) if named else None
    names = set()
    for rule in _granting(policy):
        if rule.url is None and not policy.practice_only:
            continue
        hosts = {u.names_host for u in rule.url or ()}
        if not hosts or None in hosts:
            return None
        names |= {host for host in hosts if host}
    return frozenset(names)


def may_load(policy: Policy, method: str, url: str, resource: str) -> bool | None:
    """Whether a request may leave: True as a rule allows it, None as a rule asks about it, False as none names it.

    What is asked about may leave only as part of an action that was permitted. A document, and what could change
    anything, must match a rule's url; the rest may come from such a rule's host.
    """
    if isinstance(policy, Layered):
        said = {may_load(layer, method, url, resource) for layer in policy.layers}
        return False if False in said else None if None in said else True
    try:
        target = canonical_url(url)
    except ValueError:
        return False
    if any(_denies(r, target) for kind in _KINDS for r in policy.rules_for(kind)):
        return False
    effects = {r.effect for r in _granting(policy) if _covers(r, method, target, resource)}
    return True if "allow" in effects else None if "ask" in effects else False


def _covers(rule: Rule, method: str, url: str, resource: str) -> bool:
    sends = method not in _LOOKING
    if sends and (_SENDS.isdisjoint(rule.action) or rule.does == ("read",)):
        return False
    if rule.url is None:
        return True
    if sends or resource == "document":
        return any(p.matches(url) for p in rule.url)
    whole_host = {"path": "/**", "query": None, "no_query": False}
    return any(p.model_copy(update=whole_host).matches(url) for p in rule.url)


def _denies(rule: Rule, url: str) -> bool:
    """True for a rule that refuses this url whatever a control does there."""
    plain = rule.effect == "deny" and rule.when is None and rule.does is None
    return plain and any(p.touches(url) for p in rule.url or ())


def _granting(policy: Policy) -> list[Rule]:
    """The rules that may grant; a rule with a condition only ever raises."""
    rules = {r.id: r for kind in _KINDS for r in policy.rules_for(kind) if r.effect != "deny" and r.when is None}
    return list(rules.values())
