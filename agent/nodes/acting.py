"""propose → act → wait: the model proposes, the gate decides, what came back is told to the model."""

from __future__ import annotations

import re
from typing import Any, assert_never

from langgraph.types import interrupt
from pydantic import ValidationError

from agent.history import action_of
from agent.nodes.checking import note_evidence
from agent.nodes.planning import (
    ACCEPTED,
    MOST_FAULTS,
    Update,
    ask_about_plan,
    grant,
    held,
    pending_call,
    plan_answer,
    still_asked,
)
from agent.nodes.restoring import restore_page
from agent.planning import changed_plan
from agent.state import PendingCall, State
from agent.work import Work, label_json, label_of
from policies.action import Action, EffectClass
from policies.card import plan_card
from policies.dryrun import acceptable_by_rule, preflight
from policies.errors import ActionFailed, BadAction
from policies.labels import Integrity, Label
from policies.mandate import PlannedStep
from policies.outcome import Done, Failed, Observation, Refused, Unknown, Waiting
from tools.catalog import CHANGE_TOOL, PLAN_TOOL, sentence
from tools.errors import ToolError
from tools.models.messages import assistant, message, result
from tools.models.reply import Finish, Reply, ToolCall

SAME_TURNS = 3
"""The same calls in so many turns running end the run: DashScope itself refuses such a history."""


_REPAIRED = "the arguments were not valid JSON and it would change something; send the whole call again"
_MARK = re.compile(r"<(?=\s*/?\s*result)", re.IGNORECASE)


async def propose(work: Work, state: State) -> Update:
    """Ask the model what to do next."""
    reply = await work.ask_model(state, "step")
    update: Update = {"seq": state["seq"] + 1}
    if not isinstance(reply, Reply):
        return update | held(reply)
    transcript = work.transcript
    if reply.calls:
        calls = [pending_call(c) for c in reply.calls]
        transcript.append(assistant(reply.text, reply.calls))
        update |= {"calls": calls, "turn": state["turn"] + 1, "messages": len(transcript), "faults": 0}
        same = state["same"] + 1 if _sketch(calls) == _sketch(state["calls"]) else 0
        if same + 1 >= SAME_TURNS:
            return update | {"trouble": f"the model asked for the same thing {SAME_TURNS} times running", "same": 0}
        return update | {"same": same}
    if reply.text and reply.finish is not Finish.LENGTH:
        transcript.append(message("assistant", reply.text))
        work.store.documents.put(work.run, "summary", {"text": reply.text})
        return update | {"messages": len(transcript), "calls": [], "checking": 1, "faults": 0}
    if state["faults"] + 1 >= MOST_FAULTS:
        return update | {"trouble": f"the model gave no usable answer in {MOST_FAULTS} tries", "faults": 0}
    transcript.append(message("user", "Your last answer was empty or cut off. Go on, in smaller parts."))
    return update | {"messages": len(transcript), "faults": state["faults"] + 1}


async def act(work: Work, state: State) -> Update:
    """Submit the next call of the turn. A node submits at most one request that has an effect."""
    index = next(i for i, c in enumerate(state["calls"]) if not c["done"] and not still_asked(work, c))
    call = state["calls"][index]
    seq = call["seq"] if call["seq"] is not None else state["seq"]
    try:
        if call["name"] == CHANGE_TOOL:
            return _change(work, state, index, seq)
        action = await _action(work, state, call, seq)
    except (ToolError, BadAction, ActionFailed, ValueError) as error:
        said = sentence(error) if isinstance(error, ValidationError) else str(error)
        return _tell_model(work, state, index, f"Not executed: {said}", seq=state["seq"])
    outcome = await work.submit(state, action, seq=seq)
    step = _step_of(work, action, seq)
    work.tell("outcome", action=action, outcome=outcome, step=step.n if step else None)
    after = max(state["seq"], seq + 1)
    match outcome:
        case Waiting(question=id):
            calls = [c.copy() for c in state["calls"]]
            calls[index] |= {"seq": seq, "waits_for": id}
            work.tell("question", question=work.store.questions.get(id))
            return {"calls": calls, "seq": after}
        case Done(observation=seen):
            work.grounds.note(work.policy, action, seq, seen)
            if step is not None:
                note_evidence(work, step, action, seq, seen)
            update = _tell_model(work, state, index, _quoted(seen), seq=after)
            return update | {"label": label_json(label_of(state).join(seen.label))}
        case Refused():
            return _tell_model(work, state, index, _said(outcome), seq=after) | _stopped(work, call, outcome)
        case Failed() | Unknown():
            # its reason may quote what a tool or page said
            update = _tell_model(work, state, index, _said(outcome), seq=after)
            return update | {"label": label_json(label_of(state).join(Label()))}
        case never:
            assert_never(never)


async def wait(work: Work, state: State) -> Update:
    """Hold the run until a person has answered or put something right. Nothing is held meanwhile."""
    questions = sorted({c["waits_for"] for c in state["calls"] if c["waits_for"] and not c["done"]})
    interrupt({"questions": questions, "trouble": state.get("trouble")})
    return {"trouble": None, "same": 0}


