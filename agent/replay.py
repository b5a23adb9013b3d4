"""The result of a replay as a table, JSON, Markdown, JUnit, SARIF or HTML. Same result, same bytes: no clock."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from agent.language import Language
from policies.replay import CHANGES, UNKNOWN, Judged, Replayed

COLOURS = {"newly-allowed": "#c0392b", "newly-asked": "#d68910", "newly-denied": "#2471a3", UNKNOWN: "#7f8c8d"}
LEVELS = {"newly-allowed": "error", "newly-asked": "warning", "newly-denied": "warning", UNKNOWN: "note"}
MOST_SHOWN = 1000
"""Changes that a report for reading lists; the machine formats have all."""
Cells = Sequence[Sequence[object]]


def facts(found: Replayed) -> dict[str, Any]:
    """Everything as JSON."""
    changes = [{name: getattr(one, name) for name in one.__slots__} for one in found.changes]
    return {
        "policy": found.policy,
        "against": found.against,
        "actions": found.actions,
        "counts": dict(sorted(found.counts.items())),
        "by": {who: dict(sorted(counts.items())) for who, counts in sorted(found.by.items())},
        "changes": changes,
        "first": {run: one.seq for run, one in found.first.items()},
        "idle": list(found.idle),
        "missing": dict(sorted(found.missing.items())),
    }


def as_json(found: Replayed, say: Language) -> str:
    """One JSON object."""
    return json.dumps(facts(found), ensure_ascii=False) + "\n"


def as_table(found: Replayed, say: Language) -> str:
    """For a terminal: counts, then each change on a line, then the rest."""
    lines = [_head(found, say), *(f"  {say(name)}: {count}" for name, count in _counted(found))]
    for one in found.changes[:MOST_SHOWN]:
        lines.append(f"{say(one.change)}  {one.run}#{one.seq}  {one.kind} {one.where}")
        lines.append(f"  {say(one.before)} → {say(one.after)}: {_because(one, say)}")
    lines += [f"{title}: {text}" for title, text in _rest(found, say)]
    return "\n".join(lines) + "\n"


def as_markdown(found: Replayed, say: Language) -> str:
    """For a comment on a change of the policy."""
    parts = [f"## {_head(found, say)}", _rows((say("change"), say("count")), [(say(n), c) for n, c in _counted(found)])]
    if found.changes:
        parts.append(_rows(_titles(say), [_cells(one, say) for one in found.changes[:MOST_SHOWN]]))
    parts.append("\n".join(f"- {title}: {_escaped(text)}" for title, text in _rest(found, say)))
    return "\n\n".join(part for part in parts if part) + "\n"


def as_junit(found: Replayed, say: Language) -> str:
    """A test case for each change, failed; one that passes when there is none."""
    failed = len(found.changes)
    suite = f'name={quoteattr(f"remit policy replay {found.policy}")} tests="{max(failed, 1)}" failures="{failed}"'
    cases = [
        f"<testcase classname={quoteattr(_xml(one.kind))} name={quoteattr(_xml(f'{one.run}#{one.seq} {one.where}'))}>"
        f"<failure type={quoteattr(one.change)} message={quoteattr(_xml(f'{one.before} -> {one.after}'))}>"
        f"{escape(_xml(_because(one, say)))}</failure></testcase>"
        for one in found.changes
    ]
    cases = cases or ['<testcase classname="replay" name="nothing changed"/>']
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites><testsuite {suite}>", *cases]
    return "\n".join([*lines, "</testsuite></testsuites>"]) + "\n"


def as_sarif(found: Replayed, say: Language) -> str:
    """SARIF 2.1.0: a result for each change, at the policy."""
    results = [
        {
            "ruleId": one.change,
            "level": LEVELS[one.change],
            "message": {"text": f"{one.run}#{one.seq} {one.kind} {one.where}: {_because(one, say)}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": f"{found.policy}.yaml"}}}],
            "partialFingerprints": {"submission": f"{one.run}:{one.seq}"},
            "properties": {"before": one.before, "after": one.after, "rules": list(one.rules)},
        }
        for one in found.changes
    ]
    driver = {"name": "remit policy replay", "rules": [{"id": name} for name in (*CHANGES, UNKNOWN)]}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def as_html(found: Replayed, say: Language) -> str:
    """One page without anything from elsewhere: charts as SVG, then the changes."""
    title = html.escape(_head(found, say))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    style = "body{font:15px sans-serif;margin:2em;max-width:75em}td,th{text-align:left;padding:.2em .8em .2em 0}"
    parts = [
        f'<!doctype html><html lang="{say.code}"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{title}</title><style>{style}</style></head><body><h1>{title}</h1>",
        _bars([(say(name), count, COLOURS.get(name, "#27ae60")) for name, count in _counted(found)]),
        f"<h2>{html.escape(say('by job, unit or person'))}</h2>",
        _bars([(who, sum(c.values()) - c["same"], COLOURS["newly-asked"]) for who, c in sorted(found.by.items())]),
        _table(_titles(say), [_cells(one, say) for one in found.changes[:MOST_SHOWN]]) if found.changes else "",
        *(f"<p><b>{html.escape(name)}</b>: {html.escape(text)}</p>" for name, text in _rest(found, say)),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


FORMATS: dict[str, Callable[[Replayed, Language], str]] = {
    "table": as_table,
    "json": as_json,
    "markdown": as_markdown,
    "junit": as_junit,
    "sarif": as_sarif,
    "html": as_html,
}


def _head(found: Replayed, say: Language) -> str:
    said = {"policy": found.policy, "against": say(found.against), "n": found.actions}
    return say("Policy {policy} against {against}: {n} actions", **said)


def _counted(found: Replayed) -> list[tuple[str, int]]:
    return [(name, found.counts[name]) for name in (*CHANGES, UNKNOWN, "same")]


def _because(one: Judged, say: Language) -> str:
    rules = f" [{', '.join(one.rules)}]" if one.rules else ""
    return f"{say.told(one.reason)}{rules}"


def _rest(found: Replayed, say: Language) -> Iterator[tuple[str, str]]:
    if found.first:
        places = ", ".join(f"{run}#{one.seq}" for run, one in [*found.first.items()][:MOST_SHOWN])
        yield say("First divergence of each run"), places
    if found.idle:
        yield say("Rules that decided nothing"), ", ".join(found.idle)
    if found.missing:
        yield say("Not recorded"), ", ".join(f"{name} ({n})" for name, n in sorted(found.missing.items()))


def _titles(say: Language) -> tuple[str, ...]:
    return say("change"), say("run"), say("action"), say("where"), say("before"), say("after"), say("why")


def _cells(one: Judged, say: Language) -> tuple[str, ...]:
    named = (f"{one.run}#{one.seq}", one.kind, one.where, say(one.before), say(one.after))
    return (say(one.change), *named, _because(one, say))


def _rows(titles: Sequence[str], rows: Cells) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_escaped(str(cell)) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    signs = str.maketrans({c: f"\\{c}" for c in "\\`*_[]|"} | {"<": "&lt;", "&": "&amp;", "\n": " "})
    return text.translate(signs) if text != "---" else text


def _table(titles: Sequence[str], rows: Cells) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _bars(bars: Sequence[tuple[str, int, str]]) -> str:
    most = max([count for _, count, _ in bars], default=0) or 1
    drawn = [
        f'<text x="0" y="{24 * n + 16}">{html.escape(name)}</text>'
        f'<rect x="220" y="{24 * n + 3}" width="{round(400 * count / most)}" height="16" fill="{colour}"/>'
        f'<text x="{226 + round(400 * count / most)}" y="{24 * n + 16}">{count}</text>'
        for n, (name, count, colour) in enumerate(bars)
    ]
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{24 * len(bars)}">{"".join(drawn)}</svg>'


def _xml(text: str) -> str:
    """Without characters that XML 1.0 cannot hold."""
    return "".join(c if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
