"""`remit run` and `remit chat`: a task in words, carried out as far as what was granted."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
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
    from policies.question import Question

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
    ended = app.store.documents.get(run_id, "report")
    kept = (app.store.documents.get(run_id, "options") or {}).get("out")
    if out is None and ended is None:
        out = Path(kept) if kept else None
    screen.line(f'{{"run": "{run_id}"}}' if as_json else f"remit {run_id}")
    if ended is not None and not as_json:
        screen.line(screen.say("This run has ended already."))
        if kept and not out and ended.get("end") == "done" and ended.get("deliverables"):
            screen.line(screen.say("Its deliverables went to {folder}.", folder=kept))

    shown: list[str] = []  # digests of the plans that were

    def plan() -> None:
        if (mandate := app.store.mandates.get(run_id)) and mandate.plan.digest not in shown:
            preflight = app.store.documents.get(run_id, "preflight")
            screen.plan(mandate.plan, preflight or {}, runs.policy(run_id).name)
            shown.append(mandate.plan.digest)

    def watch(event: Event) -> None:
        if event.kind == "plan":
            plan()
        screen.event(event)

    try:
        while True:
            stand = await runs.advance(run_id, watch)
            if stand.standing != "waiting" or as_json or not (answer or _someone_there()):
                break
            if any(row.digest == _planned(app, run_id) for q in stand.questions for row in q.rows):
                plan()
            if not (answer(screen, stand) if answer else _answer_here(app, screen, stand, shown)):
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
    if stand.standing == "previewed" and (preflight := app.store.documents.get(run_id, "preflight")):
        model = app.settings.model
        tokens, price = preflight.get("most_tokens") or 0, (model.price_in, model.price_out)
        most = None if price[0] is None or price[1] is None else max(price[0], price[1]) * tokens / 1_000_000
        screen.expected(preflight, most, model.currency)
    intact = app.store.ledger.verify(run_id) is None if stand.standing == "done" else None
    screen.report(stand, made, intact)
    if stand.standing == "held" and app.settings.practice and not as_json:
        from agent.practice import world_is_up  # start-up time

        if not world_is_up(app.settings.home):
            screen.line(screen.say("The practice world is down; run: remit practice up"))
    if out and stand.standing in ("waiting", "held", "stopped") and not as_json:
        screen.line(screen.say("Then the deliverables go to {folder}.", folder=out))
    return _code(stand)


def _planned(app: App, run_id: str) -> str:
    """The digest of the run's plan."""
    mandate = app.store.mandates.get(run_id)
    return mandate.plan.digest if mandate else ""


def _answer_here(app: App, screen: Screen, stand: Stand, shown: Sequence[str]) -> bool:
    """Ask the person at the terminal; False when they want to answer later, or only others can."""
    from agent.people import account_of, is_for, take_answer  # start-up time
    from policies.errors import AnswerRefused

    me, asked = account_of(app, app.settings.principal), False
    for question in stand.questions:
        if question.rows[0].digest not in shown:
            screen.question(question)
        for row in question.rows:
            if not is_for(app, question, row, me):
                continue
            asked, said = True, _choice(screen, question)
            if said is None:
                return False
            try:
                take_answer(app, question, [row.seq], me, yes=said[0], because=said[1])
            except AnswerRefused as error:  # somebody else was quicker, or it is too late: the run goes on with that
                screen.line(screen.say.told(str(error)))
    return asked


def _choice(screen: Screen, question: Question) -> tuple[bool, str] | None:
    """Yes or no and why not; None for later, which is also what Ctrl-D says. Anything else is asked again."""
    head = screen.say("Accept? ") if question.about == "plan" else ""
    while (said := _typed(head + screen.say("[y] yes  [n] no, because …  [l] later: "))) is not None:
        word, _, rest = re.sub(r"[,，:：\s]+", " ", said, count=1).partition(" ")
        if word.lower() in ("n", "no"):
            because = rest.strip() or _typed(screen.say("because: "))
            return None if because is None else (False, because)
        if not rest.strip() and word.lower() in ("y", "yes"):
            return True, ""
        if not rest.strip() and word.lower() in ("l", "later"):
            return None
        print(screen.say("please y, n or l"))
    print()
    return None


def _someone_there() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _typed(prompt: str) -> str | None:
    """What a person types; None after Ctrl-D."""
    # asyncio's own handler would only cancel us once the line is typed.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(prompt, end="", flush=True)  # input() would write it to standard error, which may be a file
        return input().strip()
    except EOFError:
        return None
    finally:
        signal.signal(signal.SIGINT, before)


def _code(stand: Stand) -> int:
    if stand.standing == "done":
        report = stand.report or {}
        undone = [r for r in report.get("steps", ()) if r["verdict"] == "not done" and not r.get("looks")]
        failed = any(r["verdict"] == "failed" for r in report.get("steps", ()))
        return FAILED if failed or undone or report.get("said_no") else DONE
    return {"previewed": DONE, "waiting": WAITING, "held": HELD, "stopped": STOPPED, "rejected": FAILED}.get(
        stand.standing, FAILED
    )
