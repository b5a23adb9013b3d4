"""Pages are opened, read, filled and saved."""

from __future__ import annotations

import hashlib

import pytest

from policies.action import BrowserDownload, BrowserOpen, BrowserRead, BrowserScreenshot
from policies.errors import ActionFailed
from policies.labels import Integrity
from tests.tools.browser.conftest import EMAIL, HANDLE, PASSWORD, Hand
from tests.tools.browser.site import Site
from tools.browser.page import PART_BYTES
from tools.browser.session import Browser
from tools.errors import ToolError

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_opened_page_is_read_with_refs_and_labelled_by_its_hosts(hand: Hand, web: Site) -> None:
    web.show("/frame", "<button>Inner</button>", host="bank.example")
    url = web.show("/", "<h1>Orders</h1><a href=/next>Next</a><iframe src=http://bank.example/frame></iframe>")
    raw = await hand.act(await hand.do.open("r1", url))

    assert raw.text.startswith("page: /\nurl: http://shop.example/\n\n")
    assert 'heading "Orders"' in raw.text and 'button "Inner"' in raw.text
    assert raw.label.integrity is Integrity.UNTRUSTED
    assert raw.label.origins == {"shop.example", "bank.example"}
    assert raw.label.readers == frozenset({"requester"})
    assert await hand.do.current("r1") == url and hand.do.has_page("r1")


async def test_what_scripts_fetch_at_once_is_on_the_page_that_is_read(hand: Hand, web: Site) -> None:
    web.answer("/me", 200, {"Content-Type": "application/json"}, b'{"user": "clerk"}')
    url = web.show(
        "/", "<p id=who>?</p><script>fetch('/me').then(r=>r.json()).then(m=>who.textContent=m.user)</script>"
    )
    assert "clerk" in await hand.open(url)


async def test_a_link_is_opened_by_its_address(hand: Hand, web: Site) -> None:
    web.show("/next", "<h1>Second</h1>")
    await hand.open(web.show("/", "<a href=/next#part onmousedown=\"this.href='/other'\">Next</a>"))
    action = await hand.do.resolve_click("r1", hand.ref('"Next"'))
    assert action == BrowserOpen(url="http://shop.example/next")
    assert 'heading "Second"' in (await hand.act(action)).text


