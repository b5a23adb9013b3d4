"""One Chromium per process, started when it is first needed, with one separate context for each run.

Every request of every page, frame, popup, worker and redirect hop stops in the browser until `Tab.admits` lets it
go (the DevTools protocol's Fetch domain on the whole browser; Playwright's `route` does not see redirects, shared
workers and downloads). Names that were not given do not resolve, so WebSockets and prefetches find nobody either.
This is not yet a wall against a broken browser: that is the network namespace round it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser as Chromium
from playwright.async_api import CDPSession, Error, Playwright, async_playwright

from tools.browser.describe import ENGINE, engine
from tools.browser.find import find_chromium
from tools.browser.guard import Sent
from tools.browser.tab import Judge, Tab
from tools.errors import BrowserMissing

_SWITCHES = (
    # Full Chromium obeys this one; the often quoted --force-webrtc-… had no effect (tried with 156).
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    "--dns-prefetch-disable",
    "--no-pings",
    "--disable-domain-reliability",
)
_NO_WEBRTC = "delete window.RTCPeerConnection; delete window.webkitRTCPeerConnection;"
_CLOSE_S = 5.0
_FRAME_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BrowserSettings:
    """What the process knows about its browser."""

    chromium: str | None = None
    """The program, or None to look for one."""
    names: frozenset[str] = frozenset()
    """Host names that exist for the browser: those that the policy names."""
    open_names: bool = False
    """All names exist; the judge alone decides."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Host name → `127.0.0.1:port`, for port 80 of names that exist: the practice world and tests."""
    load_timeout_s: float = 30.0
    download_bytes: int = 50_000_000
    download_s: float = 120.0

    @property
    def resolver_rules(self) -> str:
        """The value of Chromium's `--host-resolver-rules`; literal addresses fall under `*` too."""
        known = [n for n in self.hosts if self.open_names or n in self.names]
        # This machine is no place of the web: what governs a run may have a console here.
        rules = ["MAP localhost ~NOTFOUND", "MAP *.localhost ~NOTFOUND"]
        rules += [f"MAP {name}:80 {self.hosts[name]}" for name in known]
        if not self.open_names:
            rules += [
                "MAP * ~NOTFOUND",
                *(f"EXCLUDE {name}" for name in sorted(self.names - set(known)) if not _here(name)),
            ]
        return ",".join(rules)


