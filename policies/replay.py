"""What another policy would have said to what was recorded: a pure function of the record and the policies.

The record is the lines of an export (`agent.audit.export` describes them). An action is judged once, as it was
first proposed: answers of people came after that. A plan that was accepted then counts as accepted now. What the
record does not hold is tried in every way; where the answer depends on it, it is `unknown`, never guessed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from policies.action import ACTION, Action
from policies.decide import decide
from policies.decision import Decision, Effect
from policies.grounds import recipients
from policies.labels import TOP, Label
from policies.mandate import Acceptance, Mandate, Plan, PlannedStep
from policies.request import Request
from policies.rules import Policy

UNKNOWN = "unknown"
CHANGES = ("newly-allowed", "newly-asked", "newly-denied")
# What the gate adds to a decision from facts that stand in no record: these stay as they were.
_GATE = frozenset({"executor", "error", "limit", "handles", "secrets", "interrupted"})
_DECIDED = {"intent": "allow", "asked": "ask", "denied": "deny"}
_EFFECTS = {"allow": Effect.ALLOW, "ask": Effect.ASK, "deny": Effect.DENY}
_BECAME = {Effect.ALLOW: "newly-allowed", Effect.ASK: "newly-asked", Effect.DENY: "newly-denied"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One recorded action: what was said then (or by the older policy), and what is said now."""

    run: str
    seq: int
    at: str
    who: str
    kind: str
    where: str
    before: str
    after: str
    change: str
    """One of CHANGES, `unknown`, or empty where nothing changed."""
    rules: tuple[str, ...]
    reason: str
    missing: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class Replayed:
    """All that came of a replay, in the order of the record."""

    policy: str
    against: str
    actions: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """How many of each change; `same` for the rest."""
    by: dict[str, Counter[str]] = field(default_factory=dict)
    """The same for each job, unit or person that began runs."""
    changes: list[Judged] = field(default_factory=list)
    first: dict[str, Judged] = field(default_factory=dict)
    """Where each run would have gone another way first; what follows there is what might have been."""
    missing: Counter[str] = field(default_factory=Counter)
    """Facts that were not recorded, and how often the answer depends on them."""
    fired: Counter[str] = field(default_factory=Counter)
    idle: tuple[str, ...] = ()
    """Rules that decided nothing."""


def replay(lines: Iterable[Mapping[str, Any]], policy: Policy, against: Policy | None = None) -> Replayed:
    """Every recorded action judged by `policy`, compared with `against`, or with what was decided then."""
    found = Replayed(policy=policy.name, against=against.name if against else "what was decided")
    for judged in _judged(lines, policy, against):
        found.actions += 1
        change = judged.change or "same"
        found.counts[change] += 1
        found.by.setdefault(judged.who, Counter())[change] += 1
        found.fired.update(judged.rules)
        found.missing.update(judged.missing)
        if judged.change:
            found.changes.append(judged)
        if judged.change in CHANGES:
            found.first.setdefault(judged.run, judged)
    found.idle = tuple(rule.id for rule in policy.rules if rule.id not in found.fired)
    return found


def _judged(lines: Iterable[Mapping[str, Any]], policy: Policy, against: Policy | None) -> Iterator[Judged]:
    who, plans, seen = "", dict[str, Plan](), set[int]()
    for line in lines:
        if line.get("type") == "run":
            who, plans, seen = str(line.get("job") or line.get("unit") or line.get("principal") or ""), {}, set()
        elif line.get("event") == "plan" and line.get("plan"):
            try:
                plans[str(line["facts"].get("plan"))] = Plan.model_validate(_plan_of(line["plan"]))
            except ValidationError:
                continue  # written by another version: what depends on it is unknown
        elif line.get("replay") and line["seq"] not in seen:
            seen.add(line["seq"])
            yield _one(line, who, plans, policy, against)


def _plan_of(written: Any) -> Any:
    return written.get("plan", written) if isinstance(written, dict) else written


