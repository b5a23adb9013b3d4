"""`remit runs`: what ran, what runs, and how to go on."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import DONE, HELD
from agent.cli.desk import Desk, JsonOption, RunArgument, desk
from agent.errors import BadSettings, BadTask, StoreUnreadable

if TYPE_CHECKING:
    from agent.store.runs import Run

STOP_S = 3.0
"""How long `stop` waits for it to take effect; a run looks for the wish every second."""
LONGEST_TITLE = 60
"""Characters of a task in a list."""

OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to copy the files into.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    runs = typer.Typer(help="What ran, what runs, and how to go on.", no_args_is_help=True)
    for name, command in (("list", listed), ("show", show), ("files", files), ("resume", resume), ("stop", stop)):
        runs.command(name)(command)
    runs.command("endorse")(endorse)
    app.add_typer(runs, name="runs")


def listed(json: JsonOption = False) -> int:
    """List the newest fifty runs. Those in which the doctor asked the model are left out."""
    from agent.runs import PROBE  # start-up time

    with desk(as_json=json) as at:
        task = at.app.store.documents.sealed
        found = [r for r in at.app.store.runs.list() if r.title != PROBE or task(r.id, "task")]
        now = at.app.clock.now()
        asked = {q.run for q in at.app.store.questions.all() if not q.settled(now)}
        row = (
            (r.id, r.created_at, _state(r, r.id in asked), r.tokens, r.questions, _title(at, r, short=not json))
            for r in found
        )
        at.rows(("run", "begun", "status", "tokens", "questions", "task"), row, none="There are no runs yet.")
    return DONE


def show(run: RunArgument, json: JsonOption = False) -> int:
    """Show one run: policy, plan, steps, questions, report, use. Also why it does not go on."""
    from agent.cli.audit import told  # start-up time
    from agent.cli.screen import Screen, money
    from agent.runs import Stand

    with desk(as_json=json) as at:
        store, found = at.app.store, at.runs.find(run)
        mandate, preflight = store.mandates.get(found.id), store.documents.get(found.id, "preflight")
        questions = store.questions.all(found.id, open_only=False)
        report = store.documents.get(found.id, "report")
        steps = [s for s in told(at, found) if s["event"] in ("done", "failed", "denied", "unknown")]
        steps = [s for s in steps if s["kind"] != "model.call"]
        policy, why = _policy(at, found), _why(at, found)
        if json:
            plan = mandate.model_dump(mode="json") if mandate else None
            asked = [q.model_dump(mode="json") for q in questions]
            row = asdict(found) | {"title": _title(at, found), "policy": policy, "why": why}
            row |= {"mandate": plan, "preflight": preflight}
            at.object(row | {"steps": steps, "asked": asked, "report": report})
            return DONE
        own = at.own(found.id, found.principal)
        screen = Screen(at.say, restore=own)
        now = at.app.clock.now()
        state = at.say(_state(found, any(not q.settled(now) for q in questions)))
        screen.line(f"{found.id}  {state}  {found.created_at:%Y-%m-%d %H:%M} UTC")
        screen.line(_title(at, found))
        if why:
            screen.line(f"{state}: {own(at.say.told(why))}\n  remit runs resume {found.id}")
        if mandate and preflight:
            screen.plan(mandate.plan, preflight, policy)
        else:
            screen.line(f"{at.say('policy')}: {policy}")
        for step in steps:
            refused = step["event"] == "denied"
            event = at.say("refused" if refused else step["event"])
            kind = f"  [{step['kind']}]  {' '.join(step['rules'])}" if refused else ""
            screen.line(f"  {step['at']:%H:%M:%S} {event}  {own(at.say.told(step['what']))}{kind}".rstrip())
        for question in questions:
            if not question.settled(at.app.clock.now()):
                screen.question(question)
        if isinstance(report, dict):
            stand = Stand(run=found.id, standing=report["end"], report=report, trouble=report.get("why", ""))
            screen.report(stand, intact=store.ledger.verify(found.id) is None)
        used = [at.say("1 step" if found.steps == 1 else "{n} steps", n=found.steps)]
        used.append(at.say("{tokens} tokens", tokens=f"{found.tokens:,}"))
        used.append(at.say("1 question" if found.questions == 1 else "{n} questions", n=found.questions))
        if found.money_micros:
            used.append(f"{money(found.money_micros)} {at.app.settings.model.currency}")
        screen.line(at.say(", ").join(used))
    return DONE


def files(run: RunArgument, out: OutOption = None, json: JsonOption = False) -> int:
    """List the files in a run's folder; with --out, copy them all."""
    from agent.runs import check_folder  # start-up time
    from sandbox.workspace import open_beneath

    if out:
        check_folder(out)
    with desk(as_json=json) as at:
        workspace = at.app.workspace(at.runs.find(run).id)
        entries = workspace.listing()
        for entry in entries if out else ():
            if out and (out / entry.path).exists():
                raise BadTask(f"{str(out / entry.path)!r} is there already; name another folder with --out")
        for entry in entries if out else ():
            target = Path(out or "", entry.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = os.fdopen(open_beneath(workspace.root, str(entry.path), os.O_RDONLY), "rb")
            with source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy)
        at.rows(
            ("file", "bytes", "changed"),
            ((e.path, e.size_bytes, e.modified_at) for e in entries),
            none="It has no files.",
        )
        if out and not json and (n := len(entries)):
            print(
                at.say(
                    "Copied 1 file to {folder}." if n == 1 else "Copied {n} files to {folder}.",
                    n=n,
                    folder=out.absolute(),
                )
            )
    return DONE


