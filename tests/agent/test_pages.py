from __future__ import annotations

from agent.pages import may_load, named_hosts
from policies.load import loads

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
