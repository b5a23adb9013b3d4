"""Which requests a page of an allowed host may make by itself, from the policy's own rules."""

from __future__ import annotations

from policies.action import canonical_url
from policies.rules import Policy, Rule

_KINDS = ("browser.open", "browser.submit", "browser.click", "browser.download")


def named_hosts(policy: Policy) -> frozenset[str] | None:
    """The host names that exist for the browser; None when a rule allows more than names tell."""
    names = set()
    for rule in _granting(policy):
        hosts = {u.names_host for u in rule.url or ()}
        if not hosts or None in hosts:
            return None
        names |= {host for host in hosts if host}
    return frozenset(names)


def may_load(policy: Policy, method: str, url: str, resource: str) -> bool:
    """Whether a request may leave: a document only where a rule's url matches, the rest on such a rule's host."""
    try:
        target = canonical_url(url)
    except ValueError:
        return False
    if any(_denies(r, target) for kind in _KINDS for r in policy.rules_for(kind)):
        return False
    rules = _granting(policy)
    if any(r.url is None for r in rules):
        return True
    if resource == "document":
        sends = method != "GET"
        rules = [r for r in rules if not sends or set(r.action) & {"browser.submit", "browser.click"}]
        return any(p.matches(target) for r in rules for p in r.url or ())
    whole_host = {"path": "/**", "query": None, "no_query": False}
    return any(p.model_copy(update=whole_host).matches(target) for r in rules for p in r.url or ())


def _denies(rule: Rule, url: str) -> bool:
    """True for a rule that refuses this url whatever a control does there."""
    plain = rule.effect == "deny" and rule.when is None and rule.does is None
    return plain and any(p.touches(url) for p in rule.url or ())


def _granting(policy: Policy) -> list[Rule]:
    rules = {r.id: r for kind in _KINDS for r in policy.rules_for(kind) if r.effect != "deny"}
    return list(rules.values())