def resume(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the deliverables, other than at first.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Go on with a run that waits, was held or was stopped."""
    from agent.cli.run_command import follow, session  # start-up time
    from agent.runs import check_folder

    if out:
        check_folder(out)
    return session(lambda app, runs: follow(app, runs, runs.find(run).id, as_json=json, out=out))


def stop(run: RunArgument, json: JsonOption = False) -> int:
    """Stop a run, whichever process works on it; it can be resumed."""
    with desk(as_json=json) as at:
        found, until = at.runs.find(run), time.monotonic() + STOP_S
        at.runs.stop(found.id)
        while (now := at.app.store.runs.get(found.id)).stop_requested and time.monotonic() < until:
            time.sleep(0.05)
        going, stopped = now.stop_requested, now.status.value == "stopped"
        at.tell(
            "{run} is asked to stop, but has not yet: {owner} works on it."
            if going
            else ("{run} is stopped. Go on with: remit runs resume {run}" if stopped else "{run} has ended already."),
            **{"run": now.id, "status": now.status.value, "owner": now.owner},
        )
        return HELD if going else DONE


def endorse(
    run: RunArgument,
    value: Annotated[
        str, typer.Argument(help="The address, account or number, whole, or the handle that stands for it.")
    ],
    because: Annotated[str, typer.Option("--because", metavar="TEXT", help="How you know; the ledger keeps it.")],
    json: JsonOption = False,
) -> int:
    """Vouch for one value in one run, so that it may say who gets something. Rules, plan and limits hold as ever."""
    from agent.grounds import endorse as record  # start-up time

    with desk(as_json=json) as at:
        found, who = at.runs.find(run), at.app.settings.principal
        if found.status.value in ("done", "failed"):
            raise BadTask(f"run {found.id} has ended; a value is vouched for in one run only")
        if not value.strip() or not because.strip():
            raise BadTask("give one value, and with --because how you know that it is right")
        # As the model sees it; a handle is one already.
        redactor = at.app.redactor(found.id)
        seen = value.strip() if redactor.handles_in(value) else redactor.redact_text(value.strip())
        record(at.app.store, found.id, seen, by=who, because=because, now=at.app.clock.now())
        at.tell("{value} may say who gets something in run {run}.", value=seen, run=found.id)
    return DONE


def _state(run: Run, asked: bool) -> str:
    """In one word where a run stands: a parked one waits for an answer, or is held by trouble."""
    return run.status.value if run.status.value != "parked" else "waiting" if asked else "held"


def _policy(at: Desk, run: Run) -> str:
    """Name and digest of the policy the run was begun under; where its file says something else now, that too."""
    from policies.errors import BadPolicy  # start-up time

    if not (path := _document(at, run, "options").get("policy")):
        return run.policy_digest[:12]
    try:
        now = at.app.policy(Path(path))
    except (BadSettings, BadPolicy):
        return at.say("{digest}; it cannot be read any more: {path}", digest=run.policy_digest[:12], path=path)
    if now.digest == run.policy_digest:
        return f"{now.name} {now.digest[:12]}"
    was = {"was": run.policy_digest[:12], "now": now.digest[:12]}
    return at.say("{name} {now}; it was {was} when the run began", name=now.name, **was)


def _why(at: Desk, run: Run) -> str:
    """Why a parked or stopped run does not go on; empty for others."""
    if run.status.value == "stopped":
        return at.say("somebody stopped it")
    if run.status.value != "parked":
        return ""
    now = at.app.clock.now()
    if waits := [q.id for q in at.app.store.questions.all(run.id) if not q.settled(now)]:
        return at.say("it waits for an answer to {ids}; see: remit questions", ids=" ".join(waits))
    found = at.app.saver.get_tuple({"configurable": {"thread_id": run.id}})
    trouble = found.checkpoint["channel_values"].get("trouble") if found else None
    return trouble or at.say("its question is answered, or what held it may be over")


def _document(at: Desk, run: Run, name: str) -> dict[str, Any]:
    try:
        return at.app.store.documents.get(run.id, name) or {}
    except StoreUnreadable:  # erased
        return {}


def _title(at: Desk, run: Run, *, short: bool = False) -> str:
    """What the person asked, which may hold secrets that were typed into it; nothing once it is erased."""
    from policies.question import visible  # start-up time

    redacted = at.app.redactor(run.id).redact_text(run.title) if run.title else ""
    text = visible(at.own(run.id, run.principal)(redacted))
    return f"{text[:LONGEST_TITLE].rstrip()}…" if short and len(text) > LONGEST_TITLE else text
