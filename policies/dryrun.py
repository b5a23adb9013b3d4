"""What a plan would meet: every step judged by `decide` itself, before anything is read or done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

from policies.action import ACTION, Action, Value, canonical_url
from policies.decide import decide
from policies.decision import AskMode, Decision, Effect
from policies.labels import Label
from policies.mandate import Acceptance, Mandate, Plan, PlannedStep
from policies.match.path import FRESH, glob
from policies.match.url import UrlPattern
from policies.request import Request
from policies.rules import FIELDS, LOOKS_AT, Policy, Rule

Verdict = Literal["allowed", "with plan", "asks", "refused", "depends"]
# What a step may do to the three flags; every fetch tells its host something, so it is a way out.
_STRANGERS = ("browser.", "server.", "tool.", "table.read", "file.read", "shell.")
_PRIVATE = ("browser.", "server.", "tool.", "table.read", "file.read")
_OUT = ("browser.", "tool.", "server.write")
_CLICKS = ("submit", "read", "upload", "delete", "pay")
_DOES = {"browser.click": _CLICKS, "browser.submit": (*_CLICKS, "login")}


class PlannedVerdict(Value):
    """One step of a plan and what becomes of it once the plan is accepted."""

    n: int
    title: str
    verdict: Verdict
    rules: tuple[str, ...]
    reason: str
    worst: Verdict | None = None
    """Where it depends: the verdict on the worst of what the plan leaves open."""
    depends_on: tuple[str, ...] = ()
    """What is known only later: results of steps, as `step 2`, and pins that the plan leaves open."""


class Preflight(Value):
    """All steps, how many questions to expect beside the plan itself, and what the run can reach."""

    rows: tuple[PlannedVerdict, ...]
    questions_expected: int
    untrusted: bool
    private: bool
    way_out: bool
    most_steps: int | None = None
    most_minutes: int | None = None
    most_tokens: int | None = None
    """What the policy lets a run use up at most."""


def preflight(plan: Plan, policy: Policy, *, principal: str, now: datetime) -> Preflight:
    """The verdict of the worst case for each step, as if the plan were accepted and untrusted text in view.

    What a pin leaves open stands for everything it admits. What a control does is known only on the page:
    the strictest class that is not refused there is shown. `depends`: the rules look at what is not pinned.
    """
    met = [(step, *_verdict(step, policy, principal, now)) for step in plan.steps]
    limits = policy.limits
    asked = [(step, decision) for step, verdict, decision in met if verdict == "asks"]
    kinds = [step.kind for step in plan.steps]
    return Preflight(
        rows=tuple(
            PlannedVerdict(
                n=step.n,
                title=step.title,
                verdict=verdict,
                rules=decision.rules,
                reason=decision.reason,
                worst=_judged(step, policy, principal, now)[0] if verdict == "depends" else None,
                depends_on=_depends_on(step, policy),
            )
            for step, verdict, decision in met
        ),
        questions_expected=sum(step.at_most if d.ask is AskMode.EACH else 1 for step, d in asked),
        untrusted=any(kind.startswith(_STRANGERS) for kind in kinds),
        private=any(kind.startswith(_PRIVATE) for kind in kinds),
        way_out=any(kind.startswith(_OUT) for kind in kinds),
        most_steps=limits.steps,
        most_minutes=limits.minutes,
        most_tokens=limits.tokens,
    )


def acceptable_by_rule(preflight: Preflight, policy: Policy) -> bool:
    """True when the policy lets a plan be accepted without a person and no step needs one."""
    return policy.accept_plan == "when_all_allowed" and all(row.verdict == "allowed" for row in preflight.rows)


def _verdict(step: PlannedStep, policy: Policy, principal: str, now: datetime) -> tuple[Verdict, Decision]:
    rules = policy.rules_for(step.kind)
    if step.kind not in FIELDS or step.kind == "model.call":
        return "refused", Decision(effect=Effect.DENY, reason=f"{step.kind!r} is nothing that a plan can hold")
    if any(_open(rule, step) for rule in rules):
        reason = f"the plan leaves open what the rules for {step.kind} look at"
        return "depends", Decision(effect=Effect.ASK, reason=reason)
    return _judged(step, policy, principal, now)


def _depends_on(step: PlannedStep, policy: Policy) -> tuple[str, ...]:
    """What the verdict, or whether and how often the step is done, depends on."""
    if step.kind not in FIELDS:
        return ()
    earlier = {n for n in (step.per_row_of, step.only_if.step if step.only_if else None) if n is not None}
    left_open = {name for rule in policy.rules_for(step.kind) for name in _open(rule, step)}
    return (*(f"step {n}" for n in sorted(earlier)), *sorted(left_open))


def _judged(step: PlannedStep, policy: Policy, principal: str, now: datetime) -> tuple[Verdict, Decision]:
    """The verdict of the worst case, where what is open stands for what no rule names."""
    rules = policy.rules_for(step.kind)
    alone = Plan(summary="", steps=(step.model_copy(update={"only_if": None, "per_row_of": None}),))
    accepted = Acceptance(by="preflight", at=now, plan_digest=alone.digest, policy_digest=policy.digest)
    facts: dict[str, Any] = {
        "principal": principal,
        "mandate": Mandate(plan=alone, accepted=accepted),
        "now": now,
        "context": Label(),
    }
    worst: Decision | None = None
    for actions in _cases(step, rules):
        met = [decide(Request(run="", seq=0, epoch=0, action=action, **facts), policy) for action in actions]
        found = max((d for d in met if d.effect is not Effect.DENY), key=lambda d: d.effect, default=met[0])
        worst = found if worst is None or found.effect > worst.effect else worst
    assert worst is not None  # every pattern has a sample
    if worst.effect is Effect.ALLOW:
        asked = any(rule.effect == "ask" and rule.id in worst.rules for rule in rules)
        return ("with plan" if asked else "allowed"), worst
    return ("asks" if worst.effect is Effect.ASK else "refused"), worst


def _open(rule: Rule, step: PlannedStep) -> set[str]:
    """Names of what the rule looks at and the step does not pin."""
    pins = step.pins
    looked = {LOOKS_AT.get(name, name) for name in rule.matchers}
    if rule.when and rule.when.sink:
        looked |= {"url", "server", "tool"} & FIELDS[step.kind]
    named = {name.removesuffix("?") for name in rule.arguments or ()}
    left_open = {name for name in looked & {"url", "server", "pipelines", "tool"} if getattr(pins, name) is None}
    return left_open | (named - (pins.arguments or {}).keys())


def _cases(step: PlannedStep, rules: tuple[Rule, ...]) -> Iterator[list[Action]]:
    """Actions that stand for all that the pins admit: one list for each url and path, over what a control may do."""
    fields, pins = FIELDS[step.kind], step.pins
    unknown: dict[str, Any] = {
        "control": {"role": "", "name": ""},
        "value": "",
        "method": "post",
        "fields": [{"name": k, "value": v} for k, v in (pins.fields or {}).items()],
        "text": "",
        "sheets": [{"columns": [""], "rows": []}],
        "server": pins.server or FRESH,
        "pipelines": pins.pipelines or [[{"argv": [FRESH]}]],
        "tool": pins.tool or FRESH,
        "arguments": pins.arguments or {},
        "declaration": "",
    }
    given = {"kind": step.kind, **{name: value for name, value in unknown.items() if name in fields}}
    for url in _urls(step, rules) if "url" in fields else [""]:
        for path in _paths(step, rules) if "path" in fields else [""]:
            sinks = {"url": url, "target": url, "path": path}
            action = given | {name: value for name, value in sinks.items() if name in fields}
            yield [
                ACTION.validate_python(action | ({"does": d} if "does" in fields else {}))
                for d in _DOES.get(step.kind, ("",))
            ]


def _urls(step: PlannedStep, rules: tuple[Rule, ...]) -> list[str]:
    pattern = step.pins.place or UrlPattern(scheme="http", host=f"{FRESH}.example", path="/")
    port = f":{pattern.port}" if pattern.port else ""
    paths = pattern.glob.samples(url.glob for rule in rules for url in rule.url or ())
    query = f"?{urlencode(pattern.query)}" if pattern.query else ""
    return [canonical_url(f"{pattern.scheme}://{pattern.names_host}{port}{path}{query}") for path in paths]


def _paths(step: PlannedStep, rules: tuple[Rule, ...]) -> list[str]:
    everywhere = "/**" if step.kind.startswith("server.") else "**"
    return glob(step.pins.path or everywhere).samples(glob(p) for rule in rules for p in rule.path or ())
