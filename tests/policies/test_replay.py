"""What another policy would have said is what it says, to everything that was recorded, and is never guessed."""

from __future__ import annotations

import json
import time
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.language import Language
from agent.replay import FORMATS, facts
from policies.action import Action
from policies.decision import Decision
from policies.labels import TOP, Label
from policies.mandate import Mandate
from policies.replay import replay
from policies.rules import Policy
from tests.policies.asking import READ_STRANGERS, SHOP, accepted, action, ask, policy, step

AT = "2026-03-02T09:00:00Z"
READ = f"{{id: read, effect: allow, action: browser.open, url: '{SHOP}/**'}}"
WRITE = "{id: write, effect: allow, action: file.write, path: 'out/**'}"
STRANGERS = "{id: strangers, effect: deny, action: '*', when: {untrusted: true, sink: ungrounded}}"
OLD = policy(READ, WRITE)


def recorded(
    what: Action | str,
    decision: Decision,
    mandate: Mandate | None = None,
    context: Label = TOP,
    *,
    seq: int = 1,
    lost: tuple[str, ...] = (),
    attended: bool = True,
) -> dict[str, Any]:
    """The line of an export about one decision."""
    done = action(what) if isinstance(what, str) else what
    found: dict[str, Any] = {
        "action": json.loads(done.canonical),
        "whole": True,
        "approved_by": [],
        "context": context.model_dump(mode="json"),
        "attended": attended,
        "turn": 0,
        "started_at": None,
        "grounded": [],
        "mandate": mandate
        and {
            "plan": mandate.plan.digest,
            "accepted": mandate.accepted is not None,
            "spent": {str(n): count for n, count in mandate.spent.items()},
            "rows": {},
            "met": [],
            "hosts": sorted(mandate.hosts),
        },
    }
    found |= dict.fromkeys(lost) | {"missing": [*lost]}
    effect = decision.effect.name.lower()
    event = {"allow": "intent", "ask": "asked", "deny": "denied"}[effect]
    facts = {
        "action": done.digest,
        "kind": done.kind,
        "decision": effect,
        "rules": [*decision.rules],
        "principal": "alice",
    }
    return {"type": "entry", "run": "R1", "seq": seq, "at": AT, "event": event, "facts": facts, "replay": found}


def export(*lines: dict[str, Any], plans: tuple[Mandate, ...] = (), run: str = "R1", who: str = "alice") -> list[Any]:
    head = [{"type": "export", "format": 1}, {"type": "run", "run": run, "principal": who}]
    for mandate in plans:
        plan = mandate.plan.model_dump(mode="json")
        head.append({"type": "entry", "event": "plan", "seq": 0, "facts": {"plan": mandate.plan.digest}, "plan": plan})
    return [*head, *({**line, "run": run} for line in lines)]


def of(
    text: str, under: Policy = OLD, mandate: Mandate | None = None, context: Label = TOP, **more: Any
) -> dict[str, Any]:
    return recorded(text, ask(under, text, mandate, context=context), mandate, context, **more)


def test_the_same_policy_changes_nothing():
    mandate = accepted(OLD, step(1, "file.write", path="out/a"))
    lines = export(of(f"browser.open {SHOP}/a"), of("file.write out/a", mandate=mandate, seq=2), plans=(mandate,))
    found = replay(lines, OLD)
    assert (found.actions, found.counts, found.changes, found.idle) == (2, {"same": 2}, [], ())


def test_what_becomes_otherwise_is_named_with_rule_and_reason():
    new = policy(
        READ.replace("/**", "/b/**"),
        "{id: ask, effect: ask, action: browser.open, url: 'http://shop.example/b/2'}",
        "{id: list, effect: allow, action: file.list}",
    )
    lines = export(
        of(f"browser.open {SHOP}/a"), of(f"browser.open {SHOP}/b/2", seq=2), of("file.list", seq=3), of(f"browser.open {SHOP}/b/1", seq=4)
    )  # fmt: skip
    found = replay(lines, new)
    assert [(one.seq, one.change, one.before, one.after, one.rules) for one in found.changes] == [
        (1, "newly-denied", "allow", "deny", ()),
        (2, "newly-asked", "allow", "ask", ("ask", "read")),
        (3, "newly-allowed", "deny", "allow", ("list",)),
    ]
    assert found.first["R1"].seq == 1
    assert found.counts == {"newly-denied": 1, "newly-asked": 1, "newly-allowed": 1, "same": 1}
    assert found.changes[2].reason == "rule 'list' allows it: because"


