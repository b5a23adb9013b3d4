"""Runs: start one, advance it as far as it goes, stop it, say where it stands.

`advance` is the one path of every run, whoever started it: it runs until the run is done, parked or stopped,
and returns. A question always parks; whoever answers advances again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.errors import AgentError, BadTask, NoSuchRun, RunBusy
from agent.events import Watcher, nobody
from agent.governance import signed
from agent.state import GRAPH_VERSION, fresh
from agent.store.runs import Run, RunStatus, this_process
from agent.wiring import WORKSPACE_BYTES, App
from policies.errors import PolicyError
from policies.ledger import Draft
from policies.outcome import Outcome
from policies.question import Question
from policies.request import Request
from policies.rules import Policy

LONGEST_TASK = 20_000
"""Characters; a longer text belongs into a file given with --file."""
LONGEST_TITLE = 200
"""Characters of a task that stand in the run's row; a cut one ends in `…`."""
PROBE = "remit doctor"
"""Title of the runs that `probe` makes, which have no task."""
LEASE_S = 30.0
BEAT_S = 1.0
"""How often a lease is renewed and a wish to stop is looked for: a stop takes effect within two seconds."""

Standing = Literal["done", "rejected", "failed", "previewed", "waiting", "held", "stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """Where a run stands after an advance."""

    run: str
    standing: Standing
    questions: tuple[Question, ...] = ()
    trouble: str = ""
    report: dict[str, Any] | None = None


class Runs:
    """The runs of one home."""

    def __init__(self, app: App) -> None:
        self._app = app

    def start(
        self,
        task: str,
        *,
        policy: Policy,
        policy_path: Path | None = None,
        files: Sequence[Path] = (),
        accept: bool = False,
        dry_run: bool = False,
        attended: bool = True,
        out: Path | None = None,
    ) -> str:
        """Write a new run and give its id; nothing has been asked of a model yet. BadTask says what is wrong.

        `out` is where its deliverables go, whoever advances it to its end.
        """
        app = self._app
        task = task.strip()
        if not task:
            raise BadTask("the task is empty; say in words what should be done")
        if len(task) > LONGEST_TASK:
            raise BadTask(f"the task has {len(task):,} characters, at most {LONGEST_TASK:,}; give more with --file")
        if not app.settings.model.base_url or not app.settings.model.model:
            raise BadTask("no model is configured; run: remit init")
        for file in files:
            if not file.is_file():
                raise BadTask(f"there is no file {str(file)!r} to hand over; check --file")
        if out:
            check_folder(out)
        app.check_home()
        contents = [(file.name, file.read_bytes()) for file in files]
        run_id = _new_id()
        app.store.runs.create(
            Run(
                id=run_id,
                created_at=app.clock.now(),
                principal=app.settings.principal,
                title=task if len(task) <= LONGEST_TITLE else f"{task[: LONGEST_TITLE - 1]}…",
                policy_digest=policy.digest,
                graph_version=GRAPH_VERSION,
            )
        )
        options = {
            "accept": accept,
            "dry_run": dry_run,
            "attended": attended,
            "policy": str((policy_path or app.settings.policy_path).absolute()),
            "out": str(out.absolute()) if out else None,
        }
        try:
            workspace = app.workspace(run_id)
            for name, content in contents:
                workspace.write(name, content)
            listed = "".join(f"\n[file handed over: {name}]" for name, _ in contents)
            app.store.documents.put(run_id, "task", {"text": task + listed})
            app.store.documents.put(run_id, "options", options)
        except BaseException as error:
            self._not_begun(run_id, error)
            raise
        return run_id

    async def probe(self, policy: Policy, *, quick_s: float) -> Outcome:
        """What the model endpoint of the settings can, asked in a small run of its own, which is then done."""
        store, who, now = self._app.store, self._app.settings.principal, self._app.clock.now()
        run_id, ended = _new_id(), {"end": "done", "steps": [], "deliverables": []}
        store.runs.create(
            Run(
                id=run_id,
                created_at=now,
                principal=who,
                title=PROBE,
                policy_digest=policy.digest,
                graph_version=GRAPH_VERSION,
            )
        )
        store.documents.put(run_id, "report", ended)  # there is nothing that could be resumed
        epoch = store.runs.claim(run_id, this_process(), LEASE_S)
        try:
            async with self._app.probing(run_id, policy, quick_s) as (gate, action):
                asked = Request(run=run_id, seq=1, epoch=epoch, action=action, principal=who, mandate=None, now=now)
                return await gate.submit(asked)
        finally:
            store.runs.set_status(run_id, RunStatus.DONE)
            store.runs.release(run_id, epoch)

    async def advance(self, run_id: str, watch: Watcher = nobody) -> Stand:
        """Run until done, parked or stopped. RunBusy when another process works on it.

        Cancelling stops the run: what was begun is recorded, pages and children are closed, and it can be
        resumed.
        """
        app, store = self._app, self._app.store
        run = store.runs.get(run_id)
        options = store.documents.get(run_id, "options") or {}
        if run.graph_version != GRAPH_VERSION:
            held = f"run {run_id} was begun by another version of Remit (graph {run.graph_version}); finish it there"
            return Stand(run=run_id, standing="held", trouble=held)
        if (report := store.documents.get(run_id, "report")) is not None:
            return Stand(run=run_id, standing=report["end"], report=report, trouble=report.get("why", ""))
        if waiting := self._open_questions(run_id):
            return Stand(run=run_id, standing="waiting", questions=waiting)
        policy = self.policy(run_id)
        epoch, began = store.runs.claim(run_id, this_process(), LEASE_S), app.clock.monotonic()

        def worked_ms() -> int:
            return run.worked_ms + round((app.clock.monotonic() - began) * 1000)

        try:
            app.saver.fence(run_id, epoch)
            return await self._driven(run_id, epoch, await app.hands(run, policy, watch), options, worked_ms)
        except BaseException as error:
            await app.let_go(run_id)
            with suppress(PolicyError):  # the store may be what is in trouble, or another process has the run
                if store.runs.get(run_id).status is RunStatus.RUNNING:
                    store.runs.set_status(run_id, RunStatus.PARKED)
            if run.status is RunStatus.READY:
                self._not_begun(run_id, error)
            raise
        finally:
            store.runs.release(run_id, epoch, worked_ms=worked_ms())

    async def _driven(
        self, run_id: str, epoch: int, hands: Any, options: dict[str, Any], worked_ms: Callable[[], int]
    ) -> Stand:
        """Work until the work ends, or somebody wishes it to stop, or this process loses the run."""
        store, stopped = self._app.store, asyncio.Event()
        beat = asyncio.create_task(self._beat(run_id, epoch, stopped, worked_ms))
        work = asyncio.create_task(self._drive(run_id, epoch, hands, options))
        try:
            await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            await _ended(work)
            if not stopped.is_set():
                beat.result()  # raises StaleEpoch or RecordsUnavailable
            await self._app.let_go(run_id)
            store.runs.set_status(run_id, RunStatus.STOPPED)
            return Stand(run=run_id, standing="stopped", trouble="it was stopped; resume it with: remit runs resume")
        except asyncio.CancelledError:
            await _ended(work)
            store.runs.set_status(run_id, RunStatus.STOPPED)
            raise
        finally:
            await _ended(beat)

    def stop(self, run_id: str) -> None:
        """Ask whoever works on the run to stop it; one that nobody alive works on is stopped at once."""
        store = self._app.store
        if store.runs.get(run_id).status in (RunStatus.DONE, RunStatus.FAILED):
            return
        store.runs.request_stop(run_id)
        with suppress(RunBusy):
            epoch = store.runs.claim(run_id, this_process(), LEASE_S)
            store.runs.set_status(run_id, RunStatus.STOPPED)
            store.runs.release(run_id, epoch)

    def policy(self, run_id: str) -> Policy:
        """The policy file that the run was started with, as it is now."""
        options = self._app.store.documents.get(run_id, "options") or {}
        return self._app.policy(Path(options["policy"]), principal=self._app.store.runs.get(run_id).principal)

    def find(self, prefix: str) -> Run:
        """The run whose id begins so; NoSuchRun when none or several do."""
        if not prefix.strip():
            raise NoSuchRun("the id of a run is missing; see: remit runs list")
        with suppress(NoSuchRun):
            return self._app.store.runs.get(prefix)
        found = [r for r in self._app.store.runs.list(limit=1000) if r.id.startswith(prefix.upper())]
        if len(found) != 1:
            raise NoSuchRun(
                f"{'several runs begin' if found else 'no run begins'} with {prefix!r}; see: remit runs list"
            )
        return found[0]

    def deliver(self, run_id: str, folder: Path) -> tuple[Path, ...]:
        """Copy the deliverables that exist into `folder`, never over a file or through a link; gives their paths."""
        report = self._app.store.documents.get(run_id, "report") or {}
        workspace = self._app.workspace(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for name in report.get("deliverables", []):
            if name in workspace.files():
                made.append(_copied(workspace.read(name, limit_bytes=WORKSPACE_BYTES), folder / Path(name).name))
        return tuple(made)

    async def _drive(self, run_id: str, epoch: int, hands: Any, options: dict[str, Any]) -> Stand:
        """Invoke the graph from where its checkpoint stands; what it does is traced nowhere, whatever asks for it."""
        from langsmith import tracing_context  # start-up time: listing and stopping runs needs no graph

        with tracing_context(enabled=False, parent=False):
            return await self._invoke(run_id, epoch, hands, options)

    async def _invoke(self, run_id: str, epoch: int, hands: Any, options: dict[str, Any]) -> Stand:
        from langgraph.types import Command

        from agent.graph import MOST_SUPERSTEPS, build

        app = self._app
        config: dict[str, Any] = {"configurable": {"thread_id": run_id}, "recursion_limit": MOST_SUPERSTEPS}
        work = hands.work(epoch, 0, options)
        graph = build(work, app.saver)
        before = await graph.aget_state(config)  # type: ignore[arg-type]
        if before.values:
            work = hands.work(epoch, before.values["messages"], options)
            graph = build(work, app.saver)
        app.store.runs.set_status(run_id, RunStatus.RUNNING)
        todo: Any = None
        if not before.values:
            todo = fresh(run_id)
            named = Path((app.store.documents.get(run_id, "options") or {}).get("policy") or app.settings.policy_path)
            facts: dict[str, Any] = {"policy": hands.policy.digest, "signed_by": signed(app.settings, named)[0]}
            begun = Draft(event="run", seq=0, facts=facts)
            app.store.ledger.record(run_id, (begun,), epoch=epoch, now=app.clock.now())
        elif before.interrupts:
            todo = Command(resume={i.id: True for i in before.interrupts})
        await graph.ainvoke(todo, config, durability="sync")  # type: ignore[call-overload]
        return await self._standing(run_id, graph, config, epoch)

    async def _standing(self, run_id: str, graph: Any, config: Any, epoch: int) -> Stand:
        store = self._app.store
        after = await graph.aget_state(config)
        if after.interrupts:
            store.runs.set_status(run_id, RunStatus.PARKED)
            asked = self._open_questions(run_id)
            trouble = after.interrupts[0].value.get("trouble") or ""
            return Stand(run=run_id, standing="waiting" if asked else "held", questions=asked, trouble=trouble)
        report = store.documents.get(run_id, "report") or {}
        end = report.get("end", "failed")
        store.runs.set_status(run_id, RunStatus.DONE if end in ("done", "previewed") else RunStatus.FAILED)
        ended = Draft(event="ended", seq=0, facts={"end": end})
        store.ledger.record(run_id, (ended,), epoch=epoch, now=self._app.clock.now())
        return Stand(run=run_id, standing=end, report=report, trouble=report.get("why", ""))

    def _not_begun(self, run_id: str, error: BaseException) -> None:
        """Mark a run that is still `ready` after an error: stopped if somebody cancelled it, held, or failed."""
        runs = self._app.store.runs
        with suppress(PolicyError, AgentError):
            if runs.get(run_id).status is not RunStatus.READY:
                return
            if not isinstance(error, Exception):
                runs.set_status(run_id, RunStatus.STOPPED)
            elif isinstance(error, PolicyError):  # of the store: the same can go well later
                runs.set_status(run_id, RunStatus.PARKED)
            else:
                ended = {"end": "failed", "why": str(error), "steps": [], "deliverables": []}
                self._app.store.documents.put(run_id, "report", ended)
                runs.set_status(run_id, RunStatus.FAILED)

    def _open_questions(self, run_id: str) -> tuple[Question, ...]:
        now = self._app.clock.now()
        asked = self._app.store.questions.all(run_id)
        return tuple(q for q in asked if not q.settled(now))

    async def _beat(self, run_id: str, epoch: int, stopped: asyncio.Event, worked_ms: Callable[[], int]) -> None:
        """Keep the lease; return when somebody asked to stop."""
        while True:
            await asyncio.sleep(BEAT_S)
            self._app.store.runs.renew(run_id, epoch, LEASE_S, worked_ms=worked_ms())
            if self._app.store.runs.stop_requested(run_id):
                stopped.set()
                return


def check_folder(out: Path) -> None:
    """BadTask when deliverables cannot be put into this folder, which need not be there yet."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists() or path.is_symlink())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "you may not write there" if there.is_dir() else f"{str(there)!r} is no folder"
        raise BadTask(f"nothing can be put into {str(out)!r}: {why}; name another folder with --out")


def _copied(data: bytes, wanted: Path) -> Path:
    """A new file with these bytes under the wanted name, or the next free one such as `report (2).txt`."""
    for n in itertools.count(1):
        target = wanted if n == 1 else wanted.with_name(f"{wanted.stem} ({n}){wanted.suffix}")
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as new:
            new.write(data)
        return target
    raise AssertionError("counting does not end")


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is really over; its own error is not ours to raise here."""
    if not task.done():
        task.cancel()
    await asyncio.wait({task})


def _new_id() -> str:
    """Eight characters without look-alikes, about 38 bits."""
    return "".join(secrets.choice("23456789ABCDEFGHJKLMNPQRSTVWXYZ") for _ in range(8))
