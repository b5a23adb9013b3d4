"""`remit audit`: what the ledger says, and whether it still says what was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import BROKEN, DONE, HELD
from agent.cli.desk import Desk, JsonOption, RunArgument, desk

if TYPE_CHECKING:
    from agent.audit.page import Section
    from agent.audit.report import Report
    from agent.store.runs import Run


SinceOption = Annotated[
    str | None, typer.Option(help="Only runs with entries since then: 2026-10-01, or 30d for the last 30 days.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    audit = typer.Typer(help="What was decided and done, and whether the record is intact.", no_args_is_help=True)
    audit.command("show")(show)
    audit.command("verify")(verify)
    audit.command("export")(export)
    audit.command("report")(report)
    audit.command("key")(key)
    audit.command("erase")(erase)
    app.add_typer(audit, name="audit")


def show(run: RunArgument, json: JsonOption = False) -> int:
    """Show every entry of a run's ledger."""
    with desk(as_json=json) as at:
        found = at.runs.find(run)
        own, entries = at.own(found.id, found.principal), told(at, found)
        if json:
            for entry in entries:
                at.object(entry)
            return DONE
        row = (
            (e["index"], e["at"], e["event"], e["kind"], " ".join(e["rules"]), own(at.say.told(e["what"])))
            for e in entries
        )
        at.rows(("entry", "time", "event", "action", "rules", "what"), row, none="Its ledger is empty.")
    return DONE


def verify(
    run: Annotated[str | None, typer.Argument(help="One run; all without it.")] = None,
    checkpoint: Annotated[
        str,
        typer.Option(help="A checkpoint you noted earlier: shows if the whole store was set back since."),
    ] = "",
    json: JsonOption = False,
) -> int:
    """Check the ledger of one run, or of all. Exit code 6 if an entry was changed, removed or added."""
    with desk(as_json=json) as at:
        ledger, broken = at.app.store.ledger, []
        chains = ledger.heads()
        if run is not None:
            found = at.runs.find(run).id
            chains = {found: chains[found]}
        elif fault := ledger.verify_checkpoints(checkpoint):
            broken.append(fault)
        broken += [fault for name in chains if (fault := ledger.verify(name))]
        entries, last = sum(length for length, _ in chains.values()), ledger.last()
        if json:
            faults = [fault.model_dump(mode="json") for fault in broken]
            facts = {"runs": len(chains), "entries": entries, "intact": not broken, "broken": faults}
            at.object(facts | {"checkpoint": {"n": last[0], "hash": last[1]}})
            return BROKEN if broken else DONE
        for fault in broken:
            told_why = {**fault.model_dump(), "why": at.say.told(fault.why)}
            if fault.run:
                print(at.say("BROKEN: run {run}, entry {index}: {why}", **told_why))
            else:
                print(at.say("BROKEN: checkpoint {index}: {why}", **told_why))
        if not broken:
            print(at.say("Ledger intact: runs {runs}, entries {entries}.", runs=len(chains), entries=entries))
            if run is None and last[0]:
                print(at.say("Last checkpoint: {hash}", hash=last[1]))
        return BROKEN if broken else DONE


class Format(StrEnum):
    """How the ledger is written."""

    JSONL = "jsonl"
    CSV = "csv"
    HTML = "html"


