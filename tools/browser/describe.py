"""What a control on a page would really do, as the action that is judged."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlencode, urlsplit

from playwright.async_api import Frame, Locator
from pydantic import BaseModel, ConfigDict, ValidationError

from policies.action import (
    ActionBase,
    BrowserClick,
    BrowserDownload,
    BrowserFill,
    BrowserOpen,
    BrowserSubmit,
    Control,
    FormField,
    canonical_url,
)
from tools.browser.guard import Form
from tools.browser.tab import SECRET
from tools.errors import ToolError

A = TypeVar("A", bound=ActionBase)
Weight = Literal["pay", "delete"]

# Words only raise what the structure says, never lower it. Whole words in Latin script, anywhere in Chinese.
_WORDS: dict[Weight, tuple[frozenset[str], str]] = {
    "pay": (
        frozenset(["pay", "payment", "purchase", "buy", "checkout", "transfer", "donate"]),
        r"place order|支付|付款|转账|汇款|购买|结算|充值|下单|打款",
    ),
    "delete": (
        frozenset(["delete", "remove", "destroy", "erase", "drop", "purge", "void", "wipe", "revoke", "terminate"]),
        r"cancel (the |this |my )?(order|booking|subscription)|删除|移除|清空|销毁|注销|作废|取消订单|撤销",
    ),
}
# Anti-forgery tokens differ at each visit and say nothing about what is done. Where the form goes back to the
# page's own origin, one stands for all, so that a page opened again still has the form that was approved.
_TOKEN_NAME = re.compile(r"csrf|xsrf|token|nonce|authenticity|viewstate|eventvalidation", re.IGNORECASE)
_TOKEN_VALUE = re.compile(r"[A-Za-z0-9+/=_.:-]{16,}")
ENGINE = "described"
"""The selector that leads from a control to its description."""
PAGE_TOKEN = "(page token)"  # noqa: S105 - what is shown in place of a token
HIDDEN = "(hidden)"
"""Stands for the value of a password field that we did not fill."""
_TEXT_TYPES = frozenset(
    [
        "text",
        "search",
        "email",
        "url",
        "tel",
        "password",
        "number",
        "date",
        "month",
        "week",
        "time",
        "datetime-local",
        "color",
        "range",
        "textarea",
    ]
)


class Described(BaseModel):
    """What `describe.js` read; nothing in it is trusted beyond what the requests confirm."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str
    tag: str
    type: str
    text: str
    href: str | None
    scripted: bool
    download: bool
    editable: bool
    code: bool
    """It asks for a one-time code."""
    locked: bool
    options: list[str]
    submits: bool
    method: str
    action: str
    enctype: str
    charset: str
    fields: list[tuple[str, str]]
    files: bool
    hidden: list[str]
    passwords: list[str]
    submitter: str

    @property
    def raw(self) -> str:
        """Digest of the values that would be sent, those included that an action does not show."""
        return hashlib.sha256(repr(self.fields).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def form(self) -> Form:
        """The form with the page's own values, to compare with what is sent."""
        return Form(
            method=self.method,
            action=self.action,
            enctype=self.enctype,
            charset=self.charset,
            fields=tuple(self.fields),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A control of the open page with its description."""

    locator: Locator
    frame: Frame
    """The frame that the control stands in."""
    control: Control
    """With personal values as handles."""
    told: str
    """The description as the page's side compares it."""
    described: Described
    shown: Callable[[str], str]
    """How a value of the page stands in an action: as the handle or secret it came from, else redacted."""

    def pressed(self) -> BrowserOpen | BrowserSubmit | BrowserClick:
        """What pressing it would do. ToolError if that has no permitted form."""
        d = self.described
        if d.href is not None and not d.scripted:
            if d.download:
                raise ToolError("this link is a file; save it with a download to a path in the run's folder")
            return made(BrowserOpen, url=_target(d.href))
        if d.type == "file" or d.files:
            raise ToolError("this would upload a file, which is not possible here")
        if d.submits and d.method in ("get", "post"):
            return self._submit()
        if d.tag in ("select", "option", "textarea") or (d.tag == "input" and d.type in _FILLED):
            raise ToolError("this is a field, not a button; fill it (a checkbox with 'true' or 'false')")
        if d.locked:
            raise ToolError("this control is switched off by the page; another one may have to be used first")
        does = self._weight(()) or ("read" if d.tag == "summary" else "submit")
        return made(BrowserClick, url=_target(d.url), control=self.control, does=does)

    def stands(self, url: str) -> bool:
        """Whether its frame shows this address now, by what the browser knows and not the page."""
        try:
            return _target(self.frame.url) == url
        except ToolError:
            return False

    def filled(self, value: str) -> BrowserFill:
        """Putting `value` in. ToolError if it is no field, is locked, has no such option, or shows a secret."""
        d = self.described
        if value.startswith(SECRET) and not (d.type == "password" or d.code):
            raise ToolError("a secret goes only into a password field or a field for a one-time code")
        if d.locked:
            raise ToolError("this field is locked by the page; another control may have to be used first")
        options = [self.shown(option) for option in d.options]
        if d.tag == "select" and value not in options:
            known = ", ".join(repr(o) for o in dict.fromkeys(options[::2]))[:500]
            raise ToolError(f"there is no such option; the options are: {known}")
        if d.type in ("checkbox", "radio") and value not in ("true", "false"):
            raise ToolError("fill a checkbox or radio button with 'true' or 'false'")
        if not (d.tag in ("select", "textarea") or d.editable or (d.tag == "input" and d.type in _FILLED)):
            raise ToolError("this control takes no text; choose a field, or click it")
        return made(BrowserFill, url=_target(d.url), control=self.control, value=value)

    def downloaded(self, path: str) -> BrowserDownload:
        """Saving what a link, or a form that only asks, leads to."""
        d = self.described
        if d.href is not None:
            target = d.href
        elif d.submits and d.method == "get":
            target = f"{d.action.partition('?')[0]}?{urlencode(d.fields)}"
        else:
            raise ToolError("this control leads to no file; choose a link")
        return made(BrowserDownload, url=_target(d.url), control=self.control, target=_target(target), path=path)

    def _submit(self) -> BrowserSubmit:
        d = self.described
        target = _target(d.action.partition("?")[0] if d.method == "get" else d.action)
        fields = tuple(FormField(name=n, value=self._field(n, v, target)) for n, v in d.fields)
        secret = any(f.value.startswith(SECRET) for f in fields)
        if secret and d.method == "get":
            raise ToolError("this form would put a secret into an address")
        if secret and urlsplit(target).netloc != urlsplit(_target(d.url)).netloc:
            raise ToolError("this form would send a secret to another host than the one it was filled in for")
        kept = secret and any(f.name in d.passwords and f.value.startswith(SECRET) for f in fields)
        does = self._weight(fields) or ("read" if d.method == "get" else "login" if kept else "submit")
        return made(
            BrowserSubmit,
            url=_target(d.url),
            control=self.control,
            target=target,
            method=d.method,
            fields=fields,
            does=does,
        )

    def _field(self, name: str, value: str, target: str) -> str:
        d = self.described
        shown = self.shown(value)
        if name in d.passwords and shown == value:
            return HIDDEN
        own = urlsplit(d.url)[:2] == urlsplit(target)[:2]
        token = name in d.hidden and _TOKEN_NAME.search(name) and _TOKEN_VALUE.fullmatch(value)
        return PAGE_TOKEN if token and own else shown

    def _weight(self, fields: tuple[FormField, ...]) -> Weight | None:
        d = self.described
        given = [f.value for f in fields if f.name in d.hidden or f.name == d.submitter]
        words = " ".join((self.control.name, d.text, urlsplit(d.action).path, urlsplit(d.action).query, *given))
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).replace("_", " ").lower()
        latin = set(re.findall(r"[a-z]+", words))
        return next((w for w, (exact, rest) in _WORDS.items() if latin & exact or re.search(rest, words)), None)


async def describe(locator: Locator, control: Control, shown: Callable[[str], str], *, timeout_s: float) -> Found:
    """The control behind `locator`, read in one turn of the page. ToolError if the page gives no sense."""
    frame = await (await locator.element_handle(timeout=timeout_s * 1000)).owner_frame()
    told = await locator.locator(f"{ENGINE}=").text_content(timeout=timeout_s * 1000) or ""
    try:
        described = Described.model_validate_json(told)
    except ValidationError:
        raise ToolError("the page does not let this control be examined; use another one") from None
    if frame is None or frame.url.partition("#")[0] != described.url.partition("#")[0]:
        raise ToolError("the page gives itself another address than the browser knows; take a new snapshot")
    name = shown(control.name or described.text)
    control = Control(role=control.role, name=name)
    return Found(locator=locator, frame=frame, control=control, told=told, described=described, shown=shown)


def engine() -> str:
    """A selector engine for Playwright, which runs it apart from the page's scripts."""
    return f"""({{
      query(element) {{ return this.queryAll(element)[0]; }},
      queryAll(element) {{
        const told = document.createElement("div");
        told.textContent = ({script()})(element, null);
        return [told];
      }},
    }})"""


@cache
def script() -> str:
    """The page's side: `(element, expected) => description | "pressed" | "changed" | "invalid:…"`."""
    return Path(__file__).with_name("describe.js").read_text(encoding="utf-8")


def made(kind: type[A], **fields: object) -> A:
    """An action of this kind; ToolError with the first thing that is wrong with it."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ToolError(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None


_FILLED = _TEXT_TYPES | {"checkbox", "radio"}


def _target(url: str) -> str:
    try:
        return canonical_url(url.partition("#")[0])
    except ValueError:
        raise ToolError("this leads to no http or https address with a plain host name; use another one") from None
