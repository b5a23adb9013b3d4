"""What can be asked for: a closed union of frozen actions, each with one canonical form and one digest.

The value that is judged is the value that runs. Whatever is not expressible here cannot be proposed.
Canonical form: NFC text, paths and urls normalised when the action is made, JSON with sorted keys and
without spaces. A new kind adds a class here, a matcher, and an executor; `decide` does not change.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from policies.match.programs import reach


class EffectClass(StrEnum):
    """What an action does to the world, by growing weight."""

    READ = "read"
    EGRESS = "egress"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    SPEND = "spend"


class Repeat(StrEnum):
    """What may be done when an intent has no outcome (a crash in between)."""

    SAFE = "safe"
    """Do it again."""
    KEYED = "keyed"
    """Do it again with the same key; the outside recognises it."""
    PROBE = "probe"
    """Ask the executor whether it happened."""
    NEVER = "never"
    """Ask a person."""


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("holds a NUL character; remove it")
    return unicodedata.normalize("NFC", value)


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(f"{value!r} is not a name; use letters, digits, '.', '_' or '-', at most 64")
    return value


def _workspace_path(value: str) -> str:
    value = _text(value)
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or _CONTROL.search(value) or "\\" in value:
        raise ValueError(f"{value!r} is not a path inside the run's folder; use a relative path without '..'")
    return str(path)


def _server_path(value: str) -> str:
    value = _text(value)
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts or _CONTROL.search(value) or value.startswith("//"):
        raise ValueError(f"{value!r} is not an absolute path on a server without '..'")
    return str(path)


_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.(?!-)[a-z0-9-]{1,63})*")


def canonical_url(value: str) -> str:
    """`value` as the one spelling we judge and use; ValueError for every odd form.

    Refused: user-info, literal or numeric addresses, names outside lower-case ASCII letters, digits and
    hyphens (so no IDNA look-alike), blanks, control characters, backslashes, dot segments, schemes other
    than http and https. The fragment is dropped: it is not sent. Escapes that need not be (%61) are
    written plainly and the others in capitals (RFC 3986, 6.2.2), so that no path has a second spelling.
    """
    if any(ord(c) <= 0x20 or c == "\\" or ord(c) > 0x7E for c in value):
        raise ValueError(f"url {value!r} holds blanks, backslashes or non-ASCII characters; percent-encode them")
    parts = urlsplit(value)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _PORTS:
        raise ValueError(f"url {value!r} is not http or https")
    if "@" in parts.netloc or not _HOST.fullmatch(host):
        raise ValueError(f"url {value!r} has no plain host name; user-info and odd forms are refused")
    last = host.rsplit(".", 1)[-1]
    if last.isdigit() or last.startswith("0x"):
        raise ValueError(f"url {value!r} names a literal address; use a host name")
    port = parts.port  # raises ValueError for a port that is none
    if re.search(r"%(?![0-9A-Fa-f]{2})", parts.path):
        raise ValueError(f"url {value!r} has a '%' in its path that begins no escape; write %25")
    path = re.sub(r"%(..)", _escape, parts.path) or "/"
    # some servers cut what follows a `;` off a segment before they resolve dots
    if re.search(r"(^|/)(\.|%2e){1,2}((;|%3b)[^/]*)?(/|$)", path, re.IGNORECASE) or "//" in path or "%00" in path:
        raise ValueError(f"url {value!r} has dot segments, '//' or NUL in its path")
    if re.search(r"%2f|%5c", path, re.IGNORECASE):
        raise ValueError(f"url {value!r} has an encoded slash in its path")
    netloc = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    return urlunsplit((scheme, netloc, path, parts.query, ""))


def _escape(found: re.Match[str]) -> str:
    plain = chr(int(found[1], 16))
    return plain if plain.isascii() and (plain.isalnum() or plain in "-._~") else found[0].upper()


def _finite(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(value, allow_nan=False)  # NaN compares with nothing: it would slip past every bound
    return value


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, AfterValidator(_name)]
WorkspacePath = Annotated[str, AfterValidator(_workspace_path)]
ServerPath = Annotated[str, AfterValidator(_server_path)]
Url = Annotated[str, AfterValidator(canonical_url)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Cell = str | int | Finite | bool | None
Arguments = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class Value(BaseModel):
    """A frozen value that knows no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other fields. What was computed from the old ones (a digest!) is not carried over."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(copied).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Command(Value):
    """One program with its arguments; redirections name checked paths, never descriptors."""

    argv: Annotated[tuple[Text, ...], Field(min_length=1)]
    stdin: str | None = None
    stdout: str | None = None
    append: bool = False


Pipeline = Annotated[tuple[Command, ...], Field(min_length=1)]
Pipelines = Annotated[tuple[Pipeline, ...], Field(min_length=1, max_length=8)]


