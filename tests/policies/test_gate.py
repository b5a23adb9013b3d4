"""The gate's ordinary paths: what is recorded, asked, limited and given back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.action import BrowserSubmit, Control, EffectClass, FileRead, FormField, Repeat
from policies.decision import Reservation
from policies.errors import ActionFailed, AnswerRefused, LimitReached, PolicyError, SubmissionConflict
from policies.labels import Label
from policies.outcome import Done, Failed, Refused, Waiting
from policies.ports import Raw, Submission
from tests.policies.gating import EMAIL, PHONE, SECRET, Bench, model_call, rules, tool


def _used(bench: Bench, unit: str) -> int:
    """How much of the run's own limit is used, as a reservation is told that cannot be had."""
    probe = Submission(run=bench.run, seq=999, digest="d", outcome=None)
    wanted = Reservation(key=f"run:{bench.run}:{unit}", limit=10**9, amount=10**9 + 1)
    with pytest.raises(LimitReached) as told:
        bench.store.records.commit(probe, (), epoch=bench.epoch, reserve=(wanted,), now=bench.clock.now())
    return 10**9 - int(str(told.value).split("leaves ")[1].split(" of")[0])


def _saying(text: str = "", **more: object):
    return lambda permit: Raw(text=text, **more)


async def test_the_intent_is_in_the_ledger_before_the_effect_and_the_outcome_after(granted):
    before = []
    granted.world.hook = lambda step: before.append((step, granted.events()))
    assert isinstance(await granted.submit(tool()), Done)
    assert before == [(step, ["intent"]) for step in ("execute", "act", "acted")]
    assert granted.events() == ["intent", "done"]
    assert granted.store.ledger.verify(granted.run) is None


async def test_entries_name_the_policy_the_mandate_the_rules_and_who_approved(granted):
    waiting = await granted.submit(tool("two"))
    granted.answer(waiting, by="bob")
    granted.answer(waiting, by="carol")
    assert isinstance(await granted.submit(tool("two")), Done)
    asked, one, two, intent, done = granted.store.ledger.entries(granted.run)
    for entry in (asked, intent):
        facts = entry.facts
        assert facts["policy"] == granted.policy.digest
        assert facts["mandate"] == granted.store.mandates.get(granted.run).plan.digest
        assert (facts["rules"], facts["principal"], facts["kind"]) == (["two"], "alice", "tool.call")
    assert intent.facts["approved_by"] == ["bob", "carol"]
    assert {e.facts.get("action", e.facts.get("digest")) for e in (asked, one, two, intent, done)} == {
        tool("two").digest
    }


async def test_every_refusal_names_its_policy(bench):
    refused = [tool("shut"), tool("nowhere"), tool(text=SECRET), tool(text="⟦phone:aaaaaaaaaa⟧")]
    for seq, action in enumerate(refused):
        assert isinstance(await bench.submit(action, seq), Refused)
    assert [e.facts["policy"] for e in bench.store.ledger.entries(bench.run)] == [bench.policy.digest] * 4


async def test_the_same_key_with_the_same_action_gives_the_recorded_outcome(granted):
    first = await granted.submit(tool())
    granted.reopen()
    assert await granted.submit(tool()) == first
    refused = await granted.submit(tool("shut"), 1)
    assert await granted.submit(tool("shut"), 1) == refused
    assert len(granted.world.tried) == 1
    assert granted.events() == ["intent", "done", "denied"]


async def test_the_same_key_with_another_action_is_a_conflict_in_every_state(granted):
    def die(step: str) -> None:
        raise RuntimeError

    await granted.submit(tool(n=0), 0)
    await granted.submit(tool("each", n=1), 1)
    granted.world.hook = die
    with pytest.raises(RuntimeError):
        await granted.submit(tool(n=2), 2)
    tried = len(granted.world.tried)
    for seq in range(3):
        with pytest.raises(SubmissionConflict, match=f"step {seq} of run"):
            await granted.submit(tool(n=9), seq)
    assert len(granted.world.tried) == tried


async def test_an_action_that_was_changed_in_place_after_it_was_made_is_a_conflict(granted):
    action = tool(n=1)
    assert action.digest
    action.arguments["n"] = 2
    with pytest.raises(SubmissionConflict, match="changed after"):
        await granted.submit(action)
    assert (granted.world.tried, granted.events()) == ([], [])


