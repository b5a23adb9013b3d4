"""plan → preflight → accept: from the person's words to what is granted."""

from __future__ import annotations

import secrets
from datetime import timedelta
from importlib.resources import files
from typing import Any

from agent.planning import hosts_in, plan_of
from agent.state import PendingCall, State
from agent.work import Work
from policies.card import plan_card
from policies.decision import Approvers, AskMode
from policies.dryrun import acceptable_by_rule, preflight
from policies.ledger import Draft
from policies.mandate import Acceptance, Plan
from policies.outcome import Done, Observation, Outcome, Waiting
from policies.ports import Submission
from policies.question import Question, Row
from tools.catalog import CHANGE_TOOL, PLAN_TOOL
from tools.errors import ToolError
from tools.models.messages import assistant, message, result
from tools.models.reply import Reply, ToolCall

Update = dict[str, Any]
ACCEPTED = "The plan is accepted. Carry it out now."
MOST_FAULTS = 3
"""Unusable turns in a row after which the run is held for a person."""


async def plan(work: Work, state: State) -> Update:
    """Have the model write the plan from the person's words alone."""
    transcript = work.transcript
    if len(transcript) == 0:
        transcript.append(message("system", system_prompt()))
        transcript.append(message("user", work.task))
    reply = await work.ask_model(state, "plan")
    update: Update = {"seq": state["seq"] + 1}
    if not isinstance(reply, Reply):
        return update | held(reply)
    try:
        call, made = _plan_in(reply, work)
    except ToolError as error:
        if state["faults"] + 1 >= MOST_FAULTS:
            return update | {"trouble": f"the model gave no usable plan in {MOST_FAULTS} tries: {error}", "faults": 0}
        transcript.append(
            assistant(reply.text, reply.calls) if reply.calls else message("assistant", reply.text or "-")
        )
        for each in reply.calls:
            transcript.append(result(each.id, f"not usable: {error}"))
        if not reply.calls:
            transcript.append(message("user", f"No plan arrived: {error}"))
        return update | {"messages": len(transcript), "faults": state["faults"] + 1}
    transcript.append(assistant(reply.text, (call,)))
    work.store.mandates.set_plan(work.run, made, hosts_in(work.task))
    pending = pending_call(call)
    return update | {"messages": len(transcript), "faults": 0, "calls": [pending], "end": None}


async def preflight_node(work: Work, state: State) -> Update:
    """Judge the plan before it runs; accept it by rule, take the requester's word, or put it on a card."""
    mandate = work.mandate()
    assert mandate is not None, "a plan was stored before"
    checked = preflight(mandate.plan, work.policy, principal=work.principal, now=work.clock.now())
    work.store.documents.put(work.run, "preflight", checked.model_dump(mode="json"))
    work.tell("plan", text=mandate.plan.summary)
    if work.dry_run:
        return {"end": "previewed"}
    if acceptable_by_rule(checked, work.policy):
        return _accepted(work, state, mandate.plan, by="rule:accept_plan")
    if work.accept:
        return _accepted(work, state, mandate.plan, by=work.principal)
    title, lines = plan_card(mandate.plan, checked)
    return ask_about_plan(work, state, mandate.plan, title, lines)


async def accept(work: Work, state: State) -> Update:
    """Read the answer to the plan's card."""
    pending, mandate = state["calls"][0], work.mandate()
    assert mandate is not None, "a plan was stored before"
    if still_asked(work, pending):
        return {}
    by, said = plan_answer(work, pending, mandate.plan)
    if not by:
        return {"end": "rejected", "trouble": f"the plan was not accepted: {said}"}
    return _accepted(work, state, mandate.plan, by=by)


def still_asked(work: Work, call: PendingCall) -> bool:
    """True while the call's question has no verdict yet."""
    question = work.store.questions.get(call["waits_for"] or "")
    row = question.row(call["seq"] or 0) if question else None
    return question is not None and row is not None and question.verdict(row, work.clock.now()) is None


def plan_answer(work: Work, call: PendingCall, plan: Plan) -> tuple[str, str]:
    """Who accepted exactly this plan under this policy, else nobody; and why not."""
    question = work.store.questions.get(call["waits_for"] or "")
    row = question.row(call["seq"] or 0) if question else None
    said = _why(work, question, row, plan)
    return ("", said) if said or row is None else (", ".join(a.by for a in row.answers), "")


