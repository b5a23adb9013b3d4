"""The gate: the one place where a proposed action becomes something that happens.

decide → record → permit → execute → redact → record. If any step before the effect fails, nothing
happens; an effect whose outcome could not be recorded stays an open intent and is never repeated blindly.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Literal, assert_never

from pydantic import JsonValue

from policies.action import BrowserSubmit, EffectClass, ModelCall, Repeat, canonical_json
from policies.card import action_card
from policies.decide import decide
from policies.decision import AskMode, Decision, Effect, Reservation
from policies.errors import (
    ActionFailed,
    AnswerRefused,
    BadPolicy,
    LimitReached,
    PolicyError,
    RedactionError,
    SubmissionConflict,
)
from policies.grounds import labelled
from policies.ledger import Draft, Event
from policies.limits import UNCOUNTABLE, told_apart
from policies.mandate import Mandate
from policies.outcome import Done, Failed, Observation, Outcome, Refused, Unknown, Waiting
from policies.people import People, counted
from policies.permit import _MINT, Permit
from policies.ports import Clock, Executor, Raw, Records, Redaction, Submission
from policies.question import Question, Row
from policies.redact.detect import SECRET_TYPES
from policies.redact.handle import joined_handle
from policies.request import Request
from policies.rules import Policy

About = Literal["plan", "action", "unknown"]
OBSERVATION_CHARS = 64_000
"""Longest text that reaches the model from one action."""
_NO_LIMIT = 2**62
_HALF = re.compile("[\ud800-\udfff]")
_SECRET = re.compile(r"secret://([\w.-]*)")


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
        people: Callable[[], People | None] = lambda: None,
    ) -> None:
        """`people` gives the list of people as it is now; BadPolicy when it cannot be used."""
        self._policy, self._records, self._redaction, self._clock = policy, records, redaction, clock
        self._people = people
        self._executors: Mapping[str, Executor] = {kind: e for e in executors for kind in e.kinds}

    async def submit(self, request: Request) -> Outcome:
        """What came of the request. The same key with the same action gives the recorded outcome.

        Raises RecordsUnavailable (nothing happened), StaleEpoch (another process has the run) and
        SubmissionConflict (the key stands for another action). Only a person's answer approves: what
        `request.approved_by` brings along counts for nothing.
        """
        request = replace(request, approved_by=())
        known = self._records.submission(request.run, request.seq)
        if known is not None and known.digest != request.action.digest:
            raise SubmissionConflict(
                f"step {request.seq} of run {request.run} was already submitted as another action; "
                "the run is parked, look at it with: remit runs show"
            )
        if request.action.model_copy().digest != request.action.digest:
            raise SubmissionConflict(f"the action of step {request.seq} was changed after its digest was taken")
        match known.outcome if known is not None else None:
            case Done() | Refused() | Failed() | Unknown() as final:
                return final
            case Waiting(question=id) if known is not None:
                return await self._answered(request, known, self._records.question(id))
            case None if known is not None:
                return await self._reconcile(request, known)
            case None | Waiting():
                return await self._judge(request)
            case never:
                assert_never(never)

    async def _answered(self, request: Request, known: Submission, question: Question | None) -> Outcome:
        """What the answers to exactly this digest, under this policy and in their time, make of it."""
        row = question.row(request.seq) if question else None
        if question is None or row is None or row.digest != request.action.digest:
            return self._ask_whether_it_happened(request, known)  # as it may have been begun before it was asked
        verdict = question.verdict(row, request.now)
        names = tuple(dict.fromkeys(a.by for a in row.answers))
        no = next((a for a in row.answers if not a.yes), None)
        if question.about == "unknown":
            if verdict is None:
                return Waiting(question=question.id)
            return self._told(request, known, verdict, names)
        if verdict is False:
            because = self._redaction.redact_text(no.because) if no else ""
            reason = f"{no.by} said no: {because or 'no reason given'}" if no else "nobody answered in time"
            rules = ("person",) if no else ("deadline",)
            return self._refuse(request, Decision(effect=Effect.DENY, rules=rules, reason=reason))
        if question.policy_digest != self._policy.digest:
            return await self._judge(request)
        if verdict is None:
            return await self._judge(request, standing=question)
        return await self._judge(replace(request, approved_by=self._approved_by(request, question, row)))

    def _approved_by(self, request: Request, question: Question, row: Row) -> tuple[str, ...]:
        """Whose yes counts at this moment for whom the rules want now; nobody's where that cannot be told.

        A yes is worth its time, and that of somebody who left the group meanwhile is worth nothing: asked anew.
        """
        if request.now >= question.expires_at:
            return ()
        with suppress(BadPolicy):
            return counted(row.answers, self._decide(request).approvers, request.principal, self._people())
        return ()

    async def _judge(self, request: Request, standing: Question | None = None) -> Outcome:
        """Decide and do what was decided; `standing` asks this already, and has not been answered by enough people."""
        decision = self._decide(request)
        match decision.effect:
            case Effect.DENY:
                return self._refuse(request, decision)
            case Effect.ASK:
                return Waiting(question=standing.id) if standing else self._ask(request, decision)
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
            over = (
                f"the run's {limits.minutes} minutes are over; raise the limit in the policy, or start the task again"
            )
            return _denied(decision, over, rule="limit")
        if isinstance(action, ModelCall) and limits.money is not None and action.worst_micros is None:
            reason = f"the policy limits money, but the price of model {action.model!r} is not in the settings"
            return _denied(decision, reason, rule="limit")
        if isinstance(action, BrowserSubmit) and (sent := _secrets_in(action)):
            if action.method == "get":
                return _denied(decision, "this form would put a secret into an address", rule="secrets")
            if shut := sorted(sent - decision.obligations.secrets):
                instead = f"a rule for {action.kind} with `secrets: [{shut[0]}]`"
                return _denied(
                    decision, f"no rule lets the secret {shut[0]!r} go there", rule="secrets", instead=instead
                )
        if any(r.amount == UNCOUNTABLE for r in decision.obligations.reservations):
            reason = "a rule limits a field that is missing here, or there twice, or no plain number"
            return _denied(decision, reason, rule="limit")
        content = action.model_dump(mode="json", include=set(action.content_fields))
        rest = action.model_dump(mode="json", exclude=set(action.content_fields))
        leaks = [kind for text in (_text(content), *request.leaving) for kind in self._redaction.leaks(text)]
        # A page's own url may hold what a person searched for, but a secret is nowhere in its place.
        leaks += [kind for kind in self._redaction.leaks(_text(rest)) if kind in SECRET_TYPES]
        if leaks:
            return _denied(decision, f"it would carry a protected value ({leaks[0]}) in clear", rule="handles")
        if any(self._redaction.handle_types(_text(rest[name])) for name in action.sink_fields if name in rest):
            return _denied(decision, "a handle cannot say where something lands", rule="handles")
        for text in action.contents():
            if joined := joined_handle(text):
                instead = "write the handle with a blank or a sign around it"
                reason = f"the handle {joined} touches a letter, a digit or another handle"
                return _denied(decision, reason, rule="handles", instead=instead)
            if shut := sorted(self._redaction.handle_types(text) - decision.obligations.restore):
                instead = f"a rule for {action.kind} with `restore: [{shut[0]}]`"
                return _denied(decision, f"{shut[0]} values may not go there", rule="handles", instead=instead)
        return decision

    def _refuse(self, request: Request, decision: Decision) -> Refused:
        refused = Refused(rules=decision.rules, reason=decision.reason, instead=decision.instead)
        self._commit(request, refused, self._entry("denied", request, decision))
        return refused

    def _ask(self, request: Request, decision: Decision) -> Waiting:
        """Put the action on a card: the turn's open batch card, or one of its own."""
        row = self._row(request, decision)
        batch = None
        if decision.ask is not AskMode.EACH:
            batch = self._records.open_question(request.run, request.turn)
        if (
            batch
            and (batch.approvers, batch.policy_digest) == (decision.approvers, self._policy.digest)
            and request.now < batch.expires_at
        ):
            with suppress(AnswerRefused):  # somebody answered it at this moment
                return self._asked(request, decision, batch.model_copy(update={"rows": (*batch.rows, row)}))
        return self._asked(request, decision, self._question(request, decision, row))

    def _asked(
        self, request: Request, decision: Decision, question: Question, *, planned: int | None = None
    ) -> Waiting:
        waiting = Waiting(question=question.id)
        entry = self._entry("asked", request, decision, question=question.id)
        self._commit(request, waiting, entry, question=question, planned=planned)
        return waiting

    async def _carry_out(self, request: Request, decision: Decision) -> Outcome:
        """Record the intent with everything it uses up, act once, record what came of it."""
        planned = decision.planned if request.action.effect is not EffectClass.READ else None
        # Who it is for is the same for a limit in every run, however the runs' handles differ.
        opened = partial(self._redaction.restore, allowed=decision.obligations.restore)
        limited = (told_apart(reservation, opened) for reservation in decision.obligations.reservations)
        reserved = (*limited, *run_reservations(request, self._policy))
        entry = self._entry("intent", request, decision, approved_by=list(request.approved_by))
        try:
            self._commit(request, None, entry, reserve=reserved, spend=planned, planned=planned, row=decision.row)
        except LimitReached as error:
            return self._refuse(request, _denied(decision, str(error), rule="limit"))
        return await self._act(request, decision, reserved, planned)

    async def _act(
        self,
        request: Request,
        decision: Decision,
        reserved: tuple[Reservation, ...],
        planned: int | None,
        *,
        again: bool = False,
    ) -> Outcome:
        """Execute, and record what came of it. `again`: an interrupted try may have acted already."""
        executor, permit = self._executors[request.action.kind], self._permit(request, decision)
        raw: Raw | None = None
        try:
            raw = await executor.execute(permit)
        except (ActionFailed, RedactionError) as error:
            acted = again or (isinstance(error, ActionFailed) and error.may_have_acted)
            outcome: Outcome = Failed(reason=self._redaction.redact_text(_whole(str(error))), may_have_acted=acted)
        else:
            outcome = Done(observation=self._observe(request, raw))
        finally:
            permit.expire()
        self._settle(request, outcome, planned, reserved, raw)
        return outcome

    def _permit(self, request: Request, decision: Decision) -> Permit:
        return Permit(
            mint=_MINT,
            action=request.action,
            run=request.run,
            key=request.key,
            obligations=decision.obligations,
            opener=lambda text: self._redaction.restore(text, decision.obligations.restore),
        )

    def _settle(
        self,
        request: Request,
        outcome: Outcome,
        planned: int | None,
        reserved: tuple[Reservation, ...] = (),
        raw: Raw | None = None,
        told_by: tuple[str, ...] = (),
    ) -> None:
        """Record the outcome; give back what was reserved and certainly not used."""
        unused = isinstance(outcome, Failed) and not outcome.may_have_acted
        of_tries = (":steps", ":calls")  # they count against the run, used or not
        back = [r for r in reserved if unused and not r.key.endswith(of_tries)]
        beyond = []
        used = {"tokens": raw.tokens, "micros": raw.micros} if raw else {}
        for reservation in reserved:
            of_run, _, unit = reservation.key.rpartition(":")
            amount = used.get(unit) if of_run.startswith("run:") else None
            if amount is not None and amount <= reservation.amount:
                back.append(reservation.model_copy(update={"amount": reservation.amount - amount}))
            elif amount is not None:  # the estimate was too low: it is used all the same
                more = {"amount": amount - reservation.amount, "limit": _NO_LIMIT}
                beyond.append(reservation.model_copy(update=more))
        self._commit(
            request,
            outcome,
            _outcome_entry(request, outcome, told_by, self._policy.digest),
            reserve=tuple(beyond),
            give_back=tuple(back),
            unspend=planned if unused else None,
            planned=planned,
        )

    def _observe(self, request: Request, raw: Raw) -> Observation:
        text = self._redaction.redact_text(_whole(raw.text))
        if len(text) > OBSERVATION_CHARS:
            text = f"{text[:OBSERVATION_CHARS]}\n[cut: {len(text) - OBSERVATION_CHARS} more characters]"
        return Observation(
            text=text,
            data=self._redaction.redact_json(_whole_json(raw.data)) if raw.data is not None else None,
            files=tuple(self._redaction.redact_text(_whole(file)) for file in raw.files),
            rows=raw.rows,
            exit_code=raw.exit_code,
            label=labelled(self._policy.trust, request.action, raw.label, raw.data),
            level=raw.level,
        )

    async def _reconcile(self, request: Request, known: Submission) -> Outcome:
        """An intent without an outcome: repeat, probe or ask a person, as the action's `repeat` says.

        Who had to be asked was asked before the intent, so only a deny stops it now. Nothing that rules limit
        is given back after an interruption: which limits it was taken from is not known any more.
        """
        decision, planned = (
            self._decide(replace(request, mandate=_before(request.mandate, known.planned))),
            known.planned,
        )
        repeat, denied = request.action.repeat, decision.effect is Effect.DENY
        if repeat is Repeat.NEVER or (denied and repeat is not Repeat.SAFE):
            return self._ask_whether_it_happened(request, known)
        if denied:
            return self._not_again(request, planned, decision.reason)
        how = "probe" if repeat is Repeat.PROBE else "repeat"
        entry = Draft(event="repeated", seq=request.seq, facts={"how": how, "action": request.action.digest})
        if repeat is Repeat.PROBE:
            self._commit(request, None, entry, planned=planned)
            return await self._probe(request, decision, known)
        reserved = run_reservations(request, self._policy)  # what the first try used is not known: it stays reserved
        try:
            self._commit(request, None, entry, reserve=reserved, planned=planned)
        except LimitReached as error:
            return self._not_again(request, planned, str(error))
        return await self._act(request, decision, reserved, planned, again=True)

    def _not_again(self, request: Request, planned: int | None, reason: str) -> Failed:
        said = f"it was interrupted, and may not be done again: {reason}"
        failed = Failed(reason=said, may_have_acted=True)
        self._settle(request, failed, planned)
        return failed

    async def _probe(self, request: Request, decision: Decision, known: Submission) -> Outcome:
        """Ask the executor whether it happened; a person, when it cannot tell."""
        permit = self._permit(request, decision)
        try:
            raw = await self._executors[request.action.kind].probe(permit)
        except (ActionFailed, RedactionError):
            return self._ask_whether_it_happened(request, known)
        finally:
            permit.expire()
        outcome: Outcome = Failed(reason="it had not happened before the interruption; it may be proposed again")
        if raw is not None:
            outcome = Done(observation=self._observe(request, raw))
        self._settle(request, outcome, known.planned)
        return outcome

    def _ask_whether_it_happened(self, request: Request, known: Submission) -> Waiting:
        decision = Decision(effect=Effect.ASK, rules=("interrupted",), reason="begun, but the outcome is not known")
        row = self._row(request, decision)
        said = ("asked", "it was begun and then interrupted: yes = it happened, no = it did not")
        row = row.model_copy(update={"lines": (*row.lines, said)})
        question = self._question(request, decision, row, about="unknown")
        return self._asked(request, decision, question, planned=known.planned)

    def _told(self, request: Request, known: Submission, happened: bool, names: tuple[str, ...]) -> Outcome:
        """A person's word on an interrupted action; silence says nothing, and gives nothing back."""
        by = ", ".join(names)
        outcome: Outcome = Failed(reason=f"{by} says that it did not happen")
        if happened:
            outcome = Done(observation=Observation(text=f"{by} says that it did happen before the interruption"))
        elif not names:
            outcome = Unknown(reason="it was begun and interrupted, and nobody said in time whether it happened")
        self._settle(request, outcome, known.planned, told_by=names)
        return outcome

    def _row(self, request: Request, decision: Decision) -> Row:
        title, lines = action_card(request.action, decision)
        return Row(seq=request.seq, digest=request.action.digest, title=title, lines=lines)

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

    def _entry(self, event: Event, request: Request, decision: Decision, **facts: JsonValue) -> Draft:
        """A ledger entry about a decision: digests and ids in the chain, the action itself in the body."""
        action = request.action
        written = action.model_dump(mode="json")
        return Draft(
            event=event,
            seq=request.seq,
            facts={
                "action": action.digest,
                "kind": action.kind,
                "effect": action.effect.value,
                "decision": decision.effect.name.lower(),
                "rules": list(decision.rules),
                "policy": self._policy.digest,
                "mandate": request.mandate.plan.digest if request.mandate else None,
                "planned": decision.planned,
                "principal": request.principal,
                "integrity": request.context.integrity.name.lower(),
                "private": request.context.readers is not None,
                **facts,
            },
            body={
                # What was refused may hold what nobody may see; anything else is kept to the letter, to be resumed.
                "action": self._redaction.redact_json(written) if event == "denied" else written,
                "reason": decision.reason,
                **_seen(request),
            },
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
        row: tuple[str, ...] | None = None,
    ) -> None:
        self._records.commit(
            Submission(
                run=request.run,
                seq=request.seq,
                digest=request.action.digest,
                outcome=outcome,
                planned=planned,
                row=row,
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
        if action.worst_micros is not None:  # counted also where no policy limits it
            most = _NO_LIMIT if limits.money is None else int(limits.money.amount * 1_000_000)
            taken.append(Reservation(key=f"run:{request.run}:micros", limit=most, amount=action.worst_micros))
    return tuple(taken)


def _seen(request: Request) -> dict[str, JsonValue]:
    """What the decision was made from beside the action: what another policy would have to know."""
    mandate, context = request.mandate, request.context
    return {
        "context": {
            "integrity": context.integrity.value,
            "readers": None if context.readers is None else [*sorted(context.readers)],
            "origins": [*sorted(context.origins)],
        },
        "grounded": [*sorted(request.grounded)],
        "attended": request.attended,
        "turn": request.turn,
        "started_at": request.started_at.isoformat() if request.started_at else None,
        "mandate": None
        if mandate is None
        else {
            "plan": mandate.plan.digest,
            "accepted": mandate.accepted is not None and mandate.accepted.plan_digest == mandate.plan.digest,
            "spent": {str(n): count for n, count in mandate.spent.items()},
            "rows": {str(n): count for n, count in mandate.rows.items()},
            "met": [*sorted(mandate.met)],
            "hosts": [*sorted(mandate.hosts)],
        },
    }


def _before(mandate: Mandate | None, planned: int | None) -> Mandate | None:
    """The mandate as it was before the interrupted action took its own part of it."""
    if mandate is None or planned is None:
        return mandate
    spent = max(0, mandate.spent.get(planned, 0) - 1)
    # Which row it took is not known here, but it took one.
    return mandate.model_copy(
        update={"spent": {**mandate.spent, planned: spent}, "used": {**mandate.used, planned: ()}}
    )


def _secrets_in(action: BrowserSubmit) -> set[str]:
    """Names of the secrets that stand anywhere in the fields of a form."""
    texts = (text for field in action.fields for text in (field.name, field.value))
    return {name for text in texts for name in _SECRET.findall(text)}


def _whole(text: str) -> str:
    """The text with halves of characters, which nothing could write down after the effect, as replacement signs."""
    return _HALF.sub("\ufffd", text)


def _whole_json(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return _whole(value)
        case list():
            return [_whole_json(item) for item in value]
        case dict():
            return {_whole(key): _whole_json(item) for key, item in value.items()}
    return value


def _text(value: JsonValue) -> str:
    return canonical_json(value).decode()


def _outcome_entry(request: Request, outcome: Outcome, told_by: tuple[str, ...], policy: str) -> Draft:
    facts: dict[str, JsonValue] = {"action": request.action.digest, "kind": request.action.kind, "policy": policy}
    facts["mandate"] = request.mandate.plan.digest if request.mandate else None
    facts |= {"told_by": list(told_by)} if told_by else {}
    body: JsonValue
    event: Event
    match outcome:
        case Done(observation=seen):
            facts |= {
                "level": seen.level,
                "exit": seen.exit_code,
                "rows": seen.rows,
                "files": len(seen.files),
                "integrity": seen.label.integrity.name.lower(),
                "private": seen.label.readers is not None,
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
