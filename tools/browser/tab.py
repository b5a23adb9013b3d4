"""The one page of a run: what it may send, what happened on it, and what was typed into it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from playwright.async_api import BrowserContext, Dialog, Download, Error, Frame, Page, Request, Response, WebSocketRoute

from policies.action import canonical_url
from tools.browser.guard import Guard, Sent
from tools.browser.page import Snapshot, snapshot

Judge = Callable[[str, str, str, str], bool | None]
"""(run, method, url, resource type) → whether this request may leave the browser; None: only as part of a permit."""
_NOTES = 12
_QUIET_S = 4.0
"""How long a page may go on loading, and its scripts fetching, before it is read as it is."""
_FETCHES = frozenset({"document", "xhr", "fetch", "script"})
SECRET = "secret://"  # noqa: S105 - a scheme


class Tab:
    """Kept by `Browser`; the executor works on it. One at a time: a run does one thing after the other."""

    def __init__(self, run: str, context: BrowserContext, page: Page, judge: Judge) -> None:
        self.run, self.context, self.page = run, context, page
        self.guard: Guard | None = None
        self.part, self.cut = 0, False
        self.resolved: dict[str, tuple[str, str]] = {}
        """Digest of an action → the ref it was made from, and the digest of the values that it would send."""
        self.target = ""
        """The address that the permit in force is about; empty when there is none."""
        self.dead = False
        self.stopped = False
        """A navigation was stopped; the browser then also stops loading the page that wanted it."""
        self._renewing = False
        self._judge = judge
        self._granted: set[str] = set()
        """Origins whose documents are here by a permit alone, no rule allowing them by itself."""
        self._notes: list[str] = []
        self._typed: dict[str, str] = {}
        self._busy: set[Request] = set()
        self._quiet = asyncio.Event()
        self._landed = asyncio.Event()
        self._top = False
        """A navigation of the whole page is under way, not only of a frame."""
        context.on("close", lambda _: self._crashed())
        context.on("page", self._opened)
        context.on("dialog", self._dialog)
        context.on("request", self._began)
        context.on("requestfinished", self._ended)
        context.on("requestfailed", self._ended)
        context.on("response", self._answered)
        self._watch(page)

    def admits(self, sent: Sent) -> bool:
        """Whether a request may leave: by what is permitted just now, then by the rules. Refusals are noted."""
        if sent.local:
            return True
        verdict = self._judge(self.run, sent.method, sent.url, sent.resource_type)
        judged = self._permits(sent, verdict)
        # outside a permitted act a page may load and fetch, but change nothing
        fits = self.guard.admits(sent, judged=judged) if self.guard else judged and not sent.changes
        if fits:
            if sent.navigates and verdict is None:
                self._granted.add(_origin(sent.url))
            if sent.navigates and not self._top:
                self._landed.clear()
                self._top = sent.top
            return True
        self.note(f"blocked: {sent}")
        self.stopped = self.stopped or sent.navigates
        return False

    def socket(self, socket: WebSocketRoute) -> None:
        """WebSockets of pages, which the Fetch domain does not see."""
        if self._judge(self.run, "GET", socket.url.replace("ws", "http", 1), "websocket"):
            socket.connect_to_server()

    def _permits(self, sent: Sent, verdict: bool | None) -> bool:
        """Rules let pages load; a change goes only where the permit in force is about, and so does what is asked."""
        own = _origin(sent.url) == _origin(self.target) != ""
        if verdict is False or sent.changes:
            return verdict is not False and own
        if verdict or not sent.navigates:
            return verdict is True or own
        form = self.guard.form if self.guard else None
        return _canonical(sent.url) == self.target or (form is not None and form.is_sent_by(sent))

    @contextlib.contextmanager
    def permitted(self, target: str) -> Iterator[None]:
        """While an action is carried out whose permit is about `target`."""
        self.target = target
        try:
            yield
        finally:
            self.target = ""

    @contextlib.contextmanager
    def acting(self, guard: Guard) -> Iterator[Guard]:
        """While a permitted control is pressed: `guard` says what may leave, and a new window is followed."""
        self.guard = guard
        self._landed.clear()
        try:
            yield guard
        finally:
            self.guard = None

    def note(self, text: str) -> None:
        """Something for the next observation; the same thing once."""
        if text not in self._notes and len(self._notes) < _NOTES:
            self._notes.append(text)

    def notes(self) -> list[str]:
        """What happened since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def typed(self, value: str, original: str) -> None:
        """Remember that `value`, which stands in the page now, came from `original`."""
        if value:
            self._typed[_plain(value)] = original

    def original(self, value: str) -> str | None:
        """What we were told to type, for a value that we typed."""
        return self._typed.get(_plain(value))

    def clean(self, text: str) -> str:
        """`text` as whole characters, without the secrets we typed, as pages and urls spell them."""
        text = _whole(text)
        for value, original in sorted(self._typed.items(), key=lambda pair: -len(pair[0])):
            if original.startswith(SECRET):
                text = original.join(re.split("".join(map(_spelled, value)), text))
        return text

    async def renew(self) -> None:
        """An empty page in place of one that must not be shown or does not answer; the login stays."""
        old, self._renewing = self.page, True
        self.page = await self.context.new_page()
        self._renewing = False
        await self._replace(old)

    async def read(self, *, timeout_s: float) -> Snapshot:
        """The page as it is now."""
        return await snapshot(self.page, self.clean, timeout_s=timeout_s)

    def url(self) -> str | None:
        """The address of the open page; None when there is none that the rules know."""
        return _canonical(self.page.url) or None

    def refused_frame(self) -> str | None:
        """The host of a frame whose document the rules refuse, if there is one."""
        for frame in self.page.frames:
            verdict = not frame.url.startswith("http") or self._judge(self.run, "GET", frame.url, "document")
            if verdict is False or (verdict is None and _origin(frame.url) not in self._granted):
                return frame.url.split("/")[2]
        return None

    async def landed(self, *, timeout_s: float) -> None:
        """Returns when the navigation under way has come to a document, a file or nothing; else TimeoutError."""
        await asyncio.wait_for(self._landed.wait(), timeout_s)

    async def settle(self) -> None:
        """Returns when the page has loaded and its scripts have fetched what they fetch at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                for _ in range(2):  # what the first round waits for may have brought another document
                    with contextlib.suppress(Error):
                        await self.page.wait_for_load_state("load")
                        # A turn of the page's own clock, so that what its scripts have set off is under way.
                        await self.page.evaluate("() => new Promise(done => setTimeout(done, 30))")
                    while self._busy:
                        self._quiet.clear()
                        await self._quiet.wait()
        self._busy.clear()  # a page that keeps a request open is not waited for again

    def _watch(self, page: Page) -> None:
        page.on("framenavigated", self._navigated)
        page.on("download", self._download)
        page.on("crash", lambda _: self._crashed())

    async def _opened(self, page: Page) -> None:
        if self._renewing or page is self.page:
            return
        if self.guard is None:
            self.note("a new window was closed")
            await _quietly(page.close())
            return
        self.note("a new window opened and is the open page now")
        old, self.page = self.page, page
        await self._replace(old)

    async def _replace(self, old: Page) -> None:
        self._watch(self.page)
        self._busy.clear()
        self._land()  # a window is announced when its first document has come
        await _quietly(old.close())

    async def _dialog(self, dialog: Dialog) -> None:
        # Of a form that is permitted byte for byte the page may ask whether we are sure. All else is dismissed.
        sure = dialog.type == "confirm" and self.guard is not None and self.guard.form is not None
        accepted = sure or dialog.type == "beforeunload"
        self.note(f"dialog {dialog.type}, {'accepted' if accepted else 'dismissed'}: {dialog.message[:200]!r}")
        await _quietly(dialog.accept() if accepted else dialog.dismiss())

    async def _download(self, download: Download) -> None:
        self._land()
        if self.guard and self.guard.file and not self.guard.file.done():
            self.guard.file.set_result(download)
            return
        self.note("the page started a download that was not asked for; it was stopped")
        await _quietly(download.cancel())

    def _began(self, request: Request) -> None:
        if request.resource_type in _FETCHES:
            self._busy.add(request)

    def _ended(self, request: Request) -> None:
        self._busy.discard(request)
        self._quiet.set()
        if request.failure and request.resource_type == "document":
            self._land()

    def _answered(self, response: Response) -> None:
        if response.request.resource_type == "document":
            if response.status >= 400:
                self.note(f"the server answered {response.status}")
            if response.status in (204, 205):  # the page stays
                self._land()

    def _navigated(self, frame: Frame) -> None:
        if not self._top or frame.parent_frame is None:
            self._land()

    def _land(self) -> None:
        self._top = False
        self._landed.set()

    def _crashed(self) -> None:
        self.dead = True
        self._land()


async def _quietly(call: Any) -> None:
    with contextlib.suppress(Error):  # it may be gone already
        await call


def _canonical(url: str) -> str:
    try:
        return canonical_url(url)
    except ValueError:
        return ""


def _origin(url: str) -> str:
    return "/".join(_canonical(url).split("/")[:3])


def _whole(text: str) -> str:
    """Half characters, which a page can make and no encoding can hold, as the sign for what cannot be shown."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _spelled(character: str) -> str:
    """A pattern for one character as itself, escaped in a snapshot, or percent-encoded."""
    encoded = quote(character, safe="") if character.isalnum() else "".join(f"%{b:02X}" for b in character.encode())
    spellings = {character, json.dumps(character)[1:-1], encoded, encoded.lower(), character.replace(" ", "+")}
    return f"(?:{'|'.join(re.escape(s) for s in sorted(spellings, key=len, reverse=True))})"


def _plain(value: str) -> str:
    return value.replace("\r\n", "\n")
