"""What a stretch of time looks like in the ledger: policies, approvers, refusals, rules, results.

Made from the facts of the chain alone, so runs whose contents were erased count too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from agent.store.store import Store
from policies.ledger import Entry
from policies.rules import Policy

QUICK_S = 2.0
"""An answer that is given sooner was hardly read."""
QUICK_SHARE = 0.95
"""More quick yeses than this among somebody's answers are a warning (facts on approvals: security notes, 4.6)."""
DECISIONS = ("intent", "denied", "asked")
OUTCOMES = ("done", "failed", "unknown")


@dataclass(frozen=True, kw_only=True)
class PolicyUse:
    """A version of the policy, by its digest, and how it was used."""

    policy: str
    first: datetime
    last: datetime
    runs: int
    decisions: int
    signed_by: tuple[str, ...]
    """Who had signed the file when runs began under it; layers above it are signed by themselves."""
    in_force: bool


@dataclass(frozen=True, kw_only=True)
class Approver:
    """How somebody answered. `seconds` is the median from question to answer; None if that is not recorded."""

    by: str
    answers: int
    yes: int
    seconds: float | None
    quick_yes: int
    """Yeses in under two seconds."""

    @property
    def warning(self) -> bool:
        """True when nearly every answer is a yes that was hardly read."""
        return self.quick_yes > QUICK_SHARE * self.answers


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result that nothing has verified: `what` is a verdict, or `no outcome` for an effect that was begun."""

    run: str
    at: datetime
    step: int
    what: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What happened from `start` to before `end`."""

    start: datetime
    end: datetime
    runs: int
    entries: int
    policies: tuple[PolicyUse, ...]
    approvers: tuple[Approver, ...]
    refusals: tuple[tuple[str, int], ...]
    """Rule and how often it refused, most first; `person` and `deadline` are answers that came, or did not come."""
    unused: tuple[str, ...]
    """Rules of the policy in force that decided nothing."""
    unverified: tuple[Result, ...]
    erasures: int


def report(store: Store, policy: Policy | None, *, start: datetime, end: datetime) -> Report:
    """The report over all runs of the store."""
    seen = _Seen()
    for run in store.ledger.active(start):
        seen.run(run, store.ledger.entries(run), start, end)
    rules = [rule.id for rule in policy.rules] if policy else []
    return Report(
        start=start,
        end=end,
        runs=seen.runs,
        entries=seen.entries,
        policies=tuple(seen.policy(digest, policy) for digest in seen.used),
        approvers=tuple(seen.approver(by) for by in sorted(seen.answers)),
        refusals=tuple(sorted(seen.refusals.items(), key=lambda each: (-each[1], each[0]))),
        unused=tuple(rule for rule in rules if rule not in seen.fired),
        unverified=tuple(seen.unverified),
        erasures=seen.erasures,
    )


@dataclass
class _Seen:
    runs: int = 0
    entries: int = 0
    erasures: int = 0
    used: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[str, list[tuple[bool, float | None]]] = field(default_factory=lambda: defaultdict(list))
    refusals: Counter[str] = field(default_factory=Counter)
    fired: set[str] = field(default_factory=set)
    unverified: list[Result] = field(default_factory=list)

    def run(self, run: str, entries: Sequence[Entry], start: datetime, end: datetime) -> None:
        """Count what one chain tells of the time."""
        within = [entry for entry in entries if start <= entry.at < end]
        asked = {entry.facts["question"]: entry.at for entry in reversed(entries) if entry.event == "asked"}
        self.runs, self.entries = self.runs + bool(within), self.entries + len(within)
        for entry in within:
            facts = entry.facts
            if isinstance(policy := facts.get("policy"), str):
                self.used[policy].append(entry)
            self.fired.update(_names(facts.get("rules")))
            if entry.event == "denied":
                self.refusals[next(iter(_names(facts.get("rules"))), "no rule")] += 1
            elif entry.event == "answered":
                at = asked.get(facts.get("question"))
                took = (entry.at - at).total_seconds() if at else None
                self.answers[str(facts.get("by"))].append((facts.get("yes") is True, took))
            elif entry.event == "verified" and facts.get("verdict") != "verified":
                self._unverified(entry, facts.get("step"), str(facts.get("verdict")))
            self.erasures += entry.event == "erased"
        settled = {entry.seq for entry in entries if entry.event in OUTCOMES}
        for entry in within:
            if entry.event == "intent" and entry.seq not in settled:
                self._unverified(entry, entry.facts.get("planned"), "no outcome")

    def policy(self, digest: str, in_force: Policy | None) -> PolicyUse:
        entries = self.used[digest]
        return PolicyUse(
            policy=digest,
            first=min(entry.at for entry in entries),
            last=max(entry.at for entry in entries),
            runs=len({entry.run for entry in entries}),
            decisions=sum(entry.event in DECISIONS for entry in entries),
            signed_by=tuple(sorted({str(e.facts["signed_by"]) for e in entries if e.facts.get("signed_by")})),
            in_force=in_force is not None and in_force.digest == digest,
        )

    def approver(self, by: str) -> Approver:
        answers = self.answers[by]
        took = [seconds for _, seconds in answers if seconds is not None]
        quick = sum(yes and seconds is not None and seconds < QUICK_S for yes, seconds in answers)
        yes = sum(yes for yes, _ in answers)
        return Approver(by=by, answers=len(answers), yes=yes, seconds=median(took) if took else None, quick_yes=quick)

    def _unverified(self, entry: Entry, step: Any, what: str) -> None:
        self.unverified.append(Result(run=entry.run, at=entry.at, step=step if isinstance(step, int) else 0, what=what))


def _names(rules: object) -> Iterable[str]:
    return [rule for rule in rules if isinstance(rule, str)] if isinstance(rules, list) else []
