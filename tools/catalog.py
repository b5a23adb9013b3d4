"""What the model is told it can do, and how its calls become actions.

The list is fixed for a run, so that servers can cache the prompt's front. A call that cannot become an action
raises ToolError (or BadAction): a sentence for the model about what to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from policies.action import (
    Action,
    BrowserDownload,
    BrowserFill,
    BrowserOpen,
    BrowserRead,
    BrowserScreenshot,
    Cell,
    FileList,
    FileRead,
    FileWrite,
    Pipelines,
    ServerRead,
    ServerRun,
    ServerWrite,
    Sheet,
    ShellRun,
    TableRead,
    TableWrite,
    ToolCall,
)
from tools.errors import BadTool, ToolError
from tools.models.messages import dumps
from tools.models.reply import ToolCall as ModelToolCall


class Pages(Protocol):
    """What the catalogue asks of the open page, to name what a click would really do."""

    async def open(self, run: str, url: str) -> BrowserOpen:
        """The action of opening a url."""

    async def resolve_click(self, run: str, ref: str) -> Action:
        """What pressing the control would do."""

    async def resolve_fill(self, run: str, ref: str, value: str) -> BrowserFill:
        """Putting a value into the control."""

    async def resolve_download(self, run: str, ref: str, path: str) -> BrowserDownload:
        """Fetching what the link leads to."""

    async def current(self, run: str) -> str | None:
        """The url of the open page."""


class OwnToolset(Protocol):
    """The users' own tools."""

    def schemas(self) -> Sequence[dict[str, JsonValue]]:
        """Name, description and JSON schema of each, as function tools."""

    def action(self, name: str, arguments: dict[str, JsonValue]) -> ToolCall:
        """The checked call; ToolError for the model."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OpenPage(_Arguments):
    """Open a web page in the browser and read it. Elements carry refs like [ref=e12]."""

    url: str


class ReadPage(_Arguments):
    """Read the open page again."""


class Fill(_Arguments):
    """Type into a field or choose an option. For a secret give secret://NAME as the value."""

    ref: str
    value: str


class Click(_Arguments):
    """Follow a link or press a button; a submit button sends its form."""

    ref: str


class Download(_Arguments):
    """Save what a link leads to as a file in the run's folder."""

    ref: str
    path: str


class Screenshot(_Arguments):
    """Save a picture of the open page in the run's folder."""

    path: str


class ListFiles(_Arguments):
    """List the files in the run's folder."""


class ReadFile(_Arguments):
    """Read a text file of the run's folder."""

    path: str


class WriteFile(_Arguments):
    """Write a text file into the run's folder."""

    path: str
    text: str


class ReadTable(_Arguments):
    """Read rows of a CSV or xlsx file of the run's folder."""

    path: str
    sheet: str | None = None
    first_row: int = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class SheetArgument(_Arguments):
    """One sheet."""

    name: str = "Sheet1"
    columns: list[str]
    rows: list[list[Cell]]


class WriteTable(_Arguments):
    """Write a CSV or xlsx file (by its suffix) into the run's folder; numbers as numbers."""

    path: str
    sheets: list[SheetArgument]


class RunCommand(_Arguments):
    """Run a command in the run's folder: programs with literal arguments, joined by | or &&. No network."""

    command: str


class ServerCommand(_Arguments):
    """Run a command on a server of the inventory: programs with literal arguments, joined by | or &&."""

    server: str
    command: str


class ServerReadFile(_Arguments):
    """Read a text file on a server."""

    server: str
    path: str


class ServerWriteFile(_Arguments):
    """Write a text file on a server."""

    server: str
    path: str
    text: str


Glob = Callable[[str], Sequence[str]]


class Parser(Protocol):
    """Command text to pipelines; patterns are expanded by `glob`, and refused without one."""

    def __call__(self, text: str, *, glob: Glob | None) -> Pipelines:
        """The pipelines; ToolError for the model."""


_TOOLS: dict[str, type[_Arguments]] = {
    "open_page": OpenPage,
    "read_page": ReadPage,
    "fill": Fill,
    "click": Click,
    "download": Download,
    "screenshot": Screenshot,
    "list_files": ListFiles,
    "read_file": ReadFile,
    "write_file": WriteFile,
    "read_table": ReadTable,
    "write_table": WriteTable,
    "run_command": RunCommand,
    "server_run": ServerCommand,
    "server_read_file": ServerReadFile,
    "server_write_file": ServerWriteFile,
}

KIND_OF = {
    "open_page": "browser.open",
    "read_page": "browser.read",
    "fill": "browser.fill",
    "click": "browser.click",
    "send_form": "browser.submit",
    "download": "browser.download",
    "screenshot": "browser.screenshot",
    "list_files": "file.list",
    "read_file": "file.read",
    "write_file": "file.write",
    "read_table": "table.read",
    "write_table": "table.write",
    "run_command": "shell.run",
    "server_run": "server.run",
    "server_read_file": "server.read",
    "server_write_file": "server.write",
}
"""What a plan's words mean; `send_form` stands for pressing a form's submit button."""
PLAN_TOOL, CHANGE_TOOL = "submit_plan", "change_plan"
_TAKEN = {*KIND_OF, PLAN_TOOL, CHANGE_TOOL}
T = TypeVar("T", bound="OwnToolset")


