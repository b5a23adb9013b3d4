"""Users' own tools: what a folder declares, and one call of one of them as a confined child."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import JsonValue, ValidationError

from policies.action import EffectClass, ToolCall, canonical_json
from policies.errors import ActionFailed
from sandbox.confinement import Level
from sandbox.process import Stage, run
from sandbox.workspace import Workspace
from tools.errors import BadTool, ToolError
from tools.files import TEXT_BYTES, sandbox_faults
from tools.own.schema import Declaration, read_declaration, sentence
from tools.shell import confined_to

_COMPLAINT_CHARS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnTool:
    """A declared tool and the folder its paths are relative to."""

    declaration: Declaration
    folder: Path

    @property
    def program(self) -> Path:
        return (self.folder / self.declaration.program).resolve()

    @property
    def digest(self) -> str:
        """SHA-256 of the declaration and of the program as it is now. Not of what `read` names."""
        declared = canonical_json(self.declaration.model_dump(mode="json"))
        return hashlib.sha256(hashlib.sha256(declared).digest() + self.program.read_bytes()).hexdigest()

    async def answer(
        self, workspace: Workspace, message: Mapping[str, JsonValue], *, least: Level
    ) -> tuple[dict[str, Any], Level]:
        """The JSON object that the program prints for `message`, and the walls it ran behind.

        ActionFailed if it ends with another code than 0, too late, or with anything else than one object of
        at most 64 kB.
        """
        declared = self.declaration
        acts = declared.effect is not EffectClass.READ
        read = (self.program, *((self.folder / path).resolve() for path in declared.read))
        walls = confined_to(workspace, wall_s=declared.timeout_s, read=read)
        with sandbox_faults(may_have_acted=acts):
            ended = await run([Stage(argv=(str(self.program),))], walls, stdin=canonical_json(message), least=least)
        if ended.timed_out:
            raise self._failed(f"did not end within {declared.timeout_s:g} s and was stopped", acts)
        if ended.code:
            complaint = " ".join(ended.stderr.decode(errors="replace").split())[:_COMPLAINT_CHARS]
            raise self._failed(f"ended with code {ended.code}: {complaint or 'it said nothing'}", acts)
        try:
            answer = json.loads(ended.stdout)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._failed(f"did not print one JSON object of at most {TEXT_BYTES:,} bytes", acts)
        return answer, ended.level

    def _failed(self, what: str, acts: bool) -> ActionFailed:
        return ActionFailed(f"The tool {self.declaration.name!r} {what}.", may_have_acted=acts)


class OwnTools:
    """The tools of a folder, by name."""

    def __init__(self, tools: Mapping[str, OwnTool]) -> None:
        self._tools = dict(tools)

    @classmethod
    def load(cls, folder: Path) -> OwnTools:
        """What the folder's `*.yaml` files declare, one tool a file; none if there is no folder. BadTool if not."""
        tools: dict[str, OwnTool] = {}
        for path in sorted(folder.glob("*.yaml")):
            declaration = read_declaration(path)
            if declaration.name in tools:
                raise BadTool(f"{path}:1:1: there is another tool {declaration.name!r} in this folder; rename one")
            tools[declaration.name] = OwnTool(declaration=declaration, folder=folder)
        return cls(tools)

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        return tuple(tool.declaration for tool in self._tools.values())

    def schemas(self) -> list[dict[str, JsonValue]]:
        """Name, description and parameters of each, as a model is told."""
        return [
            {
                "name": declared.name,
                "description": declared.description,
                "parameters": {
                    "properties": {},
                    **declared.arguments.model_dump(mode="json", exclude_defaults=True),
                    "type": "object",
                    "additionalProperties": False,
                },
            }
            for declared in self.declarations
        ]

    def action(self, name: str, arguments: dict[str, JsonValue]) -> ToolCall:
        """The call as an action; ToolError, for the model, if the arguments are not as declared."""
        tool = self.tool(name)
        declared = tool.declaration
        try:
            declared.arguments.check(arguments)
        except ValidationError as error:
            faults = "; ".join(sentence(fault) for fault in error.errors())
            raise ToolError(f"{name}: {faults}") from error
        return ToolCall(
            tool=name,
            arguments=arguments,
            declaration=tool.digest,
            declared_effect=declared.effect,
            declared_repeat=declared.repeat,
            sinks=declared.sinks,
        )

    def tool(self, name: str) -> OwnTool:
        """The tool of this name; ToolError if there is none."""
        if name not in self._tools:
            raise ToolError(f"there is no tool {name!r}; the own tools are: {', '.join(self._tools) or 'none'}")
        return self._tools[name]

    async def check(self) -> list[str]:
        """What is wrong, a sentence each: runs every tool that declares an example, in an empty folder."""
        faults: list[str] = []
        for name, tool in self._tools.items():
            if (example := tool.declaration.example) is None:
                continue
            try:
                self.action(name, example)
                with TemporaryDirectory() as folder:
                    workspace = Workspace(Path(folder, "run"), quota_bytes=1 << 20)
                    await tool.answer(workspace, {"arguments": example, "key": "check"}, least=Level.NAMESPACES)
            except (ToolError, ActionFailed) as error:
                faults.append(f"{name}: the example does not work: {error}")
        return faults