class Control(Value):
    """A control on a page as a person would name it; never a snapshot ref."""

    role: Text
    name: Text


class FormField(Value):
    """One name and value as the form would send it; personal values stand as handles."""

    name: Text
    value: Text


class Sheet(Value):
    """One sheet of a table: column names and rows of cells."""

    name: Text = "Sheet1"
    columns: Annotated[tuple[Text, ...], Field(min_length=1)]
    rows: tuple[tuple[Cell, ...], ...]


class ActionBase(Value):
    """What every action can tell about itself."""

    effect_class: ClassVar[EffectClass] = EffectClass.READ
    repeat_class: ClassVar[Repeat] = Repeat.SAFE
    sink_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that say where the action lands."""
    content_fields: ClassVar[tuple[str, ...]] = ()
    """Fields whose text travels there; handles in them must be restorable."""

    @property
    def effect(self) -> EffectClass:
        return self.effect_class

    @property
    def repeat(self) -> Repeat:
        return self.repeat_class

    @cached_property
    def canonical(self) -> bytes:
        """The canonical JSON that is judged, stored and executed."""
        return canonical_json(self.model_dump(mode="json"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hex."""
        return hashlib.sha256(self.canonical).hexdigest()

    def contents(self) -> tuple[str, ...]:
        """Every text that would travel to the sink, for handle and leak checks."""
        return tuple(_strings(self.model_dump(mode="json", include=set(self.content_fields))))


class FileRead(ActionBase):
    kind: Literal["file.read"] = "file.read"
    path: WorkspacePath
    encoding: Literal["auto", "utf-8", "gb18030"] = "auto"


class FileList(ActionBase):
    kind: Literal["file.list"] = "file.list"


class FileWrite(ActionBase):
    effect_class = EffectClass.WRITE
    sink_fields = ("path",)
    content_fields = ("text",)
    kind: Literal["file.write"] = "file.write"
    path: WorkspacePath
    text: Text
    encoding: Literal["utf-8", "utf-8-sig", "gb18030"] = "utf-8"


class TableRead(ActionBase):
    """Read a CSV or xlsx file; parsed in a confined child."""

    kind: Literal["table.read"] = "table.read"
    path: WorkspacePath
    sheet: Text | None = None
    first_row: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class TableWrite(ActionBase):
    """Write a CSV or xlsx file (by the path's suffix); no cell ever becomes a formula."""

    effect_class = EffectClass.WRITE
    sink_fields = ("path",)
    content_fields = ("sheets",)
    kind: Literal["table.write"] = "table.write"
    path: WorkspacePath
    sheets: Annotated[tuple[Sheet, ...], Field(min_length=1, max_length=20)]
    encoding: Literal["utf-8", "utf-8-sig", "gb18030"] = "utf-8-sig"


class ShellRun(ActionBase):
    """Pipelines joined by `&&`, run in the run's folder behind the walls, without a network."""

    repeat_class = Repeat.NEVER
    content_fields = ("pipelines",)
    kind: Literal["shell.run"] = "shell.run"
    pipelines: Pipelines

    @property
    def effect(self) -> EffectClass:
        return EffectClass.READ if only_reads(self.pipelines) else EffectClass.WRITE

    @property
    def repeat(self) -> Repeat:
        return Repeat.SAFE if self.effect is EffectClass.READ else Repeat.NEVER


class BrowserOpen(ActionBase):
    sink_fields = ("url",)
    content_fields = ("url",)
    kind: Literal["browser.open"] = "browser.open"
    url: Url


class BrowserRead(ActionBase):
    """Read the open page as an accessibility snapshot."""

    kind: Literal["browser.read"] = "browser.read"
    url: Url


class BrowserFill(ActionBase):
    """Put a value into a control. Nothing is sent before a submit is judged, but the page sees the value."""

    sink_fields = ("url",)
    content_fields = ("value",)
    kind: Literal["browser.fill"] = "browser.fill"
    url: Url
    control: Control
    value: Text
    """Text with handles, or `secret://name`, which is opened in the executor only."""


class BrowserClick(ActionBase):
    """Press a control that is neither a link nor a form's submit button."""

    repeat_class = Repeat.NEVER
    sink_fields = ("url",)
    kind: Literal["browser.click"] = "browser.click"
    url: Url
    control: Control
    does: Literal["read", "submit", "pay", "delete", "upload"] = "submit"
    """What it would do, by the page's structure and the control's words; words can only raise it."""

    @property
    def effect(self) -> EffectClass:
        return _BROWSER_EFFECTS[self.does]

    @property
    def repeat(self) -> Repeat:
        return Repeat.SAFE if self.does == "read" else Repeat.NEVER


