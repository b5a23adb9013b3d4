"""What the nodes of one advancing run work with: its records, its gate, its conversation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal, Protocol

from pydantic import JsonValue

from agent.events import Event, Watcher, nobody
from agent.grounds import Grounds
from agent.state import State
from agent.store.store import Store
from agent.transcript import Transcript
from policies.action import Action, ModelCall
from policies.gate import Gate
from policies.labels import TOP, Label
from policies.mandate import Mandate
from policies.outcome import Done, Failed, Outcome
from policies.ports import Clock, Redaction
from policies.request import Request
from policies.rules import Policy
from tools.catalog import Catalog, Parser
from tools.models.cost import cost_micros
from tools.models.endpoint import ChatCall, EndpointFacts
from tools.models.reply import Reply, Usage

_MARGIN = 1.1
"""What an estimate of tokens is multiplied by."""


class OpenPages(Protocol):
    """Whether the run still has its page."""

    def has_page(self, run: str) -> bool:
        """False after a crash or a park."""


@dataclass(kw_only=True)
class Work:
    """One advance of one run. Nodes read the state, use this, and return what changes in the state."""

    run: str
    epoch: int
    principal: str
    task: str
    """The person's words with protected values as handles."""
    started_at: datetime
    """When it would have begun if nobody had ever been waited for."""
    attended: bool
    accept: bool
    """The requester accepted the plan beforehand."""
    dry_run: bool
    store: Store
    gate: Gate
    policy: Policy
    redaction: Redaction
    catalog: Catalog
    transcript: Transcript
    pages: OpenPages
    endpoint: EndpointFacts
    thinking: bool
    parse: Parser
    tools: bytes
    """The tools of every model call of this run, always the same bytes."""
    clock: Clock
    watch: Watcher = nobody
    prompts: dict[str, ChatCall] = field(default_factory=dict)

    @cached_property
    def grounds(self) -> Grounds:
        """Whose words may name a recipient."""
        return Grounds(self.store, self.run, self.task)

    def mandate(self) -> Mandate | None:
        """What is granted now."""
        return self.store.mandates.get(self.run)

    def request(self, state: State, action: Action, *, seq: int, leaving: Sequence[str] = ()) -> Request:
        """The question to the policy about this action."""
        return Request(
            run=self.run,
            seq=seq,
            epoch=self.epoch,
            action=action,
            principal=self.principal,
            mandate=self.mandate(),
            now=self.clock.now(),
            context=label_of(state),
            attended=self.attended,
            turn=state["turn"],
            started_at=self.started_at,
            grounded=self.grounds.of(action),
            leaving=tuple(leaving),
        )

    async def submit(self, state: State, action: Action, *, seq: int) -> Outcome:
        """What came of the action; watchers see it begin and end."""
        self.tell("started", action=action)
        return await self.gate.submit(self.request(state, action, seq=seq))

    async def ask_model(self, state: State, purpose: Literal["plan", "step"]) -> Reply | Outcome:
        """The model's next turn, or the outcome that kept it from answering. Uses submission `state["seq"]`."""
        facts, transcript = self.endpoint, self.transcript
        reply_tokens = facts.max_reply_tokens * (2 if self.thinking else 1)
        room = facts.context_tokens - reply_tokens
        if self._prompt_tokens() > room:
            transcript.shorten(room / 2 / _MARGIN - len(self.tools) / 3.6)  # by half, so that it is done rarely
        if (needed := self._prompt_tokens()) > room:
            n, most, reply = (f"{tokens:,}" for tokens in (needed, facts.context_tokens, reply_tokens))
            return Failed(
                reason=f"the conversation has about {n} tokens, which the model's context of {most} does not hold with "
                f"{reply} for the reply; set context_tokens and max_reply_tokens as the model has them, "
                "or begin a smaller task"
            )
        worst = Usage(
            prompt_tokens=needed, completion_tokens=reply_tokens, reasoning_tokens=0, cached_tokens=0, estimated=True
        )
        digest = hashlib.sha256(self.tools + transcript.digest.encode()).hexdigest()
        action = ModelCall(
            endpoint=facts.name,
            model=facts.model,
            purpose=purpose,
            prompt_digest=digest,
            prompt_tokens=needed,
            max_reply_tokens=reply_tokens,
            worst_micros=cost_micros(facts, worst),
        )
        self.prompts = {
            digest: ChatCall(
                messages=transcript.fragments,
                tools=self.tools,
                max_reply_tokens=facts.max_reply_tokens,
                thinking=self.thinking,
            )
        }
        self.tell("thinking")
        request = self.request(state, action, seq=state["seq"], leaving=transcript.unchecked())
        outcome = await self.gate.submit(request)
        if not isinstance(outcome, Done):
            return outcome
        transcript.checked()
        return Reply.from_json(json.dumps(outcome.observation.data))

    def _prompt_tokens(self) -> int:
        return int((self.transcript.tokens + len(self.tools) / 3.6) * _MARGIN) + 16

    def tell(self, kind: str, **what: object) -> None:
        """Let the watcher know."""
        if self.watch is not nobody:
            self.watch(Event(kind=kind, **self.store.runs.used(self.run)._asdict(), **what))  # type: ignore[arg-type]


def label_of(state: State) -> Label:
    """The label of everything the model has seen."""
    return Label.model_validate(state["label"]) if state["label"] else TOP


def label_json(label: Label) -> dict[str, JsonValue]:
    """A label as the state keeps it, the same for equal labels."""
    return {
        "integrity": int(label.integrity),
        "readers": None if label.readers is None else [*sorted(label.readers)],
        "origins": [*sorted(label.origins)],
    }
