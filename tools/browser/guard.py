"""What a page may send while a permitted action is carried out.

A description of a form is what the page says; this is what its requests say, as they leave. The two must agree.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl, urldefrag, urlsplit

from playwright.async_api import Download

_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One request on its way out of the browser, every redirect being a request of its own."""

    method: str
    url: str
    """Without the fragment."""
    resource_type: str
    """As the DevTools protocol has it, in lower case: `document`, `xhr`, `image`, …"""
    top: bool
    """It would replace a page, not a frame in it."""
    body: bytes
    content_type: str

    @classmethod
    def of(cls, event: Mapping[str, Any], *, top: bool) -> Sent:
        """From a `Fetch.requestPaused` event."""
        request = event["request"]
        headers = {name.lower(): value for name, value in request["headers"].items()}
        return cls(
            method=request["method"].upper(),
            url=urldefrag(request["url"]).url,
            resource_type=event["resourceType"].lower(),
            top=top,
            body=b"".join(base64.b64decode(e.get("bytes", "")) for e in request.get("postDataEntries", ())),
            content_type=headers.get("content-type", ""),
        )

    @property
    def navigates(self) -> bool:
        return self.resource_type == "document"

    @property
    def changes(self) -> bool:
        return self.method not in _LOOKING

    @property
    def local(self) -> bool:
        """It goes to no server: the content is in the url or in the page's memory."""
        return self.url.startswith(("data:", "blob:", "about:"))

    def __str__(self) -> str:
        return f"{self.method} {urlsplit(self.url).hostname or self.url[:20]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A form as it was judged, with the values that the page holds."""

    method: str
    action: str
    enctype: str
    charset: str
    fields: Pairs

    def is_sent_by(self, sent: Sent) -> bool:
        """Method, address and every field, in order, are the judged ones."""
        if sent.method != self.method.upper():
            return False
        address, _, query = sent.url.partition("?")
        if self.method == "get":
            return address == urldefrag(self.action).url.partition("?")[0] and self._pairs(query) == _lines(self.fields)
        if sent.url != urldefrag(self.action).url:
            return False
        if self.enctype == "multipart/form-data":
            return _parts(sent, self.charset) == _lines(self.fields)
        return self._pairs(sent.body.decode("ascii", "replace")) == _lines(self.fields)

    def _pairs(self, text: str) -> Pairs | None:
        try:
            return _lines(parse_qsl(text, keep_blank_values=True, encoding=self.charset, errors="strict"))
        except (UnicodeDecodeError, LookupError):
            return None


@dataclass(kw_only=True, slots=True)
class Guard:
    """Holds from just before a control is pressed until what follows has settled.

    `form`: one navigation that sends exactly this, and before and after it nothing that could change anything.
    `free`: a control without a form that was permitted to do more than read: whatever the host rules allow.
    Neither: nothing that could change anything, and no other page.
    """

    form: Form | None = None
    free: bool = False
    refused: Sent | None = None
    file: asyncio.Future[Download] | None = None
    """The download that is asked for; all others are stopped."""
    decided: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """True once the judged form has left, False once something else was stopped in its place."""

    def admits(self, sent: Sent, *, judged: bool) -> bool:
        """Whether this request, which the host rules allow or not, also fits what is permitted."""
        if self.free:
            return judged
        if self.decided.done():
            return judged and not sent.changes
        if judged and self.form and sent.navigates and self.form.is_sent_by(sent):
            self.decided.set_result(True)
            return True
        if not sent.changes and not (sent.navigates and sent.top):
            return judged
        self.refused = self.refused or sent
        if sent.navigates:
            self.decided.set_result(False)
        return False


def _lines(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Line ends as one kind: a form sends CRLF for what the page holds as LF."""
    return tuple((name.replace("\r\n", "\n"), value.replace("\r\n", "\n")) for name, value in pairs)


def _parts(sent: Sent, charset: str) -> Pairs | None:
    head = b"Content-Type: " + sent.content_type.encode("ascii", "replace") + b"\r\n\r\n"
    message = BytesParser(policy=HTTP).parsebytes(head + sent.body)
    found = []
    try:
        for part in message.iter_parts():
            name = str(part.get_param("name", "", header="content-disposition"))
            name = name.encode("utf-8", "surrogateescape").decode(charset)
            found.append((name.replace("%22", '"'), bytes(part.get_payload(decode=True) or b"").decode(charset)))
    except (UnicodeError, LookupError, TypeError):
        return None
    return _lines(found)