def _one(
    line: Mapping[str, Any], who: str, plans: Mapping[str, Plan], policy: Policy, against: Policy | None
) -> Judged:
    facts, record = line["facts"], line["replay"]
    told = {"run": line["run"], "seq": line["seq"], "at": str(line["at"]), "who": who, "kind": str(facts.get("kind"))}
    before: str | None = facts.get("decision") or _DECIDED.get(str(line.get("event")))
    try:
        action = ACTION.validate_python(record["action"])
    except ValidationError:
        lacking: Any = {"before": before or UNKNOWN, "after": UNKNOWN, "change": UNKNOWN, "rules": (), "where": ""}
        return Judged(**told, **lacking, reason="the action was not recorded", missing=("action",))
    told["where"] = _where(action)
    by_gate = before == "deny" and not _GATE.isdisjoint(facts.get("rules") or ())
    now, missing = _decided(action, line, plans, policy)
    if against is not None:
        then, more = _decided(action, line, plans, against)
        before, missing = (then.effect.name.lower() if then else None), tuple(dict.fromkeys((*missing, *more)))
    if now is None or before not in _EFFECTS:
        unknown: Any = {"before": before or UNKNOWN, "after": UNKNOWN, "change": UNKNOWN, "rules": ()}
        return Judged(**told, **unknown, reason="it depends on what was not recorded", missing=missing)
    if by_gate and against is None and now.effect is not Effect.DENY:
        same: Any = {"before": before, "after": before, "change": "", "rules": now.rules}
        return Judged(**told, **same, reason=f"refused then and now, beside the rules: {', '.join(facts['rules'])}")
    after = now.effect.name.lower()
    change = "" if after == before else _BECAME[now.effect]
    return Judged(**told, before=before, after=after, change=change, rules=now.rules, reason=now.reason)


def _decided(
    action: Action, line: Mapping[str, Any], plans: Mapping[str, Plan], policy: Policy
) -> tuple[Decision | None, tuple[str, ...]]:
    """The decision, None when it depends on facts that were not recorded, and their names."""
    record, facts = line["replay"], line["facts"]
    choices: dict[str, list[Any]] = {}
    if record.get("context") is None:
        choices["context"] = [TOP, Label()]
    if record.get("attended") is None:
        choices["attended"] = [True, False]
    lost = record.get("mandate") is None and "mandate" in record.get("missing", ())
    if lost or _unknown_plan(record, plans):
        choices["mandate"] = [None, _covering(action, policy)]
    # What was masked is not the word that was named any more.
    lost_grounds = record.get("grounded") is None or not record.get("whole", True)
    if lost_grounds and (theirs := recipients(action)):
        choices["grounded"] = [frozenset(), frozenset(itertools.chain.from_iterable(theirs.values()))]
    known: dict[str, Any] = {
        "context": Label.model_validate(record["context"]) if record.get("context") else TOP,
        "attended": record.get("attended") is not False,
        "mandate": None if lost else _mandate(record, plans, policy),
        "grounded": frozenset(record.get("grounded") or ()),
    }
    told: Any = {"run": line["run"], "seq": line["seq"], "epoch": 0, "action": action}
    told |= {"principal": str(facts.get("principal")), "now": datetime.fromisoformat(str(line["at"]))}
    worst: Decision | None = None
    for values in itertools.product(*choices.values()):
        found = decide(Request(**told, **(known | dict(zip(choices, values, strict=True)))), policy)
        if worst is not None and found.effect is not worst.effect:
            return None, _which(choices, told, known, policy)
        worst = worst or found
    return worst, ()


def _which(choices: Mapping[str, list[Any]], told: Any, known: Mapping[str, Any], policy: Policy) -> tuple[str, ...]:
    """Those of the facts that by themselves change the answer; all, when only together they do."""

    def effects(name: str) -> set[Effect]:
        return {decide(Request(**told, **{**known, name: value}), policy).effect for value in choices[name]}

    return tuple(name for name in choices if len(effects(name)) > 1) or tuple(choices)


def _unknown_plan(record: Mapping[str, Any], plans: Mapping[str, Plan]) -> bool:
    mandate = record.get("mandate")
    return bool(mandate and mandate.get("accepted") and mandate["plan"] not in plans)


def _mandate(record: Mapping[str, Any], plans: Mapping[str, Plan], policy: Policy) -> Mandate | None:
    given = record.get("mandate")
    if given is None or given["plan"] not in plans:
        return None
    plan = plans[given["plan"]]
    yes = _accepted(plan, policy) if given["accepted"] else None
    return Mandate.model_construct(
        plan=plan,
        accepted=yes,
        spent={int(n): count for n, count in given["spent"].items()},
        rows={int(n): count for n, count in given["rows"].items()},
        met=frozenset(given["met"]),
        hosts=frozenset(given["hosts"]),
    )


def _covering(action: Action, policy: Policy) -> Mandate:
    plan = Plan(summary="", steps=(PlannedStep(n=1, title="", kind=action.kind),))
    return Mandate(plan=plan, accepted=_accepted(plan, policy))


def _accepted(plan: Plan, policy: Policy) -> Acceptance:
    return Acceptance.model_construct(by="replay", plan_digest=plan.digest, policy_digest=policy.digest)


def _where(action: Any) -> str:
    """Where it lands, in a few words; never what it carries."""
    if pipelines := getattr(action, "pipelines", None):
        programs = " | ".join(" ".join(command.argv) for pipeline in pipelines for command in pipeline)
        return f"{getattr(action, 'server', '')} {programs}".strip()[:200]
    names = ("target", "url", "server", "path", "tool", "endpoint")
    return " ".join(str(getattr(action, name)) for name in names if getattr(action, name, None))[:200]