def grant(work: Work, state: State, index: int, plan: Plan, *, by: str) -> int:
    """Record that the plan which the call at `index` handed in is granted; the next submission's number.

    In this order, so that after a crash anywhere in between the same again gives the same.
    """
    mandate, now = work.mandate(), work.clock.now()
    assert mandate is not None, "a plan was stored before"
    seq = state["calls"][index]["seq"] or state["seq"]
    entry = Draft(
        event="plan",
        seq=seq,
        facts={"plan": plan.digest, "by": by, "policy": work.policy.digest, "steps": len(plan.steps)},
        body=plan.model_dump(mode="json"),
    )
    outcome = Done(observation=Observation(text=f"accepted by {by}"))
    row = Submission(run=work.run, seq=seq, digest=plan.digest, outcome=outcome)
    work.store.records.commit(row, (entry,), epoch=work.epoch, now=now)
    work.store.mandates.set_plan(work.run, plan, mandate.hosts)
    acceptance = Acceptance(by=by, at=now, plan_digest=plan.digest, policy_digest=work.policy.digest)
    work.store.mandates.accept(work.run, acceptance)
    return max(state["seq"], seq + 1)


def ask_about_plan(
    work: Work, state: State, plan: Plan, title: str, lines: tuple[tuple[str, str], ...], index: int = 0
) -> Update:
    """Put a plan on a card; the call at `index` waits for the answer."""
    now, seq = work.clock.now(), state["seq"]
    question = Question(
        id=f"Q{secrets.token_hex(4).upper()}",
        run=work.run,
        turn=state["turn"],
        about="plan",
        rows=(Row(seq=seq, digest=plan.digest, title=title, lines=lines),),
        mode=AskMode.EACH,
        approvers=Approvers(),
        requester=work.principal,
        policy_digest=work.policy.digest,
        asked_at=now,
        expires_at=now + timedelta(seconds=Approvers().within_s),
    )
    facts: dict[str, Any] = {"plan": plan.digest, "question": question.id, "policy": work.policy.digest}
    entry = Draft(event="asked", seq=seq, facts=facts)
    row = Submission(run=work.run, seq=seq, digest=plan.digest, outcome=Waiting(question=question.id))
    work.store.records.commit(row, (entry,), epoch=work.epoch, question=question, now=now)
    calls = [c.copy() for c in state["calls"]]
    calls[index] |= {"seq": seq, "waits_for": question.id}
    work.tell("question", question=question)
    return {"seq": seq + 1, "calls": calls}


def held(outcome: Outcome) -> Update:
    """Why the model did not answer, for a person."""
    reason = getattr(outcome, "reason", "the policy asks a person about every model call; allow model.call instead")
    return {"trouble": reason}


def pending_call(call: ToolCall) -> PendingCall:
    """A call as the state keeps it."""
    return PendingCall(
        id=call.id,
        name=call.name,
        arguments=call.arguments,
        fault=call.fault,
        repaired=call.repaired,
        seq=None,
        done=False,
        waits_for=None,
    )


def system_prompt() -> str:
    """The one system prompt of every run; it never holds anything of a task."""
    return files("agent.prompts").joinpath("system.txt").read_text(encoding="utf-8").strip()


def _why(work: Work, question: Question | None, row: Row | None, plan: Plan) -> str:
    """Why the plan is not accepted; empty when it is."""
    if question is None or row is None:
        return "the question about it is gone"
    if not question.verdict(row, work.clock.now()):
        no = next((a for a in row.answers if not a.yes), None)
        if no is None:
            return "nobody accepted it in time"
        because = work.redaction.redact_text(no.because)
        return f"{no.by} said no: {because}" if because else f"{no.by} said no: no reason given"
    if question.policy_digest != work.policy.digest:
        return "the policy changed after it was shown; start the task again"
    return "" if row.digest == plan.digest else "it is not the one that was shown"


def _accepted(work: Work, state: State, plan: Plan, *, by: str) -> Update:
    """The run's plan is granted: the model is told, and its next turn begins."""
    seq = grant(work, state, 0, plan, by=by)
    work.transcript.append(result(state["calls"][0]["id"], ACCEPTED))
    return {"seq": seq, "calls": [], "messages": len(work.transcript), "turn": state["turn"] + 1}


def _plan_in(reply: Reply, work: Work) -> tuple[ToolCall, Plan]:
    if len(reply.calls) != 1 or reply.calls[0].name != PLAN_TOOL:
        raise ToolError(f"the first turn must be one call of {PLAN_TOOL} and nothing else ({CHANGE_TOOL} comes later)")
    call = reply.calls[0]
    if call.arguments is None or call.repaired:
        # a repaired plan may be a cut one, and a rule may accept it unseen
        raise ToolError(call.fault or "its arguments are not valid JSON; send the whole call again")
    try:
        return call, plan_of(call.arguments, work.catalog, work.parse)
    except ValueError as error:
        raise ToolError(str(error)) from None
