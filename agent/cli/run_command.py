"""`remit run` and `remit chat`: a task in words, carried out as far as what was granted."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import DONE, FAILED, HELD, STOPPED, WAITING
from agent.cli.desk import JsonOption

if TYPE_CHECKING:
    from agent.cli.screen import Screen
    from agent.events import Event
    from agent.runs import Runs, Stand
    from agent.wiring import App

PolicyOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Policy file; default: policy.yaml in REMIT_HOME.")
]

OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder for the deliverables, also when it ends later.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("run")(run)
    app.command("chat")(chat)


def run(
    task: Annotated[str, typer.Argument(help="The task, in words.")],
    policy: PolicyOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the model for a plan, show what the policy says to it, and end.")
    ] = False,
    file: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A file to hand over; may be repeated.")
    ] = None,
    out: OutOption = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the plan unseen; what the policy asks about is still asked.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Plan a task, show the plan, do what you and the policy allow."""

    async def whole(app: App, runs: Runs) -> int:
        run_id = runs.start(task, policy=app.policy(), files=file or (), accept=accept, dry_run=dry_run, out=out)
        return await follow(app, runs, run_id, as_json=json)

    return session(whole, policy)


def chat(policy: PolicyOption = None) -> int:
    """Give one task a line, each a run of its own. An empty line or Ctrl-D ends."""

    async def whole(app: App, runs: Runs) -> int:
        code, rules = DONE, app.policy()
        while task := _typed("> "):
            code = await follow(app, runs, runs.start(task, policy=rules), as_json=False)
        return code

    return session(whole, policy)


def session(work: Callable[[App, Runs], Awaitable[int]], policy: Path | None = None) -> int:
    """Do `work` in an open home and close it; Ctrl-C cancels, which records, closes and keeps a run resumable."""
    from agent.runs import Runs  # start-up time
    from agent.settings import load_settings
    from agent.wiring import App

    app = App(load_settings(policy=policy))

    async def whole() -> int:
        try:
            return await work(app, Runs(app))
        finally:
            await app.close()

    return asyncio.run(whole())


async def follow(
    app: App,
    runs: Runs,
    run_id: str,
    *,
    as_json: bool,
    out: Path | None = None,
    answer: Callable[[Screen, Stand], bool] | None = None,
) -> int:
    """Advance a run, have its questions answered where somebody is there, show what came of it; the exit code.

    Without `out` the deliverables go where the run was started with, once: when it reaches its end.
    """
    from agent.cli.screen import Screen  # start-up time
    from agent.language import Language

    screen = Screen(Language(app.settings.language), as_json=as_json, restore=app.redactor(run_id).shown)
    if out is None and app.store.documents.get(run_id, "report") is None:
        kept = (app.store.documents.get(run_id, "options") or {}).get("out")
        out = Path(kept) if kept else None
    screen.line(f'{{"run": "{run_id}"}}' if as_json else f"remit {run_id}")

    def watch(event: Event) -> None:
        if event.kind == "plan" and (mandate := app.store.mandates.get(run_id)):
            preflight = app.store.documents.get(run_id, "preflight")
            screen.plan(mandate.plan, preflight or {}, runs.policy(run_id).name)
        screen.event(event)

    try:
        while True:
            stand = await runs.advance(run_id, watch)
            if stand.standing != "waiting" or as_json or not (answer or _someone_there()):
                break
            if not (answer(screen, stand) if answer else _answer_here(app, screen, stand)):
                break
    except (asyncio.CancelledError, KeyboardInterrupt):
        print(screen.say("Stopped. Go on with: remit runs resume {run}", run=run_id), file=sys.stderr)
        raise
    made: tuple[str, ...] = ()
    if out and stand.standing == "done":
        made = tuple(str(p) for p in runs.deliver(run_id, out))
    if stand.standing == "waiting" and not _someone_there():
        for question in stand.questions:
            screen.question(question)
    intact = app.store.ledger.verify(run_id) is None if stand.standing == "done" else None
    screen.report(stand, made, intact)
    if out and stand.standing in ("waiting", "held", "stopped") and not as_json:
        screen.line(screen.say("Then the deliverables go to {folder}.", folder=out))
    return _code(stand)


def _answer_here(app: App, screen: Screen, stand: Stand) -> bool:
    """Ask the person at the terminal; False when they want to answer later."""
    from policies.errors import AnswerRefused  # start-up time
    from policies.question import Answer

    for question in stand.questions:
        if question.about != "plan":
            screen.question(question)
        for row in question.rows:
            if question.about == "plan":
                said = _typed(screen.say("Accept? [y/N] ")) or "n"
            else:
                said = _typed(screen.say("[y] yes  [n] no, because …  [l] later: "))
            if said[:1].lower() not in ("y", "n"):
                return False
            yes = said[:1].lower() == "y"
            because = "" if yes else (said[1:].strip(" ,") or _typed(screen.say("because: ")))
            now = app.clock.now()
            answer = Answer(yes=yes, by=app.settings.principal, at=now, because=because)
            try:
                app.store.questions.answer(question.id, {row.seq: answer}, now)
            except AnswerRefused as error:  # somebody else was quicker, or it is too late: the run goes on with that
                screen.line(screen.say.told(str(error)))
    return True


def _someone_there() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _typed(prompt: str) -> str:
    # asyncio's own handler would only cancel us once the line is typed.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(prompt, end="", flush=True)  # input() would write it to standard error, which may be a file
        return input().strip()
    except EOFError:
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


def _code(stand: Stand) -> int:
    if stand.standing == "done":
        failed = any(r["verdict"] == "failed" for r in (stand.report or {}).get("steps", ()))
        return FAILED if failed else DONE
    return {"previewed": DONE, "waiting": WAITING, "held": HELD, "stopped": STOPPED, "rejected": FAILED}.get(
        stand.standing, FAILED
    )