async def test_three_asks_of_one_turn_share_a_card_and_are_answered_row_by_row(granted):
    actions = [tool("batch", n=n) for n in range(3)]
    asked = [await granted.submit(action, n, turn=1) for n, action in enumerate(actions)]
    assert asked[0] == asked[1] == asked[2]
    assert [row.digest for row in granted.question(asked[0]).rows] == [a.digest for a in actions]

    granted.answer(asked[0], True, seq=0)
    granted.answer(asked[0], False, seq=1, because="not this one")
    outcomes = [await granted.submit(action, n, turn=1) for n, action in enumerate(actions)]
    assert isinstance(outcomes[0], Done)
    assert outcomes[1] == Refused(rules=("person",), reason="bob said no: not this one")
    assert outcomes[2] == asked[2]
    assert granted.world.happened == [f"{granted.run}:0"]


async def test_another_turn_other_approvers_and_an_answered_card_have_a_card_of_their_own(granted):
    first = await granted.submit(tool("batch", n=0), 0, turn=1)
    other_turn = await granted.submit(tool("batch", n=1), 1, turn=2)
    alone = await granted.submit(tool("each", n=2), 2, turn=1)
    granted.answer(first, seq=0)
    answered = await granted.submit(tool("batch", n=3), 3, turn=1)
    granted.clock.pass_by(hours=25)
    expired = await granted.submit(tool("batch", n=4), 4, turn=2, started_at=None)
    cards = [w.question for w in (first, other_turn, alone, answered, expired) if isinstance(w, Waiting)]
    assert len(set(cards)) == 5


async def test_a_card_that_is_answered_while_a_row_is_added_takes_the_answer_and_not_the_row(granted):
    first = await granted.submit(tool("batch", n=0), 0, turn=1)
    records = granted.store.records

    class Answering:
        """Somebody answers between the look at the card and the commit."""

        def __getattr__(self, name: str):
            return getattr(records, name)

        def open_question(self, run: str, turn: int):
            found = records.open_question(run, turn)
            granted.answer(first, seq=0)
            return found

    granted.under(granted.policy, records=Answering())
    second = await granted.submit(tool("batch", n=1), 1, turn=1)
    assert isinstance(second, Waiting)
    assert second != first
    assert len(granted.question(first).rows) == 1


async def test_a_second_person_is_needed_where_the_rule_says_two(granted):
    waiting = await granted.submit(tool("two"))
    granted.answer(waiting, by="bob")
    assert await granted.submit(tool("two")) == waiting
    with pytest.raises(AnswerRefused, match="another person"):
        granted.answer(waiting, by="bob")
    granted.answer(waiting, by="carol")
    assert isinstance(await granted.submit(tool("two")), Done)


async def test_a_yes_that_is_not_enough_any_more_asks_anew_and_does_not_wait_for_ever(granted):
    more = "  - {id: strangers, effect: ask, ask: each, of: {answers: 2}, action: tool.call, when: {untrusted: true},"
    granted.under(rules(more=f"{more} why: strangers}}"))
    granted.accept()
    waiting = await granted.submit(tool("each"))
    granted.answer(waiting)
    again = await granted.submit(tool("each"), context=Label())
    assert isinstance(again, Waiting)
    assert again != waiting
    assert granted.question(again).approvers.answers == 2


async def test_what_a_person_wrote_goes_to_the_model_redacted(granted):
    waiting = await granted.submit(tool("each"))
    granted.answer(waiting, False, because=f"call {PHONE} first, {SECRET}")
    outcome = await granted.submit(tool("each"))
    assert isinstance(outcome, Refused)
    assert PHONE not in outcome.reason
    assert "kettle" not in outcome.reason
    assert outcome.reason.startswith("bob said no: call ⟦phone:")


async def test_a_limit_of_a_rule_holds_over_runs_and_says_so(granted, home):
    outcomes = [await granted.submit(tool("five", n), n) for n in range(4)]
    assert all(isinstance(o, Done) for o in outcomes)
    other = Bench(home)
    other.accept()
    assert isinstance(await other.submit(tool("five"), 0), Done)
    refused = await other.submit(tool("five", 1), 1)
    other.close()
    assert isinstance(refused, Refused)
    assert refused.rules == ("limit", "five")
    assert "leaves 0 of 5 per day" in refused.reason


def _raising(acted: bool):
    def raw(permit):
        raise ActionFailed("it did not work", may_have_acted=acted)

    return raw


