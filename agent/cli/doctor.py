"""`remit doctor`: what is installed and whether it works, a line each, with what to do where it does not."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from agent.cli import DONE, FAILED
from agent.cli.desk import JsonOption

if TYPE_CHECKING:
    from agent.language import Language
    from agent.settings import Settings
    from agent.wiring import App
    from policies.rules import Policy

QUICK_S = 2.0
"""A model that answers a word within this is also asked about a long prompt; others only with --deep."""


class Finding(NamedTuple):
    """One thing that was looked at; `good` is None where it is not required or could not be told."""

    name: str
    good: bool | None
    text: str


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("doctor")(doctor)


def doctor(
    json: JsonOption = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Send a slow model the long prompt too (12,000 tokens).")
    ] = False,
) -> int:
    """Look whether everything that a run needs is there and works; the model is asked three small things."""
    from json import dumps  # start-up time

    from agent.language import Language
    from agent.settings import load_settings

    settings = load_settings()
    say = Language(settings.language)

    async def whole() -> int:
        code = DONE
        async for finding in findings(settings, say, deep=deep):
            code = FAILED if finding.good is False else code
            mark = {True: "✓", False: "✗", None: "~"}[finding.good]
            shown = (
                dumps(finding._asdict(), ensure_ascii=False) if json else f"{mark} {say(finding.name)}: {finding.text}"
            )
            print(shown, flush=True)
        return code

    return asyncio.run(whole())


async def findings(settings: Settings, say: Language, *, deep: bool) -> AsyncIterator[Finding]:
    """Everything that is looked at, as it is found; nothing is changed but for one small run that asks the model."""
    from agent.errors import AgentError  # start-up time
    from agent.wiring import App
    from policies.errors import PolicyError
    from sandbox.confinement import Level, probe
    from sandbox.setup import PARTS

    yield Finding("Python", True, f"{sys.version.split()[0]}, {sys.executable}")
    try:
        app = App(settings)
    except (AgentError, PolicyError, OSError) as error:
        yield Finding("home", False, str(error))
        return
    try:
        yield _home(settings.home, say)
        yield Finding("store", True, settings.store_url.rpartition("@")[2])
        policy = None
        try:
            policy = app.policy()
            yield Finding("policy", True, say("{name}, {n} rules", name=policy.name, n=len(policy.rules)))
        except (AgentError, PolicyError) as error:
            yield Finding("policy", False, str(error).splitlines()[0])
        reached = probe()
        least = Level[policy.least_level.upper()] if policy else Level.NAMESPACES
        yield Finding("walls", reached.level >= least, f"{reached.level.name.lower()}. {' '.join(reached.missing)}")
        yield _keyring(app, say)
        fonts = next(part for part in PARTS if part.name == "CJK fonts")
        yield Finding("CJK fonts", *((True, say("there")) if fonts.there() else (None, fonts.otherwise)))
        if policy is not None:
            yield await _browser(app, policy, say)
            yield await _model(app, policy, say, quick_s=math.inf if deep else QUICK_S)
    finally:
        await app.close()


def _home(home: Path, say: Language) -> Finding:
    if home.stat().st_mode & 0o077:
        return Finding("home", False, say("others can look into {home}; run: chmod 700 {home}", home=home))
    return Finding("home", True, str(home))


def _keyring(app: App, say: Language) -> Finding:
    from tools.errors import OperatorError  # start-up time

    try:
        return Finding(
            "keyring", True, say("{name}; secrets: {n}", name=app.vault.backend_name, n=len(app.vault.names()))
        )
    except OperatorError as error:
        return Finding("keyring", False, str(error))


async def _browser(app: App, policy: Policy, say: Language) -> Finding:
    from tools.errors import OperatorError  # start-up time

    try:
        browser = app.browser(policy)
        await browser.tab("doctor")
        await browser.close("doctor")
    except OperatorError as error:
        return Finding("browser", False, str(error))
    return Finding("browser", True, say("starts; walls round its pages: {level}", level=browser.level))


async def _model(app: App, policy: Policy, say: Language, *, quick_s: float) -> Finding:
    from agent.runs import Runs  # start-up time
    from policies.outcome import Done

    model = app.settings.model
    if not model.base_url or not model.model:
        return Finding("model", False, say("none is configured; run: remit init"))
    outcome = await Runs(app).probe(policy, quick_s=quick_s)
    if not isinstance(outcome, Done):
        return Finding(
            "model", False, getattr(outcome, "reason", "") or say("a person would have to allow the question")
        )
    seen = outcome.observation.data
    assert isinstance(seen, dict), "the probe gives its fields"
    cuts: Any = seen["cuts_long_prompts"]
    good = bool(seen["answers"] and seen["calls_tools"] and cuts is not True)
    long = {True: "CUTS long prompts", False: "reads long prompts whole", None: "long prompts not tried; see --deep"}[
        cuts
    ]
    facts = say("{model} answers in {seconds} s", model=seen["model"], seconds=f"{seen['latency_s']:.1f}")
    return Finding("model", good, f"{facts}, {say(long)}. {seen['reason']}" if good else str(seen["reason"]))
