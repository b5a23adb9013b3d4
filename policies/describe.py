"""A policy as rows of who may do what: facts only, to be put into words of any language."""

from __future__ import annotations

from policies.action import Value
from policies.rules import Policy, Rule


class May(Value):
    """One rule: what it says about which actions and where, on which conditions, and who is asked."""

    rule: str
    effect: str
    actions: tuple[str, ...]
    where: str
    """Scope in the policy's own words; empty when it is about anything."""
    after_strangers: bool
    """Only once something untrusted was read."""
    unnamed_sink: bool
    """Only where nobody named the place it lands."""
    ask: str | None
    group: str | None
    answers: int
    within_s: int
    otherwise: str
    limit: str
    restore: tuple[str, ...]
    secrets: tuple[str, ...]
    why: str


def describe(policy: Policy) -> tuple[May, ...]:
    """Every rule of the policy: those that refuse first, then those that ask, then those that allow."""
    order = ("deny", "ask", "allow")
    return tuple(_may(rule) for rule in sorted(policy.rules, key=lambda rule: (order.index(rule.effect), rule.id)))


def _may(rule: Rule) -> May:
    of, when = rule.of, rule.when
    return May(
        rule=rule.id,
        effect=rule.effect,
        actions=rule.action,
        where=rule.scope() if rule.matchers else "",
        after_strangers=bool(when and when.untrusted),
        unnamed_sink=bool(when and when.sink),
        ask=(rule.ask or "each") if rule.effect == "ask" else None,
        group=of.group if of else None,
        answers=of.answers if of else 1,
        within_s=of.within if of else 86400,
        otherwise=of.otherwise if of else "skip",
        limit="; ".join(
            ", ".join(f"{k} {v}" for k, v in limit.model_dump(exclude_defaults=True).items())
            for limit in (rule.limit, *rule.limits)
            if limit
        ),
        restore=rule.restore,
        secrets=rule.secrets,
        why=rule.why,
    )