@pytest.mark.parametrize(("acted", "spent"), [(False, 0), (True, 1)])
async def test_only_a_failure_without_effect_gives_back_what_was_planned_and_limited(granted, acted, spent):
    granted.clock.pass_by(days=int(acted) + 1)  # a day of its own for the limit
    granted.world.raw = _raising(acted)
    for n in range(6):
        outcome = await granted.submit(tool("five", n), n, started_at=None)
        if n < 5 or not acted:
            assert outcome == Failed(reason="it did not work", may_have_acted=acted)
        else:
            assert isinstance(outcome, Refused)
    assert granted.spent("five") == 5 * spent
    assert _used(granted, "steps") == (5 if acted else 6)  # tries count, used or not


async def test_a_refusal_spends_nothing(granted):
    for seq, action in enumerate([tool("shut"), tool("nowhere"), tool(text=SECRET)]):
        assert isinstance(await granted.submit(action, seq), Refused)
    assert (_used(granted, "steps"), granted.spent("shut"), granted.spent("go")) == (0, 0, 0)


async def test_reads_spend_no_planned_step(granted):
    assert isinstance(await granted.submit(tool(effect=EffectClass.READ, repeat=Repeat.SAFE)), Done)
    assert granted.spent() == 0


async def test_a_planned_step_is_used_up_and_then_asked(granted):
    assert isinstance(await granted.submit(tool("once", 0), 0), Done)
    assert isinstance(await granted.submit(tool("once", 1), 1), Waiting)
    stale = granted.request(tool("once", 2), 2)
    spent = replace(stale, mandate=stale.mandate.model_copy(update={"spent": {}}))
    outcome = await granted.gate.submit(spent)  # a mandate read before the last one was spent
    assert isinstance(outcome, Refused)
    assert outcome.rules[0] == "limit"
    assert len(granted.world.happened) == 1


async def test_tokens_and_money_are_reserved_at_worst_and_settled_by_use(bench):
    seen = []
    bench.world.hook = lambda step: step == "act" and seen.append((_used(bench, "tokens"), _used(bench, "micros")))
    bench.world.raw = _saying(tokens=150, micros=40)
    assert isinstance(await bench.submit(model_call(400)), Done)
    assert seen == [(400, 100)]
    assert (_used(bench, "tokens"), _used(bench, "micros"), _used(bench, "calls")) == (150, 40, 1)
    assert isinstance(await bench.submit(model_call(851), 1), Refused)
    assert isinstance(await bench.submit(model_call(850), 2), Done)


async def test_what_a_call_used_beyond_its_worst_case_counts_too(bench):
    bench.world.raw = _saying(tokens=1300, micros=100)
    assert isinstance(await bench.submit(model_call(400)), Done)
    assert _used(bench, "tokens") == 1300
    refused = await bench.submit(model_call(1), 1)
    assert isinstance(refused, Refused)
    assert "leaves 0 of 1000" in refused.reason


async def test_a_call_of_unknown_use_keeps_what_was_reserved(bench):
    assert isinstance(await bench.submit(model_call(400)), Done)
    assert _used(bench, "tokens") == 400


async def test_a_model_without_a_price_is_refused_where_money_is_limited(bench):
    refused = await bench.submit(model_call(micros=None))
    assert isinstance(refused, Refused)
    assert refused.rules[0] == "limit"


async def test_the_minutes_of_a_run_end_it(granted):
    granted.clock.pass_by(minutes=60)
    assert isinstance(await granted.submit(tool()), Done)
    granted.clock.pass_by(seconds=1)
    assert isinstance(await granted.submit(tool(), 1), Refused)


async def test_a_result_is_redacted_everywhere_and_a_handle_opens_only_at_its_sink(granted):
    granted.world.raw = _saying(
        f"{PHONE} {SECRET}", data={"who": [PHONE, {SECRET: int(PHONE)}]}, files=(f"{PHONE}.txt",)
    )
    done = await granted.submit(tool())
    assert isinstance(done, Done)
    assert granted.holds_nothing_planted()
    handle = done.observation.text.split()[0]
    assert done.observation.files == (f"{handle}.txt",)

    granted.world.raw = _saying("ok")
    assert isinstance(await granted.submit(tool(to=handle), 1), Done)
    assert PHONE in granted.world.seen


async def test_the_search_for_planted_values_finds_them_when_nothing_is_redacted(granted):
    plain = granted.redactor

    class Blind:
        def __getattr__(self, name: str):
            return getattr(plain, name)

        def redact_text(self, text: str) -> str:
            return text

    granted.redactor = Blind()
    granted.under(granted.policy)
    granted.world.raw = _saying(PHONE)
    await granted.submit(tool())
    assert not granted.holds_nothing_planted()


