"""What must never reach an executor: every way in that is not a recorded leave for exactly this action."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from dataclasses import replace

import pytest

from policies.action import EffectClass, FileRead, FileWrite, Repeat
from policies.errors import AnswerRefused, PolicyError, RecordsUnavailable, StaleEpoch
from policies.outcome import Outcome, Refused, Waiting
from policies.ports import Raw
from tests.policies.gating import EMAIL, PHONE, SECRET, Bench, Hand, model_call, rules, tool

FORGED = "⟦phone:abcdefghij⟧"


def _untouched(bench: Bench) -> bool:
    return (bench.world.tried, bench.world.happened) == ([], [])


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (tool("nowhere"), ()),
        (FileWrite(path="a.txt", text=FORGED), ("handles",)),
        (tool("shut"), ("stop",)),
        (tool(text=f"a {FORGED}"), ("handles",)),
        (tool(text="⟦phone:abc"), ("handles",)),
        (tool(text="⟦"), ("handles",)),
        (tool(text=SECRET), ("handles", "go")),
        (tool(text=f"x{SECRET}y"), ("handles", "go")),
        (tool(**{SECRET: "x"}), ("handles", "go")),
        (tool(deep=[{"a": ["b", {"c": SECRET}]}]), ("handles", "go")),
        (tool(text="".join(f"\\u{ord(c):04x}" for c in SECRET)), ("handles", "go")),
        (tool(text=SECRET.encode().hex()), ("handles", "go")),
        (FileWrite(path=f"{FORGED}.txt", text="x"), ("handles",)),
        (model_call(1001), ("limit", "model")),
    ],
)
async def test_a_refused_action_reaches_no_executor_and_is_recorded(granted, action, rule):
    outcome = await granted.submit(action)
    assert isinstance(outcome, Refused)
    assert outcome.rules[: len(rule)] == rule
    assert _untouched(granted)
    assert granted.events() == ["denied"]
    assert granted.holds_nothing_planted()


async def test_a_secret_is_refused_also_where_an_action_lands(home):
    bench = Bench(home)
    bench.redactor._secrets.add("MADEUP-plain-77")
    outcome = await bench.submit(FileRead(path="MADEUP-plain-77/a.txt"))
    assert isinstance(outcome, Refused)
    assert outcome.rules[0] == "handles"
    assert _untouched(bench)
    assert "MADEUP-plain-77" not in bench.written()
    bench.close()


async def test_a_handle_of_another_run_is_refused(granted, home):
    other = Bench(home)
    foreign = other.redactor.redact_text(PHONE)
    other.close()
    granted.redactor.redact_text(PHONE)
    outcome = await granted.submit(tool(text=foreign))
    assert isinstance(outcome, Refused)
    assert outcome.rules == ("handles",)
    assert _untouched(granted)


@pytest.mark.parametrize("where", ["tool", "path"])
async def test_a_handle_that_the_rule_does_not_restore_is_refused(granted, where):
    email, phone = granted.redactor.redact_text(EMAIL), granted.redactor.redact_text(PHONE)
    action = tool(text=email) if where == "tool" else FileWrite(path=f"{phone}.txt", text="x")
    outcome = await granted.submit(action)
    assert isinstance(outcome, Refused)
    assert outcome.rules[0] == "handles"
    assert _untouched(granted)


async def test_a_value_behind_a_handle_is_refused_in_clear(granted):
    granted.redactor.redact_text(PHONE)
    for seq, value in enumerate((PHONE, int(PHONE), f"+86 {PHONE}", "138-0013-8000", PHONE.translate(_WIDE))):
        outcome = await granted.submit(tool(to=value), seq)
        assert isinstance(outcome, Refused), value
    assert _untouched(granted)


_WIDE = {ord("0") + n: ord("０") + n for n in range(10)}


@pytest.mark.parametrize("leaving", [SECRET, f'{{"content":"{PHONE}"}}', SECRET.encode().hex()])
async def test_a_prompt_that_would_carry_a_value_in_clear_is_not_sent(granted, leaving):
    granted.redactor.redact_text(PHONE)
    outcome = await granted.submit(model_call(), leaving=("fine", leaving))
    assert isinstance(outcome, Refused)
    assert outcome.rules == ("handles", "model")
    assert _untouched(granted)


async def test_an_empty_policy_allows_nothing(granted):
    granted.under(granted.policy.model_copy(update={"rules": ()}))
    for seq, action in enumerate([tool(), FileRead(path="a"), model_call()]):
        assert isinstance(await granted.submit(action, seq), Refused)
    assert _untouched(granted)


async def test_a_kind_that_nobody_knows_and_a_kind_without_an_executor_are_refused(granted):
    invented = FileRead(path="a.txt").model_copy(update={"kind": "file.launch"})
    outcome = await granted.submit(invented)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "no rule of policy 'bench' allows this file.launch"

    granted.under(granted.policy, hands=())
    outcome = await granted.submit(tool(), 1)
    assert isinstance(outcome, Refused)
    assert outcome.rules == ("executor", "go")
    assert _untouched(granted)


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, OSError, MemoryError, Exception, PolicyError])
@pytest.mark.parametrize("part", ["rule", "redactor", "handles"])
async def test_whatever_is_raised_on_the_way_to_a_decision_is_a_refusal(granted, error, part, monkeypatch):
    def broken(*_: object, **__: object) -> object:
        raise error(f"broken {SECRET}")

    match part:
        case "rule":
            monkeypatch.setattr("policies.rules.Rule.fits", broken)
        case "redactor":
            monkeypatch.setattr(granted.redactor, "leaks", broken)
        case _:
            monkeypatch.setattr(granted.redactor, "handle_types", broken)
    outcome = await granted.submit(tool())
    assert isinstance(outcome, Refused)
    assert SECRET not in outcome.reason
    assert _untouched(granted)
    assert granted.events() == ["denied"]


class Failing:
    """Records that refuse their nth call of one method, or one that is cut off there."""

    def __init__(self, bench: Bench, method: str, nth: int, error: BaseException) -> None:
        self._real, self._method, self._nth, self._error = bench.store.records, method, nth, error

    def __getattr__(self, name: str) -> Callable[..., object]:
        real: Callable[..., object] = getattr(self._real, name)
        if name != self._method:
            return real

        def call(*args: object, **more: object) -> object:
            self._nth -= 1
            if self._nth == 0:
                raise self._error
            return real(*args, **more)

        return call


@pytest.mark.parametrize(
    "error", [RecordsUnavailable("the disk is full"), asyncio.CancelledError(), StaleEpoch("gone")]
)
@pytest.mark.parametrize(
    ("name", "method"),
    [(n, m) for n in ("go", "shut", "each", "batch") for m in ("submission", "commit")] + [("batch", "open_question")],
)
async def test_no_executor_is_called_when_the_records_fail(granted, name, method, error):
    granted.under(granted.policy, records=Failing(granted, method, 1, error))
    with pytest.raises(type(error)):
        await granted.submit(tool(name))
    assert _untouched(granted)
    assert granted.events() == []


@pytest.mark.parametrize("method", ["submission", "question", "commit"])
async def test_no_executor_is_called_when_the_records_fail_after_a_yes(granted, method):
    granted.answer(await granted.submit(tool("each")))
    granted.under(granted.policy, records=Failing(granted, method, 1, RecordsUnavailable("the disk is full")))
    with pytest.raises(RecordsUnavailable):
        await granted.submit(tool("each"))
    assert _untouched(granted)


def test_a_full_disk_stops_every_effect(home):
    """The real thing: a limit on the size of files stands for a disk that takes no more."""

    def child() -> int:
        bench = Bench(home, run=run)
        size = (home / "store.sqlite3-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            asyncio.run(bench.submit(tool()))
        except RecordsUnavailable:
            return 0 if _untouched(bench) else 2
        return 3

    bench = Bench(home)
    bench.accept()
    run = bench.run
    assert _forked(child) == 0
    bench.reopen()
    assert bench.events() == []
    assert bench.store.ledger.verify(run) is None
    bench.close()


def _forked(child: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_a_stale_worker_acts_no_more(granted):
    request = granted.request(tool())
    granted.reopen()
    for stale in (request, replace(request, epoch=granted.epoch + 1)):
        with pytest.raises(StaleEpoch):
            await granted.gate.submit(stale)
    assert _untouched(granted)


async def test_an_open_question_is_no_leave(granted):
    for name in ("each", "batch", "two"):
        seq = ("each", "batch", "two").index(name)
        waiting = await granted.submit(tool(name), seq)
        for _ in range(3):
            assert await granted.submit(tool(name), seq) == waiting
    assert _untouched(granted)


async def test_no_is_no_and_stays_no(granted):
    waiting = await granted.submit(tool("each"))
    granted.answer(waiting, False)
    for _ in range(2):
        outcome = await granted.submit(tool("each"))
        assert isinstance(outcome, Refused)
        granted.reopen()
    with pytest.raises(AnswerRefused, match="counts once"):
        granted.answer(waiting, True, by="carol")
    assert _untouched(granted)


async def test_a_yes_is_good_for_its_own_action_and_for_one_time(granted):
    waiting = await granted.submit(tool("each", n=1), 1)
    other = await granted.submit(tool("each", n=2), 2)
    granted.answer(waiting, seq=1)
    assert isinstance(await granted.submit(tool("each", n=2), 2), Waiting)
    assert isinstance(await granted.submit(tool("each", n=1, amount=100), 3), Waiting)
    assert _untouched(granted)
    await granted.submit(tool("each", n=1), 1)
    assert isinstance(await granted.submit(tool("each", n=1), 4), Waiting)  # the same once more is asked once more
    with pytest.raises(AnswerRefused):
        granted.answer(waiting, seq=1, by="carol")
    assert granted.world.happened == [f"{granted.run}:1"]
    assert isinstance(other, Waiting)


async def test_a_yes_for_another_digest_at_the_same_place_is_no_leave(granted):
    waiting = await granted.submit(tool("each"))
    card = granted.question(waiting)
    forged = card.model_copy(update={"rows": (card.rows[0].model_copy(update={"digest": "0" * 64}),)})
    granted.answer(waiting)
    real = granted.store.records

    class Swapped:
        def __getattr__(self, name: str) -> Callable[..., object]:
            return getattr(real, name)

        def question(self, id: str) -> object:
            found = real.question(id)
            assert found is not None
            return found.model_copy(
                update={"rows": (forged.rows[0].model_copy(update={"answers": found.rows[0].answers}),)}
            )

    granted.under(granted.policy, records=Swapped())  # type: ignore[arg-type]
    assert isinstance(await granted.submit(tool("each")), Waiting)
    assert _untouched(granted)


async def test_a_question_that_is_gone_is_no_leave_and_may_hide_an_effect_so_a_person_is_asked(granted):
    granted.answer(await granted.submit(tool("each")))
    real = granted.store.records

    class Gone:
        def __getattr__(self, name: str) -> Callable[..., object]:
            return getattr(real, name)

        def question(self, id: str) -> None:
            return None

    granted.under(granted.policy, records=Gone())  # type: ignore[arg-type]
    waiting = await granted.submit(tool("each"))
    assert granted.question(waiting).about == "unknown"
    assert _untouched(granted)


async def test_a_yes_under_another_policy_is_asked_anew(granted):
    waiting = await granted.submit(tool("each"))
    granted.answer(waiting)
    granted.under(rules("another"))
    granted.accept()
    again = await granted.submit(tool("each"))
    assert isinstance(again, Waiting)
    assert again != waiting
    assert granted.question(again).policy_digest == granted.policy.digest
    assert _untouched(granted)


async def test_a_question_that_nobody_answered_in_time_is_refused_and_takes_no_late_answer(granted):
    waiting = await granted.submit(tool("each"))
    granted.clock.pass_by(hours=24)
    with pytest.raises(AnswerRefused, match="expired"):
        granted.answer(waiting)
    outcome = await granted.submit(tool("each"), started_at=None)
    assert outcome == Refused(rules=("deadline",), reason="nobody answered in time")
    assert _untouched(granted)


async def test_a_yes_that_lay_too_long_is_asked_anew(granted):
    waiting = await granted.submit(tool("each"))
    granted.answer(waiting)
    granted.clock.pass_by(hours=24)
    again = await granted.submit(tool("each"), started_at=None)
    assert isinstance(again, Waiting)
    assert again != waiting
    assert _untouched(granted)


async def test_one_person_twice_is_not_two_people(granted):
    waiting = await granted.submit(tool("two"))
    granted.answer(waiting)
    with pytest.raises(AnswerRefused, match="another person"):
        granted.answer(waiting)
    assert isinstance(await granted.submit(tool("two")), Waiting)
    assert _untouched(granted)


async def test_an_approval_that_comes_with_the_request_counts_for_nothing(granted):
    outcome = await granted.submit(tool("each"), approved_by=("bob", "carol", "the recorded intent"))
    assert isinstance(outcome, Waiting)
    outcome = await granted.submit(tool("unplanned"), 1, approved_by=("bob",))
    assert isinstance(outcome, Refused)
    assert _untouched(granted)


async def test_an_approval_in_another_run_is_no_approval_here(granted, home):
    other = Bench(home)
    other.accept()
    other.answer(await other.submit(tool("each")))
    assert isinstance(await granted.submit(tool("each")), Waiting)
    await other.submit(tool("each"))
    assert (_untouched(granted), other.world.happened) == (True, [f"{other.run}:0"])
    other.close()


class Greedy(Hand):
    """An executor that tries to do more than it has leave for."""

    def __init__(self, bench: Bench, use: Callable[[object], object]) -> None:
        super().__init__(bench.world)
        self._use = use

    async def execute(self, permit):  # type: ignore[no-untyped-def]
        self._use(permit)
        self._world.happened.append(permit.key)
        return Raw(text="")


@pytest.mark.parametrize(
    "use",
    [
        lambda permit: (permit.redeem(permit.action_type), permit.redeem(permit.action_type)),
        lambda permit: permit.redeem(FileWrite),
        lambda permit: permit.opened(f"{FORGED}"),
        lambda permit: permit.opened("⟦"),
    ],
)
async def test_a_permit_gives_no_more_than_its_one_action(granted, use):
    granted.under(granted.policy, hands=(Greedy(granted, use),))
    outcome: Outcome | None = None
    try:
        outcome = await granted.submit(tool())
    except PolicyError as error:
        assert "permit" in str(error)
    assert granted.world.happened == []
    assert outcome is None or outcome.outcome == "failed"


async def test_a_limit_of_zero_means_none(granted):
    more = "  - {id: zero, effect: allow, action: tool.call, tool: unplanned, limit: {count: 0, per: run}, why: none}"
    granted.under(rules(more=more))
    granted.accept()
    outcome = await granted.submit(tool("unplanned", effect=EffectClass.READ, repeat=Repeat.SAFE))
    assert isinstance(outcome, Refused)
    assert outcome.rules[0] == "limit"
    assert _untouched(granted)


async def test_a_plan_accepted_under_other_rules_is_no_leave(granted):
    granted.under(rules("another"))
    assert isinstance(await granted.submit(tool()), Waiting)
    assert isinstance(await granted.submit(tool(), 1, attended=False), Refused)
    assert _untouched(granted)


async def test_time_that_is_over_stops_a_run_that_still_has_a_yes(granted):
    waiting = await granted.submit(tool("each"))
    granted.answer(waiting)
    granted.clock.pass_by(minutes=61)
    outcome = await granted.submit(tool("each"))
    assert isinstance(outcome, Refused)
    assert outcome.rules[0] == "limit"
    assert _untouched(granted)
