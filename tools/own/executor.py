"""Calls of users' own tools."""

from __future__ import annotations

import json
from typing import Any

from pydantic import JsonValue

from policies.action import ToolCall
from policies.errors import ActionFailed
from policies.labels import Integrity, Label
from policies.permit import Permit
from policies.ports import Raw
from tools.errors import ToolError
from tools.files import Workspaces
from tools.own.declaration import OwnTools
from tools.shell import least_level


class OwnExecutor:
    """Carries out tool.call."""

    kinds = frozenset({"tool.call"})

    def __init__(self, tools: OwnTools, workspaces: Workspaces) -> None:
        self._tools, self._workspaces = tools, workspaces

    async def execute(self, permit: Permit) -> Raw:
        """The object that the tool answered. ActionFailed if the tool is not the one that was judged, or fails."""
        call, answer, level = await self._asked(permit)
        return _raw(call, answer, level)

    async def probe(self, permit: Permit) -> Raw | None:
        """What the tool itself says of the call with this key; ActionFailed if it cannot tell."""
        call, answer, level = await self._asked(permit, probe=True)
        match answer:
            case {"happened": False}:
                return None
            case {"happened": True, "result": dict(result)}:
                return _raw(call, result, level)
        raise ActionFailed(f"The tool {call.tool!r} cannot tell whether the call happened.", may_have_acted=True)

    async def _asked(self, permit: Permit, **more: JsonValue) -> tuple[ToolCall, dict[str, Any], str]:
        call = permit.redeem(ToolCall)
        try:
            tool = self._tools.tool(call.tool)
        except ToolError as error:
            raise ActionFailed(str(error), may_have_acted=False) from error
        # The program could still be exchanged before it starts; who can do that is the user who brought it.
        if tool.digest != call.declaration:
            raise ActionFailed(
                f"The tool {call.tool!r} has changed since it was judged; call it again.", may_have_acted=False
            )
        if more and not tool.declaration.probe:
            raise ActionFailed(f"The tool {call.tool!r} cannot tell whether the call happened.", may_have_acted=True)
        message = {"arguments": _opened(permit, call.arguments), "key": permit.key, **more}
        answer, level = await tool.answer(self._workspaces(permit.run), message, least=least_level(permit))
        return call, answer, level.name.lower()


def _opened(permit: Permit, value: JsonValue) -> JsonValue:
    match value:
        case str():
            return permit.opened(value)
        case list():
            return [_opened(permit, item) for item in value]
        case dict():
            return {key: _opened(permit, item) for key, item in value.items()}
    return value


def _raw(call: ToolCall, answer: dict[str, Any], level: str) -> Raw:
    origin = frozenset({f"tool:{call.tool}"})
    label = Label(integrity=Integrity.UNTRUSTED, readers=frozenset({"requester"}), origins=origin)
    return Raw(text=json.dumps(answer, ensure_ascii=False), data=answer, label=label, level=level)
