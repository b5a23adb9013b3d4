"""Layers of policy: each must allow, so a lower one can only narrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import BadSettings
from agent.governance import policy_of
from agent.pages import may_load, named_hosts
from agent.settings import Settings
from policies.action import KINDS
from policies.decision import Approvers, Effect
from policies.errors import BadPolicy
from policies.labels import TOP
from policies.layers import Layered, layered
from policies.outcome import Done, Refused
from policies.rules import Policy
from tests.policies.asking import READ_STRANGERS, accepted, action, ask, policy, step
from tests.policies.gating import Bench, rules, tool

ACTIONS = [
    action(text)
    for text in (
        "file.read a.txt",
        "file.write out/a.txt",
        "file.write b.txt",
        "shell.run ls -l",
        "shell.run cat a.txt",
        "server.run web-1 uptime",
        "server.run web-2 uptime",
        "browser.open http://shop.example/orders/1",
        "browser.submit http://shop.example/orders/1/remind",
        "browser.open http://evil.example/",
        "tool.call pay amount=1",
    )
]
MATCHERS = {
    "file.read": ["", "path: a.txt", "path: '**'"],
    "file.write": ["", "path: out/**", "path: b.txt"],
    "shell.run": ["", "commands: {program: ls, options: [-l]}", "commands: {program: cat, operands: any}"],
    "server.run": ["server: web-1", "server: [web-1, web-2]"],
    "browser.open": ["url: 'http://shop.example/**'", "url: 'http://evil.example/**'"],
    "browser.submit": ["", "url: 'http://shop.example/**'"],
    "tool.call": ["tool: pay", "tool: other"],
}
EFFECTS = {
    "allow": "restore: [phone], secrets: [s1]",
    "ask": "ask: MODE, of: {answers: N, group: finance}, restore: [phone, email]",
    "deny": "",
}


@st.composite
def layer(draw: st.DrawFn) -> Policy:
    made = []
    for n in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(sorted(MATCHERS)))
        effect = draw(st.sampled_from(sorted(EFFECTS)))
        more = EFFECTS[effect].replace("MODE", draw(st.sampled_from(["plan", "batch", "each"])))
        parts = [f"id: r{n}", f"effect: {effect}", f"action: {kind}", draw(st.sampled_from(MATCHERS[kind]))]
        parts.append(more.replace("N", str(draw(st.integers(1, 2)))))
        if effect != "allow" and draw(st.booleans()):
            parts.append("when: {untrusted: true}")
        made.append("{" + ", ".join(part for part in parts if part) + "}")
    level, unplanned = draw(st.sampled_from(["none", "namespaces", "full"])), draw(st.sampled_from(["ask", "deny"]))
    return policy(
        *made, head=f"{{least_level: {level}, unplanned: {unplanned}, limits: {{steps: {draw(st.integers(0, 9))}}}}}"
    )


LEVELS = ("none", "rlimits", "landlock", "namespaces", "full")


@given(layers=st.lists(layer(), min_size=2, max_size=4), planned=st.booleans(), dirty=st.booleans(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_lower_layer_only_narrows(layers, planned, dirty, data):
    both = layered([(f"l{n}", each) for n, each in enumerate(layers)])
    proposed = data.draw(st.sampled_from(ACTIONS))
    answered = data.draw(st.sampled_from([(), ("bob",), ("bob", "carol")]))
    facts = {"context": READ_STRANGERS if dirty else TOP, "approved_by": answered}

    def judged(under: Policy):
        steps = [step(n, kind) for n, kind in enumerate(KINDS, 1) if kind != "model.call"]
        return ask(under, proposed, accepted(under, *steps) if planned else None, **facts)

    effective, single = judged(both), [judged(each) for each in layers]
    assert effective.effect == max(one.effect for one in single)
    assert effective.policy_digest == both.digest
    assert both.limits.steps == min(each.limits.steps for each in layers)
    if effective.effect is not Effect.DENY:
        kept = effective.obligations
        for one in single:
            assert kept.restore <= one.obligations.restore
            assert kept.secrets <= one.obligations.secrets
            assert LEVELS.index(kept.least_level) >= LEVELS.index(one.obligations.least_level)
            assert effective.approvers.answers >= one.approvers.answers
            assert set(effective.approvers.groups) >= set(one.approvers.groups)


ORGANISATION = policy(
    "{id: shop, effect: allow, action: tool.call, tool: pay, limit: {count: 5, per: day}}",
    "{id: read, effect: allow, action: file.read}",
    "{id: model, effect: allow, action: model.call}",
)
OWN = policy(
    "{id: shop, effect: ask, of: {group: finance}, action: tool.call, tool: pay, limit: {count: 2, per: day}}",
    "{id: read, effect: allow, action: [file.read, file.list]}",
)


def test_a_refusal_names_the_layer_and_the_rule():
    stop = policy("{id: no-pay, effect: deny, action: tool.call}", "{id: rest, effect: allow, action: file.read}")
    both = layered([("organisation", ORGANISATION), ("unit sales", stop), ("", OWN)])
    denied = ask(both, "tool.call pay")
    assert (denied.rules, denied.reason) == (
        ("unit sales/no-pay",),
        "rule 'unit sales/no-pay' refuses it: because",
    )
    missing = ask(both, "file.list")
    assert missing.reason == "no rule of policy 'organisation/test' allows this file.list"
    assert missing.instead == "nothing with file.list"


def test_limits_of_all_layers_hold_each_for_itself():
    both = layered([("organisation", ORGANISATION), ("", OWN)])
    found = ask(both, "tool.call pay", accepted(both, step(1, "tool.call", tool="pay")), approved_by=["bob"])
    taken = {(r.key, r.limit) for r in found.obligations.reservations}
    assert taken == {("rule:organisation/shop:day", 5), ("rule:shop:day", 2)}
    assert found.approvers == Approvers(groups=("finance",))
    assert found.rules == ("organisation/shop", "shop")


def test_only_what_every_layer_opens_is_opened_and_the_strongest_walls_stand():
    one = policy("{id: a, effect: allow, action: file.read, restore: [phone, email], secrets: [s1, s2]}")
    two = policy(
        "{id: a, effect: allow, action: file.read, restore: [phone], secrets: [s2]}", head="{least_level: full}"
    )
    for order in ((one, two), (two, one)):
        kept = ask(layered([("organisation", order[0]), ("", order[1])]), "file.read a.txt").obligations
        assert (kept.restore, kept.secrets, kept.least_level) == ({"phone"}, {"s2"}, "full")


def test_one_layer_alone_is_the_policy_it_is():
    assert layered([("", OWN)]) is OWN


def test_the_digest_covers_every_layer_and_their_order():
    other = policy("{id: read, effect: deny, action: file.read}")
    made = {
        layered([("organisation", a), ("user alice", b), ("", OWN)]).digest
        for a, b in ((ORGANISATION, other), (other, ORGANISATION), (other, other), (ORGANISATION, ORGANISATION))
    }
    assert len(made | {OWN.digest, ORGANISATION.digest}) == 6


def test_a_plan_accepted_under_other_layers_is_not_accepted():
    both = layered([("organisation", ORGANISATION), ("", OWN)])
    under_own = accepted(OWN, step(1, "tool.call", tool="pay"))
    under_upper = accepted(both.layers[0] if isinstance(both, Layered) else OWN, step(1, "tool.call", tool="pay"))
    for mandate in (under_own, under_upper):
        assert ask(both, "tool.call pay", mandate, attended=False).effect is Effect.DENY


def test_only_what_every_layer_trusts_is_trusted():
    trusting = policy("{id: read, effect: allow, action: file.read}", head="{trust: [{url: http://shop.example/**}]}")
    assert layered([("organisation", ORGANISATION), ("", trusting)]).trust == ()
    assert layered([("organisation", trusting), ("", trusting)]).trust == trusting.trust


def test_money_in_two_currencies_has_no_least():
    one, two = (policy(head=f"{{limits: {{money: {{amount: 2, currency: {c}}}}}}}") for c in ("CNY", "USD"))
    with pytest.raises(BadPolicy, match="limit money in CNY and USD; use one currency"):
        layered([("organisation", one), ("", two)])


def test_a_page_loads_only_what_every_layer_lets_it():
    shop, wide = (
        policy(f"{{id: o, effect: allow, action: browser.open, url: [{urls}]}}")
        for urls in ("'http://shop.example/**'", "'http://shop.example/**', 'http://evil.example/**'")
    )
    for order in ([("organisation", shop), ("", wide)], [("organisation", wide), ("", shop)]):
        both = layered(order)
        assert named_hosts(both) == {"shop.example"}
        assert may_load(both, "GET", "http://shop.example/x", "document") is True
        assert may_load(both, "GET", "http://evil.example/x", "document") is False


async def test_the_gate_keeps_to_all_layers(bench: Bench):
    narrow = policy("{id: only, effect: allow, action: tool.call, tool: go, limit: {count: 1, per: run}}")
    bench.under(layered([("organisation", narrow), ("", rules())]))
    bench.accept()
    assert isinstance(await bench.submit(tool("go"), 1), Done)
    refused = await bench.submit(tool("go"), 2)
    assert isinstance(refused, Refused)
    assert refused.rules[0] == "limit"
    assert isinstance(await bench.submit(tool("five"), 3), Refused)
    assert len(bench.world.happened) == 1


# where the layers are found

READ = "version: 1\nname: {name}\nrules:\n  - {{id: read, effect: allow, action: [{kinds}], why: x}}\n"
PEOPLE = "version: 1\nunits: [sales]\npersons:\n  ann: {unit: sales, accounts: {system: alice}}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write(tmp_path / "policy.yaml", "file.read, file.list, table.read")
    write(tmp_path / "policies/organisation.yaml", "file.read, file.list, table.read")
    return tmp_path


def write(path: Path, kinds: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(READ.format(name=path.stem, kinds=kinds))


def allowed(home: Path, principal: str = "alice", job: str | None = None, **more: object) -> set[str]:
    found = policy_of(Settings(home=home, **more), home / "policy.yaml", principal, job=job)  # type: ignore[arg-type]
    kinds = ("file.read a.txt", "file.list", "table.read a.csv")
    return {text.split()[0] for text in kinds if ask(found, text).effect is Effect.ALLOW}


def test_every_layer_of_the_home_narrows(home):
    assert allowed(home) == {"file.read", "file.list", "table.read"}
    write(home / "policies/users/alice.yaml", "file.read, file.list")
    write(home / "policies/jobs/nightly.yaml", "file.list")
    assert allowed(home) == {"file.read", "file.list"}
    assert allowed(home, "bob") == {"file.read", "file.list", "table.read"}
    assert allowed(home, job="nightly") == {"file.list"}


def test_unit_and_user_come_from_the_list_of_people(home):
    (home / "people.yaml").write_text(PEOPLE)
    write(home / "policies/units/sales.yaml", "file.read")
    assert allowed(home) == {"file.read"}
    assert allowed(home, "bob") == {"file.read", "file.list", "table.read"}
    write(home / "policies/users/ann.yaml", "file.list")
    assert allowed(home) == set()


def test_the_folder_of_layers_may_be_elsewhere_and_must_then_be_there(home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("central")
    write(elsewhere / "organisation.yaml", "table.read")
    assert allowed(home, policies=elsewhere) == {"table.read"}
    with pytest.raises(BadSettings, match="there is no folder of policies"):
        allowed(home, policies=elsewhere / "gone")


def test_a_layer_that_cannot_be_used_leaves_nothing_in_force(home):
    layer = home / "policies/users/alice.yaml"
    layer.parent.mkdir()
    for spoil in (lambda: layer.write_text("rules: ["), lambda: (layer.unlink(), layer.symlink_to("gone.yaml"))):
        spoil()
        with pytest.raises(BadPolicy):
            allowed(home)
    layer.unlink()
    layer.mkdir()
    with pytest.raises(BadPolicy):
        allowed(home)
    assert allowed(home, "bob")