class BrowserSubmit(ActionBase):
    """Send a form: what leaves, to where, by which method."""

    repeat_class = Repeat.NEVER
    sink_fields = ("target",)
    content_fields = ("target", "fields")
    kind: Literal["browser.submit"] = "browser.submit"
    url: Url
    """The document that holds the form."""
    control: Control
    target: Url
    method: Literal["get", "post"]
    fields: tuple[FormField, ...]
    does: Literal["read", "submit", "pay", "delete", "login", "upload"] = "submit"

    @property
    def effect(self) -> EffectClass:
        return _BROWSER_EFFECTS[self.does]

    @property
    def repeat(self) -> Repeat:
        return Repeat.SAFE if self.does in ("read", "login") else Repeat.NEVER


class BrowserDownload(ActionBase):
    """Fetch what a link leads to into the run's folder."""

    sink_fields = ("target", "path")
    content_fields = ("target",)
    kind: Literal["browser.download"] = "browser.download"
    url: Url
    control: Control
    target: Url
    path: WorkspacePath


class BrowserScreenshot(ActionBase):
    kind: Literal["browser.screenshot"] = "browser.screenshot"
    url: Url
    path: WorkspacePath


class ServerRun(ActionBase):
    """Run a checked command on a server of the inventory."""

    sink_fields = ("server",)
    content_fields = ("pipelines",)
    kind: Literal["server.run"] = "server.run"
    server: Name
    pipelines: Pipelines

    @property
    def effect(self) -> EffectClass:
        return EffectClass.READ if only_reads(self.pipelines) else EffectClass.WRITE

    @property
    def repeat(self) -> Repeat:
        return Repeat.SAFE if self.effect is EffectClass.READ else Repeat.NEVER


class ServerRead(ActionBase):
    sink_fields = ("server",)
    kind: Literal["server.read"] = "server.read"
    server: Name
    path: ServerPath


class ServerWrite(ActionBase):
    effect_class = EffectClass.WRITE
    repeat_class = Repeat.PROBE
    sink_fields = ("server", "path")
    content_fields = ("text",)
    kind: Literal["server.write"] = "server.write"
    server: Name
    path: ServerPath
    text: Text


class ModelCall(ActionBase):
    """One request to a model: a prompt is data that leaves the machine."""

    effect_class = EffectClass.EGRESS
    sink_fields = ("endpoint",)
    kind: Literal["model.call"] = "model.call"
    endpoint: Name
    model: Text
    purpose: Literal["plan", "step", "replan", "probe"]
    prompt_digest: str
    """Chain digest over the messages and tools that are sent."""
    prompt_tokens: Annotated[int, Field(ge=0)]
    """Estimated before the call, for the limits."""
    max_reply_tokens: Annotated[int, Field(ge=1)]
    worst_micros: Annotated[int, Field(ge=0)] | None = None
    """Most it can cost, in millionths of the price's currency; None when the price is not known."""


class ToolCall(ActionBase):
    """A call of a tool that users bring; the declaration says what it does, silence means write and ask."""

    content_fields = ("arguments",)
    kind: Literal["tool.call"] = "tool.call"
    tool: Name
    arguments: Arguments
    declaration: str
    """Digest of the tool's declaration and program: a changed tool is another action."""
    declared_effect: EffectClass = EffectClass.WRITE
    declared_repeat: Repeat = Repeat.NEVER
    sinks: tuple[str, ...] = ()
    """Names of the arguments that say where it lands."""

    @property
    def effect(self) -> EffectClass:
        return self.declared_effect

    @property
    def repeat(self) -> Repeat:
        return self.declared_repeat


Action = Annotated[
    FileRead
    | FileList
    | FileWrite
    | TableRead
    | TableWrite
    | ShellRun
    | BrowserOpen
    | BrowserRead
    | BrowserFill
    | BrowserClick
    | BrowserSubmit
    | BrowserDownload
    | BrowserScreenshot
    | ServerRun
    | ServerRead
    | ServerWrite
    | ModelCall
    | ToolCall,
    Field(discriminator="kind"),
]
ACTION: TypeAdapter[Action] = TypeAdapter(Action)
KINDS: tuple[str, ...] = tuple(c.model_fields["kind"].default for c in ActionBase.__subclasses__())

_BROWSER_EFFECTS = {
    "read": EffectClass.READ,
    "login": EffectClass.READ,
    "submit": EffectClass.WRITE,
    "upload": EffectClass.EGRESS,
    "delete": EffectClass.DESTRUCTIVE,
    "pay": EffectClass.SPEND,
}


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: one spelling per value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def only_reads(pipelines: tuple[tuple[Command, ...], ...]) -> bool:
    """True when every command is one that the shipped grammars know to read only, and writes to no file."""
    return all(c.stdout is None and reach(c.argv) is not None for pipeline in pipelines for c in pipeline)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (k, *_strings(v))]
    if isinstance(value, list | tuple):
        return [s for v in value for s in _strings(v)]
    return []
