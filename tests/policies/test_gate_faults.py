"""A submission that is cut off anywhere and submitted again: done once, or told apart by a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agent.store.runs import this_process
from policies.action import EffectClass, FileWrite, Repeat, ServerWrite
from policies.decision import Reservation
from policies.errors import ActionFailed, LimitReached, RecordsUnavailable, StaleEpoch
from policies.mandate import Plan, PlannedStep
from policies.outcome import Done, Failed, Outcome, Unknown, Waiting
from policies.ports import Raw, Submission
from tests.policies.gating import Bench, model_call, rules, tool

STEPS = 40
"""More places than any path has: the first cut that does not come ends the search."""


class Died(BaseException):
    """Stands for the end of the process: nothing in between may catch it."""


class Cut:
    """Ends the process at its nth place: before or after each call of the records, and at each step of the effect."""

    def __init__(self, bench: Bench, at: int, error: type[BaseException]) -> None:
        self._bench, self._left, self._error = bench, at, error
        self._real = bench.store.records
        self.came = False

    def place(self, _: str = "") -> None:
        self._left -= 1
        if self._left == 0:
            self.came = True
            raise self._error("cut")

    def __getattr__(self, name: str) -> Callable[..., object]:
        real: Callable[..., object] = getattr(self._real, name)

        def call(*args: object, **more: object) -> object:
            self.place()
            answer = real(*args, **more)
            self.place()
            return answer

        return call


async def _through(bench: Bench, name: str, repeat: Repeat, tell: Callable[[], bool]) -> tuple[Outcome, list[str]]:
    """Submit until there is a final outcome, as a node and a person would; also what was asked about."""
    asked = []
    for _ in range(4):
        outcome = await bench.submit(tool(name, repeat=repeat))
        if not isinstance(outcome, Waiting):
            return outcome, asked
        about = bench.question(outcome).about
        asked.append(about)
        bench.answer(outcome, tell() if about == "unknown" else True)
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize(
    ("repeat", "error"),
    [
        *((repeat, Died) for repeat in Repeat),
        (Repeat.NEVER, asyncio.CancelledError),
        (Repeat.NEVER, RecordsUnavailable),
    ],
)
@pytest.mark.parametrize("name", ["go", "each"])
async def test_cut_off_anywhere_and_submitted_again_it_happens_at_most_once(home, name, repeat, error):
    cuts = 0
    for at in range(1, STEPS):
        bench = Bench(home)
        bench.accept()
        cut = Cut(bench, at, error)
        bench.under(bench.policy, records=cut)
        bench.world.hook = cut.place
        try:
            await _through(bench, name, repeat, lambda: True)
        except error:
            bench.world.hook = lambda step: None
        if not cut.came:
            bench.close()
            break
        cuts += 1
        begun = "intent" in bench.events() and "done" not in bench.events()
        before = len(bench.world.happened)
        bench.reopen()
        outcome, asked = await _through(bench, name, repeat, lambda b=bench: bool(b.world.happened))
        _holds(bench, name, repeat, outcome, asked, begun, before)
        bench.close()
    assert cuts >= 9


def _holds(
    bench: Bench, name: str, repeat: Repeat, outcome: Outcome, asked: list[str], begun: bool, before: int
) -> None:
    happened, events = len(bench.world.happened), bench.events()
    if repeat is Repeat.SAFE:
        assert 1 <= happened <= before + 1
    else:
        assert happened <= 1
    assert isinstance(outcome, Done if happened else Failed)
    assert ("unknown" in asked) == (begun and repeat is Repeat.NEVER)
    assert bench.spent(name) == (1 if happened else 0)
    assert events.count("intent") == 1
    assert events.index("intent") < events.index("done" if happened else "failed")
    assert ("repeated" in events) == (begun and repeat is not Repeat.NEVER)
    assert bench.store.ledger.verify(bench.run) is None
    assert bench.holds_nothing_planted()


async def _begin(bench: Bench, action, at: str, **more: object) -> None:
    """Begin an action and end the process at a step of it."""

    def hook(step: str) -> None:
        if step == at:
            raise Died

    bench.world.hook = hook
    with pytest.raises(Died):
        await bench.submit(action, **more)
    bench.world.hook = lambda step: None
    bench.reopen()


async def test_the_repeated_outcome_is_the_same_for_ever(granted):
    await _begin(granted, tool(repeat=Repeat.SAFE), "acted")
    outcome = await granted.submit(tool(repeat=Repeat.SAFE))
    assert isinstance(outcome, Done)
    for _ in range(2):
        granted.reopen()
        assert await granted.submit(tool(repeat=Repeat.SAFE)) == outcome
    assert len(granted.world.tried) == 2


async def test_an_outcome_that_cannot_be_recorded_leaves_the_intent_open(granted):
    class Full:
        def __init__(self, real) -> None:
            self._real = real

        def __getattr__(self, name):
            return getattr(self._real, name)

        def commit(self, submission, *args, **more):
            if submission.outcome is not None:
                raise RecordsUnavailable("the disk is full")
            return self._real.commit(submission, *args, **more)

    granted.under(granted.policy, records=Full(granted.store.records))
    with pytest.raises(RecordsUnavailable):
        await granted.submit(tool())
    assert granted.events() == ["intent"]
    granted.reopen()
    assert granted.question(await granted.submit(tool())).about == "unknown"
    assert len(granted.world.happened) == 1


@pytest.mark.parametrize(("told", "spent"), [(True, 1), (False, 0)])
async def test_a_person_says_whether_it_happened_and_is_named(granted, told, spent):
    await _begin(granted, tool(), "act")
    waiting = await granted.submit(tool())
    assert await granted.submit(tool()) == waiting
    granted.answer(waiting, told)
    outcome = await granted.submit(tool())
    assert isinstance(outcome, Done if told else Failed)
    assert granted.spent() == spent
    last = granted.store.ledger.entries(granted.run)[-1]
    assert last.facts["told_by"] == ["bob"]
    assert len(granted.world.tried) == 1


async def test_silence_about_an_interrupted_action_is_not_taken_for_no(granted):
    await _begin(granted, tool(), "acted")
    await granted.submit(tool())
    granted.clock.pass_by(hours=25)
    outcome = await granted.submit(tool(), started_at=None)
    assert outcome == Unknown(reason="it was begun and interrupted, and nobody said in time whether it happened")
    assert (granted.spent(), len(granted.world.tried)) == (1, 1)
    assert await granted.submit(tool()) == outcome


async def test_a_word_on_what_happened_does_not_grow_old_or_depend_on_the_policy(granted):
    await _begin(granted, tool(), "acted")
    granted.answer(await granted.submit(tool()))
    granted.clock.pass_by(days=3)
    granted.under(rules("another"))
    assert isinstance(await granted.submit(tool(), started_at=None), Done)
    assert len(granted.world.tried) == 1


@pytest.mark.parametrize("acted", [True, False])
async def test_a_probe_that_cannot_tell_asks_a_person_and_gives_nothing_back(granted, acted):
    await _begin(granted, tool(repeat=Repeat.PROBE), "acted")

    def unclear(step: str) -> None:
        if step == "probe":
            raise ActionFailed("the server does not answer", may_have_acted=acted)

    granted.world.hook = unclear
    waiting = await granted.submit(tool(repeat=Repeat.PROBE))
    assert granted.question(waiting).about == "unknown"
    assert granted.spent() == 1


@pytest.mark.parametrize("repeat", [Repeat.SAFE, Repeat.KEYED])
async def test_a_repeat_that_fails_gives_nothing_back_as_the_first_try_may_have_acted(granted, repeat):
    await _begin(granted, tool(repeat=repeat), "acted")

    def fail(permit):
        raise ActionFailed("no", may_have_acted=False)

    granted.world.raw = fail
    assert await granted.submit(tool(repeat=repeat)) == Failed(reason="no", may_have_acted=True)
    assert granted.spent() == 1


@pytest.mark.parametrize("repeat", [Repeat.SAFE, Repeat.KEYED, Repeat.PROBE])
async def test_a_repeat_counts_with_the_planned_effect_that_it_has_spent_itself(granted, repeat):
    """An unattended run goes on after a crash, though the plan has no second effect of the kind."""
    action = tool("once", repeat=repeat)
    await _begin(granted, action, "acted", attended=False)
    assert isinstance(await granted.submit(action, attended=False), Done)
    assert granted.spent("once") == 1
    assert len(granted.world.happened) == (2 if repeat is Repeat.SAFE else 1)


@pytest.mark.parametrize("crashed_at", ["act", "acted"])
async def test_a_write_on_a_server_that_was_cut_off_unattended_is_looked_for_and_not_asked_about(bench, crashed_at):
    more = "  - {id: put, effect: allow, action: server.write, server: web-1, path: /srv/**, why: its files,\n"
    more += "     match: [/srv/a.txt], not_match: [/etc/passwd]}\n"
    bench.under(rules(more=more))
    bench.accept(Plan(summary="s", steps=(PlannedStep(n=1, title="put", kind="server.write"),)))
    action = ServerWrite(server="web-1", path="/srv/a.txt", text="x")
    await _begin(bench, action, crashed_at, attended=False)
    outcome = await bench.submit(action, attended=False)
    assert isinstance(outcome, Done if crashed_at == "acted" else Failed)
    assert len(bench.world.tried) == 1  # looked for, not done again
    spent = bench.store.mandates.get(bench.run).spent
    assert spent == {1: 1 if crashed_at == "acted" else 0}


async def test_a_repeat_that_the_policy_denies_now_is_not_done_again(granted):
    for seq, repeat in enumerate((Repeat.SAFE, Repeat.KEYED, Repeat.PROBE)):
        await _begin(granted, tool(n=seq, repeat=repeat), "acted", seq=seq)
    tried = list(granted.world.tried)
    granted.under(rules("another", "  - {id: no-more, effect: deny, action: tool.call, tool: go, why: no more}"))
    failed = await granted.submit(tool(n=0, repeat=Repeat.SAFE), 0)
    assert isinstance(failed, Failed)
    assert failed.may_have_acted
    assert "'no-more' refuses it" in failed.reason
    for seq, repeat in ((1, Repeat.KEYED), (2, Repeat.PROBE)):
        assert granted.question(await granted.submit(tool(n=seq, repeat=repeat), seq)).about == "unknown"
    assert (granted.world.tried, granted.spent()) == (tried, 3)


async def test_an_interrupted_call_of_a_model_keeps_its_tokens_and_reserves_them_again(bench):
    await _begin(bench, model_call(400), "acted")
    bench.world.raw = lambda permit: Raw(text="", tokens=100, micros=10)
    assert isinstance(await bench.submit(model_call(400)), Done)
    wanted = Reservation(key=f"run:{bench.run}:tokens", limit=1000, amount=501)
    row = Submission(run=bench.run, seq=9, digest="d", outcome=None)
    with pytest.raises(LimitReached, match="leaves 500 of 1000"):
        bench.store.records.commit(row, (), epoch=bench.epoch, reserve=(wanted,), now=bench.clock.now())


async def test_a_repeat_beyond_the_limits_of_the_run_is_not_done(bench):
    await _begin(bench, model_call(600), "acted")
    failed = await bench.submit(model_call(600))
    assert isinstance(failed, Failed)
    assert failed.may_have_acted
    assert "leaves 400 of 1000" in failed.reason
    assert len(bench.world.tried) == 1


async def test_a_stale_worker_that_wakes_after_its_effect_changes_nothing(granted):
    """The other process took over while it acted; its outcome comes too late."""

    def taken_over(step: str) -> None:
        if step == "acted":
            other = granted.another()
            other.store.runs.claim(granted.run, this_process(), 0)
            other.close()

    granted.world.hook = taken_over
    with pytest.raises(StaleEpoch):
        await granted.submit(tool())
    granted.world.hook = lambda step: None
    granted.reopen()
    assert granted.events() == ["intent"]
    assert granted.question(await granted.submit(tool())).about == "unknown"
    assert len(granted.world.happened) == 1


async def test_a_read_and_a_write_to_the_runs_folder_are_just_done_again(granted):
    for seq, action in enumerate(
        [tool(effect=EffectClass.READ, repeat=Repeat.SAFE), FileWrite(path="a.txt", text="x")]
    ):
        await _begin(granted, action, "acted", seq=seq)
        assert isinstance(await granted.submit(action, seq), Done)
    assert len(granted.world.happened) == 4