def unanswered(work: Work, state: State) -> bool:
    """True when every call of the turn is either done or waits for a person, and one waits."""
    open_calls = [c for c in state["calls"] if not c["done"]]
    return bool(open_calls) and all(still_asked(work, c) for c in open_calls)


async def _action(work: Work, state: State, call: PendingCall, seq: int) -> Action:
    """The call's action: as recorded if it was submitted before, else made from the arguments."""
    recorded = action_of(work.store, work.run, seq)
    if recorded is not None:
        if recorded.kind.startswith("browser.") and recorded.kind != "browser.open":
            await restore_page(work, state, before=seq)
        return recorded
    if call["name"] == PLAN_TOOL:
        raise ToolError("the plan is accepted already; propose further steps with change_plan")
    asked = ToolCall(
        id=call["id"],
        name=call["name"],
        arguments=call["arguments"],
        raw="",
        fault=call["fault"],
        repaired=call["repaired"],
    )
    action = await work.catalog.action(work.run, asked)
    if call["repaired"] and action.effect is not EffectClass.READ:
        # a repaired value may be a cut one: `restart wor` for `restart worker`
        raise ToolError(_REPAIRED)
    return action


def _stopped(work: Work, call: PendingCall, refused: Refused) -> Update:
    """The end of the run, where its policy says so of a question that nobody answered in time."""
    question = work.store.questions.get(call["waits_for"] or "") if refused.rules == ("deadline",) else None
    if question is None or question.approvers.otherwise != "stop":
        return {}
    return {"end": "failed", "trouble": f"nobody answered {question.id} in time, and its rule says to stop then"}


def _step_of(work: Work, action: Action, seq: int) -> PlannedStep | None:
    """The planned step that the submission was made under; for an effect as recorded, as by now it is spent."""
    mandate = work.mandate()
    if mandate is None or action.effect is EffectClass.READ:
        return mandate.fit(action) if mandate else None
    row = work.store.records.submission(work.run, seq)
    return next((step for step in mandate.plan.steps if row and row.planned == step.n), None)


def _change(work: Work, state: State, index: int, seq: int) -> Update:
    """A proposal of further steps: granted by rule if the policy accepts such plans, else put on a card."""
    call, mandate = state["calls"][index], work.mandate()
    assert mandate is not None, "a run that acts has a mandate"
    if call["arguments"] is None or call["repaired"]:
        raise ToolError(call["fault"] or _REPAIRED)
    known = work.store.records.submission(work.run, seq)
    if known is not None and known.digest == mandate.plan.digest:
        plan = mandate.plan  # a crash came after it was granted
    else:
        plan = changed_plan(mandate.plan, call["arguments"], work.catalog, work.parse)
    if call["waits_for"]:
        by, why = plan_answer(work, call, plan)
        if not by:
            return _tell_model(work, state, index, f"The change was not accepted: {why}", seq=state["seq"])
    else:
        checked = preflight(plan, work.policy, principal=work.principal, now=work.clock.now())
        # After strangers' words only a person widens: a new step's pins would ground its own sink.
        swayed = label_of(state).integrity is Integrity.UNTRUSTED
        if swayed or not acceptable_by_rule(checked, work.policy):
            title, lines = plan_card(plan, checked, before=mandate.plan, why=str(call["arguments"].get("why", "")))
            return ask_about_plan(work, state, plan, f"Change of plan: {title}", lines, index)
        by = "rule:accept_plan"
    return _tell_model(work, state, index, ACCEPTED, seq=grant(work, state, index, plan, by=by))


def _tell_model(work: Work, state: State, index: int, text: str, *, seq: int) -> Update:
    work.transcript.append(result(state["calls"][index]["id"], text))
    calls = [c.copy() for c in state["calls"]]
    calls[index] |= {"done": True}
    return {"calls": calls, "messages": len(work.transcript), "seq": seq}


def _quoted(seen: Observation) -> str:
    """A result as the model reads it: marked as data, with where it came from."""
    origins = ",".join(sorted(seen.label.origins)) or "this run"
    code = "" if seen.exit_code is None else f" exit={seen.exit_code}"
    return f"<result from={origins}{code}>\n{_held_in(seen.text)}\n</result>"


def _said(outcome: Refused | Failed | Unknown) -> str:
    match outcome:
        case Refused(rules=rules, reason=reason, instead=instead):
            also = f" Allowed instead: {instead}." if instead else ""
            return f"REFUSED by {', '.join(rules)}: {reason}.{also} Do not try to reach the same in another way."
        case Failed(reason=reason):
            return f"FAILED:\n<result>\n{_held_in(reason)}\n</result>"
        case Unknown(reason=reason):
            return f"UNKNOWN:\n<result>\n{_held_in(reason)}\n</result>"


def _held_in(text: str) -> str:
    """`text` that cannot end its own quotation, nor begin another."""
    return _MARK.sub(r"<\\", text)


def _sketch(calls: list[Any]) -> list[tuple[str, str]]:
    return [(c["name"], repr(c["arguments"])) for c in calls]
