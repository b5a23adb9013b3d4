"""What a user's tool says of itself, as read from its YAML file. What it does not say means: it writes, so ask."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails, SchemaValidator
from pydantic_core import core_schema as core
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from policies.action import EffectClass, Repeat, Text, Value
from tools.errors import BadTool

_FILE_BYTES = 100_000
Faults = list[tuple[tuple[str | int, ...], str]]
"""Where in the declaration, and what is wrong there."""


class Parameter(Value):
    """One argument; an array holds items of one type."""

    type: Literal["string", "integer", "number", "boolean", "array"]
    description: Text = ""
    enum: tuple[str | int, ...] = ()
    items: Parameter | None = None

    @model_validator(mode="after")
    def _whole(self) -> Parameter:
        if (self.type == "array") != (self.items is not None):
            raise ValueError("'items' belongs to type array, and only there")
        return self


class Arguments(Value):
    """The part of JSON Schema that describes an object of such arguments."""

    type: Literal["object"] = "object"
    properties: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], Parameter] = {}  # noqa: RUF012
    required: tuple[str, ...] = ()

    def check(self, arguments: dict[str, JsonValue]) -> None:
        """Raises pydantic's ValidationError for arguments that are not as described."""
        fields = {
            name: core.typed_dict_field(_checked(parameter), required=name in self.required)
            for name, parameter in self.properties.items()
        }
        SchemaValidator(core.typed_dict_schema(fields, extra_behavior="forbid")).validate_python(arguments)


class Declaration(Value):
    """A tool: a program that takes JSON and gives JSON, and what it does to the world."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    description: Annotated[Text, Field(min_length=1)]
    program: str
    """An executable file; like `read`, absolute or relative to the folder of the YAML file."""
    arguments: Arguments = Arguments()
    effect: EffectClass = EffectClass.WRITE
    sinks: tuple[str, ...] = ()
    """Arguments that say where it lands."""
    content: tuple[str, ...] = ()
    """Arguments whose text travels there. For people: every argument is judged as if it did."""
    repeat: Repeat = Repeat.NEVER
    probe: bool = False
    """The program answers `"probe": true` with `{"happened": true or false, "result": {…}}`."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60
    read: tuple[str, ...] = ()
    """Files and folders it may read besides the system and the run's folder."""
    network: Literal[False] = False
    example: dict[str, JsonValue] | None = None
    """Arguments for `remit tools check`, which then runs the tool in an empty folder."""

    @model_validator(mode="after")
    def _whole(self) -> Declaration:
        named = {*self.arguments.required, *self.sinks, *self.content}
        if unknown := sorted(named - self.arguments.properties.keys()):
            raise ValueError(f"{unknown[0]!r} is none of the arguments' properties")
        if self.repeat is Repeat.PROBE and not self.probe:
            raise ValueError("'repeat: probe' needs 'probe: true', and a program that answers it")
        return self


def read_declaration(path: Path) -> Declaration:
    """The declaration in a file. BadTool names every fault as `file:line:column: sentence`, one a line."""
    data: Any = None
    try:
        data = YAML(typ="rt", pure=True).load(path.read_bytes()[:_FILE_BYTES].decode())
        if not isinstance(data, CommentedMap):
            raise BadTool(f"{path}:1:1: a declaration is a mapping with name, description and program")
        made = Declaration.model_validate(data)
        faults = _missing(path.parent, made)
    except ValidationError as error:
        faults = [(one["loc"], sentence(one)) for one in error.errors()]
    except MarkedYAMLError as error:
        mark = error.problem_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise BadTool(f"{path}{at}: {error.problem or 'this is not YAML'}") from error
    except (OSError, UnicodeDecodeError, YAMLError, RecursionError) as error:
        raise BadTool(f"{path}:1:1: this is no YAML file in UTF-8 that can be read") from error
    if faults:
        raise BadTool("\n".join(f"{path}:{_place(data, where)}: {sentence}" for where, sentence in faults))
    return made


def _missing(folder: Path, made: Declaration) -> Faults:
    program = folder / made.program
    faults: Faults = []
    if not (program.is_file() and os.access(program, os.X_OK)):
        faults.append((("program",), f"{made.program!r} is no executable file"))
    for n, name in enumerate(made.read):
        real = (folder / name).resolve()
        if not real.exists() or real == Path("/"):
            faults.append((("read", n), f"{name!r} is not there, or is the whole machine"))
    return faults


def _place(data: Any, where: Iterable[str | int]) -> str:
    """Line and column of the deepest part of `where` that stands in the file, from 1."""
    line, column = 0, 0
    for part in where:
        if not isinstance(data, CommentedMap | CommentedSeq) or part not in (
            data if isinstance(data, dict) else range(len(data))
        ):
            break
        line, column = data.lc.key(part) if isinstance(data, CommentedMap) else data.lc.item(part)
        data = data[part]
    return f"{line + 1}:{column + 1}"


def sentence(fault: ErrorDetails) -> str:
    """A fault that pydantic found, as a sentence with the name of the place."""
    said = fault["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {said[:1].lower()}{said[1:]}" if where else said


def _checked(parameter: Parameter) -> core.CoreSchema:
    if parameter.enum:
        return core.literal_schema(list(parameter.enum))
    match parameter.type:
        case "string":
            return core.str_schema(strict=True)
        case "integer":
            return core.int_schema(strict=True)
        case "number":
            return core.float_schema(strict=True)
        case "boolean":
            return core.bool_schema(strict=True)
        case "array":
            return core.list_schema(_checked(parameter.items) if parameter.items else None, strict=True)
