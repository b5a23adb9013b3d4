"""A practice home: a REMIT_HOME whose settings, secrets, inventory and policies point at a practice world."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from agent.errors import BadSettings
from agent.home import make_home
from agent.settings import Settings, load_settings
from agent.store.store import Store
from agent.wiring import App
from sandbox.practice import approver
from sandbox.practice.world import World, status, up

MODEL_KEY = "sk-MADEUP-practice-key"
_PEOPLE = f"""# Who is who here, and who may answer. `you` may too, so that one person can try everything.
version: 1
persons:
  you: {{{{accounts: {{{{system: {{me!r}}}}}}}}}}
  {approver.NAME}: {{{{accounts: {{{{practice: {approver.NAME}}}}}}}}}
groups:
  finance: [you, {approver.NAME}]
"""


def make(home: Path, *, script: str | None = None) -> tuple[World, Settings]:
    """A world under `home`/world with a home that works in it; what is there already is kept."""
    if (home / "settings.toml").exists() and not is_practice(home):
        raise BadSettings(f"{str(home)!r} is no practice home; set REMIT_HOME to your own home, or leave it out")
    make_home(home)
    world = up(home / "world", script=script)
    for name, source in (("policy.yaml", "back-office.yaml"), ("allow-all.yaml", "allow-all.yaml")):
        package = "policies.presets" if source == "back-office.yaml" else "sandbox.practice"
        if not (home / name).exists():
            shipped = files(package).joinpath(source).read_text("utf-8")
            (home / name).write_text(shipped.replace("# of: {group: finance}  ", "of: {group: finance}"), "utf-8")
    if not (home / "people.yaml").exists():
        (home / "people.yaml").write_text(_PEOPLE.format(me=Settings(home=home).principal), "utf-8")
    (home / "settings.toml").write_text(
        f"""practice = true
approvers = ["{approver.NAME}"]

[model]
base_url = "{world.model.url}/v1"
model = "qwen3.8-flash"
price_in = "0.3"
price_out = "1.2"

[hosts]
"shop.example" = "{world.shop.host}:{world.shop.port}"
"collect.example" = "{world.collect.host}:{world.collect.port}"
""",
        encoding="utf-8",
    )
    (home / "servers.yaml").write_text(
        f"""servers:
  web-1:
    host: {world.web1.host}
    port: {world.web1.port}
    user: {world.web1_user}
    host_key: {" ".join(world.web1_host_key.split()[:2])}
    key: web-1-key
""",
        encoding="utf-8",
    )
    settings = load_settings(environment={**os.environ, "REMIT_HOME": str(home)})
    app = App(settings)
    try:
        app.keep_secret("model-key", MODEL_KEY, (world.model.host,))
        app.keep_secret("shop-password", world.shop_password, ("shop.example",))
        app.keep_secret("web-1-key", world.web1_client_key.read_text(encoding="ascii"), ("web-1",))
    finally:
        asyncio.run(app.close())
    return world, settings


def is_practice(home: Path) -> bool:
    """Whether `make` made the home."""
    settings = home / "settings.toml"
    return settings.is_file() and settings.read_text("utf-8").startswith("practice = true\n")


def world_is_up(home: Path) -> bool:
    """Whether every part of the world of this practice home runs."""
    return status(home / "world").up


def everything_kept(app: App, run: str) -> Iterator[tuple[str, str]]:
    """Every text that a run left in ledger, records, conversation and checkpoints: opened, as (place, text).

    Left out are the vault of handles and the run's folder, which are there to hold the values.
    """
    store: Store = app.store
    for entry in store.ledger.entries(run):
        yield f"ledger {entry.index}", entry.model_dump_json()
        yield f"ledger body {entry.index}", _text(store.ledger.body(run, entry.index))
        if (row := store.records.submission(run, entry.seq)) is not None and row.outcome is not None:
            yield f"submission {entry.seq}", row.outcome.model_dump_json()
    for n, fragment in enumerate(store.messages.all(run)):
        yield f"message {n}", fragment.decode()
    for question in store.questions.all(run, open_only=False):
        yield f"question {question.id}", question.model_dump_json()
    for name in ("plan", "preflight", "progress", "checks", "summary", "report", "acceptance", "hosts"):
        yield f"document {name}", _text(store.documents.get(run, name))
    for checkpoint in app.saver.list({"configurable": {"thread_id": run}}):
        yield "checkpoint", repr(checkpoint)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
