"""Puts the parts together: the only module that names concrete classes.

What only an advancing run needs is imported when it is made: graph, browser, SSH and the model's client take
seconds of processor time, and `remit questions` needs none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from agent.clock import SystemClock
from agent.events import Watcher, nobody
from agent.governance import people_of, policy_of
from agent.home import make_home
from agent.pages import may_load, named_hosts
from agent.settings import Settings
from agent.store.runs import Run
from agent.store.seal import Keys
from agent.store.store import Store
from policies.action import ModelCall
from policies.people import People
from policies.ports import Clock, Executor
from policies.redact.literal import Secrets as KnownSecrets
from policies.redact.redactor import Redactor
from policies.rules import Policy
from sandbox.workspace import Workspace
from tools.own.declaration import OwnTools
from tools.vault import Secret, Vault

if TYPE_CHECKING:
    from agent.store.checkpoints import FencedSaver
    from agent.work import Work
    from policies.gate import Gate
    from tools.browser.session import Browser
    from tools.models.endpoint import ChatCall, EndpointFacts

WORKSPACE_BYTES = 2_000_000_000


class App:
    """One process of Remit over one home. Parts are made when first needed; `close` ends them all."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings, self.clock = settings, clock or SystemClock()
        make_home(settings.home)
        self.keys = Keys.load(settings.home)
        self.store = Store.open(settings.store_url, self.keys, self.clock)
        self._saver: FencedSaver | None = None
        self._vault: Vault | None = None
        self._browsers: dict[str, Browser] = {}
        self._hands: dict[str, Hands] = {}
        self._redactors: dict[str, Redactor] = {}
        self._known = KnownSecrets()

    @property
    def vault(self) -> Vault:
        """The secrets of this home."""
        if self._vault is None:
            self._vault = Vault.at(self.settings.home)
        return self._vault

    def keep_secret(self, name: str, value: str, hosts: tuple[str, ...]) -> None:
        """Keep a value that may be sent to these hosts; BadSecret says what is wrong with it."""
        self.vault.set(Secret(name=name, value=value, sinks=hosts))
        self._known.add(value)

    def watch_for_secrets(self) -> None:
        """From now on every run here looks for the secrets of this home as they are now, whoever stored them."""
        for secret in self.vault.all():
            self._known.add(secret.value)

    @property
    def saver(self) -> FencedSaver:
        """Where runs can continue."""
        from agent.store.checkpoints import FencedSaver

        if self._saver is None:
            self._saver = FencedSaver.open(self.settings.home / "checkpoints.sqlite3", self.keys)
        return self._saver

    def policy(self, path: Path | None = None, *, principal: str = "") -> Policy:
        """What is in force for a principal: the policy at `path`, else the home's, under those of all layers above."""
        return policy_of(self.settings, path or self.settings.policy_path, principal or self.settings.principal)

    def people(self) -> People | None:
        """The list of people of this home as it is now; None when there is none, BadPolicy when it cannot be used."""
        return people_of(self.settings)

    def endpoint_facts(self) -> EndpointFacts:
        """The model endpoint of the settings."""
        from tools.models.endpoint import EndpointFacts

        model = self.settings.model
        return EndpointFacts(
            name=model.name,
            base_url=model.base_url,
            model=model.model,
            key_name=model.key,
            price_in=model.price_in,
            price_out=model.price_out,
            currency=model.currency,
            context_tokens=model.context_tokens,
            max_reply_tokens=model.max_reply_tokens,
        )

    def own_tools(self) -> OwnTools:
        """The users' own tools; BadTool for a declaration that cannot be used, or named like a tool of ours."""
        from tools.catalog import unshadowed

        return unshadowed(OwnTools.load(self.settings.home / "tools"))

    def servers(self) -> tuple[str, ...]:
        """The names of the enrolled servers; BadInventory for a list that cannot be used."""
        from tools.servers.inventory import load_inventory

        return tuple(load_inventory(self.settings.home / "servers.yaml").servers)

    def check_home(self) -> None:
        """BadInventory or BadTool for what a run would stumble over before its first step."""
        self.servers()
        self.own_tools()

    def workspace(self, run: str) -> Workspace:
        """The folder of a run."""
        root = self.settings.home / "runs" / run
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Workspace(root, quota_bytes=WORKSPACE_BYTES)

    def redactor(self, run: str) -> Redactor:
        """The redactor of a run: its own handles, and every secret of this home by its value."""
        if run not in self._redactors:
            self.watch_for_secrets()
            self._redactors[run] = Redactor(self.store.run_key(run), self.store.handles(run), self._known)
        return self._redactors[run]

    async def hands(self, run: Run, policy: Policy, watch: Watcher) -> Hands:
        """Everything a run acts with, kept between advances of this process while the policy stays the same."""
        self.watch_for_secrets()  # another process may have stored one while the run was parked
        if run.id in self._hands and self._hands[run.id].policy.digest != policy.digest:
            await self.let_go(run.id)
        if run.id not in self._hands:
            self._hands[run.id] = Hands(self, run, policy)
        self._hands[run.id].watch = watch
        return self._hands[run.id]

    def browser(self, policy: Policy) -> Browser:
        """The browser of this process for a policy: what a page may load is fixed with it."""
        from tools.browser.session import Browser, BrowserSettings

        if policy.digest not in self._browsers:
            names = named_hosts(policy)
            browser = self.settings.browser
            settings = BrowserSettings(
                chromium=str(browser) if browser else None,
                names=names or frozenset(),
                open_names=names is None,
                hosts=self.settings.hosts,
            )
            self._browsers[policy.digest] = Browser(
                settings, lambda run, method, url, kind: may_load(policy, method, url, kind)
            )
        return self._browsers[policy.digest]

    @asynccontextmanager
    async def probing(self, run: str, policy: Policy, quick_s: float) -> AsyncIterator[tuple[Gate, ModelCall]]:
        """A gate whose one executor asks the model endpoint what it can, and the action to submit to it."""
        from policies.gate import Gate
        from tools.models.cost import cost_micros
        from tools.models.endpoint import Endpoint
        from tools.models.executor import ProbeExecutor
        from tools.models.probe import MOST_TOKENS
        from tools.models.reply import Usage

        facts, (prompt, reply) = self.endpoint_facts(), MOST_TOKENS
        worst = Usage(
            prompt_tokens=prompt, completion_tokens=reply, reasoning_tokens=0, cached_tokens=0, estimated=True
        )
        action = ModelCall(
            endpoint=facts.name,
            model=facts.model,
            purpose="probe",
            prompt_digest=hashlib.sha256(b"remit probe 1").hexdigest(),
            prompt_tokens=prompt,
            max_reply_tokens=reply,
            worst_micros=cost_micros(facts, worst),
        )
        endpoint = Endpoint(facts)
        try:
            asking = ProbeExecutor(endpoint, self.vault, quick_s=quick_s)
            yield Gate(policy, self.store.records, [asking], self.redactor(run), self.clock), action
        finally:
            await endpoint.close()

    async def let_go(self, run: str) -> None:
        """Release what a parked or ended run holds: pages, connections."""
        if hands := self._hands.pop(run, None):
            await hands.close()

    async def close(self) -> None:
        """End everything this process started."""
        for run in list(self._hands):
            await self.let_go(run)
        for browser in self._browsers.values():
            await browser.shutdown()
        if self._saver is not None:
            self._saver.close()
        self.store.close()