def export(
    runs: Annotated[list[str] | None, typer.Argument(help="Ids of runs, or how they begin; all without.")] = None,
    form: Annotated[Format, typer.Option("--format", help="JSON lines, a sheet, or a page to read.")] = Format.JSONL,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="What was decided and from what, without contents.")
    ] = False,
    since: SinceOption = None,
) -> int:
    """Write the ledger: as JSON lines for the verifier, for policy replay or to keep, as CSV, or as an HTML page."""
    import csv  # start-up time, like the rest
    import sys
    from json import dumps

    from agent.audit.export import lines
    from agent.audit.period import since as begun
    from agent.audit.sheet import rows

    with desk() as at:
        wanted = None if not runs else [at.runs.find(run).id for run in runs]
        if since is not None:
            first = begun(since, at.app.clock.now())
            recent = at.app.store.ledger.active(first)
            wanted = [run for run in recent if wanted is None or run in wanted]
        if form is Format.HTML:
            _page(at, "Ledger", _chapters(at, wanted, decisions=decisions))
            return DONE
        found = lines(at.app.store, wanted, at=at.app.clock.now(), decisions=decisions or form is Format.CSV)
        if form is Format.CSV:
            csv.writer(sys.stdout, lineterminator="\n").writerows(rows(found))
            return DONE
        for line in found:
            sys.stdout.write(dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    return DONE


def report(
    quarter: Annotated[str | None, typer.Option(help="A quarter, such as 2026Q4.")] = None,
    since: Annotated[str | None, typer.Option(help="From then to now: 2026-10-01, or 30d; 90d without it.")] = None,
    html: Annotated[bool, typer.Option("--html", help="Write an HTML page.")] = False,
    json: JsonOption = False,
) -> int:
    """Sum up a time: policies, how people answered, refusals, rules that decided nothing, results nothing verified."""
    from dataclasses import asdict  # start-up time, like the rest

    from agent.audit import period
    from agent.audit.report import report as made
    from agent.errors import BadSettings

    if quarter is not None and since is not None:
        raise typer.BadParameter("give either --quarter or --since")
    with desk(as_json=json) as at:
        now = at.app.clock.now()
        begin, end = period.quarter(quarter) if quarter else (period.since(since or "90d", now), now)
        try:
            policy = at.app.policy()
        except BadSettings:  # none in force: the past is there all the same
            policy = None
        found = made(at.app.store, policy, start=begin, end=end)
        if json:
            approvers = [asdict(each) | {"warning": each.warning} for each in found.approvers]
            at.object(asdict(found) | {"approvers": approvers})
            return DONE
        title = at.say("From {begin} to {end}", begin=f"{begin:%Y-%m-%d}", end=f"{end:%Y-%m-%d}")
        if html:
            _page(at, title, _summary(at, found))
            return DONE
        print(title)
        for section in _summary(at, found):
            print(f"\n{section.heading}")
            for warning in section.warnings:
                print(f"  {warning}")
            if rows := list(section.rows):
                at.rows(section.names, rows)
            else:
                print(f"  {section.none}")
    return DONE


def _summary(at: Desk, found: Report) -> Iterator[Section]:
    """The report as tables."""
    from agent.audit.page import Section  # start-up time

    say, none = at.say, at.say("none")
    warnings = [
        say(
            "{by} said yes {quick} of {answers} times in under two seconds: were they read?",
            by=a.by,
            quick=a.quick_yes,
            answers=a.answers,
        )
        for a in found.approvers
        if a.warning
    ]
    counts = [("runs", found.runs), ("entries", found.entries), ("erasures", found.erasures)]
    yield Section(heading=say("In all"), names=[say("what"), say("count")], rows=[(say(n), c) for n, c in counts])
    yield Section(
        heading=say("Policies"),
        names=[say(n) for n in ("policy", "first used", "last used", "runs", "decisions", "signed by", "in force")],
        rows=[
            (
                p.policy[:12],
                p.first,
                p.last,
                p.runs,
                p.decisions,
                " ".join(p.signed_by),
                say("yes") if p.in_force else "",
            )
            for p in found.policies
        ],
        none=none,
    )
    yield Section(
        heading=say("Who answered"),
        names=[say(n) for n in ("who", "answers", "yes", "share of yes", "seconds (median)")],
        rows=[
            (a.by, a.answers, a.yes, f"{a.yes / a.answers:.0%}", "" if a.seconds is None else f"{a.seconds:.1f}")
            for a in found.approvers
        ],
        none=none,
        warnings=warnings,
    )
    yield Section(heading=say("Refusals"), names=[say("rule"), say("count")], rows=found.refusals, none=none)
    yield Section(
        heading=say("Rules that decided nothing"), names=[say("rule")], rows=[(r,) for r in found.unused], none=none
    )
    yield Section(
        heading=say("Results that nothing verified"),
        names=[say(n) for n in ("run", "time", "step", "what")],
        rows=[(r.run, r.at, r.step or "", say(r.what)) for r in found.unverified],
        none=none,
    )


def _chapters(at: Desk, wanted: list[str] | None, *, decisions: bool) -> Iterator[Section]:
    """A table for each run."""
    from agent.audit.page import Section  # start-up time

    for name in at.app.store.ledger.heads():
        if wanted is None or name in wanted:
            run = at.app.store.runs.get(name)
            title = "" if decisions or not run.title else at.app.redactor(name).redact_text(run.title)
            fault = at.app.store.ledger.verify(name)
            yield Section(
                heading=" ".join([at.say("run"), name, title]).strip(),
                names=[at.say(n) for n in ("entry", "time", "event", "action", "rules", "what", "policy")],
                rows=(
                    (
                        *(e["index"], e["at"], at.say(e["event"]), e["kind"], " ".join(e["rules"])),
                        "" if decisions and e["kind"] else at.say.told(e["what"]),
                        str(e["facts"].get("policy") or "")[:12],
                    )
                    for e in told(at, run)
                ),
                none=at.say("Its ledger is empty."),
                warnings=[
                    at.say(
                        "BROKEN: run {run}, entry {index}: {why}",
                        **{**fault.model_dump(), "why": at.say.told(fault.why)},
                    )
                ]
                if fault
                else [],
            )


def _page(at: Desk, title: str, sections: Iterable[Section]) -> None:
    import sys  # start-up time

    from agent.audit.page import page

    for piece in page(at.say(title), sections, language=at.say.code):
        sys.stdout.write(piece)


def key(json: JsonOption = False) -> int:
    """Show the public keys that checkpoints are signed with, for the verifier; the last one signs now."""
    with desk(as_json=json) as at:
        at.rows(("name", "public key"), at.app.store.ledger.public().items())
    return DONE


def erase(
    value: Annotated[str | None, typer.Option(help="A value, such as a phone number; - reads it unseen.")] = None,
    link: Annotated[list[str] | None, typer.Option(help="A further value of the same person or thing.")] = None,
    run: Annotated[str | None, typer.Option(help="A run whose contents are erased, whatever they are.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase. Without it, only what would be erased is shown.")] = False,
    json: JsonOption = False,
) -> int:
    """Destroy a value wherever runs keep it, or a run's contents. The ledger stays whole and tells of it."""
    import sys  # start-up time, like the rest

    with desk(as_json=json) as at:
        erasure, now, by = at.app.store.erasure, at.app.clock.now(), at.app.settings.principal
        if (value is None) == (run is None):
            raise typer.BadParameter(at.say("give either --value or --run"))
        if run is not None:
            found = [at.runs.find(run).id]
            if yes:
                erasure.run(found[0], by=by, now=now)
            at.rows(("run",), [(name,) for name in found])
        else:
            given = [sys.stdin.readline().strip() if value == "-" else value or "", *(link or ())]
            told = erasure.value(given, by=by, now=now, only_tell=not yes)
            rows = [(e.run, " ".join(e.handles), len(e.bodies) + e.texts) for e in told]
            at.rows(("run", "handles", "texts"), rows, none="No run holds it.")
            found = [e.run for e in told]
        for name in found if yes else ():
            at.app.saver.forget(name)
            if (folder := at.app.settings.home / "runs" / name).exists():
                print(at.say("Its files are not touched: {folder}", folder=folder), file=sys.stderr)
        if not yes and found:
            print(at.say("Nothing was erased; to do it: --yes"), file=sys.stderr)
        elif yes and not erasure.scrub():
            print(at.say("Another process still reads the store's log; end it and repeat this."), file=sys.stderr)
            return HELD
    return DONE


def told(at: Desk, run: Run) -> Iterator[dict[str, Any]]:
    """The entries of a run in order, each with what it is about in a few words; handles stand for values."""
    from agent.errors import StoreUnreadable  # start-up time
    from policies.action import ACTION
    from policies.card import action_card, command_text
    from policies.decision import Decision, Effect

    titles: dict[int, tuple[str, str]] = {}
    for entry in at.app.store.ledger.entries(run.id):
        try:
            body = at.app.store.ledger.body(run.id, entry.index)
        except StoreUnreadable:
            body = None  # erased, or changed, which `verify` tells
        if isinstance(body, dict) and "action" in body:
            action = ACTION.validate_python(body["action"])
            title, _ = action_card(action, Decision(effect=Effect.ALLOW, reason=""))
            if action.kind in ("shell.run", "server.run"):
                title = f"{title}: {command_text(action.pipelines)}"
            titles[entry.seq] = action.kind, title
        kind, title = titles.get(entry.seq, ("", "")) if entry.seq else ("", "")
        rules = entry.facts.get("rules")
        yield {
            "index": entry.index,
            "at": entry.at,
            "event": entry.event,
            "seq": entry.seq,
            "kind": entry.facts.get("kind") or kind,
            "rules": rules if isinstance(rules, list) else [],
            "what": title or _facts(entry.facts),
            "facts": entry.facts,
            "body": body,
            "hash": entry.hash,
        }


def _facts(facts: dict[str, Any]) -> str:
    shown = ("by", "yes", "question", "step", "steps", "verdict", "end")
    return ", ".join(f"{name} {facts[name]}" for name in shown if name in facts)
