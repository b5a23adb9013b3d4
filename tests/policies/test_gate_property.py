"""Whatever a run goes through: no more is done than was planned or approved, and no secret is written down."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from policies.action import Repeat
from policies.errors import AnswerRefused, PolicyError
from policies.mandate import Plan, PlannedStep
from policies.outcome import Done, Failed, Outcome, Refused, Unknown, Waiting
from policies.permit import Permit
from policies.ports import Raw
from policies.rules import Policy
from tests.policies.gating import PHONE, SECRET, Bench, rules, tool

NAMES = ("go", "each", "batch", "two", "five")
AT_MOST = 2
STRICT = "  - {id: stop-go, effect: deny, action: tool.call, tool: go, why: not any more}"
POLICIES = (rules(), rules("other"), rules("strict", STRICT))
TEXTS = ("", "plain", SECRET, f"to {PHONE}", "⟦phone:abcdefghij⟧", "handle")
STEPS = ("", "", "", "execute", "act", "acted", "probe")
FINAL = (Done, Failed, Refused, Unknown)


class Died(BaseException):
    """Stands for the end of the process."""


class Runs(RuleBasedStateMachine):
    """A run that proposes, is cut off, is answered, comes under other rules, and goes on."""

    @initialize(under=st.sampled_from(POLICIES))
    def begin(self, under: Policy) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder, policy=under)
        self.actions: dict[int, Any] = {}
        self.finals: dict[int, Outcome] = {}
        self.open: dict[int, Outcome] = {}
        self.approved: set[int] = set()
        self.bench.world.raw = self._raw
        self.handle = self.bench.redactor.redact_text(PHONE)
        self._accept()

    def _accept(self) -> None:
        steps = [
            PlannedStep.model_validate(
                {"n": n, "title": t, "kind": "tool.call", "pins": {"tool": t}, "at_most": AT_MOST}
            )
            for n, t in enumerate(NAMES, 1)
        ]
        self.bench.accept(Plan(summary="a test", steps=tuple(steps)))

    def _raw(self, permit: Permit) -> Raw:
        return Raw(text=f"done, {SECRET}, {PHONE}", data=[PHONE], files=(f"{SECRET}.txt",))

    @rule(
        name=st.sampled_from(NAMES),
        text=st.sampled_from(TEXTS),
        repeat=st.sampled_from(Repeat),
        cut=st.sampled_from(STEPS),
    )
    def propose(self, name: str, text: str, repeat: Repeat, cut: str) -> None:
        seq = len(self.actions)
        sent = self.handle if text == "handle" else text
        self.actions[seq] = tool(name, seq, repeat=repeat, text=sent)
        self._submit(seq, cut)

    @precondition(lambda self: self.actions)
    @rule(data=st.data(), cut=st.sampled_from(STEPS))
    def submit_again(self, data: Any, cut: str) -> None:
        self._submit(data.draw(st.sampled_from(sorted(self.actions))), cut)

    def _submit(self, seq: int, cut: str) -> None:
        def hook(step: str) -> None:
            if step == cut:
                raise Died

        self.bench.world.hook = hook
        tried = len(self.bench.world.tried)
        try:
            outcome = asyncio.run(self.bench.submit(self.actions[seq], seq, turn=seq // 3, started_at=None))
        except Died:
            self.bench.reopen()
            return
        finally:
            self.bench.world.hook = lambda step: None
        if seq in self.finals:
            assert outcome == self.finals[seq]
            assert len(self.bench.world.tried) == tried
        if isinstance(outcome, FINAL):
            self.finals[seq] = outcome
            self.open.pop(seq, None)
        else:
            self.open[seq] = outcome

    @precondition(lambda self: self.open)
    @rule(data=st.data(), yes=st.booleans(), by=st.sampled_from(["bob", "carol"]))
    def answer(self, data: Any, yes: bool, by: str) -> None:
        seq = data.draw(st.sampled_from(sorted(self.open)))
        waiting = self.open[seq]
        assert isinstance(waiting, Waiting)
        card = self.bench.question(waiting)
        if card.about == "unknown":
            yes = f"{self.bench.run}:{seq}" in self.bench.world.happened  # people tell the truth here
        try:
            self.bench.answer(waiting, yes, seq=seq, by=by)
        except AnswerRefused:
            return
        if yes and card.about == "action":
            self.approved.add(seq)

    @rule(policy=st.sampled_from(POLICIES), accept=st.booleans())
    def come_under(self, policy: Policy, accept: bool) -> None:
        self.bench.under(policy)
        if accept:
            self._accept()

    @rule()
    def crash(self) -> None:
        self.bench.reopen()

    @rule(hours=st.sampled_from([0.01, 1, 25]))
    def pass_time(self, hours: float) -> None:
        self.bench.clock.pass_by(hours=hours)

    @rule()
    def come_late(self) -> None:
        """A worker of an earlier epoch tries to act."""
        seq, tried = len(self.actions), len(self.bench.world.tried)
        try:
            asyncio.run(self.bench.submit(tool("go", seq), seq, epoch=self.bench.epoch - 1, started_at=None))
            raise AssertionError("a stale worker was let through")
        except PolicyError:
            assert len(self.bench.world.tried) == tried

    @invariant()
    def no_more_is_done_than_was_planned_or_approved(self) -> None:
        world = self.bench.world
        for seq, action in self.actions.items():
            times = world.happened.count(f"{self.bench.run}:{seq}")
            assert times <= 1 or action.repeat is Repeat.SAFE
        for name in NAMES:
            done = {s for s, a in self.actions.items() if a.tool == name and f"{self.bench.run}:{s}" in world.happened}
            assert len(done - self.approved) <= AT_MOST
            if name in ("each", "batch", "two"):
                assert done <= self.approved
            if name == "five":
                assert len(done) <= 5 * (1 + (self.bench.clock.at.day - 2))
        assert not any(SECRET in text or "⟦" in text for text in world.seen)

    @invariant()
    def what_was_written_holds_nothing_planted_and_verifies(self) -> None:
        assert self.bench.store.ledger.verify(self.bench.run) is None
        assert self.bench.holds_nothing_planted()

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.close()
            shutil.rmtree(self.folder)


Runs.TestCase.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
test_random_runs_do_no_more_than_was_granted = Runs.TestCase