class Hands:
    """The executors, the gate and the conversation of one run in this process."""

    def __init__(self, app: App, run: Run, policy: Policy) -> None:
        from agent.planning import change_tool, plan_tool
        from policies.gate import Gate
        from tools.browser.executor import BrowserExecutor
        from tools.catalog import Catalog, tools_json
        from tools.commands import matching, parse
        from tools.files import FilesExecutor
        from tools.models.endpoint import Endpoint
        from tools.models.executor import ModelExecutor
        from tools.own.executor import OwnExecutor
        from tools.servers.executor import ServerExecutor
        from tools.servers.inventory import load_inventory
        from tools.shell import ShellExecutor
        from tools.tables import TablesExecutor

        self._app, self._run, self.policy = app, run, policy
        self.watch: Watcher = nobody
        self.redactor = app.redactor(run.id)
        self.facts = app.endpoint_facts()
        self._endpoint = Endpoint(self.facts)
        inventory, practice = load_inventory(app.settings.home / "servers.yaml"), app.settings.practice
        self._servers = ServerExecutor(inventory, app.vault, this_machine=practice)
        self._own = app.own_tools()
        self._work: Work | None = None
        self._pages = BrowserExecutor(
            app.browser(policy),
            workspaces=app.workspace,
            secrets=app.vault,
            redact=self.redactor.redact_text,
        )
        executors: list[Executor] = [
            FilesExecutor(app.workspace),
            TablesExecutor(app.workspace),
            ShellExecutor(app.workspace),
            self._servers,
            OwnExecutor(self._own, app.workspace),
            self._pages,
            ModelExecutor(self._endpoint, lambda digest: self._prompt(digest), app.vault),
        ]
        self.gate = Gate(policy, app.store.records, executors, self.redactor, app.clock, app.people)
        workspace, self._parse = app.workspace(run.id), parse
        self.catalog = Catalog(parse, lambda text: matching(workspace.files(), text), self._pages, self._own)
        self.tools = tools_json([plan_tool(), change_tool(), *self.catalog.schemas()])

    def work(self, epoch: int, messages: int, options: dict[str, bool]) -> Work:
        """The work of one advance, from where the checkpoint says the conversation stands."""
        from agent.transcript import Transcript
        from agent.work import Work

        app, run = self._app, self._run
        self._work = Work(
            run=run.id,
            epoch=epoch,
            principal=run.principal,
            task=self.redactor.redact_text(_text(app.store.documents.get(run.id, "task"))),
            started_at=app.clock.now() - timedelta(milliseconds=run.worked_ms),
            attended=options.get("attended", True),
            accept=options.get("accept", False),
            dry_run=options.get("dry_run", False),
            store=app.store,
            gate=self.gate,
            policy=self.policy,
            redaction=self.redactor,
            catalog=self.catalog,
            transcript=Transcript(app.store.messages, run.id, messages),
            pages=self._pages,
            endpoint=self.facts,
            thinking=app.settings.model.thinking,
            parse=self._parse,
            tools=self.tools,
            clock=app.clock,
            watch=self.watch,
        )
        return self._work

    async def close(self) -> None:
        """Close pages and connections."""
        await self._app.browser(self.policy).close(self._run.id)
        await self._servers.close()
        await self._endpoint.close()

    def _prompt(self, digest: str) -> ChatCall:
        assert self._work is not None, "a prompt is only asked for while the run advances"
        return self._work.prompts[digest]


def _text(document: JsonValue) -> str:
    return str(document["text"]) if isinstance(document, dict) else ""
