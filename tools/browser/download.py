"""A file that a page leads to, fetched into the run's folder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path
from urllib.parse import parse_qsl

from playwright.async_api import Download, Error

from policies.action import BrowserDownload
from policies.errors import ActionFailed
from sandbox.workspace import Workspace
from tools.browser.guard import Form, Guard
from tools.browser.session import BrowserSettings
from tools.browser.tab import Tab
from tools.files import sandbox_faults

# A link of our own, in no document: the page's link may have a script on it, and `download` makes the browser
# save also what it could show.
_FOLLOW = "url => { const link = document.createElement('a'); link.href = url; link.download = ''; link.click(); }"
_KINDS = (
    (b"%PDF-", "PDF document"),
    (b"\x89PNG", "PNG picture"),
    (b"\xff\xd8\xff", "JPEG picture"),
    (b"PK\x03\x04", "zip archive or office document"),
    (b"\xd0\xcf\x11\xe0", "old office document"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
)


async def fetch(tab: Tab, action: BrowserDownload, workspace: Workspace, settings: BrowserSettings) -> str:
    """Saves it under the action's path and tells name, size, kind by content and SHA-256.

    ActionFailed if no file comes, or more than `download_bytes` of it, or not within `download_s`.
    """
    target, _, query = action.target.partition("?")
    fields = tuple(parse_qsl(query, keep_blank_values=True))
    form = Form(method="get", action=target, enctype="", charset="utf-8", fields=fields)
    session = await tab.context.new_cdp_session(tab.page)
    too_large = asyncio.Event()

    def progress(event: dict[str, float]) -> None:
        if event["receivedBytes"] > settings.download_bytes:
            too_large.set()

    session.on("Page.downloadProgress", progress)
    await session.send("Page.enable")
    wanted: asyncio.Future[Download] = asyncio.get_running_loop().create_future()
    with tab.acting(Guard(form=form, file=wanted)) as guard:
        await tab.page.evaluate(_FOLLOW, action.target)
        try:
            await tab.landed(timeout_s=settings.load_timeout_s)
        except TimeoutError:
            raise _failed("the file does not come") from None
        if not wanted.done():
            refused = f"it leads to {guard.refused}" if guard.refused else "it leads to a page or to nothing"
            raise _failed(f"{refused}, not to a file")
        download = wanted.result()
    try:
        path = await _finished(download, too_large, settings)
        size, digest, kind = await asyncio.to_thread(_examined, path)
        if size > settings.download_bytes:
            raise _failed(f"it is larger than {settings.download_bytes:,} bytes")
        with sandbox_faults(may_have_acted=False):
            await asyncio.to_thread(workspace.adopt, path, action.path)
    finally:
        with contextlib.suppress(Error):  # what was cancelled is gone already
            await download.delete()
    return f"saved {action.path}: {size:,} bytes, {kind}, sha256 {digest}"


async def _finished(download: Download, too_large: asyncio.Event, settings: BrowserSettings) -> Path:
    whole, large = asyncio.ensure_future(download.path()), asyncio.ensure_future(too_large.wait())
    try:
        await asyncio.wait({whole, large}, timeout=settings.download_s, return_when=asyncio.FIRST_COMPLETED)
        if too_large.is_set():
            raise _failed(f"it is larger than {settings.download_bytes:,} bytes and was stopped")
        if not whole.done():
            raise _failed(f"it took longer than {settings.download_s:g} s and was stopped")
        return whole.result()
    except Error:
        raise _failed("it broke off") from None
    finally:
        large.cancel()
        if not whole.done():
            await download.cancel()
            await asyncio.wait({whole})
            whole.exception()


def _examined(path: Path) -> tuple[int, str, str]:
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest, _kind(head)


def _kind(head: bytes) -> str:
    for mark, kind in _KINDS:
        if head.startswith(mark):
            return kind
    if b"\0" in head:
        return "unknown content"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "web page" if start.startswith((b"<!doctype html", b"<html")) else "text"


def _failed(why: str) -> ActionFailed:
    return ActionFailed(f"The file was not saved: {why}.", may_have_acted=False)