def unshadowed(own: T) -> T:
    """`own`, if none of them has the name of a tool of ours: a plan's words could then mean either. BadTool."""
    for schema in own.schemas():
        if schema["name"] in _TAKEN:
            raise BadTool(f"your tool {schema['name']!r} has the name of a tool of Remit's; rename it in its file")
    return own


class Catalog:
    """The tools of one run."""

    def __init__(self, parse: Parser, glob: Glob | None, pages: Pages | None, own: OwnToolset | None) -> None:
        """BadTool when an own tool has the name of another one here."""
        self._parse, self._glob, self._pages, self._own = parse, glob, pages, own and unshadowed(own)
        self.own_names = tuple(str(s["name"]) for s in own.schemas()) if own else ()

    def schemas(self) -> list[JsonValue]:
        """The function tools for a model request, always in the same order."""
        own = self._own.schemas() if self._own else ()
        listed = [function(name, model.__doc__ or "", schema_of(model)) for name, model in _TOOLS.items()]
        owned: list[JsonValue] = [{"type": "function", "function": dict(s)} for s in own]
        return [*listed, *owned]

    async def action(self, run: str, call: ModelToolCall) -> Action:
        """The action that a call stands for; ToolError or ValueError with a sentence for the model."""
        if call.arguments is None:
            raise ToolError(call.fault or "the arguments are not usable JSON; send the whole call again")
        if call.name in self.own_names and self._own:
            return self._own.action(call.name, call.arguments)
        model = _TOOLS.get(call.name)
        if model is None:
            known = ", ".join((*_TOOLS, *self.own_names))
            raise ToolError(f"there is no tool {call.name!r}; the tools are: {known}")
        try:
            return await self._built(run, model.model_validate(call.arguments))
        except ValidationError as error:
            raise ToolError(f"{call.name}: {sentence(error)}") from None

    async def _built(self, run: str, asked: _Arguments) -> Action:
        match asked:
            case ListFiles():
                return FileList()
            case ReadFile(path=path):
                return FileRead(path=path)
            case WriteFile(path=path, text=text):
                return FileWrite(path=path, text=text)
            case ReadTable():
                return TableRead(**asked.model_dump())
            case WriteTable(path=path, sheets=sheets):
                return TableWrite(path=path, sheets=tuple(Sheet.model_validate(s.model_dump()) for s in sheets))
            case RunCommand(command=command):
                return ShellRun(pipelines=self._parse(command, glob=self._glob))
            case ServerCommand(server=server, command=command):
                return ServerRun(server=server, pipelines=self._parse(command, glob=None))
            case ServerReadFile(server=server, path=path):
                return ServerRead(server=server, path=path)
            case ServerWriteFile(server=server, path=path, text=text):
                return ServerWrite(server=server, path=path, text=text)
            case _:
                return await self._on_page(run, asked)

    async def _on_page(self, run: str, asked: _Arguments) -> Action:
        if self._pages is None:
            raise ToolError("there is no browser here; do it another way or say that it cannot be done")
        match asked:
            case OpenPage(url=url):
                return await self._pages.open(run, url)
            case Click(ref=ref):
                return await self._pages.resolve_click(run, ref)
            case Fill(ref=ref, value=value):
                return await self._pages.resolve_fill(run, ref, value)
            case Download(ref=ref, path=path):
                return await self._pages.resolve_download(run, ref, path)
        current = await self._pages.current(run)
        if current is None:
            raise ToolError("no page is open; open one with open_page first")
        if isinstance(asked, Screenshot):
            return BrowserScreenshot(url=current, path=asked.path)
        return BrowserRead(url=current)


def function(name: str, description: str, parameters: dict[str, Any]) -> JsonValue:
    """A function tool in the wire's form."""
    return {
        "type": "function",
        "function": {"name": name, "description": " ".join(description.split()), "parameters": parameters},
    }


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema with references written out and titles left away: servers differ on both."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return plain(definitions[node["$ref"].rsplit("/", 1)[-1]])
            return {k: plain(v) for k, v in node.items() if not (k == "title" and isinstance(v, str))}
        return [plain(v) for v in node] if isinstance(node, list) else node

    tidy: dict[str, Any] = plain(schema)
    tidy.pop("description", None)
    return tidy


def tools_json(tools: Sequence[JsonValue]) -> bytes:
    """The tools as they go over the wire, always the same bytes."""
    return dumps(list(tools))


def sentence(error: ValidationError) -> str:
    """The first fault of a validation in words that a model or a person can act on."""
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"]) or "arguments"
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: {said[:1].lower()}{said[1:]}"
