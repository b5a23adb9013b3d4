"""The executor of model calls: a prompt goes out only with a permit, its key opened here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol
from urllib.parse import urlsplit

from policies.action import ModelCall
from policies.errors import ActionFailed
from policies.labels import TOP
from policies.permit import Permit
from policies.ports import Raw
from tools.errors import EndpointError
from tools.models.cost import cost_micros
from tools.models.endpoint import ChatCall, Endpoint
from tools.models.probe import probe

DEADLINE_S = 600.0
"""Longest one call may take, retries included; DashScope itself cuts calls at 300 s."""


class Secrets(Protocol):
    """Opens secrets for executors."""

    def open(self, name: str, *, sink: str) -> str:
        """The value, if its record allows this sink; else ActionFailed."""


class ModelExecutor:
    """Sends the prompt that `prompts` knows by its digest; the reply is in `Raw.data`."""

    kinds = frozenset({"model.call"})

    def __init__(
        self,
        endpoint: Endpoint,
        prompts: Callable[[str], ChatCall],
        secrets: Secrets,
        on_delta: Callable[[int], None] | None = None,
    ) -> None:
        self._endpoint, self._prompts, self._secrets, self._on_delta = endpoint, prompts, secrets, on_delta

    async def execute(self, permit: Permit) -> Raw:
        """One turn of the model. Raises ActionFailed with the endpoint's trouble in one sentence."""
        action = permit.redeem(ModelCall)
        key = self._key(action)
        try:
            reply = await self._endpoint.chat(
                key, self._prompts(action.prompt_digest), deadline_s=DEADLINE_S, on_delta=self._on_delta
            )
        except EndpointError as error:
            raise ActionFailed(str(error), may_have_acted=error.spent is not None) from None
        return Raw(
            text="",
            data=json.loads(reply.to_json()),
            label=TOP,
            tokens=reply.usage.prompt_tokens + reply.usage.completion_tokens,
            micros=cost_micros(self._endpoint.facts, reply.usage),
        )

    async def probe(self, permit: Permit) -> Raw | None:
        """Asking a model again is safe, so a probe just asks."""
        return await self.execute(permit)

    def _key(self, action: ModelCall) -> str:
        """The endpoint's key, empty where none is configured; ActionFailed for another endpoint."""
        facts = self._endpoint.facts
        if (action.endpoint, action.model) != (facts.name, facts.model):
            raise ActionFailed(f"endpoint {action.endpoint!r} is not configured", may_have_acted=False)
        host = urlsplit(facts.base_url).hostname or ""
        return self._secrets.open(facts.key_name, sink=host) if facts.key_name else ""


class ProbeExecutor(ModelExecutor):
    """Asks the model what it can, under one permit, instead of sending a prompt; `Raw.data` has Probed's fields."""

    def __init__(self, endpoint: Endpoint, secrets: Secrets, *, quick_s: float) -> None:
        super().__init__(endpoint, dict[str, ChatCall]().__getitem__, secrets)
        self._quick_s = quick_s

    async def execute(self, permit: Permit) -> Raw:
        """The three questions of `probe`; the long one only to a model that answers within `quick_s`."""
        key = self._key(permit.redeem(ModelCall))
        return Raw(text="", data=asdict(await probe(self._endpoint, key, quick_s=self._quick_s)))
