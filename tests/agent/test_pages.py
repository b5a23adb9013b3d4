from __future__ import annotations

import pytest

from agent.pages import may_load, named_hosts
from policies.load import loads
from policies.rules import Policy

POLICY = loads(
    """
version: 1
name: pages
rules:
  - {id: read, effect: allow, action: [browser.open], url: "http://shop.example/**", why: reading,
     match: ["http://shop.example/a"], not_match: ["http://evil.example/a"]}
  - {id: admin, effect: deny, action: [browser.open], url: "http://shop.example/admin/**", why: not here}
""",
    "pages.yaml",
)


def test_a_page_may_not_lead_to_where_a_rule_forbids():
    assert may_load(POLICY, "GET", "http://shop.example/orders", "document")
    assert not may_load(POLICY, "GET", "http://shop.example/admin/keys", "document")
    assert not may_load(POLICY, "GET", "http://shop.example/admin/keys", "fetch")


def test_a_page_loads_only_from_hosts_that_a_rule_names():
    assert named_hosts(POLICY) == frozenset({"shop.example"})
    for url in (
        "http://evil.example/x.js",
        "http://shop.example:8080/x.js",
        "http://127.0.0.1/x",
        "ftp://shop.example/",
    ):
        assert not may_load(POLICY, "GET", url, "script")


def test_a_form_may_not_be_sent_where_only_reading_is_allowed():
    assert not may_load(POLICY, "POST", "http://shop.example/orders/17/delete", "document")


def adding(rule: str) -> Policy:
    shop = """{id: read, effect: allow, action: [browser.open], url: "http://shop.example/**", why: reading,
     match: ["http://shop.example/a"], not_match: ["http://evil.example/a"]}"""
    return loads(f"version: 1\nname: pages\nrules:\n  - {shop}\n  - {rule}\n", "pages.yaml")


@pytest.mark.parametrize(
    "rule",
    [
        "{id: careful, effect: ask, action: browser.open, when: {untrusted: true}, why: look twice}",
        "{id: forms, effect: ask, ask: each, action: browser.submit, why: every form is shown to me}",
        "{id: money, effect: ask, ask: each, action: [browser.click, browser.submit], does: [pay], why: money}",
    ],
)
def test_a_rule_without_a_url_opens_no_host_to_pages(rule: str):
    policy = adding(rule)
    assert named_hosts(policy) == frozenset({"shop.example"})
    for method, kind in (("GET", "fetch"), ("GET", "document"), ("POST", "document"), ("POST", "fetch")):
        assert not may_load(policy, method, "http://evil.example/?data", kind)
    assert not may_load(policy, "POST", "http://shop.example/a", "document")


def test_a_host_that_must_be_asked_about_exists_but_no_page_reaches_it_unasked():
    policy = adding(
        "{id: partner, effect: ask, ask: each, action: browser.open, url: http://partner.example/a/**, why: ask before,"
        " match: [http://partner.example/a/b], not_match: [http://evil.example/]}"
    )
    assert named_hosts(policy) == frozenset({"shop.example", "partner.example"})
    assert may_load(policy, "GET", "http://partner.example/a/b", "document") is None
    assert may_load(policy, "GET", "http://partner.example/x.js", "script") is None
    assert may_load(policy, "GET", "http://partner.example/x", "document") is False
    assert may_load(policy, "POST", "http://partner.example/a/b", "fetch") is False


def test_what_could_change_something_must_match_a_rule_for_changes_by_its_whole_address():
    policy = adding(
        "{id: send, effect: allow, action: browser.click, does: submit, url: http://shop.example/orders/**, why: w,"
        " match: [http://shop.example/orders/1], not_match: [http://evil.example/]}"
    )
    filtering = adding(
        "{id: filter, effect: allow, action: [browser.click, browser.submit], does: read,"
        " url: http://shop.example/orders/**, why: w, match: [http://shop.example/orders/1],"
        " not_match: [http://evil.example/]}"
    )
    assert may_load(policy, "POST", "http://shop.example/orders/1", "fetch") is True
    assert may_load(policy, "POST", "http://shop.example/account/password", "fetch") is False
    assert may_load(filtering, "POST", "http://shop.example/orders/1", "fetch") is False
