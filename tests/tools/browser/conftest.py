"""One real Chromium for all tests of this folder, and a hand that goes the whole way of an action."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from policies.action import ActionBase
from policies.errors import ActionFailed
from policies.ports import Raw
from sandbox.workspace import Workspace
from tests.tools.browser.site import Site
from tests.tools.browser.site import site as running
from tests.tools.permits import permit
from tools.browser.executor import BrowserExecutor
from tools.browser.session import Browser, BrowserSettings

SHOP, BANK, EVIL = "shop.example", "bank.example", "evil.example"
REFUSED = "/forbidden"
PASSWORD = "made-up pa\"ss: '1%"
EMAIL, HANDLE = "wang@example.com", "⟦email:7f3ak2m9qd⟧"


@pytest.fixture(scope="session")
def web() -> Iterator[Site]:
    with running() as here:
        yield here


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(web: Site) -> AsyncIterator[Browser]:
    def judge(run: str, method: str, url: str, resource_type: str) -> bool:
        parts = urlsplit(url)
        return parts.hostname in (SHOP, BANK) and not parts.path.startswith(REFUSED)

    address = f"127.0.0.1:{web.port}"
    settings = BrowserSettings(
        names=frozenset({SHOP, BANK}),
        hosts={SHOP: address, BANK: address, EVIL: address},
        load_timeout_s=3,
        download_bytes=2_000_000,
        download_s=10,
    )
    browser = Browser(settings, judge)
    yield browser
    await browser.shutdown()


class Vault:
    def open(self, name: str, *, sink: str) -> str:
        if (name, sink) != ("shop", SHOP):
            raise ActionFailed(f"the secret {name!r} may not go to {sink!r}", may_have_acted=False)
        return PASSWORD


@dataclass
class Hand:
    """Finds a control by what stands on its line of the last snapshot, as a model does."""

    do: BrowserExecutor
    files: Workspace
    text: str = ""

    def ref(self, words: str, nth: int = 0) -> str:
        lines = [line for line in self.text.splitlines() if words in line and "[ref=" in line]
        return lines[nth].split("[ref=")[1].split("]")[0]

    async def act(self, action: ActionBase, **obligations: Any) -> Raw:
        raw = await self.do.execute(permit(action, handles={HANDLE: EMAIL}, **obligations))
        if "[ref=" in raw.text:
            self.text = raw.text
        return raw

    async def open(self, url: str) -> str:
        return (await self.act(await self.do.open("r1", url))).text

    async def fill(self, words: str, value: str, **obligations: Any) -> str:
        action = await self.do.resolve_fill("r1", self.ref(words), value)
        return (await self.act(action, **obligations)).text

    async def click(self, words: str, nth: int = 0) -> str:
        return (await self.act(await self.do.resolve_click("r1", self.ref(words, nth)))).text


@pytest_asyncio.fixture(loop_scope="session")
async def hand(browser: Browser, web: Site, tmp_path: Path) -> AsyncIterator[Hand]:
    web.pages.clear()
    web.seen.clear()
    web.gone.clear()
    files = Workspace(tmp_path / "r1", quota_bytes=10_000_000)

    def redact(text: str) -> str:
        return text.replace(EMAIL, HANDLE)

    yield Hand(BrowserExecutor(browser, lambda run: files, Vault(), redact), files)
    await browser.close("r1")
