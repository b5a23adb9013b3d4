"""Why a policy decides as it does: what every rule about the kind says, and on what the nearest ones fail."""

from __future__ import annotations

from typing import Any, Literal

from policies.action import Value
from policies.decide import decide
from policies.decision import Decision, Effect
from policies.request import Request
from policies.rules import LOOKS_AT, MATCHERS, Policy, Rule

Standing = Literal["decides", "overruled", "condition", "fails"]
MOST_NEAR = 5


class Failed(Value):
    """A matcher that does not hold: what the rule wants, and what the action has."""

    matcher: str
    wanted: str
    given: str


class Told(Value):
    """One rule about this kind of action.

    `decides`: it is among the rules of the decision. `overruled`: it matches, and a stricter one decides.
    `condition`: all but its `when` holds. `fails`: some matchers do not hold.
    """

    rule: str
    effect: str
    standing: Standing
    why: str
    failed: tuple[Failed, ...] = ()


class Explained(Value):
    """The decision, the rules that match, and those that nearly do, nearest first."""

    decision: Decision
    matched: tuple[Told, ...]
    nearly: tuple[Told, ...]


def explain(request: Request, policy: Policy) -> Explained:
    """The decision on a request, with what each rule about its kind makes of it."""
    decision = decide(request, policy)
    told = [_told(rule, request, decision) for rule in policy.rules_for(request.action.kind)]
    nearly = sorted((t for t in told if t.failed), key=lambda t: (len(t.failed), t.effect == "deny", t.rule))
    return Explained(
        decision=decision,
        matched=tuple(t for t in told if not t.failed),
        nearly=tuple(nearly[:MOST_NEAR]),
    )


def _told(rule: Rule, request: Request, decision: Decision) -> Told:
    action: Any = request.action
    mode: Literal["touches", "covers"] = "touches" if rule.effect == "deny" else "covers"
    failed = [name for name in rule.matchers if not _alone(rule, name).fits(action, mode)]
    standing: Standing = "decides" if rule.id in decision.rules else "overruled"
    if standing != "decides" and failed:
        standing = "fails"
    elif standing != "decides" and (rule.effect == "deny" or (rule.when and decision.effect is not Effect.DENY)):
        standing = "condition"  # whatever else is refused, a rule that refuses it would be named
    return Told(
        rule=rule.id,
        effect=rule.effect,
        standing=standing,
        why=rule.why,
        failed=tuple(
            Failed(matcher=name, wanted=_wanted(rule, name), given=_given(rule, name, action))
            for name in (failed if standing == "fails" else ())
        ),
    )


def _alone(rule: Rule, name: str) -> Rule:
    """The rule with one matcher only."""
    return rule.model_copy(update={other: None for other in MATCHERS if other != name})


def _wanted(rule: Rule, name: str) -> str:
    wanted = getattr(rule, name)
    if isinstance(wanted, dict):
        return ", ".join(f"{key}: {_argument(value)}" for key, value in wanted.items())
    return "; ".join(map(str, wanted))


def _argument(value: Any) -> str:
    if isinstance(value, Value):
        return " to ".join("…" if bound is None else str(bound) for bound in value.model_dump().values())
    return " | ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _given(rule: Rule, name: str, action: Any) -> str:
    """What of the action is outside; a pipeline shows only the commands that no pattern covers."""
    value = getattr(action, LOOKS_AT.get(name, name))
    match name:
        case "url":
            return str(getattr(action, "target", value))
        case "commands":
            commands = [command for pipeline in value for command in pipeline]
            outside = [c for c in commands if not any(pattern.matches(c) for pattern in rule.commands or ())]
            return "; ".join(" ".join(c.argv) for c in outside or commands)
        case "arguments":
            return ", ".join(f"{key}={text}" for key, text in value.items())
    return str(value)
