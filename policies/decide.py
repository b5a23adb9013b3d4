"""The decision point: a pure function of the request and the policy. No clock, no counter, no I/O.

Deny > ask > allow over all rules that match, whatever their order; no rule means deny; a rule that
cannot be evaluated means deny. `planned` is set for reads too, but only effects spend a planned step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from policies.action import EffectClass
from policies.decision import Approvers, AskMode, Decision, Effect, Obligations
from policies.grounds import recipients
from policies.labels import Integrity
from policies.layers import Layered
from policies.mandate import Pins, pinned
from policies.match.url import place
from policies.request import Request
from policies.rules import Policy, Rule

# What a rule that cannot be evaluated raises. Anything else rises to the gate, which refuses.
_EVALUATION = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_MODES = (AskMode.PLAN, AskMode.BATCH, AskMode.EACH)


def decide(request: Request, policy: Policy) -> Decision:
    """What the policy says to the request, with the rules and the reason. What cannot be evaluated is a deny."""
    if isinstance(policy, Layered):
        return policy.combined([decide(policy.seen_by(layer, request), layer) for layer in policy.layers])
    judgement = _Judgement(request, policy)
    try:
        return judgement.decision()
    except _EVALUATION:
        return judgement.deny((), "error: the request cannot be evaluated")


class _Judgement:
    """One request under one policy: the rules that match, and what they add up to."""

    def __init__(self, request: Request, policy: Policy) -> None:
        self.request, self.policy, self.action = request, policy, request.action
        mandate = request.mandate
        accepted = mandate.accepted if mandate else None
        # What was accepted under other rules is not accepted under these.
        self.mandate = mandate if accepted and accepted.policy_digest == policy.digest else None
        self.denies: list[Rule] = []
        self.grants: list[Rule] = []
        """Allow and ask rules that cover the whole action."""
        self.raises: list[Rule] = []
        """Ask rules that speak about a part of it: they grant nothing."""

    def decision(self) -> Decision:
        broken = []
        # Most rules are about other places: leaving those out is for speed alone.
        for rule in self.policy.rules_about(self.action.kind, _places(self.action)):
            try:
                self._sort_in(rule)
            except _EVALUATION:
                broken.append(rule)
        if broken:
            return self.deny(broken, f"error: {_named(broken)} cannot be evaluated")
        if self.denies:
            return self.deny(self.denies, f"{_named(self.denies)} refuses it: {self.denies[0].why}")
        if not self.grants:
            return self.deny((), f"no rule of policy {self.policy.name!r} allows this {self.action.kind}")
        return self._granted([*self.grants, *self.raises])

    def deny(self, rules: Sequence[Rule], reason: str, instead: str = "") -> Decision:
        return Decision(
            effect=Effect.DENY,
            rules=tuple(rule.id for rule in rules),
            reason=reason,
            instead=instead + self.policy.instead(self.action.kind),
            policy_digest=self.policy.digest,
        )

    def _sort_in(self, rule: Rule) -> None:
        if rule.effect == "deny":
            if rule.fits(self.action, "touches") and self._holds(rule):
                self.denies.append(rule)
        elif rule.when is None and rule.fits(self.action, "covers"):
            self.grants.append(rule)
        # A condition can only raise: else having read strangers would open what is shut otherwise.
        elif rule.effect == "ask" and rule.fits(self.action, "raises") and self._holds(rule):
            self.raises.append(rule)

    def _holds(self, rule: Rule) -> bool:
        when = rule.when
        if when is None:
            return True
        if when.untrusted and self.request.context.integrity is not Integrity.UNTRUSTED:
            return False
        return not (when.sink and self._grounded())

    def _grounded(self) -> bool:
        """True when the requester, the accepted plan or a rule that grants named exactly where this lands.

        What lands in the run's own folder, or at a model endpoint of the settings, was not chosen by anybody
        whose words were read.
        """
        action: Any = self.action
        pins = [step.pins for step in self.mandate.plan.steps] if self.mandate else []
        if url := getattr(action, "target", None) or getattr(action, "url", None):
            hosts = {p.place.names_host for p in pins if p.place}
            hosts |= {u.names_host for r in self.grants for u in r.url or () if u.matches(url)}
            hosts |= self.request.mandate.hosts if self.request.mandate else set()
            return place(url).host in hosts and self._recipients(pins)
        server = getattr(action, "server", None)
        named = {p.server for p in pins}.union(*(rule.server or () for rule in self.grants))
        if server and server not in named:
            return False
        if getattr(action, "pipelines", None) and action.effect is not EffectClass.READ:
            return any(p.pipelines == action.pipelines for p in pins) or any(_exactly(r, action) for r in self.grants)
        return action.kind != "tool.call" or self._recipients(pins)

    def _recipients(self, pins: Sequence[Pins]) -> bool:
        """True when each value that says who gets it was named, as above or by a source that is trusted."""
        action: Any = self.action
        named = {name for rule in self.grants for name in rule.exact_arguments()}
        named |= {name for p in pins if p.tool and p.fit(action) for name in p.arguments or ()}
        named |= {name for p in pins if p.fields and p.fit(action) for name in p.fields}
        return all(name in named or self.request.grounded.issuperset(v) for name, v in recipients(action).items())

    def _granted(self, rules: Sequence[Rule]) -> Decision:
        """What allow and ask rules, the mandate and the answers so far add up to."""
        action, asks = self.action, [rule for rule in rules if rule.effect == "ask"]
        approvers = _strictest(asks)
        grounded = self.request.grounded
        step = self.mandate.fit(action, grounded) if self.mandate else None
        mode = max((AskMode(rule.ask or "each") for rule in asks), key=_MODES.index, default=None)
        reason = f"{_named(asks or rules)} {'asks first' if asks else 'allows it'}: {(asks or rules)[0].why}"
        # A model call is bound by the run's limits instead.
        bound = action.effect is not EffectClass.READ and action.kind != "model.call"
        if bound and step is None and self.policy.unplanned != "allow":
            reason = f"no unspent step of the accepted plan covers this {action.kind}"
            if self.policy.unplanned == "deny" or not self.request.attended:
                return self.deny(rules, reason, "a step of an accepted plan; ")
            mode, reason = AskMode.EACH, f"{reason}, so a person is asked"
        elif mode is AskMode.PLAN:
            mode = AskMode.BATCH
            # Whoever may accept a plan is not for that one of those whom the rule names.
            if step and approvers.anyone and pinned(step, action):
                mode, reason = None, f"{_named(asks)} is answered by step {step.n} of the accepted plan"
        yes = sorted(set(self.request.approved_by))
        if mode and len(yes) >= approvers.answers:
            mode, reason = None, f"{', '.join(yes)} said yes to exactly this"
        return Decision(
            effect=Effect.ASK if mode else Effect.ALLOW,
            rules=tuple(rule.id for rule in rules),
            reason=reason,
            planned=step.n if step else None,
            row=self.mandate.row(step, action, grounded) if self.mandate and step and bound else None,
            ask=mode,
            approvers=approvers,
            obligations=self._obligations(rules),
            policy_digest=self.policy.digest,
        )

    def _obligations(self, rules: Sequence[Rule]) -> Obligations:
        return Obligations(
            restore=frozenset(name for rule in self.grants for name in rule.restore),
            secrets=frozenset(name for rule in self.grants for name in rule.secrets),
            least_level=self.policy.least_level,
            reservations=tuple(
                limit.reservation(rule.id, self.action, self.request.run)
                for rule in rules
                for limit in (rule.limit, *rule.limits)
                if limit
            ),
        )


def _exactly(rule: Rule, action: Any) -> bool:
    """True when the rule spells out every command of the action with all its words."""
    spelled = [pattern for pattern in rule.commands or () if getattr(pattern, "args", None) is not None]
    return all(any(p.matches(command) for p in spelled) for pipeline in action.pipelines for command in pipeline)


def _places(action: Any) -> set[str] | None:
    """The hosts, server or tool that an action names; None when that cannot be told."""
    try:
        found = {place(url).host for name in ("url", "target") if (url := getattr(action, name, None))}
    except ValueError:  # not canonical: the rules that look at it refuse
        return None
    return found | {name for name in (getattr(action, "server", None), getattr(action, "tool", None)) if name} or None


def _named(rules: Sequence[Rule]) -> str:
    return ("rule " if len(rules) == 1 else "rules ") + ", ".join(repr(rule.id) for rule in rules)


def _strictest(asks: Sequence[Rule]) -> Approvers:
    given = [rule.of for rule in asks if rule.of]
    if not given:
        return Approvers()
    return Approvers(
        groups=tuple(sorted({of.group for of in given if of.group})),
        not_requester=any(of.not_requester for of in given),
        answers=max(of.answers for of in given),
        within_s=min(of.within for of in given),
        otherwise="stop" if any(of.otherwise == "stop" for of in given) else "skip",
    )
