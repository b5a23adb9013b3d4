"""The doctor says what works, what does not and what to do; it asks the model through the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.cli.doctor import Found, findings
from agent.language import Language
from agent.runs import Runs
from agent.settings import load_settings
from agent.store.runs import RunStatus
from agent.wiring import App
from tests.agent.cli.conftest import SECRET, Remit, opened
from tests.tools.models.cases import stop, t
from tests.tools.models.conftest import Wire, wire
from tests.tools.models.test_endpoint import SEVEN, SHORT, canary

__all__ = ["wire"]
READY = {"parts": stop(t("ready"))}


async def looked(quick_s: float = 60.0) -> dict[str, Found]:
    settings = load_settings()
    return {name: found async for name, found in findings(settings, Language("en"), quick_s=quick_s)}


@pytest.fixture
async def served(home: Path, wire: Wire) -> Wire:
    """A home whose model is a server on loopback."""
    (home / "settings.toml").write_text(f'[model]\nbase_url = "{wire.base_url}"\nmodel = "qwen3.8-max"\n')
    app = App(load_settings())
    app.keep_secret("model-key", SECRET, ("127.0.0.1",))
    await app.close()
    return wire


async def test_everything_that_works_is_said_to_work(served: Wire, home: Path) -> None:
    served.plays = [READY, SEVEN, lambda body: canary(body, 11_000)]

    found = await looked()

    assert {name: good for name, (good, _) in found.items() if good is not True} == {}
    assert list(found) == [
        *("Python", "home", "store", "policy", "servers", "walls", "keyring", "CJK fonts", "browser", "model"),
    ]
    assert found["policy"][1].startswith("back-office; rules: ")
    assert found["model"][1].startswith("qwen3.8-max answers in ")
    assert found["model"][1].endswith("reads long prompts whole")


async def test_the_model_is_asked_through_the_gate_and_recorded(served: Wire, home: Path) -> None:
    served.plays = [READY, SEVEN, lambda body: canary(body, 11_000)]
    await looked()

    app = App(load_settings())
    (run,) = app.store.runs.list()
    entries = app.store.ledger.entries(run.id)
    assert [(e.event, e.facts["kind"]) for e in entries] == [("intent", "model.call"), ("done", "model.call")]
    assert (run.status, run.owner, run.title) == (RunStatus.DONE, None, "remit doctor")
    assert app.store.ledger.verify(run.id) is None
    await app.close()
    assert all(f"Bearer {SECRET}" in head for head in served.heads)


def test_runs_in_which_the_doctor_asked_are_not_listed(remit: Remit, home: Path) -> None:
    assert "model: " in remit("doctor").out  # nobody answers, and it is a run all the same
    with opened() as app:
        run = Runs(app).start("remit doctor", policy=app.policy())
        assert len(app.store.runs.list()) == 2

    assert [o["run"] for o in remit("runs", "list", "--json").objects] == [run]


async def test_a_policy_that_does_not_allow_the_model_keeps_the_doctor_from_asking_it(served: Wire, home: Path) -> None:
    policy = home / "policy.yaml"
    policy.write_text("\n".join(line for line in policy.read_text().splitlines() if "id: model," not in line))

    good, text = (await looked())["model"]

    assert (good, served.connections) == (False, 0)
    assert text == "no rule of policy 'back-office' allows this model.call"


async def test_a_model_that_drops_the_front_of_a_long_prompt_is_not_good(served: Wire) -> None:
    served.plays = [READY, SEVEN, SHORT]

    good, text = (await looked())["model"]

    assert good is False
    assert "OLLAMA_CONTEXT_LENGTH" in text


async def test_a_slow_model_is_not_sent_the_long_prompt(served: Wire) -> None:
    served.plays = [READY, SEVEN]

    good, text = (await looked(quick_s=0))["model"]

    assert (good, len(served.bodies)) == (True, 2)
    assert text.endswith("long prompts not tried; see --deep")


async def test_a_home_without_anything_says_what_to_do(home: Path) -> None:
    (home / "settings.toml").unlink()
    (home / "policy.yaml").unlink()
    (home / "mine.txt").write_text("not of Remit")
    home.chmod(0o755)

    found = await looked()

    assert found["home"] == (False, f"others can look into {home}; run: chmod 700 {home}")
    assert found["policy"][0] is False and "remit init" in found["policy"][1]
    assert found["browser"] == (None, "not tried without a policy")
    assert found["model"] == (False, "none is configured; run: remit init")


async def test_a_store_that_does_not_open_ends_the_look(home: Path) -> None:
    (home / "keys.json").write_text("{}")
    (home / "keys.json").chmod(0o600)

    found = await looked()

    assert found["store"][0] is False
    assert list(found) == ["Python", "store"]


def test_what_does_not_work_shows_in_the_exit_code_and_as_json(remit: Remit, home: Path) -> None:
    (home / "settings.toml").unlink()
    (home / "policy.yaml").unlink()

    said, as_json = remit("doctor"), remit("doctor", "--json")

    assert said.code == as_json.code == 1
    assert "✗ model: none is configured; run: remit init" in said.out
    found: list[dict[str, Any]] = as_json.objects
    assert {f["name"]: f["good"] for f in found}["model"] is False


async def test_a_fault_in_the_inventory_is_told(home: Path) -> None:
    (home / "servers.yaml").write_text("servers: [web-1\n")

    good, text = (await looked())["servers"]

    assert (good, text.startswith(f"{home / 'servers.yaml'}:")) == (False, True)


async def test_a_practice_home_whose_world_is_down_says_how_to_have_it_up(home: Path) -> None:
    (home / "settings.toml").write_text("practice = true\n")

    assert (await looked())["model"] == (False, "The practice world is down; run: remit practice up")
