"""The decision point: a pure function of the request and the policy. No clock, no counter, no I/O.

Deny > ask > allow over all rules that match, whatever their order; no rule means deny; a rule that
cannot be evaluated means deny. `planned` is set for reads too, but only effects spend a planned step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from policies.action import EffectClass
from policies.decision import Approvers, AskMode, Decision, Effect, Obligations, Reservation
from policies.labels import Integrity
from policies.mandate import pinned
from policies.match.url import place
from policies.request import Request
from policies.rules import Policy, Rule

# What a broken rule can raise. Anything else rises to the gate, which refuses.
_EVALUATION = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_MODES = (AskMode.PLAN, AskMode.BATCH, AskMode.EACH)
_Part = Literal["denies", "grants", "raises"]


def decide(request: Request, policy: Policy) -> Decision:
    """What the policy says to the request, with the rules and the reason. A broken rule is a deny, no error."""
    return _Judgement(request, policy).decision()


class _Judgement:
    """One request under one policy: the rules that match, and what they add up to."""

    def __init__(self, request: Request, policy: Policy) -> None:
        self.request, self.policy, self.action = request, policy, request.action
        mandate = request.mandate
        accepted = mandate.accepted if mandate else None
        # What was accepted under other rules is not accepted under these.
        self.mandate = mandate if accepted and accepted.policy_digest == policy.digest else None
        self.matched: dict[_Part, list[Rule]] = {"denies": [], "grants": [], "raises": []}
        self.broken: list[Rule] = []
        self._match()

    def decision(self) -> Decision:
        denies, grants = self.matched["denies"], self.matched["grants"]
        if self.broken:
            return self._deny(self.broken, f"error: {_named(self.broken)} cannot be evaluated")
        if denies:
            return self._deny(denies, f"{_named(denies)} refuses it: {denies[0].why}")
        if not grants:
            return self._deny((), f"no rule of policy {self.policy.name!r} allows this {self.action.kind}")
        return self._granted([*grants, *self.matched["raises"]])

    def _match(self) -> None:
        conditional = []
        for rule in self.policy.rules_for(self.action.kind):
            try:
                part = self._part(rule)
            except _EVALUATION:
                self.broken.append(rule)
                continue
            if part and rule.when:
                conditional.append((part, rule))
            elif part:
                self.matched[part].append(rule)
        grounded = None
        for part, rule in conditional:  # after the others: those may name the sink
            if rule.when and rule.when.untrusted and self.request.context.integrity is not Integrity.UNTRUSTED:
                continue
            if rule.when and rule.when.sink and (grounded := self._grounded() if grounded is None else grounded):
                continue
            self.matched[part].append(rule)

    def _part(self, rule: Rule) -> _Part | None:
        if rule.effect == "deny":
            return "denies" if rule.fits(self.action, "touches") else None
        if rule.fits(self.action, "covers"):
            return "grants"
        return "raises" if rule.effect == "ask" and rule.fits(self.action, "raises") else None

    def _grounded(self) -> bool:
        """True when the requester, the accepted plan or a matching rule named exactly where this lands.

        What lands in the run's own folder, or at the model endpoint of the settings, was not chosen by anybody
        whose words were read.
        """
        action: Any = self.action
        pins = [step.pins for step in self.mandate.plan.steps] if self.mandate else []
        grants = self.matched["grants"]
        if url := getattr(action, "target", None) or getattr(action, "url", None):
            host = place(url).host
            named = {p.place.names_host for p in pins if p.place}
            named |= {u.names_host for r in grants for u in r.url or () if u.matches(url)}
            return host in named or (self.request.mandate is not None and host in self.request.mandate.hosts)
        if server := getattr(action, "server", None):
            return any(server == p.server for p in pins) or any(server in (r.server or ()) for r in grants)
        if action.kind == "tool.call":
            open_sinks = set(action.sinks or (action.arguments if action.effect is not EffectClass.READ else ()))
            for p in pins:
                if p.tool == action.tool and p.fit(action):
                    open_sinks -= (p.arguments or {}).keys()
            for rule in grants:
                exact = {name.removesuffix("?") for name, want in (rule.arguments or {}).items() if _exact(want)}
                open_sinks -= exact
            return not open_sinks
        return True

    def _granted(self, rules: Sequence[Rule]) -> Decision:
        """What allow and ask rules, the mandate and the answers so far add up to."""
        action, asks = self.action, [rule for rule in rules if rule.effect == "ask"]
        approvers = _approvers(asks)
        if approvers is None:
            return self._deny(asks, f"error: {_named(asks)} ask different groups; make them one rule")
        step = self.mandate.fit(action) if self.mandate else None
        mode = max((AskMode(rule.ask or "each") for rule in asks), key=_MODES.index, default=None)
        reason = f"{_named(asks or rules)} {'asks first' if asks else 'allows it'}: {(asks or rules)[0].why}"
        # A model call is bound by the run's limits instead.
        bound = action.effect is not EffectClass.READ and action.kind != "model.call"
        if bound and step is None and self.policy.unplanned != "allow":
            reason = f"no unspent step of the accepted plan covers this {action.kind}"
            if self.policy.unplanned == "deny" or not self.request.attended:
                return self._deny(rules, reason, "a step in an accepted plan; ")
            mode, reason = AskMode.EACH, f"{reason}, so a person is asked"
        elif mode is AskMode.PLAN:
            if step and pinned(step, action):
                mode, reason = None, f"{_named(asks)} is answered by step {step.n} of the accepted plan"
            else:
                mode = AskMode.BATCH
        yes = sorted(set(self.request.approved_by))
        if mode and len(yes) >= approvers.answers:
            mode, reason = None, f"{', '.join(yes)} said yes to exactly this"
        return Decision(
            effect=Effect.ASK if mode else Effect.ALLOW,
            rules=tuple(rule.id for rule in rules),
            reason=reason,
            planned=step.n if step else None,
            ask=mode,
            approvers=approvers,
            obligations=self._obligations(rules),
            policy_digest=self.policy.digest,
        )

    def _obligations(self, rules: Sequence[Rule]) -> Obligations:
        return Obligations(
            restore=frozenset(name for rule in rules for name in rule.restore),
            secrets=frozenset(name for rule in rules for name in rule.secrets),
            least_level=self.policy.least_level,
            reservations=tuple(self._reservation(rule) for rule in rules if rule.limit),
        )

    def _reservation(self, rule: Rule) -> Reservation:
        assert rule.limit is not None
        scope = f":{self.request.run}" if rule.limit.per == "run" else ""
        key = f"rule:{rule.id}:{rule.limit.per}{scope}"
        return Reservation(key=key, limit=rule.limit.count, window=rule.limit.per)

    def _deny(self, rules: Sequence[Rule], reason: str, instead: str = "") -> Decision:
        return Decision(
            effect=Effect.DENY,
            rules=tuple(rule.id for rule in rules),
            reason=reason,
            instead=instead + self.policy.instead(self.action.kind),
            policy_digest=self.policy.digest,
        )


def _named(rules: Sequence[Rule]) -> str:
    return ("rule " if len(rules) == 1 else "rules ") + ", ".join(repr(rule.id) for rule in rules)


def _exact(want: object) -> bool:
    return isinstance(want, tuple | int) or (isinstance(want, str) and want != "any")


def _approvers(asks: Sequence[Rule]) -> Approvers | None:
    """The strictest of what the rules say about answers; None when two of them name different groups."""
    given = [rule.of for rule in asks if rule.of]
    if not given:
        return Approvers()
    groups = {of.group for of in given if of.group}
    if len(groups) > 1:
        return None
    return Approvers(
        group=next(iter(groups), None),
        answers=max(of.answers for of in given),
        within_s=min(of.within for of in given),
        otherwise="stop" if any(of.otherwise == "stop" for of in given) else "skip",
    )