def test_rules_that_decided_nothing_are_named():
    new = policy(READ, WRITE, "{id: never, effect: allow, action: table.write}")
    assert replay(export(of(f"browser.open {SHOP}/a")), new).idle == ("never", "write")


def test_counts_are_kept_for_each_who():
    lines = export(of("file.list"), run="R1", who="alice") + export(of("file.list"), run="R2", who="bob")[1:]
    assert replay(lines, OLD).by == {"alice": {"same": 1}, "bob": {"same": 1}}


def test_an_accepted_plan_counts_as_accepted_under_the_new_policy():
    mandate = accepted(OLD, step(1, "file.write", path="out/a"))
    line = of("file.write out/a", mandate=mandate)
    new = policy(READ, WRITE, "{id: more, effect: allow, action: file.list}")
    assert replay(export(line, plans=(mandate,)), new).changes == []
    spent = mandate.model_copy(update={"spent": {1: 1}})
    again = recorded("file.write out/a", ask(OLD, "file.write out/a", mandate), spent)
    assert [c.change for c in replay(export(again, plans=(mandate,)), new).changes] == ["newly-asked"]


def test_an_action_is_judged_as_it_was_first_proposed_not_after_an_answer():
    asked = policy("{id: w, effect: ask, action: file.write}")
    line = of("file.write out/a", asked)
    answered = {**line, "event": "intent", "facts": {**line["facts"], "decision": "allow"}}
    found = replay(export(line, answered), asked)
    assert (found.actions, found.changes) == (1, [])


@pytest.mark.parametrize(
    ("lost", "context", "wanted"),
    [(("context",), TOP, "unknown"), ((), READ_STRANGERS, "newly-denied"), ((), TOP, "")],
)
def test_what_was_not_recorded_is_unknown_only_where_it_matters(lost, context, wanted):
    wide = policy("{id: all, effect: allow, action: browser.open, url: {host: {subdomain_of: example}, scheme: http}}")
    new = policy(
        "{id: all, effect: allow, action: browser.open, url: {host: {subdomain_of: example}, scheme: http}}", STRANGERS
    )
    text = "browser.open http://x.example/"
    found = replay(export(recorded(text, ask(wide, text), context=context, lost=lost)), new)
    assert [one.change for one in found.changes] == ([wanted] if wanted else [])
    assert dict(found.missing) == ({"context": 1} if lost else {})
    same = replay(
        export(of(f"browser.open {SHOP}/a", lost=("context", "attended", "mandate"))), policy(READ, STRANGERS)
    )
    assert same.counts == {"same": 1}  # whatever it was, the answer is the same


def test_an_action_that_was_not_recorded_is_unknown():
    found = replay(export(of("file.list", lost=("action",))), OLD)
    assert (found.counts, found.changes[0].missing) == ({"unknown": 1}, ("action",))


@pytest.mark.parametrize(
    ("more", "wanted"),
    [({}, {"newly-denied": 1}), ({"grounded": None}, {"unknown": 1}), ({"whole": False}, {"unknown": 1})],
)
def test_whether_a_masked_recipient_was_named_by_somebody_is_unknown(more, wanted):
    tool = "{id: mail, effect: allow, action: tool.call, tool: mail, arguments: {to: any}}"
    mandate = accepted(old := policy(tool), step(1, "tool.call", tool="mail"))
    line = of("tool.call mail to=bob@x.example", old, mandate, READ_STRANGERS)
    line["replay"] |= more
    assert replay(export(line, plans=(mandate,)), policy(tool, STRANGERS)).counts == wanted


