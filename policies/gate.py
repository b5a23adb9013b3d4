"""The gate: the one place where a proposed action becomes something that happens.

decide → record → permit → execute → redact → record. If any step before the effect fails, nothing
happens; an effect whose outcome could not be recorded stays an open intent and is never repeated blindly.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Literal, assert_never

from pydantic import JsonValue

from policies.action import EffectClass, ModelCall, Repeat
from policies.card import action_card
from policies.decide import decide
from policies.decision import AskMode, Decision, Effect, Reservation
from policies.errors import ActionFailed, LimitReached, PolicyError, RedactionError, SubmissionConflict
from policies.ledger import Draft, Event
from policies.outcome import Done, Failed, Observation, Outcome, Refused, Unknown, Waiting
from policies.permit import _MINT, Permit
from policies.ports import Clock, Executor, Raw, Records, Redaction, Submission
from policies.question import Question, Row
from policies.request import Request
from policies.rules import Policy

About = Literal["plan", "action", "unknown"]
OBSERVATION_CHARS = 64_000
"""Longest text that reaches the model from one action."""


class Gate:
    """Judges requests under one policy and has the permitted ones carried out.

    The hot path of a run: two store transactions for an allowed action, one for any other answer.
    """

    def __init__(
        self,
        policy: Policy,
        records: Records,
        executors: Iterable[Executor],
        redaction: Redaction,
        clock: Clock,
    ) -> None:
        self._policy, self._records, self._redaction, self._clock = policy, records, redaction, clock
        self._executors: Mapping[str, Executor] = {kind: e for e in executors for kind in e.kinds}

    async def submit(self, request: Request) -> Outcome:
        """What came of the request. The same key with the same action gives the recorded outcome.

        Raises RecordsUnavailable (nothing happened), StaleEpoch (another process has the run) and
        SubmissionConflict (the key stands for another action).
        """
        known = self._records.submission(request.run, request.seq)
        if known is not None and known.digest != request.action.digest:
            raise SubmissionConflict(
                f"step {request.seq} of run {request.run} was already submitted as another action; "
                "the run is parked, look at it with: remit runs show"
            )
        match known.outcome if known is not None else None:
            case Done() | Refused() | Failed() | Unknown() as final:
                return final
            case None if known is not None:
                return await self._reconcile(request, known)
            case None | Waiting():
                return await self._judge(request, known)
            case never:
                assert_never(never)

    async def _judge(self, request: Request, known: Submission | None) -> Outcome:
        """Decide, with the answer that a person gave to exactly this digest under this policy, if any."""
        question = None
        if known is not None and isinstance(known.outcome, Waiting):
            question = self._records.question(known.outcome.question)
        row = question.row(request.seq) if question else None
        if question and row and row.digest == request.action.digest:
            verdict = question.verdict(row, request.now)
            names = tuple(dict.fromkeys(a.by for a in row.answers))
            if known and question.about == "unknown":
                if verdict is None:
                    return Waiting(question=question.id)
                return self._told(request, known, verdict, ", ".join(names) or "nobody, in time,")
            if verdict is False:
                no = next((a for a in row.answers if not a.yes), None)
                reason = f"{no.by} said no: {no.because or 'no reason given'}" if no else "nobody answered in time"
                rules = ("person",) if no else ("deadline",)
                return self._refuse(request, Decision(effect=Effect.DENY, rules=rules, reason=reason))
            if verdict and question.policy_digest == self._policy.digest:
                request = replace(request, approved_by=names)
        decision = self._decide(request)
        match decision.effect:
            case Effect.DENY:
                return self._refuse(request, decision)
            case Effect.ASK:
                return self._ask(request, decision, question)
            case Effect.ALLOW:
                return await self._carry_out(request, decision)
            case never:
                assert_never(never)

    def _decide(self, request: Request) -> Decision:
        """The policy's decision, tightened by what the action carries and by the run's limits."""
        try:
            decision = decide(request, self._policy)
            if decision.effect is Effect.DENY:
                return decision
            return self._tightened(request, decision)
        except RedactionError as error:
            return Decision(effect=Effect.DENY, rules=("handles",), reason=str(error))
        except Exception as error:  # noqa: BLE001  any doubt on the way to a decision is a refusal
            reason = f"the decision failed ({type(error).__name__}), so it is refused"
            return Decision(effect=Effect.DENY, rules=("error",), reason=reason)

    def _tightened(self, request: Request, decision: Decision) -> Decision:
        action, limits = request.action, self._policy.limits
        if action.kind not in self._executors:
            return _denied(decision, f"nothing here can carry out {action.kind!r}", rule="executor")
        if request.started_at and request.now > request.started_at + timedelta(minutes=limits.minutes):
            return _denied(decision, f"the run's {limits.minutes} minutes are over", rule="limit")
        if isinstance(action, ModelCall) and limits.money is not None and action.worst_micros is None:
            reason = f"the policy limits money, but the price of model {action.model!r} is not in the settings"
            return _denied(decision, reason, rule="limit")
        for text in (*action.contents(), *request.leaving):
            if kinds := self._redaction.leaks(text):
                return _denied(decision, f"it would carry a protected value ({kinds[0]}) in clear", rule="handles")
        for text in action.contents():
            if shut := sorted(self._redaction.handle_types(text) - decision.obligations.restore):
                instead = f"a rule for {action.kind} with `restore: [{shut[0]}]`"
                return _denied(decision, f"{shut[0]} values may not go there", rule="handles", instead=instead)
        return decision

    def _refuse(self, request: Request, decision: Decision) -> Refused:
        refused = Refused(rules=decision.rules, reason=decision.reason, instead=decision.instead)
        self._commit(request, refused, _entry("denied", request, decision))
        return refused

    def _ask(self, request: Request, decision: Decision, standing: Question | None) -> Waiting:
        """Put the action on a card: the turn's open batch card, or one of its own."""
        title, lines = action_card(request.action, decision)
        row = Row(seq=request.seq, digest=request.action.digest, title=title, lines=lines)
        if standing is not None and standing.policy_digest == self._policy.digest:
            return Waiting(question=standing.id)  # asked before, and not yet answered by enough people
        batch = None
        if decision.ask is not AskMode.EACH:
            batch = self._records.open_question(request.run, request.turn)
        if batch and batch.approvers == decision.approvers and batch.policy_digest == self._policy.digest:
            question = batch.model_copy(update={"rows": (*batch.rows, row)})
        else:
            question = self._question(request, decision, row)
        waiting = Waiting(question=question.id)
        self._commit(request, waiting, _entry("asked", request, decision, question=question.id), question=question)
        return waiting

    async def _carry_out(self, request: Request, decision: Decision) -> Outcome:
        """Record the intent with everything it uses up, act once, record what came of it."""
        planned = decision.planned if request.action.effect is not EffectClass.READ else None
        obligations = decision.obligations
        reserved = (*obligations.reservations, *run_reservations(request, self._policy))
        decision = decision.model_copy(
            update={"obligations": obligations.model_copy(update={"reservations": reserved})}
        )
        try:
            self._commit(
                request,
                None,
                _entry("intent", request, decision, approved_by=list(request.approved_by)),
                reserve=reserved,
                spend=planned,
                planned=planned,
            )
        except LimitReached as error:
            return self._refuse(request, _denied(decision, str(error), rule="limit"))
        return await self._act(request, decision, planned)

    async def _act(self, request: Request, decision: Decision, planned: int | None, *, probe: bool = False) -> Outcome:
        executor = self._executors[request.action.kind]
        permit = Permit(
            mint=_MINT,
            action=request.action,
            run=request.run,
            key=request.key,
            obligations=decision.obligations,
            opener=lambda text: self._redaction.restore(text, decision.obligations.restore),
        )
        raw: Raw | None = None
        outcome: Outcome
        try:
            raw = await (executor.probe(permit) if probe else executor.execute(permit))
            if raw is None:
                outcome = Failed(reason="it had not happened before the interruption; it may be proposed again")
            else:
                outcome = Done(observation=self._observe(raw))
        except (ActionFailed, RedactionError) as error:
            acted = isinstance(error, ActionFailed) and error.may_have_acted
            outcome = Failed(reason=self._redaction.redact_text(str(error)), may_have_acted=acted)
        self._settle(request, decision, outcome, planned, raw)
        return outcome

    def _settle(
        self,
        request: Request,
        decision: Decision,
        outcome: Outcome,
        planned: int | None,
        raw: Raw | None = None,
    ) -> None:
        """Record the outcome; give back what was reserved and certainly not used."""
        unused = isinstance(outcome, Failed) and not outcome.may_have_acted
        counted = (":steps", ":calls")  # tries count against the run, used or not
        back = [r for r in decision.obligations.reservations if unused and not r.key.endswith(counted)]
        for reservation in decision.obligations.reservations:
            used = {"tokens": raw.tokens, "micros": raw.micros}.get(reservation.key.rsplit(":", 1)[-1]) if raw else None
            if reservation.key.startswith("run:") and used is not None:
                back.append(reservation.model_copy(update={"amount": reservation.amount - used}))
        self._commit(
            request,
            outcome,
            _outcome_entry(request, outcome),
            give_back=tuple(back),
            unspend=planned if unused else None,
            planned=planned,
        )

    def _observe(self, raw: Raw) -> Observation:
        text = self._redaction.redact_text(raw.text)
        if len(text) > OBSERVATION_CHARS:
            text = f"{text[:OBSERVATION_CHARS]}\n[cut: {len(text) - OBSERVATION_CHARS} more characters]"
        return Observation(
            text=text,
            data=self._redaction.redact_json(raw.data) if raw.data is not None else None,
            files=raw.files,
            rows=raw.rows,
            exit_code=raw.exit_code,
            label=raw.label,
            level=raw.level,
        )

    async def _reconcile(self, request: Request, known: Submission) -> Outcome:
        """An intent without an outcome: repeat, probe or ask a person, as the action's `repeat` says."""
        decision = self._decide(replace(request, approved_by=("the recorded intent",) * 9))
        repeat = request.action.repeat
        if repeat is Repeat.NEVER or decision.effect is Effect.DENY:
            return self._ask_whether_it_happened(request, known)
        probe = repeat is Repeat.PROBE
        note = {"how": "probe" if probe else "repeat", "action": request.action.digest}
        entry = Draft(event="repeated", seq=request.seq, facts={**note})
        self._commit(request, None, entry, planned=known.planned)
        return await self._act(request, decision, known.planned, probe=probe)

    def _ask_whether_it_happened(self, request: Request, known: Submission) -> Waiting:
        decision = Decision(effect=Effect.ASK, rules=("interrupted",), reason="begun, but the outcome is not known")
        title, lines = action_card(request.action, decision)
        lines = (*lines, ("asked", "it was begun and then interrupted: yes = it happened, no = it did not"))
        row = Row(seq=request.seq, digest=request.action.digest, title=title, lines=lines)
        question = self._question(request, decision, row, about="unknown")
        entry = _entry("asked", request, decision, question=question.id)
        waiting = Waiting(question=question.id)
        self._commit(request, waiting, entry, question=question, planned=known.planned)
        return waiting

    def _told(self, request: Request, known: Submission, yes: bool, by: str) -> Outcome:
        """A person's word on an interrupted action."""
        outcome: Outcome = Failed(reason=f"{by} says that it did not happen")
        if yes:
            outcome = Done(observation=Observation(text=f"{by} says that it did happen before the interruption"))
        self._settle(request, Decision(effect=Effect.ALLOW, reason="told"), outcome, known.planned)
        return outcome

    def _question(self, request: Request, decision: Decision, row: Row, about: About = "action") -> Question:
        return Question(
            id=f"Q{secrets.token_hex(4).upper()}",
            run=request.run,
            turn=request.turn,
            about=about,
            rows=(row,),
            mode=decision.ask or AskMode.EACH,
            approvers=decision.approvers,
            requester=request.principal,
            policy_digest=self._policy.digest,
            asked_at=request.now,
            expires_at=request.now + timedelta(seconds=decision.approvers.within_s),
        )

    def _commit(
        self,
        request: Request,
        outcome: Outcome | None,
        entry: Draft,
        *,
        question: Question | None = None,
        reserve: tuple[Reservation, ...] = (),
        give_back: tuple[Reservation, ...] = (),
        spend: int | None = None,
        unspend: int | None = None,
        planned: int | None = None,
    ) -> None:
        self._records.commit(
            Submission(
                run=request.run,
                seq=request.seq,
                digest=request.action.digest,
                outcome=outcome,
                planned=planned,
            ),
            (entry,),
            epoch=request.epoch,
            question=question,
            reserve=reserve,
            give_back=give_back,
            spend=spend,
            unspend=unspend,
            now=self._clock.now(),
        )


