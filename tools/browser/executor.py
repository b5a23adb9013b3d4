"""Browser actions: named before they are judged, found again and compared when they are carried out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import Error
from playwright.async_api import TimeoutError as NoAnswer

from policies.action import (
    Action,
    ActionBase,
    BrowserClick,
    BrowserDownload,
    BrowserFill,
    BrowserOpen,
    BrowserRead,
    BrowserScreenshot,
    BrowserSubmit,
    Control,
    EffectClass,
)
from policies.errors import ActionFailed
from policies.labels import Integrity, Label
from policies.permit import Permit
from policies.ports import Raw
from tools.browser.describe import Found, describe, made, script
from tools.browser.download import fetch
from tools.browser.guard import Guard
from tools.browser.page import Line, Snapshot
from tools.browser.session import Browser
from tools.browser.tab import SECRET, Tab
from tools.errors import OperatorError, ToolError
from tools.files import Workspaces, sandbox_faults

A = TypeVar("A", bound=ActionBase)
OnControl = BrowserFill | BrowserClick | BrowserSubmit | BrowserDownload
_PRESS_S = 5.0
"""For a control to become usable, and for its form to leave."""
_READ_BACK_S = 1.0
_STALE = "{!r} is not on the page as it is now; take a new snapshot"
_CHANGED = "The page has changed since this was judged; nothing was sent. Take a new snapshot."


class Secrets(Protocol):
    """The vault, as executors see it."""

    def open(self, name: str, *, sink: str) -> str:
        """The value; ActionFailed if there is none or it may not go to this host."""


class BrowserExecutor:
    """Carries out browser.*, and tells the catalogue what a click would do.

    `redact` turns personal values of the run into handles, so an executor belongs to one run's key; the browser
    behind it may be shared.
    """

    kinds = frozenset(
        f"browser.{verb}" for verb in ("open", "read", "fill", "click", "submit", "download", "screenshot")
    )

    def __init__(
        self, browser: Browser, workspaces: Workspaces, secrets: Secrets, redact: Callable[[str], str]
    ) -> None:
        self._browser, self._workspaces = browser, workspaces
        self._secrets, self._redact = secrets, redact
        self._load_s = browser.settings.load_timeout_s
        self._saved: set[tuple[str, str, str]] = set()
        """Run, kind and path of every file made here: nothing else may be replaced by a read."""

    def has_page(self, run: str) -> bool:
        """Whether the run has an open page; after a crash or a park it has none."""
        tab = self._browser.open_tab(run)
        return tab is not None and tab.url() is not None

    async def current(self, run: str) -> str | None:
        """The address of the open page."""
        tab = self._browser.open_tab(run)
        return tab.url() if tab else None

    async def open(self, run: str, url: str) -> BrowserOpen:
        """The action of opening `url`."""
        return made(BrowserOpen, url=url)

    async def resolve_click(self, run: str, ref: str) -> Action:
        """What pressing the control would really do: BrowserOpen, BrowserSubmit or BrowserClick."""
        return await self._resolve(run, ref, Found.pressed)

    async def resolve_fill(self, run: str, ref: str, value: str) -> BrowserFill:
        """Putting `value` into the field, or choosing it."""
        return await self._resolve(run, ref, lambda found: found.filled(value))

    async def resolve_download(self, run: str, ref: str, path: str) -> BrowserDownload:
        """Saving what the link leads to."""
        return await self._resolve(run, ref, lambda found: found.downloaded(path))

    async def execute(self, permit: Permit) -> Raw:
        """Does it, and returns the page as it is then. ActionFailed if it cannot be done, or no longer as judged."""
        action = permit.redeem(permit.action_type)
        acts = action.effect is not EffectClass.READ
        limit_s = self._load_s * 2 + (self._browser.settings.download_s if isinstance(action, BrowserDownload) else 15)
        try:
            async with asyncio.timeout(limit_s):
                return await self._execute(permit, action)
        except OperatorError as error:
            raise ActionFailed(str(error), may_have_acted=False) from error
        except (TimeoutError, NoAnswer) as error:
            await self._give_up(permit.run)
            raise ActionFailed("The page did not answer in time; open it again.", may_have_acted=acts) from error
        except Error as error:
            raise ActionFailed(f"The browser could not do it{_code(error)}.", may_have_acted=acts) from error

    async def probe(self, permit: Permit) -> Raw | None:
        """Nothing tells afterwards whether a form had left."""
        raise ActionFailed("It cannot be seen whether the page had sent it.", may_have_acted=True)

    async def _execute(self, permit: Permit, action: ActionBase) -> Raw:
        if isinstance(action, BrowserOpen):
            tab = await self._browser.tab(permit.run)
            with tab.permitted(action.url):
                return await self._open(tab, action)
        open_tab = self._browser.open_tab(permit.run)
        if open_tab is None or open_tab.url() is None:
            raise ActionFailed("No page is open; open one first.", may_have_acted=False)
        with open_tab.permitted(str(getattr(action, "target", "") or getattr(action, "url", ""))):
            return await self._on_page(open_tab, permit, action)

    async def _on_page(self, tab: Tab, permit: Permit, action: ActionBase) -> Raw:
        match action:
            case BrowserRead() | BrowserScreenshot() if tab.url() != action.url:
                raise ActionFailed("Another page is open by now; take a new snapshot.", may_have_acted=False)
            case BrowserRead():
                return await self._observed(tab, next_part=True)
            case BrowserScreenshot(path=path):
                await self._check_frames(tab)
                picture = await tab.page.screenshot(type="png", timeout=self._load_s * 1000)
                with self._saving(permit.run, action), sandbox_faults(may_have_acted=False):
                    self._workspaces(permit.run).write(path, picture)
                return self._raw(tab, f"saved {path}: {len(picture):,} bytes, PNG picture", files=(path,))
            case BrowserFill():
                return await self._fill(tab, permit, action)
            case BrowserSubmit():
                return await self._submit(tab, action)
            case BrowserClick():
                return await self._click(tab, action)
            case BrowserDownload(path=path):
                await self._again(tab, action, lambda found: found.downloaded(path))
                with self._saving(permit.run, action):
                    text = await fetch(tab, action, self._workspaces(permit.run), self._browser.settings)
                return self._raw(tab, text, files=(path,))
        raise TypeError(f"{type(action).__name__} is no browser action")

    @contextlib.contextmanager
    def _saving(self, run: str, action: BrowserScreenshot | BrowserDownload) -> Iterator[None]:
        """Looking makes files and replaces only what the same kind of looking made."""
        entry = (run, action.kind, action.path)
        with sandbox_faults(may_have_acted=False):
            there = os.path.lexists(self._workspaces(run).resolve(action.path))
        if there and entry not in self._saved:
            raise ActionFailed(f"There is a file {action.path!r} already; choose another name.", may_have_acted=False)
        yield
        self._saved.add(entry)

    async def _open(self, tab: Tab, action: BrowserOpen) -> Raw:
        tab.stopped = False
        tab.resolved.clear()
        try:
            await tab.page.goto(action.url, wait_until="commit", timeout=self._load_s * 1000)
            await tab.page.wait_for_load_state("domcontentloaded", timeout=self._load_s * 1000)
        except NoAnswer:
            if tab.stopped:  # what the page wanted instead was stopped, and its own loading with that
                return await self._observed(tab)
            await tab.renew()
            raise ActionFailed(f"The page never loaded within {self._load_s:g} s.", may_have_acted=False) from None
        except Error as error:
            said = "; ".join(tab.notes()) or "the host may be unknown to the policy, or away"
            await tab.renew()
            raise ActionFailed(f"The page cannot be shown{_code(error)}: {said}.", may_have_acted=False) from None
        await tab.settle()
        return await self._observed(tab)

    async def _fill(self, tab: Tab, permit: Permit, action: BrowserFill) -> Raw:
        found = await self._again(tab, action, lambda found: found.filled(action.value))
        value = self._value(permit, action)
        before = tab.page.url.partition("#")[0]
        _check_place(found, action)
        tab.typed(value, action.value)  # before it is in the page: from now on it must not be seen
        kind, milliseconds = found.described.type, _PRESS_S * 1000
        try:
            if found.described.tag == "select":
                await found.locator.select_option(value, timeout=milliseconds)
            elif kind in ("checkbox", "radio"):
                await found.locator.set_checked(value == "true", timeout=milliseconds)
            else:
                await found.locator.fill(value, timeout=milliseconds)
                with contextlib.suppress(Error):  # no such field any more, or none with a value
                    tab.typed(await found.locator.input_value(timeout=_READ_BACK_S * 1000), action.value)
        except NoAnswer:
            raise
        except Error:
            raise ActionFailed("The field did not take this value.", may_have_acted=False) from None
        await tab.settle()
        if tab.page.url.partition("#")[0] != before:
            return await self._observed(tab)
        return self._raw(tab, f"filled {_words(action.control)} with {action.value}")

    async def _submit(self, tab: Tab, action: BrowserSubmit) -> Raw:
        found = await self._again(tab, action, Found.pressed)
        with tab.acting(Guard(form=found.described.form)) as guard:
            _check_place(found, action)
            said = await found.locator.evaluate(script(), found.told)
            if said == "changed":
                raise ActionFailed(_CHANGED, may_have_acted=False)
            if said != "pressed":
                fields = str(said).removeprefix("invalid:")
                raise ActionFailed(f"The form does not accept what is in: {fields}.", may_have_acted=False)
            await asyncio.wait({guard.decided}, timeout=_PRESS_S)
            sent = guard.decided.done() and guard.decided.result()
            if guard.refused and not sent:
                raise ActionFailed(
                    f"Pressed, the page wanted to send something else than was judged ({guard.refused}); "
                    "nothing was sent.",
                    may_have_acted=False,
                )
            if sent:
                await tab.landed(timeout_s=self._load_s)
            elif action.method == "post":
                raise ActionFailed("Pressing it sent nothing; read the page again.", may_have_acted=False)
            await tab.settle()
        return await self._observed(tab, acted=True)

    async def _click(self, tab: Tab, action: BrowserClick) -> Raw:
        found = await self._again(tab, action, Found.pressed)
        with tab.acting(Guard(free=action.does != "read")):
            _check_place(found, action)
            await found.locator.click(timeout=_PRESS_S * 1000)
            await tab.settle()
        return await self._observed(tab, acted=True)

    def _value(self, permit: Permit, action: BrowserFill) -> str:
        if not action.value.startswith(SECRET):
            return permit.opened(action.value)
        name = action.value.removeprefix(SECRET)
        if name not in permit.obligations.secrets:
            raise ActionFailed(f"The secret {name!r} may not be used here.", may_have_acted=False)
        return self._secrets.open(name, sink=urlsplit(action.url).hostname or "")

    async def _resolve(self, run: str, ref: str, make: Callable[[Found], A]) -> A:
        tab = self._browser.open_tab(run)
        if tab is None or tab.url() is None:
            raise ToolError("no page is open; open one first")
        try:
            async with asyncio.timeout(self._load_s):
                fresh = await tab.read(timeout_s=self._load_s)
                # A ref stands for one element with one role and name in one document; others get other refs.
                line = next((line for line in fresh.lines if line.ref == ref), None)
                if line is None:
                    raise ToolError(_STALE.format(ref))
                found = await self._found(tab, fresh, line)
                action = make(found)
        except (Error, TimeoutError):
            raise ToolError(_STALE.format(ref)) from None
        text = action.canonical.decode()
        if tab.clean(text) != text:  # a script may have put it into an address or joined it to something
            raise ToolError("this would send a secret in another place than the field it was filled into")
        tab.resolved[action.digest] = (ref, found.described.raw)
        return action

    async def _found(self, tab: Tab, page: Snapshot, line: Line) -> Found:
        locator = tab.page.locator(f"aria-ref={line.ref}")
        return await describe(locator, page.control(line), lambda value: self._shown(tab, value), timeout_s=_PRESS_S)

    def _shown(self, tab: Tab, value: str) -> str:
        original = tab.original(value)
        return self._redact(value) if original is None else original

    async def _again(self, tab: Tab, action: OnControl, make: Callable[[Found], ActionBase]) -> Found:
        """The control of a permitted action: the one it was judged on, else the only one that is the same."""
        page = await tab.read(timeout_s=self._load_s)
        same: list[Found] = []
        known, raw = tab.resolved.get(action.digest, ("", None))
        for line in sorted(
            (n for n in page.lines if n.ref and n.role == action.control.role), key=lambda n: n.ref != known
        ):
            if line.name and self._shown(tab, page.control(line).name) != action.control.name:
                continue
            try:
                found = await self._found(tab, page, line)
                if make(found).digest != action.digest or not found.stands(action.url):
                    continue
                # What stands for a token or a password may differ only on a page that we opened again.
                if raw is not None and isinstance(action, BrowserSubmit) and found.described.raw != raw:
                    continue
            except ToolError:
                continue
            if line.ref == known:
                return found
            same.append(found)
        if len(same) != 1:
            raise ActionFailed(_CHANGED, may_have_acted=False)
        return same[0]

    async def _observed(self, tab: Tab, *, acted: bool = False, next_part: bool = False) -> Raw:
        await self._check_frames(tab, acted=acted)
        page = await tab.read(timeout_s=self._load_s)
        parts = page.parts()
        tab.part = (tab.part + 1) % len(parts) if next_part and tab.cut else 0
        tab.cut = len(parts) > 1
        head = [f"page: {' '.join((await tab.page.title()).split())[:200]}", f"url: {tab.page.url[:2000]}"]
        head += [f"note: {note}" for note in tab.notes()]
        if tab.cut:
            head.append(f"note: part {tab.part + 1} of {len(parts)}; read the page again for the next part")
        return self._raw(tab, "\n".join((*head, "", parts[tab.part])))

    async def _check_frames(self, tab: Tab, *, acted: bool = False) -> None:
        if host := tab.refused_frame():
            await tab.renew()
            raise ActionFailed(
                f"The page shows {host!r}, which is not allowed; nothing is shown.", may_have_acted=acted
            )

    def _raw(self, tab: Tab, text: str, *, files: tuple[str, ...] = ()) -> Raw:
        hosts = {urlsplit(frame.url).hostname for frame in tab.page.frames} - {None, ""}
        return Raw(
            text=tab.clean(text),
            files=files,
            data={"url": tab.clean(tab.page.url)},
            label=Label(
                integrity=Integrity.UNTRUSTED,
                readers=frozenset({"requester"}),
                origins=frozenset(str(host) for host in hosts),
            ),
            level=self._browser.level,
        )

    async def _give_up(self, run: str) -> None:
        try:
            async with asyncio.timeout(_PRESS_S):
                if tab := self._browser.open_tab(run):
                    await tab.renew()
        except (Error, TimeoutError):
            await self._browser.close(run)


def _check_place(found: Found, action: OnControl) -> None:
    if not found.stands(action.url):
        raise ActionFailed(_CHANGED, may_have_acted=False)


def _words(control: Control) -> str:
    return f'{control.role} "{control.name}"'


def _code(error: Error) -> str:
    """The network error's code; the rest of the message may hold words of the page."""
    found = re.search(r"net::(ERR_[A-Z_]+)", str(error))
    return f" ({found.group(1)})" if found else ""