def test_a_plan_that_was_not_recorded_is_unknown_where_it_matters():
    mandate = accepted(OLD, step(1, "file.write"))
    found = replay(export(of("file.write out/a", mandate=mandate)), OLD)
    assert (found.counts, dict(found.missing)) == ({"unknown": 1}, {"mandate": 1})


def test_what_the_gate_refused_beside_the_rules_stays_refused():
    line = of("file.write out/a", mandate=(mandate := accepted(OLD, step(1, "file.write"))))
    line["facts"] |= {"decision": "deny", "rules": ["handles", "write"]}
    assert replay(export(line, plans=(mandate,)), OLD).changes == []


def test_two_policies_are_compared_on_the_same_record():
    new = policy(READ)
    lines = export(of(f"browser.open {SHOP}/a", policy()))  # it was refused then
    assert replay(lines, new).counts == {"newly-allowed": 1}
    assert replay(lines, new, against=OLD).counts == {"same": 1}


EFFECTS = st.sampled_from(["allow", "ask", "deny"])
RULES = st.lists(st.tuples(EFFECTS, st.sampled_from(["/**", "/a", "/*", "/a/**"]), st.booleans()), max_size=4)


@settings(max_examples=150, deadline=None)
@given(RULES, st.sampled_from(["/a", "/b", "/a/b"]), st.booleans(), st.booleans(), st.booleans())
def test_replay_says_what_the_live_decision_says(rules, path, untrusted, planned, attended):
    """25: dry run and real run decide alike on the same facts."""
    texts = [
        f"{{id: r{n}, effect: {e}, action: browser.submit, url: '{SHOP}{p}'{', when: {untrusted: true}' * (w and e != 'allow')}}}"
        for n, (e, p, w) in enumerate(rules)
    ]
    under, context = policy(*texts), READ_STRANGERS if untrusted else TOP
    mandate = accepted(under, step(1, "browser.submit")) if planned else None
    text = f"browser.submit {SHOP}{path}"
    live = ask(under, text, mandate, context=context, attended=attended)
    line = recorded(text, live, mandate, context, attended=attended)
    found = replay(export(line, plans=(mandate,) if mandate else ()), under)
    assert (found.counts, set(found.fired)) == ({"same": 1}, set(live.rules))


HOSTILE = "file.write out/<script>|&]]>`x`.txt"


def changed() -> list[Any]:
    both = policy(WRITE, READ)
    mandate = accepted(both, step(1, "file.write"))
    return export(of(HOSTILE, both, mandate), of(f"browser.open {SHOP}/a", both, seq=2), plans=(mandate,))


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_same_record_gives_the_same_bytes(form, language):
    first, second = (FORMATS[form](replay(changed(), policy(READ)), Language(language)) for _ in range(2))
    assert first == second
    assert "newly-denied" in first or "新近拒绝" in first


def test_machines_can_read_the_forms_and_nothing_on_a_page_is_taken_for_markup():
    found, say = replay(changed(), policy(READ)), Language("en")
    (suite,) = ElementTree.fromstring(FORMATS["junit"](found, say))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    (result,) = json.loads(FORMATS["sarif"](found, say))["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("newly-denied", "warning")
    assert json.loads(FORMATS["json"](found, say)) == json.loads(json.dumps(facts(found)))
    page = FORMATS["html"](found, say)
    assert (
        "<script>" not in page
        and "default-src 'none'" in page
        and "http" not in page.replace("http://www.w3.org/2000/svg", "").replace(SHOP, "").replace("http-equiv", "")
    )
    assert "<script>" not in FORMATS["markdown"](found, say)
    assert "nothing changed" in FORMATS["junit"](replay([], OLD), say)


def test_a_hundred_thousand_recorded_actions_are_judged_in_a_few_seconds():
    """A tenth of it here, with a hundred rules: the whole is in tests/bench."""
    mandate = accepted(OLD, step(1, "file.write"))
    lines = [of("file.write out/a", mandate=mandate), of(f"browser.open {SHOP}/a"), of("file.list")]
    many = export(*({**lines[n % 3], "seq": n} for n in range(3_000)), plans=(mandate,))
    began = time.process_time()
    assert replay(many, OLD).actions == 3_000
    assert time.process_time() - began < 3
