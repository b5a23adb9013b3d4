"""`remit doctor`: what is installed and whether it works, a line each, with what to do where it does not."""

from __future__ import annotations

import asyncio
import json as json_text
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import DONE, FAILED
from agent.cli.desk import JsonOption
from agent.errors import AgentError
from policies.errors import PolicyError

if TYPE_CHECKING:
    from agent.language import Language
    from agent.settings import Settings
    from agent.wiring import App
    from policies.rules import Policy

QUICK_S = 2.0
"""A model that answers a word within this is also asked about a long prompt; others only with --deep."""


Found = tuple[bool | None, str]
"""Whether it is good, None where it is not required or could not be told; and a sentence."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("doctor")(doctor)


def doctor(
    json: JsonOption = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Send a slow model the long prompt too (12,000 tokens).")
    ] = False,
) -> int:
    """Look whether everything that a run needs works. The model is asked three small things."""
    from agent.language import Language  # start-up time
    from agent.settings import load_settings

    settings = load_settings()
    say = Language(settings.language)

    async def whole() -> int:
        code = DONE
        async for name, (good, text) in findings(settings, say, quick_s=math.inf if deep else QUICK_S):
            code = FAILED if good is False else code
            found = json_text.dumps({"name": name, "good": good, "text": text}, ensure_ascii=False)
            mark = {True: "✓", False: "✗", None: "~"}[good]
            print(found if json else f"{mark} {say(name)}: {say.told(text)}", flush=True)
        return code

    return asyncio.run(whole())


async def findings(settings: Settings, say: Language, *, quick_s: float) -> AsyncIterator[tuple[str, Found]]:
    """Everything that is looked at, as it is found; nothing is changed but for one small run that asks the model."""
    from agent.wiring import App  # start-up time
    from sandbox.errors import SandboxError
    from tools.errors import ToolsError

    ours = (AgentError, PolicyError, ToolsError, SandboxError, OSError)
    yield "Python", (True, f"{sys.version.split()[0]}, {sys.executable}")
    try:
        app = App(settings)
    except ours as error:
        yield "store", (False, str(error))
        return
    try:
        look = _Look(app, say, quick_s)
        for name, one in look.all.items():
            try:
                yield name, await one()
            except ours as error:
                yield name, (False, str(error).splitlines()[0])
    finally:
        await app.close()


class _Look:
    """One look at a home whose store opens."""

    def __init__(self, app: App, say: Language, quick_s: float) -> None:
        self.app, self.say, self.quick_s = app, say, quick_s
        self.rules: Policy | None = None
        self.all: dict[str, Callable[[], Awaitable[Found]]] = {
            **{
                "home": self.home,
                "store": self.store,
                "policy": self.policy,
                "servers": self.servers,
                "walls": self.walls,
            },
            **{"keyring": self.keyring, "CJK fonts": self.fonts, "browser": self.browser, "model": self.model},
        }

    async def home(self) -> Found:
        home = self.app.settings.home
        if home.stat().st_mode & 0o077:
            return False, self.say("others can look into {home}; run: chmod 700 {home}", home=home)
        return True, str(home)

    async def store(self) -> Found:
        return True, self.app.settings.store_url.rpartition("@")[2]  # without the password of a database

    async def policy(self) -> Found:
        self.rules = self.app.policy()
        return True, self.say("{name}; rules: {n}", name=self.rules.name, n=len(self.rules.rules))

    async def servers(self) -> Found:
        return True, ", ".join(self.app.servers()) or self.say("none enrolled")

    async def walls(self) -> Found:
        from sandbox.confinement import Level, probe  # start-up time

        reached, least = probe(), Level[self.rules.least_level.upper()] if self.rules else Level.NAMESPACES
        return reached.level >= least, f"{reached.level.name.lower()}. {' '.join(map(self.say.told, reached.missing))}"

    async def keyring(self) -> Found:
        vault = self.app.vault
        return True, self.say("{name}; secrets: {n}", name=self.say.told(vault.backend_name), n=len(vault.all()))

    async def fonts(self) -> Found:
        from sandbox.setup import PARTS  # start-up time

        fonts = next(part for part in PARTS if part.name == "CJK fonts")
        return (True, self.say("there")) if fonts.there() else (None, fonts.otherwise)

    async def browser(self) -> Found:
        if self.rules is None:
            return None, self.say("not tried without a policy")
        browser = self.app.browser(self.rules)
        await browser.tab("doctor")
        await browser.close("doctor")
        return True, self.say("starts; walls round its pages: {level}", level=browser.level)

    async def model(self) -> Found:
        from agent.practice import world_is_up  # start-up time
        from agent.runs import Runs
        from policies.outcome import Done

        settings = self.app.settings.model
        if self.app.settings.practice and not world_is_up(self.app.settings.home):
            return False, self.say("The practice world is down; run: remit practice up")
        if not settings.base_url or not settings.model:
            return False, self.say("none is configured; run: remit init")
        if self.rules is None:
            return None, self.say("not tried without a policy")
        outcome = await Runs(self.app).probe(self.rules, quick_s=self.quick_s)
        if not isinstance(outcome, Done):
            return False, getattr(outcome, "reason", "") or self.say("a person would have to allow the question")
        seen: Any = outcome.observation.data
        cuts = seen["cuts_long_prompts"]
        if not seen["answers"] or not seen["calls_tools"] or cuts:
            return False, seen["reason"]
        whole = self.say("reads long prompts whole" if cuts is False else "long prompts not tried; see --deep")
        facts = self.say("{model} answers in {seconds} s", model=seen["model"], seconds=f"{seen['latency_s']:.1f}")
        return True, f"{facts}{self.say(', ')}{seen['reason'] or whole}"
