"""Layers of policy: organisation, unit, user, job, and the home's own. A lower layer can only narrow.

Each layer is a policy of the same language and judges every request by itself; what all of them together say is the
strictest of it. An action that any layer does not allow is not allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from policies.action import canonical_json
from policies.decision import Approvers, AskMode, Decision, Effect
from policies.errors import BadPolicy
from policies.request import Request
from policies.rules import Limits, Money, Policy

_LEVELS = ("none", "rlimits", "landlock", "namespaces", "full")
_UNPLANNED = ("allow", "ask", "deny")
_MODES = (AskMode.PLAN, AskMode.BATCH, AskMode.EACH)


class Layered(Policy):
    """Several policies that must all allow, from the organisation's down.

    Its own rules are those of all layers together: for lists and descriptions, not for decisions.
    """

    layers: tuple[Policy, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the digests of all layers, in their order."""
        return hashlib.sha256(canonical_json(["layers", *(layer.digest for layer in self.layers)])).hexdigest()

    def seen_by(self, layer: Policy, request: Request) -> Request:
        """The request as one layer judges it: a plan that was accepted under all of them was accepted under it."""
        mandate = request.mandate
        if mandate is None or mandate.accepted is None:
            return request
        of = layer.digest if mandate.accepted.policy_digest == self.digest else ""
        accepted = mandate.accepted.model_copy(update={"policy_digest": of})
        return replace(request, mandate=mandate.model_copy(update={"accepted": accepted}))

    def combined(self, decisions: Sequence[Decision]) -> Decision:
        """What one decision of each layer add up to."""
        worst = max(decisions, key=lambda decision: decision.effect)
        if worst.effect is Effect.DENY:
            return worst.model_copy(update={"policy_digest": self.digest})
        kept = [decision.obligations for decision in decisions]
        modes = [decision.ask for decision in decisions if decision.ask]
        obligations = {
            "restore": frozenset.intersection(*(k.restore for k in kept)),
            "secrets": frozenset.intersection(*(k.secrets for k in kept)),
            "least_level": max((k.least_level for k in kept), key=_LEVELS.index),
            "reservations": tuple(reservation for k in kept for reservation in k.reservations),
        }
        return worst.model_copy(
            update={
                "rules": tuple(rule for decision in decisions for rule in decision.rules),
                "ask": max(modes, key=_MODES.index, default=None),
                "approvers": _all_of([d.approvers for d in decisions if d.approvers != Approvers()]),
                "obligations": kept[0].model_copy(update=obligations),
                "policy_digest": self.digest,
            }
        )


def layered(layers: Sequence[tuple[str, Policy]]) -> Policy:
    """What the layers, each with its name, are together; the last one is the home's own and keeps its rules' ids.

    Every other layer's name stands before the ids of its rules, so that a refusal names both. BadPolicy when two
    layers limit money in different currencies.
    """
    *upper, (_, own) = layers
    if not upper:
        return own
    named = [*(_named(name, policy) for name, policy in upper), own]
    return Layered(
        version=1,
        name=own.name,
        practice_only=any(policy.practice_only for policy in named),
        unplanned=max((policy.unplanned for policy in named), key=_UNPLANNED.index),
        accept_plan="ask" if any(policy.accept_plan == "ask" for policy in named) else own.accept_plan,
        least_level=max((policy.least_level for policy in named), key=_LEVELS.index),
        limits=_least([policy.limits for policy in named]),
        # A source that one layer does not trust is not trusted.
        trust=tuple(source for source in own.trust if all(source in policy.trust for policy in named)),
        rules=tuple(rule for policy in named for rule in policy.rules),
        layers=tuple(named),
    )


def _named(name: str, policy: Policy) -> Policy:
    rules = tuple(rule.model_copy(update={"id": f"{name}/{rule.id}"}) for rule in policy.rules)
    return policy.model_copy(update={"name": f"{name}/{policy.name}", "rules": rules})


def _least(limits: Sequence[Limits]) -> Limits:
    money = [limit.money for limit in limits if limit.money]
    if len({each.currency for each in money}) > 1:
        currencies = " and ".join(sorted({each.currency for each in money}))
        raise BadPolicy(f"the layers of the policy limit money in {currencies}; use one currency")
    return Limits(
        steps=min(limit.steps for limit in limits),
        minutes=min(limit.minutes for limit in limits),
        tokens=min(limit.tokens for limit in limits),
        money=Money(amount=min(m.amount for m in money), currency=money[0].currency) if money else None,
    )


def _all_of(approvers: Sequence[Approvers]) -> Approvers:
    """Those who are right for every layer that asks for somebody."""
    if not approvers:
        return Approvers()
    return Approvers(
        groups=tuple(sorted({group for a in approvers for group in a.groups})),
        not_requester=any(a.not_requester for a in approvers),
        answers=max(a.answers for a in approvers),
        within_s=min(a.within_s for a in approvers),
        otherwise="stop" if any(a.otherwise == "stop" for a in approvers) else "skip",
    )