async def test_a_failure_is_redacted(granted):
    def fail(permit):
        raise ActionFailed(f"no answer from {EMAIL} with {SECRET}", may_have_acted=True)

    granted.world.raw = fail
    outcome = await granted.submit(tool())
    assert isinstance(outcome, Failed)
    assert EMAIL not in outcome.reason
    assert granted.holds_nothing_planted()


async def test_a_long_result_is_cut_and_says_so(granted):
    granted.world.raw = _saying("词" * 70_000)
    done = await granted.submit(tool())
    assert isinstance(done, Done)
    assert done.observation.text.endswith("\n[cut: 6000 more characters]")


async def test_a_permit_is_over_when_the_gate_has_its_outcome(granted):
    kept = []

    def keep(permit):
        kept.append(permit)
        return Raw(text="")

    granted.world.raw = keep
    await granted.submit(tool())
    for use in (lambda: kept[0].redeem(kept[0].action_type), lambda: kept[0].opened("x")):
        with pytest.raises(PolicyError, match="over"):
            use()


async def test_an_unplanned_effect_is_asked_and_unattended_refused(bench):
    assert isinstance(await bench.submit(tool()), Waiting)
    assert isinstance(await bench.submit(tool(), 1, attended=False), Refused)
    assert isinstance(await bench.submit(FileRead(path="a.txt"), 2, attended=False), Done)
    assert bench.world.happened == [f"{bench.run}:2"]


@pytest.mark.parametrize("text", ["0{}", "{}0", "x{}", "{}{}"])
async def test_a_handle_that_touches_a_word_is_refused_before_the_intent(granted, text):
    handle = granted.redactor.redact_text(PHONE)
    refused = await granted.submit(tool(to=text.replace("{}", handle)))

    assert isinstance(refused, Refused)
    assert refused.rules[0] == "handles"
    assert granted.events() == ["denied"]


LOGIN = "http://shop.example/login"
FILTER = """
  - {id: fill, effect: allow, action: browser.submit, url: "http://shop.example/**", why: forms,
     match: ["http://shop.example/login"], not_match: ["http://evil.example/"]}"""


def _form(method: str, value: str) -> BrowserSubmit:
    fields = (FormField(name="q", value=value),)
    control = Control(role="button", name="Go")
    return BrowserSubmit(url=LOGIN, control=control, target=LOGIN, method=method, fields=fields, does="read")


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_form_carries_a_secret_only_where_a_rule_names_it(bench, allowed):
    submitted = []

    class Browser:
        kinds = frozenset({"browser.submit"})

        async def execute(self, permit):
            submitted.append(permit.redeem(permit.action_type))
            return Raw(text="sent")

        async def probe(self, permit):
            raise ActionFailed("unknown", may_have_acted=True)

    named = FILTER.replace("why:", "secrets: [shop-password], why:") if allowed else FILTER
    bench.under(rules(more=named), hands=(Browser(),))
    in_query = await bench.submit(_form("get", "secret://shop-password"), 0)
    assert isinstance(in_query, Refused) and in_query.rules[0] == "secrets"
    other = await bench.submit(_form("post", "x secret://other"), 1)
    assert isinstance(other, Refused) and "'other'" in other.reason
    posted = await bench.submit(_form("post", "secret://shop-password"), 2)
    assert isinstance(posted, Done if allowed else Refused)
    assert isinstance(await bench.submit(_form("get", "no secret"), 3), Done)
    assert len(submitted) == (2 if allowed else 1)


async def test_halves_of_characters_in_a_result_or_a_failure_are_replaced_and_the_outcome_is_recorded(granted):
    granted.world.raw = _saying("a\ud800b", data={"x\udc00": ["\ud800", 1, None]}, files=("f\udfff",))
    done = await granted.submit(tool())
    assert isinstance(done, Done)
    assert (done.observation.text, done.observation.files) == ("a\ufffdb", ("f\ufffd",))
    assert done.observation.data == {"x\ufffd": ["\ufffd", 1, None]}

    def fail(permit):
        raise ActionFailed("it said \ud800", may_have_acted=True)

    granted.world.raw = fail
    failed = await granted.submit(tool(n=1), 1)
    assert isinstance(failed, Failed)
    assert failed.reason == "it said \ufffd"
    assert granted.events() == ["intent", "done", "intent", "failed"]
