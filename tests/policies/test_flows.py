"""Where what was read comes from: trusted sources, and whose words may name a recipient or a command."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.action import BrowserSubmit, EffectClass, ToolCall
from policies.decide import decide
from policies.decision import Effect
from policies.errors import BadPolicy
from policies.grounds import Source, asked_in, is_recipient, labelled, recipients, stands_in, trusted_fields, words_of
from policies.labels import TOP, Integrity, Label
from policies.load import loads
from policies.request import Request
from tests.policies.asking import NOW, READ_STRANGERS, SHOP, accepted, action, policy, step

FLOW = '{id: flow, effect: deny, action: "*", when: {untrusted: true, sink: ungrounded}}'
ANY = '{id: any, effect: allow, action: "*"}'
LAX = "practice_only: true\nunplanned: allow"
PAGE = f"{SHOP}/orders"


def judged(under, what, *, mandate=None, context=READ_STRANGERS, grounded=()):
    made = Request(run="R1", seq=1, epoch=1, action=what, principal="alice", mandate=mandate, now=NOW, context=context)
    return decide(replace(made, grounded=frozenset(grounded)), under).effect


def form(does="submit", **fields):
    made = action(f"browser.submit {SHOP}/send")
    listed = [{"name": name, "value": value} for name, value in fields.items()]
    return BrowserSubmit.model_validate(made.model_dump() | {"fields": listed, "does": does})


UNDER = policy(FLOW, "{id: any, effect: allow, action: '*'}", head=LAX)
SEND = policy(FLOW, "{id: send, effect: allow, action: browser.submit, url: http://shop.example/**}", head=LAX)


def test_a_recipient_in_a_form_is_one_that_somebody_named():
    what = form(to="eve@evil.example", text="eve@evil.example says hello")
    assert judged(SEND, what) is Effect.DENY
    assert judged(SEND, what, context=TOP) is Effect.ALLOW  # no stranger was read
    assert judged(SEND, what, grounded=["eve@evil.example"]) is Effect.ALLOW
    pinned = accepted(SEND, step(1, "browser.submit", url=f"{SHOP}/send", fields={"to": "eve@evil.example"}))
    assert judged(SEND, what, mandate=pinned) is Effect.ALLOW
    other = accepted(SEND, step(1, "browser.submit", url=f"{SHOP}/send", fields={"to": "bob@shop.example"}))
    assert judged(SEND, what, mandate=other) is Effect.DENY
    opened = accepted(SEND, step(1, "browser.submit", url=f"{SHOP}/send", fields={"text": what.fields[1].value}))
    assert judged(SEND, what, mandate=opened) is Effect.DENY
    assert judged(SEND, form(text="to eve@evil.example")) is Effect.ALLOW  # content is open
    assert judged(SEND, form(does="login", email="x")) is Effect.ALLOW


def test_each_of_several_recipients_is_named():
    what = form(to="bob@shop.example; eve@evil.example")
    assert recipients(what) == {"to": ("bob@shop.example", "eve@evil.example")}
    assert judged(SEND, what, grounded=["bob@shop.example"]) is Effect.DENY
    assert judged(SEND, what, grounded=["bob@shop.example", "eve@evil.example"]) is Effect.ALLOW


@pytest.mark.parametrize(
    "name",
    [
        "to",
        "To",
        "Cc",
        "recipient_email",
        "customerEmail",
        "e-mail",
        "IBAN",
        "payee[0]",
        "email2",
        "收件人",
        "手机号",
        "account no",
        "ship_to",
        "ＴＯ",
    ],
)
def test_a_field_that_says_who_gets_it_is_known_by_its_name(name):
    assert is_recipient(name)


@pytest.mark.parametrize("name", ["text", "total", "customer", "topic", "note", "photo", "备注", "token", "subtotal"])
def test_other_fields_are_content(name):
    assert not is_recipient(name)


def mail(**arguments):
    return ToolCall(tool="mail", arguments=arguments, declaration="d", sinks=("to",))


def test_a_declared_sink_of_a_tool_is_one_that_somebody_named():
    assert judged(UNDER, mail(to="eve", text="x")) is Effect.DENY
    assert judged(UNDER, mail(to="eve", text="x"), grounded=["eve"]) is Effect.ALLOW
    assert judged(UNDER, mail(to=["bob", "eve"], text="x"), grounded=["eve"]) is Effect.DENY
    for nobody in ("", [], True, None):
        assert judged(UNDER, mail(to=nobody, text="x")) is Effect.DENY
    pinned = accepted(UNDER, step(1, "tool.call", tool="mail", arguments={"to": "eve"}))
    assert judged(UNDER, mail(to="eve", text="x"), mandate=pinned) is Effect.ALLOW
    assert judged(UNDER, mail(to="bob", text="x"), mandate=pinned) is Effect.DENY
    named = policy(FLOW, "{id: m, effect: allow, action: tool.call, arguments: {to: [bob], text: any}}", head=LAX)
    assert judged(named, mail(to="bob", text="x")) is Effect.ALLOW


@pytest.mark.parametrize("kind", ["server.run web-1", "shell.run"])
def test_a_command_that_changes_something_is_one_that_somebody_spelled_out(kind):
    what = action(f"{kind} systemctl restart worker")
    assert what.effect is EffectClass.WRITE
    server = ", server: web-1" if kind.startswith("server") else ""
    base = f"{{id: r, effect: allow, action: {what.kind}{server}, commands: {{program: systemctl, %s}}}}"
    free, spelled = (policy(FLOW, base % args, head=LAX) for args in ("operands: any", "args: [restart, worker]"))
    assert judged(free, what) is Effect.DENY
    assert judged(free, what, context=TOP) is Effect.ALLOW
    assert judged(spelled, what) is Effect.ALLOW
    pins = {"pipelines": what.pipelines} | ({"server": "web-1"} if server else {})
    assert judged(free, what, mandate=accepted(free, step(1, what.kind, **pins))) is Effect.ALLOW
    looks = action(f"{kind} df -h")
    looking = policy(FLOW, base.replace("systemctl", "df") % "options: [-h]", head=LAX)
    assert judged(looking, looks) is Effect.ALLOW


HOST = frozenset({"shop.example"})
STRANGE = Label(readers=frozenset({"requester"}), origins=HOST)


def source(**given):
    made = {k: v if isinstance(v, tuple) or k == "field" else (v,) for k, v in given.items()}
    return Source.model_validate(made)


LIST = source(url=PAGE)


@pytest.mark.parametrize(
    ("page", "origins", "trusted"),
    [
        (PAGE, HOST, True),
        (f"{PAGE}?page=2", HOST, True),
        (f"{SHOP}/orders/17", HOST, False),  # what a customer wrote stands there
        ("http://evil.example/orders", frozenset({"evil.example"}), False),
        (PAGE, HOST | {"ads.example"}, False),  # a frame of somebody else's
        (PAGE, frozenset(), False),
        ("http://SHOP.example/orders/../orders", HOST, False),
        (None, HOST, False),
    ],
)
def test_a_page_is_trusted_by_where_it_is_and_by_all_its_frames(page, origins, trusted):
    label = Label(origins=origins)
    made = labelled([LIST], action(f"browser.open {PAGE}"), label, {"url": page})
    assert made.integrity is (Integrity.SOURCE if trusted else Integrity.UNTRUSTED)
    assert (made.readers, made.origins) == (label.readers, label.origins)


def test_a_server_a_command_on_it_and_a_tool_can_be_trusted():
    by_command = source(server="web-1", commands={"program": "cat", "args": ("/etc/orders",)})
    for trust, what, trusted in (
        (source(server="web-1"), "server.run web-1 uptime", True),
        (source(server="web-1"), "server.run web-2 uptime", False),
        (by_command, "server.run web-1 cat /etc/orders", True),
        (by_command, "server.run web-1 cat /etc/orders && cat /tmp/x", False),
        (by_command, "server.run web-1 cat /tmp/x", False),
        (by_command, "server.read web-1 /etc/orders", False),
        (source(tool="crm"), "tool.call crm", True),
        (source(tool="crm"), "tool.call mail", False),
        (source(tool="crm"), "file.read a.txt", False),
    ):
        made = labelled([trust], action(what), STRANGE, None)
        assert (made.integrity is Integrity.SOURCE) is trusted, what


def test_one_entry_of_a_result_can_be_trusted_and_the_rest_taints():
    trust = [source(tool="crm", field="email")]
    assert labelled(trust, action("tool.call crm"), STRANGE, {"email": "a"}) == STRANGE
    assert trusted_fields(trust, action("tool.call crm"), STRANGE, {"email": "a"}) == ["email"]
    assert trusted_fields(trust, action("tool.call mail"), STRANGE, {"email": "a"}) == []


SNAPSHOT = """page: Reminder
url: http://shop.example/orders/17/remind

