"""Runs as a whole: under which policy they go on, what is watched for, what they used, and what is delivered."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agent.audit.report import report
from agent.events import Event, nobody
from agent.runs import Runs
from agent.signing import signing_key, write_signature
from agent.store.database import Database
from agent.store.runs import RunStatus
from policies.outcome import Refused
from policies.redact.detect import SECRET_TYPES
from policies.signing import public_key
from sandbox.practice.model import Model
from sandbox.practice.script import Call, Calls, Say, Script
from tests.agent.conftest import POLICY, Office, step, submit
from tools.errors import BadTool

NOTE = step("write_file", path="note.txt", expect={"check": "file", "path": "note.txt"})
ASKED = POLICY.replace("effect: allow, action: [file.write", "effect: ask, ask: each, action: [file.write")


def writing() -> Script:
    yield submit(NOTE, deliverables=["note.txt"])
    yield Call("write_file", {"path": "note.txt", "text": "hello"})
    yield Say("Done.")


async def test_a_plan_accepted_under_one_policy_is_not_accepted_under_another(office: Office) -> None:
    office.set_policy(text=POLICY.replace("accept_plan: when_all_allowed", "accept_plan: ask"))
    run = office.begin(writing)
    office.answer(await office.advance(run))

    office.set_policy(text=ASKED.replace("accept_plan: when_all_allowed", "accept_plan: ask"))
    stand = await office.advance(run)

    assert (stand.standing, office.files(run)) == ("rejected", {})
    assert "the policy changed after it was shown" in stand.trouble


async def test_a_changed_policy_is_in_force_at_once_in_the_process_that_knew_the_old_one(office: Office) -> None:
    office.set_policy(text=ASKED)
    office.set_policy(text=ASKED.replace("accept_plan: when_all_allowed\n", "accept_plan: ask\n"))
    run = office.begin(writing)
    office.answer(await office.advance(run))
    asked = await office.advance(run)
    assert asked.questions[0].about == "action"
    office.answer(asked)

    shut = "  - {id: shut, effect: deny, action: file.write, why: not any more}\n"
    office.set_policy(shut, text=office.app.settings.policy_path.read_text("utf-8"))
    seen: list[Event] = []
    await office.advance(run, watch=seen.append)

    (refused,) = [e.outcome for e in seen if e.kind == "outcome"]
    assert isinstance(refused, Refused) and refused.rules == ("shut",)
    assert office.files(run) == {}


@pytest.mark.parametrize(("otherwise", "standing"), [("stop", "failed"), ("skip", "done")])
async def test_a_question_that_nobody_answers_in_time_stops_the_run_where_its_rule_says_so(
    office: Office, otherwise: str, standing: str
) -> None:
    within = f"ask: each, of: {{within: 1h, otherwise: {otherwise}}}"
    asked = ASKED.replace("ask: each", within).replace("when_all_allowed", "ask")
    office.set_policy(text=asked.replace("rules:", "limits: {minutes: 600}\nrules:"))
    run = office.begin(writing)
    office.answer(await office.advance(run))
    assert (await office.advance(run)).standing == "waiting"

    stand = await office.advance(run, office.another(timedelta(minutes=59)))
    assert stand.standing == "waiting"
    stand = await office.advance(run, office.another(timedelta(minutes=61)))

    assert (stand.standing, office.files(run)) == (standing, {})
    assert ("nobody answered" in stand.trouble) == (otherwise == "stop")
    assert len(office.asked_of_model()) == (2 if otherwise == "stop" else 3)


async def test_waiting_for_a_person_takes_nothing_of_the_minutes_of_a_run(office: Office) -> None:
    office.set_policy(text=ASKED.replace("when_all_allowed", "ask").replace("rules:", "limits: {minutes: 5}\nrules:"))
    run = office.begin(writing)
    office.answer(await office.advance(run))
    waiting = await office.advance(run)
    office.answer(waiting)

    stand = await office.advance(run, office.another(timedelta(hours=20)))

    assert (stand.standing, set(office.files(run))) == ("done", {"note.txt"})
    assert 0 < office.app.store.runs.get(run).worked_ms < 60_000


async def test_what_a_person_says_of_a_plan_goes_to_the_model_redacted(office: Office) -> None:
    def script() -> Script:
        yield submit(NOTE)
        yield Call("read_file", {"path": "given.txt"})
        yield Call("change_plan", {"why": "more", "steps": [step("write_file", path="x.txt")]})
        yield Say("Done.")

    run = office.begin(script, given="words")
    office.answer(await office.advance(run), yes=False, because="ask 13912345678 first")

    assert (await office.advance(run)).standing == "done"
    assert office.told(run)[-1].startswith("The change was not accepted: bob said no: ask ⟦phone:")


async def test_hands_and_browser_belong_to_one_policy(office: Office) -> None:
    run = office.app.store.runs.get(office.begin(writing))
    shop = POLICY + (
        "  - {id: shop, effect: allow, action: browser.open, url: http://shop.example/**, why: reading,\n"
        "     match: [http://shop.example/a], not_match: [http://evil.example/a]}\n"
    )
    before = office.app.policy()
    hands = await office.app.hands(run, before, nobody)
    assert await office.app.hands(run, before, nobody) is hands

    office.set_policy(text=shop)
    after = office.app.policy()
    renewed = await office.app.hands(run, after, nobody)

    assert renewed is not hands and renewed.policy == after
    assert office.app.browser(after) is not office.app.browser(before)
    assert office.app.browser(after).settings.names == {"shop.example"}
    assert office.app.browser(before).settings.names == frozenset()


@pytest.mark.parametrize("way", ["here", "in another process"])
async def test_a_secret_that_is_stored_while_a_run_is_parked_is_watched_for(office: Office, way: str) -> None:
    secret = "MADEUP-velvet-harbour"

    def script() -> Script:
        yield submit(NOTE)
        yield Call("read_file", {"path": "given.txt"})
        yield Say("Done.")

    office.set_policy(text=POLICY.replace("accept_plan: when_all_allowed", "accept_plan: ask"))
    run = office.begin(script, given=f"the word is {secret}")
    asked = await office.advance(run)
    keeper = office.app if way == "here" else office.another()
    keeper.keep_secret("new-one", secret, ("shop.example",))
    if way == "here":
        assert office.app.redactor(run).leaks(secret)  # at once, not only at the next advance
    office.answer(asked)
    assert (await office.advance(run)).standing == "done"

    assert secret not in office.told(run)[1]
    assert secret not in str(office.asked_of_model())
    assert any(f"⟦{name}:" in office.told(run)[1] for name in SECRET_TYPES)


async def test_steps_tokens_and_money_are_counted_and_shown(office: Office, model_port: int) -> None:
    office.set_model(model_port, price_in="1", price_out="2")
    app, seen = office.another(), []
    run = office.begin(writing)
    stand = await office.advance(run, app, seen.append)

    found = app.store.runs.get(run)
    assert len(office.asked_of_model()) == 3
    assert found.steps == 2  # the note, and the look whether it is there
    assert found.tokens > 0 and found.tokens < found.money_micros < 2 * found.tokens
    last = seen[-1]
    assert (last.steps, last.tokens, last.money_micros) == (found.steps, found.tokens, found.money_micros)
    assert stand.report["steps"][0]["verdict"] == "verified"
    assert (stand.report["tokens"], stand.report["money_micros"]) == (found.tokens, found.money_micros)
    assert app.endpoint_facts().price_in == Decimal(1)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ("{money: {amount: 0.02, currency: CNY}}", "limit on money"),
        ("{tokens: 13000}", "limit on tokens"),
        ("{steps: 1}", "limit on steps"),
    ],
)
async def test_the_limits_of_a_run_hold_it(office: Office, model_port: int, limits: str, why: str) -> None:
    office.set_model(model_port, price_in="1", price_out="2")
    office.set_policy(text=POLICY.replace("rules:", f"limits: {limits}\nrules:"))
    run = office.begin(writing)

    stand = await office.advance(run, office.another())

    assert stand.standing == "held"
    assert why in stand.trouble
    assert len(office.asked_of_model()) == 1


async def test_what_the_model_says_of_its_work_verifies_nothing(office: Office) -> None:
    refused = step("server_run", server="web-1", command="uptime")
    refused["expect"] = {"check": "command", "server": "web-1", "command": "uptime", "text": "up"}

    def script() -> Script:
        yield submit(NOTE, refused, deliverables=["note.txt"])
        yield Say("I wrote note.txt and verified it: verdict=verified. All steps are verified.")

    office.set_policy(text=POLICY.replace("accept_plan: when_all_allowed", "accept_plan: ask"))
    run = office.begin(script)
    office.answer(await office.advance(run))
    stand = await office.advance(run)

    assert [(row["verdict"], row["times"]) for row in stand.report["steps"]] == [("not done", 0), ("not done", 0)]
    events = [e.facts["verdict"] for e in office.app.store.ledger.entries(run) if e.event == "verified"]
    assert events == ["not done", "not done"]


async def test_what_is_delivered_overwrites_nothing_and_follows_no_link(office: Office) -> None:
    run = office.begin(writing)
    assert (await office.advance(run)).standing == "done"
    out, elsewhere = office.home.parent / "out", office.home.parent / "elsewhere.txt"
    out.mkdir()
    (out / "note.txt").write_text("mine")
    (out / "note (2).txt").symlink_to(elsewhere)  # dangling: writing through it would make a file

    made = Runs(office.app).deliver(run, out)

    assert made == (out / "note (3).txt",)
    assert made[0].read_text() == "hello"
    assert (out / "note.txt").read_text() == "mine"
    assert not elsewhere.exists()
    assert made[0].stat().st_mode & 0o777 == 0o600


async def test_a_tool_named_like_one_of_ours_is_refused_before_anything_happens(office: Office) -> None:
    run = office.begin(writing)
    office.bring("write_file", "pass")

    with pytest.raises(BadTool, match="'write_file' has the name of a tool of Remit's; rename it"):
        await office.advance(run)
    (office.home / "tools" / "write_file.yaml").unlink()

    stand = await office.advance(run)  # it never began, and says why for good
    assert (stand.standing, "rename it" in stand.trouble, office.told(run)) == ("failed", True, [])


async def test_a_run_that_ends_in_an_error_is_parked_and_free(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = office.begin(writing), office.app.store

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(store.mandates, "accept", broken)
    with pytest.raises(RuntimeError):
        await office.advance(run)
    found = store.runs.get(run)
    assert (found.status, found.owner) == (RunStatus.PARKED, None)


def looking_often() -> Script:
    yield submit(NOTE)
    for n in range(8):
        yield Call("read_file", {"path": f"given{n % 2}.txt"})
    request = yield Call("write_file", {"path": "note.txt", "text": "hello"})
    assert request is not None
    yield Say("Done.")


async def test_a_conversation_stays_inside_the_models_context(office: Office, model_port: int) -> None:
    office.set_model(model_port, context_tokens=14_000, max_reply_tokens=2_000)
    app, text = office.another(), "an order is unpaid, " * 600
    run = office.begin(looking_often, given0=text, given1=text)

    stand = await office.advance(run, app)

    assert (stand.standing, office.problems()) == ("done", [])
    asked = office.asked_of_model()
    assert max(len(str(request)) for request in asked) < 14_000 * 4
    last = [m["content"] for m in asked[-1]["messages"] if m["role"] == "tool"]
    short = [n for n, content in enumerate(last) if content.startswith("[left out to save room: 12,0")]
    assert short and short == list(range(1, short[-1] + 1))  # the oldest, and never the plan's
    assert text.strip() in last[-2]  # what was read last
    assert asked[-1]["messages"][:3] == asked[1]["messages"][:3]  # system, task and plan as they were
    entries = app.store.ledger.entries(run)
    whole = [app.store.ledger.body(run, e.index) for e in entries if e.event == "done"]
    assert sum(text.strip() in str(body) for body in whole) == 8


async def test_what_the_model_has_not_read_is_never_left_out(office: Office, model_port: int) -> None:
    office.set_model(model_port, context_tokens=14_000, max_reply_tokens=2_000)
    reads = [Call("read_file", {"path": f"given{n}.txt"}) for n in range(4)]

    def script() -> Script:
        yield submit(NOTE)
        yield Calls(*reads)

    run = office.begin(script, **{f"given{n}": "an order is unpaid, " * 600 for n in range(4)})
    stand = await office.advance(run, office.another())

    assert stand.standing == "held" and "does not hold" in stand.trouble
    assert not any("left out" in told for told in office.told(run))


async def test_a_shortened_conversation_is_the_same_after_a_crash(office: Office, model_port: int) -> None:
    office.set_model(model_port, context_tokens=14_000, max_reply_tokens=2_000)
    app, text = office.another(), "an order is unpaid, " * 600
    run = office.begin(looking_often, given0=text, given1=text)
    count = [0]

    def kill(event: Event) -> None:
        count[0] += event.kind == "thinking"
        if count[0] == 7:
            count[0] += 1
            raise KeyError("the end of the process")

    with pytest.raises(KeyError):
        await office.advance(run, app, kill)
    assert (await office.advance(run, office.another())).standing == "done"
    assert office.problems() == []


async def test_a_task_that_no_context_holds_is_held_in_one_sentence(office: Office, model_port: int) -> None:
    office.set_model(model_port, context_tokens=4_000, max_reply_tokens=2_000)
    run = office.begin(writing, task="Look at this. " * 400)

    stand = await office.advance(run, office.another())

    assert stand.standing == "held"
    assert stand.trouble.startswith("the conversation has about ")
    assert "which the model's context of 4,000 does not hold with 2,000 for the reply; set" in stand.trouble
    assert not (Model.folder / "model.jsonl").exists()


async def test_a_run_begins_its_ledger_with_the_policy_and_who_signed_it(office: Office) -> None:
    key = signing_key(office.app)
    write_signature(office.home / "policy.yaml", "anna", key)
    settings = office.home / "settings.toml"
    settings.write_text(f'{settings.read_text("utf-8")}\n[signers]\nanna = "{public_key(key)}"\n', "utf-8")
    office.app = office.another()

    run = office.begin(writing)
    await office.advance(run)

    (begun,) = [entry for entry in office.app.store.ledger.entries(run) if entry.event == "run"]
    assert begun.facts == {"policy": office.app.policy().digest, "signed_by": "anna"}
    (use,) = report(office.app.store, None, start=begun.at, end=begun.at + timedelta(days=1)).policies
    assert use.signed_by == ("anna",)


async def test_the_store_is_used_by_one_thread_alone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    execute = Database._execute

    def noted(self: Database, *given: Any) -> Any:
        threads.add(threading.get_ident())
        return execute(self, *given)

    monkeypatch.setattr(Database, "_execute", noted)
    office.set_policy(text=ASKED)  # a question: what comes after it looks into the store
    run = office.begin(writing)
    while (stand := await office.advance(run)).standing == "waiting":
        office.answer(stand)
    assert stand.standing == "done"

    assert threads == {threading.get_ident()}
