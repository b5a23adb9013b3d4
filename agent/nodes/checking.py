"""verify → report: what the evidence shows, which the model's words cannot change."""

from __future__ import annotations

import re
from typing import Any

from agent.history import counted, failed_steps, refused_steps, said_no
from agent.state import State
from agent.work import Work, label_json, label_of
from policies.action import Action, BrowserOpen, FileRead, ServerRun, ShellRun, TableRead, canonical_url
from policies.ledger import Draft
from policies.mandate import CommandSays, FileHas, Mandate, PageShows, PlannedStep
from policies.match.url import UrlPattern
from policies.outcome import Done, Observation
from policies.rows import table_of

Update = dict[str, Any]
_LOOKS = frozenset({"file.read", "file.list", "table.read", "browser.open", "browser.read", "server.read"})
"""Kinds of steps that only look: their check says the same, done or not."""


def note_evidence(work: Work, step: PlannedStep, action: Action, seq: int, seen: Observation) -> None:
    """Keep what a step's result says: rows for `per_row_of`, words for `only_if`, a page's answer. Once for a `seq`."""
    mandate = work.mandate()
    if mandate is None:
        return
    if seen.rows is not None:
        part, first = table_of(action, seen.text)
        work.store.mandates.note_rows(work.run, step.n, seen.rows, part, first)
    met = set(mandate.met)
    for later in mandate.plan.steps:
        if later.only_if and later.only_if.step == step.n:
            (met.add if says(seen.text, later.only_if.says) else met.discard)(later.n)
    if met != mandate.met:
        work.store.mandates.note_met(work.run, frozenset(met))
    progress = work.store.documents.get(work.run, "progress") or {}
    mine = progress.get(str(step.n), {"done": 0})
    if mine.get("seq") == seq:
        return  # noted before a crash, and the node runs again from its first line
    mine |= {"done": mine["done"] + 1, "seq": seq}
    if isinstance(step.expect, PageShows) and "*" in step.expect.url:
        # which page it will be is only known now: the page that answered is the evidence
        mine["shown"] = mine.get("shown", 0) + int(_shows(seen, step.expect))
    work.store.documents.put(work.run, "progress", {**progress, str(step.n): mine})


async def verify(work: Work, state: State) -> Update:
    """Check the next planned step that has a postcondition, through the gate like everything else."""
    mandate = work.mandate()
    assert mandate is not None, "a run that acted has a mandate"
    step = next((s for s in mandate.plan.steps if s.n >= state["checking"] and s.expect), None)
    if step is None:
        return {"end": "done"}
    checks = work.store.documents.get(work.run, "checks") or {}
    progress = (work.store.documents.get(work.run, "progress") or {}).get(str(step.n), {})
    update: Update = {"checking": step.n + 1}
    probe = _probe(step)
    if not progress and step.only_if is not None and step.n not in mandate.met:
        verdict, evidence = "not needed", f"step {step.only_if.step} did not say {step.only_if.says!r}"
    elif not progress.get("done") and step.kind not in _LOOKS:
        # whatever stands there now was there before, or came from elsewhere
        failed = failed_steps(work.store, work.run)
        verdict, evidence = ("failed", failed[step.n]) if step.n in failed else ("not done", "")
    elif probe is None:
        done, shown = progress.get("done", 0), progress.get("shown", 0)
        verdict = "verified" if done and shown == done else "failed" if done else "not verifiable"
        evidence = f"{shown} of {done} answering pages showed it"
    else:
        outcome = await work.submit(state, probe, seq=state["seq"])
        update |= {"seq": state["seq"] + 1}
        if isinstance(outcome, Done):
            update["label"] = label_json(label_of(state).join(outcome.observation.label))
            verdict, evidence = _judged(step, outcome.observation)
        else:
            verdict, evidence = "not verifiable", getattr(outcome, "reason", "it would need an answer first")
            if isinstance(step.expect, FileHas):
                verdict = "failed"
    work.store.documents.put(work.run, "checks", {**checks, str(step.n): {"verdict": verdict, "evidence": evidence}})
    facts: dict[str, Any] = {"step": step.n, "verdict": verdict}
    facts |= {"mandate": mandate.plan.digest, "policy": work.policy.digest}
    entry = Draft(event="verified", seq=0, facts=facts, body={"evidence": evidence})
    work.store.ledger.record(work.run, (entry,), epoch=work.epoch, now=work.clock.now())
    work.tell("verified", text=verdict, step=step.n, more={"evidence": evidence})
    return update