def run_reservations(request: Request, policy: Policy) -> tuple[Reservation, ...]:
    """What this submission takes from the run's own limits: a step, and for a model call tokens and money."""
    limits, action = policy.limits, request.action
    taken = [Reservation(key=f"run:{request.run}:steps", limit=limits.steps)]
    if isinstance(action, ModelCall):
        taken[0] = Reservation(key=f"run:{request.run}:calls", limit=limits.steps)
        worst = action.prompt_tokens + action.max_reply_tokens
        taken.append(Reservation(key=f"run:{request.run}:tokens", limit=limits.tokens, amount=worst))
        if limits.money is not None and action.worst_micros is not None:
            most = int(limits.money.amount * 1_000_000)
            taken.append(Reservation(key=f"run:{request.run}:micros", limit=most, amount=action.worst_micros))
    return tuple(taken)


def _entry(event: Event, request: Request, decision: Decision, **facts: JsonValue) -> Draft:
    """A ledger entry about a decision: digests and ids in the chain, the action itself in the body."""
    action = request.action
    return Draft(
        event=event,
        seq=request.seq,
        facts={
            "action": action.digest,
            "kind": action.kind,
            "effect": action.effect.value,
            "decision": decision.effect.name.lower(),
            "rules": list(decision.rules),
            "policy": decision.policy_digest,
            "mandate": request.mandate.plan.digest if request.mandate else None,
            "planned": decision.planned,
            "principal": request.principal,
            "integrity": request.context.integrity.name.lower(),
            **facts,
        },
        body={
            "action": action.model_dump(mode="json"),
            "reason": decision.reason,
            "note": dict(request.note),
        },
    )


def _outcome_entry(request: Request, outcome: Outcome) -> Draft:
    facts: dict[str, JsonValue] = {"action": request.action.digest, "kind": request.action.kind}
    body: JsonValue
    event: Event
    match outcome:
        case Done(observation=seen):
            facts |= {
                "level": seen.level,
                "exit": seen.exit_code,
                "rows": seen.rows,
                "files": len(seen.files),
            }
            body = {"text": seen.text, "data": seen.data, "files": list(seen.files)}
            event = "done"
        case Failed(reason=reason, may_have_acted=acted):
            facts["may_have_acted"] = acted
            event, body = "failed", {"reason": reason}
        case Unknown(reason=reason):
            event, body = "unknown", {"reason": reason}
        case Refused() | Waiting():
            raise PolicyError("a refusal or a question is not an outcome of an effect")
        case never:
            assert_never(never)
    return Draft(event=event, seq=request.seq, facts=facts, body=body)


def _denied(decision: Decision, reason: str, *, rule: str, instead: str = "") -> Decision:
    update = {
        "effect": Effect.DENY,
        "rules": (rule, *decision.rules),
        "reason": reason,
        "instead": instead or decision.instead,
    }
    return decision.model_copy(update=update)