@pytest.mark.parametrize("href", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://10.0.0.1/"])
async def test_a_link_that_leads_nowhere_plain_is_refused(hand: Hand, web: Site, href: str) -> None:
    await hand.open(web.show("/", f"<a href='{href}'>Go</a>"))
    with pytest.raises(ToolError, match="no http or https address"):
        await hand.do.resolve_click("r1", hand.ref('"Go"'))


async def test_password_values_never_stand_in_a_snapshot(hand: Hand, web: Site) -> None:
    fields = "".join(f"<label>P{i}<input type=password value='{v}'{p}></label>" for i, (v, p) in enumerate(_KEPT))
    text = await hand.open(web.show("/", f"{fields}<label>Q<input value=seen></label>"))
    assert text.count("(hidden)") == len(_KEPT) and ": seen" in text
    assert not any(value in text for value, _ in _KEPT)


_KEPT = (("plain-1", ""), ("with: colon", " placeholder=x"), ('q"uote 2', " disabled"), ("多字节", " role=searchbox"))


async def test_a_typed_secret_is_never_seen_again(hand: Hand, web: Site) -> None:
    script = "p.oninput=()=>{out.textContent=p.value; location.hash=encodeURIComponent(p.value); p.type='text'}"
    page = f"<label>Pass<input id=p type=password></label><p id=out></p><script>{script}</script>"
    await hand.open(web.show("/", page))
    said = await hand.fill('"Pass"', "secret://shop", secrets=frozenset({"shop"}))
    assert said == 'filled textbox "Pass" with secret://shop'
    raw = await hand.act(BrowserRead(url="http://shop.example/"))
    assert raw.text.count("secret://shop") >= 3  # the field, the paragraph, the address
    assert PASSWORD not in repr(raw) and "made-up" not in repr(raw)


async def test_a_secret_goes_only_where_permit_and_vault_allow(hand: Hand, web: Site) -> None:
    page = "<label>Pass<input type=password></label>"
    await hand.open(web.show("/", page))
    with pytest.raises(ActionFailed, match="may not be used here"):
        await hand.fill('"Pass"', "secret://shop")
    await hand.open(web.show("/", page, host="bank.example"))
    with pytest.raises(ActionFailed, match=r"may not go to 'bank\.example'"):
        await hand.fill('"Pass"', "secret://shop", secrets=frozenset({"shop"}))


async def test_a_handle_is_restored_in_the_page_and_named_in_the_words(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", "<label>To<input></label>"))
    assert await hand.fill('"To"', f"Dear {HANDLE}") == f'filled textbox "To" with Dear {HANDLE}'
    assert f": Dear {EMAIL}" in (await hand.act(BrowserRead(url="http://shop.example/"))).text


async def test_options_and_checkboxes_are_filled(hand: Hand, web: Site) -> None:
    await hand.open(
        web.show(
            "/",
            "<select aria-label=S><option value=1>One<option value=2>Two</select><input type=checkbox aria-label=C>",
        )
    )
    await hand.fill('"S"', "Two")
    await hand.fill('"C"', "true")
    text = (await hand.act(BrowserRead(url="http://shop.example/"))).text
    assert 'option "Two" [selected]' in text and 'checkbox "C" [checked]' in text
    with pytest.raises(ToolError, match="the options are: 'One', 'Two'"):
        await hand.do.resolve_fill("r1", hand.ref('"S"'), "Three")
    with pytest.raises(ToolError, match="'true' or 'false'"):
        await hand.do.resolve_fill("r1", hand.ref('"C"'), "on")


async def test_what_is_no_field_or_locked_takes_no_value(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", "<button>B</button><input aria-label=L readonly><input type=file aria-label=F>"))
    for words, why in (('"B"', "takes no text"), ('"L"', "locked"), ('"F"', "takes no text")):
        with pytest.raises(ToolError, match=why):
            await hand.do.resolve_fill("r1", hand.ref(words), "x")
    with pytest.raises(ToolError, match="upload"):
        await hand.do.resolve_click("r1", hand.ref('"F"'))


async def test_a_ref_of_an_earlier_page_or_label_is_stale(hand: Hand, web: Site) -> None:
    page = "<button id=b>Old</button><script>window.change=()=>b.textContent='New'</script>"
    await hand.open(web.show("/", page + "<label>F<input oninput=change()></label>"))
    await hand.fill('"F"', "x")
    for ref in (hand.ref('"Old"'), "e999", "zzz"):
        with pytest.raises(ToolError, match="take a new snapshot"):
            await hand.do.resolve_click("r1", ref)


async def test_a_ref_does_not_outlive_its_page(hand: Hand, web: Site, browser: Browser) -> None:
    web.show("/b", "<button>Pay</button>")
    await hand.open(web.show("/", "<button>Help</button><input aria-label=F oninput=\"location='/b'\">"))
    assert 'button "Pay"' in await hand.fill('"F"', "x")
    ref = hand.ref('"Pay"')
    web.show("/b", "<button>Drop</button>")
    tab = browser.open_tab("r1")
    assert tab is not None
    await tab.page.reload()
    with pytest.raises(ToolError, match="take a new snapshot"):
        await hand.do.resolve_click("r1", ref)


async def test_nothing_is_resolved_or_done_without_a_page(hand: Hand) -> None:
    assert not hand.do.has_page("r1") and await hand.do.current("r1") is None
    with pytest.raises(ToolError, match="no page is open"):
        await hand.do.resolve_click("r1", "e1")
    with pytest.raises(ActionFailed, match="No page is open"):
        await hand.act(BrowserRead(url="http://shop.example/"))


async def test_dialogs_are_dismissed_and_told(hand: Hand, web: Site) -> None:
    text = await hand.open(web.show("/", "<p id=o></p><script>o.textContent=confirm('Give all?')</script>"))
    assert "note: dialog confirm, dismissed: 'Give all?'" in text and "false" in text


async def test_a_long_page_is_read_in_parts(hand: Hand, web: Site) -> None:
    rows = "".join(f"<p>Row {n} {'x' * 60}</p>" for n in range(900))
    texts = [await hand.open(web.show("/", rows))]
    assert "note: part 1 of 4; read the page again for the next part" in texts[0]
    for _ in range(4):
        texts.append((await hand.act(BrowserRead(url="http://shop.example/"))).text)
    assert all(len(text.encode()) < PART_BYTES + 500 for text in texts)
    assert all(f"Row {n} " in "".join(texts[:4]) for n in range(900))
    assert "part 1 of 4" in texts[4]


async def test_a_page_that_never_loads_is_given_up(hand: Hand, web: Site) -> None:
    url = web.endless("/", {"Content-Type": "text/html"}, b"")
    with pytest.raises(ActionFailed, match="never loaded within 3 s") as failed:
        await hand.open(url)
    assert not failed.value.may_have_acted
    assert "fine" in await hand.open(web.show("/fine", "fine"))


async def test_a_page_that_hangs_is_given_up(hand: Hand, web: Site, browser: Browser) -> None:
    await hand.open(web.show("/", "<input aria-label=F oninput='for(;;);'>"))
    with pytest.raises(ActionFailed):
        await hand.fill('"F"', "x")
    assert "fine" in await hand.open(web.show("/fine", "fine"))


async def test_a_server_that_refuses_is_told(hand: Hand, web: Site) -> None:
    web.answer("/", 503, {}, b"<p>closed")
    text = await hand.open("http://shop.example/")
    assert "note: the server answered 503" in text and "closed" in text


async def test_a_screenshot_lands_in_the_folder(hand: Hand, web: Site) -> None:
    url = web.show("/", "<h1>Picture</h1>")
    await hand.open(url)
    raw = await hand.act(BrowserScreenshot(url=url, path="shots/a.png"))
    assert raw.files == ("shots/a.png",)
    assert hand.files.read("shots/a.png", limit_bytes=1_000_000).startswith(b"\x89PNG")


async def test_a_download_lands_in_the_folder_with_its_digest(hand: Hand, web: Site) -> None:
    web.answer("/a.csv", 200, {"Content-Type": "text/csv"}, b"a,b\n1,2\n")
    await hand.open(web.show("/", "<a href='/a.csv?x=%E4%B8%AD' download>Export</a>"))
    with pytest.raises(ToolError, match="download"):
        await hand.do.resolve_click("r1", hand.ref('"Export"'))
    action = await hand.do.resolve_download("r1", hand.ref('"Export"'), "in/a.csv")
    assert isinstance(action, BrowserDownload) and action.target == "http://shop.example/a.csv?x=%E4%B8%AD"
    raw = await hand.act(action)
    digest = hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert raw.text == f"saved in/a.csv: 8 bytes, text, sha256 {digest}"
    assert raw.files == ("in/a.csv",)
    assert hand.files.read("in/a.csv", limit_bytes=100) == b"a,b\n1,2\n"


async def test_an_endless_download_is_stopped(hand: Hand, web: Site) -> None:
    headers = {"Content-Type": "text/csv", "Content-Disposition": "attachment"}
    web.endless("/huge.csv", headers, b"1,2\n" * 20_000)
    await hand.open(web.show("/", "<a href=/huge.csv>Huge</a>"))
    action = await hand.do.resolve_download("r1", hand.ref('"Huge"'), "huge.csv")
    with pytest.raises(ActionFailed, match="larger than 2,000,000 bytes and was stopped"):
        await hand.act(action)
    assert web.gone.wait(5) and hand.files.files() == ()


async def test_a_page_cannot_push_a_file(hand: Hand, web: Site) -> None:
    web.endless("/push", {"Content-Disposition": "attachment"}, b"x" * 10_000)
    text = await hand.open(web.show("/", "<script>onload=()=>setTimeout(()=>location='/push',0)</script>"))
    assert "a download that was not asked for" in text
    assert web.gone.wait(5)
    with pytest.raises(ActionFailed, match="cannot be shown"):
        await hand.open("http://shop.example/push")