async def report(work: Work, state: State) -> Update:
    """Put together what was done, delivered and verified."""
    mandate = work.mandate()
    end = state.get("end") or "failed"
    work.store.documents.put(work.run, "report", _report(work, state, mandate, end))
    work.tell("ended", text=end)
    return {"end": end}


def says(text: str, word: str) -> bool:
    """True when `word` stands in `text` as a whole word: `active` is not in `inactive`."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _shows(seen: Observation, expected: PageShows) -> bool:
    """Whether the page that answered is the expected one, and shows the text: not only its title, url or our notes."""
    url = seen.data.get("url") if isinstance(seen.data, dict) else None
    if "?" not in expected.url:
        url = str(url).partition("?")[0]  # may hold handles
    try:
        there = UrlPattern.parse(canonical_url(expected.url)).matches(canonical_url(str(url)))
    except ValueError:
        return False
    return there and expected.text in seen.text.partition("\n\n")[2]


def _probe(step: PlannedStep) -> Action | None:
    match step.expect:
        case FileHas(path=path):
            if path.lower().endswith((".csv", ".xlsx")):
                return TableRead(path=path, limit=1)
            return FileRead(path=path)
        case PageShows(url=url) if "*" not in url:
            return BrowserOpen(url=url)
        case CommandSays(server=str(server), pipelines=pipelines):
            return ServerRun(server=server, pipelines=pipelines)
        case CommandSays(pipelines=pipelines):
            return ShellRun(pipelines=pipelines)
        case _:
            return None


def _judged(step: PlannedStep, seen: Observation) -> tuple[str, str]:
    match step.expect:
        case FileHas(path=path, columns=columns, min_rows=least):
            have = seen.data.get("columns", []) if isinstance(seen.data, dict) else []
            missing = [c for c in columns if c not in (have if isinstance(have, list) else [])]
            rows = seen.rows or 0
            if missing:
                return "failed", f"{path} has no column {missing[0]!r}"
            if rows < least:
                return "failed", f"{path} has {rows} rows, expected at least {least}"
            return "verified", f"{path}, {rows} rows" if seen.rows is not None else path
        case PageShows() as expected:
            shows = _shows(seen, expected)
            return ("verified", "the page shows it") if shows else ("failed", "the page does not show it")
        case CommandSays(text=text):
            said = " ".join(seen.text.split())[:80]
            return ("verified" if says(seen.text, text) else "failed"), said
        case None:
            return "not verifiable", "nothing was expected"


def _report(work: Work, state: State, mandate: Mandate | None, end: str) -> dict[str, Any]:
    progress = work.store.documents.get(work.run, "progress") or {}
    checks = work.store.documents.get(work.run, "checks") or {}
    steps = mandate.plan.steps if mandate else ()
    events, used, rows = counted(work.store, work.run), work.store.runs.used(work.run), []
    failed, refused = failed_steps(work.store, work.run), refused_steps(work.store, work.run)
    for step in steps:
        check = checks.get(str(step.n), {})
        done = progress.get(str(step.n), {}).get("done", 0)
        if not done and not check and step.n in failed:  # tried in vain, whatever the model says of it
            check = {"verdict": "failed", "evidence": failed[step.n]}
        elif not done and (not check or (step.n in refused and check["verdict"].startswith("not "))):
            unmet = step.only_if and step.n not in refused and mandate and step.n not in mandate.met
            check = {"verdict": "not needed" if unmet else "not done", "evidence": refused.get(step.n, "")}
        rows.append(
            {
                "n": step.n,
                "title": step.title,
                "kind": step.kind,
                "looks": step.kind in _LOOKS,
                "times": done,
                "verdict": check.get("verdict", ""),
                "evidence": check.get("evidence", ""),
            }
        )
    return {
        "end": end,
        "why": state.get("trouble") or "",
        "steps": rows,
        "refused": events["denied"],
        "said_no": said_no(work.store, work.run),
        "questions": len(work.store.questions.all(work.run, open_only=False)),
        "deliverables": list(mandate.plan.deliverables) if mandate else [],
        "summary": (work.store.documents.get(work.run, "summary") or {}).get("text", ""),
        "tokens": used.tokens,
        "money_micros": used.money_micros,
    }
