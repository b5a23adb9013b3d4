"""A gate on real parts – store, rules, redactor – with an executor whose effects can be counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from agent.store.runs import Run, this_process
from agent.store.seal import Keys
from agent.store.store import Store
from policies.action import ActionBase, EffectClass, ModelCall, Repeat, ToolCall
from policies.gate import Gate
from policies.load import loads
from policies.mandate import Acceptance, Plan, PlannedStep
from policies.outcome import Outcome, Waiting
from policies.permit import Permit
from policies.ports import Raw, Records
from policies.question import Answer, Question
from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.request import Request
from policies.rules import Policy

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECRET = 'MADEUP "kettle\\pass" 77x!'
PHONE = "13800138000"
EMAIL = "made-up@shop.example"

RULES = """
version: 1
name: {name}
practice_only: true
limits: {{steps: 200, minutes: 60, tokens: 1000, money: {{amount: 2, currency: CNY}}}}
rules:
  - {{id: go, effect: allow, action: tool.call, tool: [go, once, unheard], restore: [phone], why: it is the job}}
  - {{id: five, effect: allow, action: tool.call, tool: five, limit: {{count: 5, per: day}}, why: not too many}}
  - {{id: each, effect: ask, ask: each, of: {{within: 24h}}, action: tool.call, tool: each, why: one by one}}
  - {{id: batch, effect: ask, ask: batch, of: {{within: 24h}}, action: tool.call, tool: batch, why: on one card}}
  - {{id: two, effect: ask, ask: each, of: {{answers: 2}}, action: tool.call, tool: two, why: by two}}
  - {{id: shut, effect: allow, action: tool.call, tool: shut, why: but see below}}
  - {{id: stop, effect: deny, action: tool.call, tool: shut, why: never}}
  - {{id: files, effect: allow, action: [file.read, file.write], why: the folder of the run}}
  - {{id: model, effect: allow, action: model.call, why: the model}}
{more}
"""
TOOLS = ("go", "five", "each", "batch", "two", "shut", "unheard", "once")
AT_MOST = 20

Hook = Callable[[str], None]


def rules(name: str = "bench", more: str = "") -> Policy:
    """The policy of these tests, read as a file is."""
    return loads(RULES.format(name=name, more=more), "bench.yaml", practice=True)  # its tools take any arguments


def tool(
    name: str = "go", n: int = 0, *, repeat: Repeat = Repeat.NEVER, effect: EffectClass = EffectClass.WRITE, **more: Any
) -> ToolCall:
    """A call of a tool; `n` and what is in `more` are its arguments."""
    return ToolCall(
        tool=name,
        arguments={"n": n, **more},
        declaration="d",
        declared_effect=effect,
        declared_repeat=repeat,
    )


def model_call(worst: int = 400, micros: int | None = 100) -> ModelCall:
    """A model call that may use `worst` tokens."""
    return ModelCall(
        endpoint="e",
        model="qwen",
        purpose="step",
        prompt_digest="d",
        prompt_tokens=worst // 2,
        max_reply_tokens=worst - worst // 2,
        worst_micros=micros,
    )


def plan() -> Plan:
    """One step per tool, `once` for one call, the others for `AT_MOST`."""
    steps = [
        PlannedStep.model_validate(
            {"n": n, "title": t, "kind": "tool.call", "pins": {"tool": t}, "at_most": 1 if t == "once" else AT_MOST}
        )
        for n, t in enumerate(TOOLS, 1)
    ]
    write = {"n": len(steps) + 1, "title": "write", "kind": "file.write", "at_most": AT_MOST}
    return Plan(summary="a test", steps=(*steps, PlannedStep.model_validate(write)))


class Moved:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def pass_by(self, **much: float) -> None:
        self.at += timedelta(**much)


@dataclass
class World:
    """The outside: what happened there, which outlives every process. Its hook is called at each step of an effect."""

    happened: list[str] = field(default_factory=list)
    """The key of every effect, in order."""
    tried: list[str] = field(default_factory=list)
    """The key of every call of an executor."""
    seen: list[str] = field(default_factory=list)
    """What reached the outside, handles opened."""
    hook: Hook = lambda step: None
    raw: Callable[[Permit], Raw] = lambda permit: Raw(text=f"it is done; {SECRET} and {PHONE}")


class Hand:
    """Carries out the kinds of these tests in a `World`."""

    kinds = frozenset({"tool.call", "file.read", "file.write", "server.write", "model.call"})

    def __init__(self, world: World) -> None:
        self._world = world

    async def execute(self, permit: Permit) -> Raw:
        world = self._world
        world.tried.append(permit.key)
        world.hook("execute")
        action = permit.redeem(permit.action_type)
        sent = [permit.opened(text) for text in action.contents()]
        world.hook("act")
        if not (action.repeat is Repeat.KEYED and permit.key in world.happened):
            world.happened.append(permit.key)
            world.seen += sent
        world.hook("acted")
        return world.raw(permit)

    async def probe(self, permit: Permit) -> Raw | None:
        self._world.hook("probe")
        return self._world.raw(permit) if permit.key in self._world.happened else None


class Bench:
    """One run in a store, its gate and its world. `reopen` is what a new process would do after a crash."""

    _ids = count(1)

    def __init__(self, folder: Path, *, policy: Policy | None = None, run: str | None = None) -> None:
        self.folder, self.policy, self.clock, self.world = folder, policy or rules(), Moved(), World()
        self.run, new = run or f"R{next(Bench._ids)}", run is None
        self.store = Store.open(f"sqlite:///{folder / 'store.sqlite3'}", Keys.load(folder), self.clock)
        if new:
            made = {"principal": "alice", "title": "t", "policy_digest": self.policy.digest, "graph_version": 1}
            self.store.runs.create(Run(id=self.run, created_at=NOW, **made))
        self._start()

    def _start(self) -> None:
        self.epoch = self.store.runs.claim(self.run, this_process(), 0)
        self._equip()

    def another(self) -> Bench:
        """The same run and world over a connection of its own, under the same epoch."""
        made = copy(self)
        made.store = Store.open(f"sqlite:///{self.folder / 'store.sqlite3'}", Keys.load(self.folder), self.clock)
        made._equip()
        return made

    def _equip(self) -> None:
        self.redactor = Redactor(self.store.run_key(self.run), self.store.handles(self.run), Secrets([SECRET]))
        self.under(self.policy)

    def under(
        self, policy: Policy, *, records: Records | None = None, hands: tuple[Any, ...] | None = None, **more: Any
    ) -> Gate:
        """The gate of this run under a policy, over the store or over other records."""
        self.policy = policy
        executors = (Hand(self.world),) if hands is None else hands
        self.gate = Gate(policy, records or self.store.records, executors, self.redactor, self.clock, **more)
        return self.gate

    def reopen(self) -> None:
        """Go on as another process: a new connection, a new epoch, nothing remembered."""
        self.store.close()
        self.store = Store.open(f"sqlite:///{self.folder / 'store.sqlite3'}", Keys.load(self.folder), self.clock)
        self._start()

    def accept(self, of: Plan | None = None) -> None:
        """Accept a plan under the present policy."""
        of = of or plan()
        self.store.mandates.set_plan(self.run, of, ())
        grant = Acceptance(by="alice", at=NOW, plan_digest=of.digest, policy_digest=self.policy.digest)
        self.store.mandates.accept(self.run, grant)

    def request(self, action: ActionBase, seq: int = 0, **more: Any) -> Request:
        facts: dict[str, Any] = {
            "run": self.run,
            "seq": seq,
            "epoch": self.epoch,
            "action": action,
            "principal": "alice",
            "mandate": self.store.mandates.get(self.run),
            "now": self.clock.now(),
            "started_at": NOW,
        }
        return Request(**facts | more)

    async def submit(self, action: ActionBase, seq: int = 0, **more: Any) -> Outcome:
        return await self.gate.submit(self.request(action, seq, **more))

    def answer(self, waiting: Outcome, yes: bool = True, *, seq: int = 0, by: str = "bob", because: str = "") -> None:
        """What a person answers to the row of a question."""
        assert isinstance(waiting, Waiting), waiting
        one = Answer(yes=yes, by=by, at=self.clock.now(), because=because)
        self.store.questions.answer(waiting.question, {seq: one}, self.clock.now())

    def question(self, waiting: Outcome) -> Question:
        assert isinstance(waiting, Waiting), waiting
        found = self.store.questions.get(waiting.question)
        assert found is not None
        return found

    def spent(self, name: str = "go") -> int:
        mandate = self.store.mandates.get(self.run)
        assert mandate is not None
        return mandate.spent.get(TOOLS.index(name) + 1, 0)

    def events(self) -> list[str]:
        return [entry.event for entry in self.store.ledger.entries(self.run)]

    def bodies(self) -> Iterator[Any]:
        for entry in self.store.ledger.entries(self.run):
            yield self.store.ledger.body(self.run, entry.index)

    def written(self) -> str:
        """All that the ledger and the submissions of this run hold, opened, as one text."""
        entries = self.store.ledger.entries(self.run)
        submissions = (self.store.records.submission(self.run, seq) for seq in {e.seq for e in entries})
        parts = [e.model_dump_json() for e in entries]
        parts += [json.dumps(body, ensure_ascii=False) for body in self.bodies()]
        parts += [s.outcome.model_dump_json() for s in submissions if s and s.outcome]
        return "\n".join(parts)

    def holds_nothing_planted(self) -> bool:
        """True when neither the secret nor the phone number occurs in what was written, however it is spelled."""
        written = self.written()
        plain = Redactor(b"k" * 32, _Nowhere(), Secrets([SECRET, PHONE]))
        return not plain.leaks(written)

    def close(self) -> None:
        self.store.close()


class _Nowhere:
    def put(self, *_: Any) -> None: ...

    def get(self, _: Any) -> None:
        return None

    def values(self) -> tuple[()]:
        return ()
