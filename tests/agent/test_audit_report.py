"""The report and the pages of the ledger: counted from the facts of the chain, escaped, readable."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from agent.audit.page import Section, page
from agent.audit.period import quarter, since
from agent.audit.report import report
from agent.audit.sheet import rows
from agent.errors import BadTask
from policies.ledger import Draft
from policies.load import loads
from tests.agent.store.conftest import NOW, clock, opened, store  # noqa: F401  fixtures

POLICY = loads(
    """
version: 1
name: t
practice_only: true
rules:
  - {id: used, effect: allow, action: file.list, why: it looks}
  - {id: idle, effect: allow, action: file.list, why: it looks}
""",
    "t.yaml",
    practice=True,
)


def _entry(event: str, seq: int = 0, **facts: object) -> Draft:
    return Draft.model_validate({"event": event, "seq": seq, "facts": facts})


@pytest.fixture
def worked(store):  # noqa: F811
    """A run in which `quick` says yes at once and `slow` thinks."""
    at = NOW
    for n, (by, seconds, yes) in enumerate(
        [("quick", 1, True), ("quick", 1.5, True), ("slow", 60, True), ("slow", 90, False)]
    ):
        facts = {"policy": POLICY.digest, "rules": ["used"], "kind": "file.list"}
        store.ledger.record("r1", [_entry("asked", n, question=f"Q{n}", **facts)], epoch=1, now=at)
        at += timedelta(seconds=seconds)
        store.ledger.record("r1", [_entry("answered", n, question=f"Q{n}", yes=yes, by=by)], epoch=1, now=at)
    more = [
        _entry("denied", 5, rules=["person"], policy=POLICY.digest),
        _entry("denied", 6, rules=["limit", "used"], policy="older"),
        _entry("denied", 7, rules=[], policy="older"),
        _entry("intent", 8, rules=["used"], policy=POLICY.digest, planned=2),
        _entry("intent", 9, rules=["used"], policy=POLICY.digest),
        _entry("done", 9),
        _entry("run", policy="older", signed_by="anna"),
        _entry("verified", step=1, verdict="verified"),
        _entry("verified", step=2, verdict="failed"),
    ]
    store.ledger.record("r1", more, epoch=1, now=at)
    return store


def test_the_report_counts_what_the_chain_tells(worked):
    found = report(worked, POLICY, start=NOW, end=NOW + timedelta(days=1))

    assert (found.runs, found.entries) == (1, 17)
    assert [(p.policy, p.runs, p.decisions, p.signed_by, p.in_force) for p in found.policies] == [
        (POLICY.digest, 1, 7, (), True),
        ("older", 1, 2, ("anna",), False),
    ]
    told = [(a.by, a.answers, a.yes, a.seconds, a.quick_yes, a.warning) for a in found.approvers]
    assert told == [("quick", 2, 2, 1.25, 2, True), ("slow", 2, 1, 75.0, 0, False)]
    assert found.refusals == (("limit", 1), ("no rule", 1), ("person", 1))
    assert found.unused == ("idle",)
    assert [(r.step, r.what) for r in found.unverified] == [(2, "failed"), (2, "no outcome")]


def test_nineteen_quick_yeses_of_twenty_are_no_warning_and_twenty_are(store):  # noqa: F811
    for n in range(20):
        took = timedelta(seconds=1 if n else 5)
        store.ledger.record("r1", [_entry("asked", n, question=f"Q{n}")], epoch=1, now=NOW + timedelta(minutes=n))
        answered = _entry("answered", n, question=f"Q{n}", yes=True, by="boss")
        store.ledger.record("r1", [answered], epoch=1, now=NOW + timedelta(minutes=n) + took)
    all_of_them = report(store, None, start=NOW, end=NOW + timedelta(days=1)).approvers[0]
    but_the_first = report(store, None, start=NOW + timedelta(seconds=30), end=NOW + timedelta(days=1)).approvers[0]
    assert (all_of_them.quick_yes, all_of_them.warning) == (19, False)
    assert (but_the_first.quick_yes, but_the_first.warning) == (19, True)


def test_what_lies_outside_the_time_is_not_counted(worked):
    assert report(worked, POLICY, start=NOW - timedelta(days=2), end=NOW).entries == 0
    assert report(worked, POLICY, start=NOW + timedelta(days=1), end=NOW + timedelta(days=2)).runs == 0


def test_times_are_read_as_people_write_them():
    assert since("30d", NOW) == NOW - timedelta(days=30)
    assert since("2026-10-01", NOW).isoformat() == "2026-10-01T00:00:00+00:00"
    assert [f"{at:%Y-%m-%d}" for at in quarter("2026Q4")] == ["2026-10-01", "2027-01-01"]
    assert [f"{at:%Y-%m-%d}" for at in quarter("2026-q1")] == ["2026-01-01", "2026-04-01"]
    for wrong in (lambda: quarter("2026Q5"), lambda: since("soon", NOW)):
        with pytest.raises(BadTask):
            wrong()


def test_a_page_shows_every_text_as_text_and_loads_nothing():
    hostile = "<script src=//evil.test>\u202e</script><img onerror=x>\"'&"
    section = Section(heading=hostile, names=[hostile], rows=[[hostile]], warnings=[hostile])
    html = "".join(page(hostile, [section, Section(heading="h", names=[], rows=[], none=hostile)], language="zh"))

    tags = Tags()
    tags.feed(html)
    assert tags.seen <= {
        *[
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "p",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        ]
    }
    assert tags.text.count("evil.test") == 7
    assert "\u202e" not in html
    assert "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-" in html
    assert not re.search(r"(src|href|url\()", re.sub(r"&lt;.*?&gt;", "", html.split("</style>")[1]))


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)

    def handle_data(self, data):
        self.text += data


def test_no_cell_of_the_sheet_is_a_formula():
    facts = {"principal": "=cmd|' /C calc'!A0", "rules": ["+1", "b"], "yes": True}
    line = {
        "type": "entry",
        "run": "@r",
        "index": 0,
        "at": "t",
        "event": "done",
        "seq": -1,
        "hash": "h",
        "facts": facts,
    }
    heads, row = rows([{"type": "run"}, line])
    told = dict(zip(heads, row, strict=True))
    assert (told["run"], told["principal"], told["rules"], told["yes"]) == (
        "'@r",
        "'=cmd|' /C calc'!A0",
        "'+1 b",
        "True",
    )
    assert told["seq"] == "-1"