def _here(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


class Browser:
    """The browser of this process and the tabs of its runs. Belongs to one event loop."""

    def __init__(self, settings: BrowserSettings, judge: Judge) -> None:
        self.settings, self._judge = settings, judge
        # Chromium's own sandbox does not start as root.
        self.level = "none" if os.geteuid() == 0 else "namespaces"
        self._starting: asyncio.Task[_Started] | None = None
        self._tabs: dict[str, Tab] = {}
        self._contexts: dict[str, Tab] = {}
        self._targets: dict[str, str] = {}
        """Target or frame id → browser context id."""
        self._pages: set[str] = set()
        self._answers: set[asyncio.Task[None]] = set()

    def open_tab(self, run: str) -> Tab | None:
        """The run's tab if it has a page that lives."""
        tab = self._tabs.get(run)
        return tab if tab and not tab.dead and not tab.page.is_closed() else None

    async def tab(self, run: str) -> Tab:
        """The run's tab; a new one, without cookies, if it has none. BrowserMissing if no browser starts."""
        if tab := self.open_tab(run):
            return tab
        await self.close(run)
        started = await self._start()
        context = await started.chromium.new_context(accept_downloads=True, service_workers="block")
        try:
            await context.add_init_script(_NO_WEBRTC)
            page = await context.new_page()
            session = await context.new_cdp_session(page)
            target = (await session.send("Target.getTargetInfo"))["targetInfo"]
        except BaseException:
            await context.close()
            raise
        tab = Tab(run, context, page, self._judge)
        await context.route_web_socket("**/*", tab.socket)
        self._tabs[run] = self._contexts[target["browserContextId"]] = tab
        return tab

    async def close(self, run: str) -> None:
        """Ends the run's pages and forgets its cookies."""
        tab = self._tabs.pop(run, None)
        if tab is None:
            return
        gone = {key for key, other in self._contexts.items() if other is tab}
        self._contexts = {key: other for key, other in self._contexts.items() if other is not tab}
        self._targets = {key: context for key, context in self._targets.items() if context not in gone}
        with contextlib.suppress(Error, TimeoutError):
            await asyncio.wait_for(tab.context.close(), _CLOSE_S)

    async def shutdown(self) -> None:
        """Ends the browser and everything it started, whatever state it is in."""
        starting, self._starting = self._starting, None
        self._tabs.clear()
        self._contexts.clear()
        self._targets.clear()
        if starting is None:
            return
        with contextlib.suppress(BrowserMissing):
            await (await starting).end()

    async def _start(self) -> _Started:
        if self._starting is None:
            self._starting = asyncio.create_task(self._launch())
        try:
            # Shielded: a browser whose start is abandoned half-way would belong to nobody.
            return await asyncio.shield(self._starting)
        except BrowserMissing:
            self._starting = None
            raise

    async def _launch(self) -> _Started:
        program = find_chromium(self.settings.chromium)
        playwright = await async_playwright().start()
        try:
            await playwright.selectors.register(ENGINE, script=engine(), content_script=True)
            chromium = await playwright.chromium.launch(
                executable_path=program,
                chromium_sandbox=self.level != "none",
                args=[*_SWITCHES, f"--host-resolver-rules={self.settings.resolver_rules}"],
                # Our own shutdown ends it; when this process dies, its driver does.
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
            session = await chromium.new_browser_cdp_session()
            processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
            started = _Started(
                playwright=playwright,
                chromium=chromium,
                pid=next(int(p["id"]) for p in processes if p["type"] == "browser"),
            )
            chromium.on("disconnected", self._lost)
            session.on("Target.targetCreated", self._created)
            session.on("Target.targetDestroyed", self._destroyed)
            session.on("Fetch.requestPaused", lambda event: self._paused(session, event))
            await session.send("Target.setDiscoverTargets", {"discover": True})
            await session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
        except Error as error:
            await playwright.stop()
            raise BrowserMissing(
                f"{str(program)!r} does not start as a browser; name another in the setting `browser`."
            ) from error
        except BaseException:
            await playwright.stop()
            raise
        return started

    def _lost(self, chromium: Chromium) -> None:
        if self._starting and self._starting.done() and self._starting.result().chromium is chromium:
            lost, self._starting = self._starting, None
            self._tabs.clear()
            self._contexts.clear()
            self._keep(asyncio.create_task(lost.result().end()))

    def _created(self, event: Mapping[str, Any]) -> None:
        info = event["targetInfo"]
        self._targets[info["targetId"]] = info.get("browserContextId", "")
        if info["type"] == "page":
            self._pages.add(info["targetId"])

    def _destroyed(self, event: Mapping[str, Any]) -> None:
        self._targets.pop(event["targetId"], None)
        self._pages.discard(event["targetId"])

    def _paused(self, session: CDPSession, event: Mapping[str, Any]) -> None:
        self._keep(asyncio.create_task(self._answer(session, event)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, session: CDPSession, event: Mapping[str, Any]) -> None:
        frame, allowed = event.get("frameId", ""), False
        try:
            tab = await self._owner(frame)
            allowed = tab is not None and tab.admits(Sent.of(event, top=frame in self._pages))
        finally:  # a request without an answer would hang its page; one without a judgement goes nowhere
            with contextlib.suppress(Error):
                if allowed:
                    await session.send("Fetch.continueRequest", {"requestId": event["requestId"]})
                else:
                    # "Aborted" leaves the page in place; other reasons put an error page there.
                    await session.send("Fetch.failRequest", {"requestId": event["requestId"], "errorReason": "Aborted"})

    async def _owner(self, frame: str) -> Tab | None:
        if frame not in self._targets:  # a frame that lives in its page's own process is no target
            for context, tab in list(self._contexts.items()):
                with contextlib.suppress(Error, TimeoutError):
                    async with asyncio.timeout(_FRAME_S):
                        if frame in await _frames(tab):
                            self._targets[frame] = context
        return self._contexts.get(self._targets.get(frame, ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Started:
    playwright: Playwright
    chromium: Chromium
    pid: int
    """Of the browser's first process, which leads a process group of its own."""

    async def end(self) -> None:
        """Closes it; kills the whole group if it does not close, or if we are cancelled meanwhile."""
        ended = False
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.chromium.close()
            ended = True
        except (Error, TimeoutError):
            pass
        finally:
            if not ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.playwright.stop()


async def _frames(tab: Tab) -> set[str]:
    found: set[str] = set()
    for page in tab.context.pages:
        session = await tab.context.new_cdp_session(page)
        waiting = [(await session.send("Page.getFrameTree"))["frameTree"]]
        while waiting:
            tree = waiting.pop()
            found.add(tree["frame"]["id"])
            waiting += tree.get("childFrames", [])
        await session.detach()
    return found