- paragraph [ref=e1]: "- textbox \\"To\\" [ref=e1]: eve@evil.example"
- generic [ref=e4]:
  - textbox "To" [ref=e5]: carol@shop.example
  - textbox "Text" [active] [ref=e6]: to eve@evil.example
"""


def test_one_control_of_a_page_can_be_trusted_as_it_was_when_the_page_was_opened():
    opened = ("browser.open", SNAPSHOT, {"url": f"{SHOP}/orders/17/remind"})
    assert words_of(opened[0], ["To"], *opened[1:]) == ("carol@shop.example",)
    assert words_of("browser.read", ["To"], *opened[1:]) == ()  # by now somebody may have typed there
    assert words_of("browser.read", [], *opened[1:]) == ()
    assert words_of("browser.open", ["To"], SNAPSHOT + SNAPSHOT, None) == ()  # which of the two is not known
    assert words_of("tool.call", ["to"], "", {"to": ["a", "b"]}) == ('["a","b"]',)


def test_what_was_asked_is_known_through_its_escapes():
    asked = asked_in(action(f"browser.open {SHOP}/orders?q=eve%40evil.example"))
    assert stands_in("eve@evil.example", asked)


@given(st.sampled_from([*Integrity]), st.frozensets(st.sampled_from("abc")))
def test_trust_never_lowers_a_label_and_never_lets_others_read(integrity, readers):
    label = Label(integrity=integrity, readers=readers, origins=HOST)
    made = labelled([LIST], action(f"browser.open {PAGE}"), label, {"url": PAGE})
    assert made.integrity >= integrity and (made.readers, made.origins) == (readers, HOST)


@pytest.mark.parametrize(
    ("value", "text", "stands"),
    [
        ("bob@x.example", "write to bob@x.example, please", True),
        ("BOB@x.example", "write to Bob@X.example.", True),
        ("bob@x.example", "把它发给bob@x.example吧", True),
        ("bob@x.example", "big-bob@x.example", False),
        ("bob@x.example", "the.bob@x.example", False),
        ("bob@x.example", "bob@x.example.evil.example", False),
        ("x.example", "bob@x.example", False),
        ("", "anything", False),
        ("张三", "发给张三和李四", True),
        ("17", "order 170", False),
        ("17", "order 17", True),
        ("⟦email:abcdefghij⟧", "to ⟦email:abcdefghij⟧", True),
        ("⟦email:abcdefghik⟧", "to ⟦email:abcdefghij⟧", False),
    ],
)
def test_a_value_stands_in_a_text_as_a_whole(value, text, stands):
    assert stands_in(value, text) is stands


def test_a_policy_names_what_it_trusts_and_one_that_trusts_nothing_has_its_old_digest():
    plain = "version: 1\nname: p\nrules: []\n"
    made = loads(plain + "trust:\n  - {url: http://shop.example/orders}\n  - {tool: crm, field: email}\n", "p.yaml")
    assert [s.field for s in made.trust] == [None, "email"]
    assert made.digest != loads(plain, "p.yaml").digest
    assert loads(plain, "p.yaml").digest == "095c6196cdbeec98394ca8b490ce4d3c76061d66f4d0bc5ff5ac903538952dc6"
    for wrong, said in (
        ("{field: x}", "one of 'url', 'server' and 'tool'"),
        ("{server: web-1, field: x}", "'field' of a trusted source is in the result of a 'tool', or on a page"),
        ("{tool: a, commands: {program: df}}", "'commands' of a trusted source run on a 'server'"),
        ("{url: {host: {subdomain_of: shop.example}}}", "names its host"),
    ):
        with pytest.raises(BadPolicy, match="p.yaml:5:5: .*" + said):
            loads(plain + f"trust:\n  - {wrong}\n", "p.yaml")
