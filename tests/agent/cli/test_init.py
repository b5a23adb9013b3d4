"""`remit init` asks, keeps what is there, and leaves a home in which everything works."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agent.cli import init as module
from agent.cli.init import changed
from agent.errors import BadSettings
from tests.agent.cli.conftest import SECRET, Remit, opened

AS_PROPOSED = "\n" * 5
DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"


@pytest.fixture(autouse=True)
def _no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor has tests of its own; here nobody may be asked over the network."""
    monkeypatch.setattr("agent.cli.doctor.doctor", lambda: 0)


def settings(home: Path) -> dict[str, object]:
    return tomllib.loads((home / "settings.toml").read_text())


def test_an_interview_writes_settings_key_and_policy(remit: Remit, home: Path) -> None:
    (home / "settings.toml").unlink()
    (home / "policy.yaml").unlink()

    said = remit("init", typed=f"zh\ndash\n\nqwen3.8-max\n{SECRET}\nback\n")

    assert said.code == 0
    assert settings(home) == {
        "language": "zh",
        "model": {"base_url": DASHSCOPE, "model": "qwen3.8-max", "key": "model-key"},
    }
    assert "name: back-office" in (home / "policy.yaml").read_text()
    with opened() as app:
        kept = app.vault.find("model-key")
    assert kept is not None
    assert (kept.value, kept.sinks) == (SECRET, ("dashscope.aliyuncs.com",))
    assert SECRET not in said.out + said.err + (home / "settings.toml").read_text()
    assert (home / "settings.toml").stat().st_mode & 0o777 == 0o600


def test_a_second_interview_proposes_what_is_there_and_loses_nothing(remit: Remit, home: Path) -> None:
    mine = (
        "# mine\nbrowser = '/usr/bin/chromium'\n\n[model]  # local\nmodel = 'm' # small\nthinking = true\n\n[hosts]\n"
    )
    (home / "settings.toml").write_text(mine.replace("[model]  # local", "[model]"))
    (home / "policy.yaml").write_text("version: 1\n# my own\n")
    remit("init", typed=f"en\nother\nhttp://127.0.0.1:8000/v1\nmine\n{SECRET}\n")
    before = (home / "settings.toml").read_text()

    said = remit("init", typed=AS_PROPOSED)

    assert said.code == 0
    assert "[http://127.0.0.1:8000/v1]" in said.out and "[mine]" in said.out
    assert (home / "settings.toml").read_text() == before
    assert "# mine\nbrowser = '/usr/bin/chromium'\n" in before and "thinking = true\n\n[hosts]" in before
    assert (home / "policy.yaml").read_text() == "version: 1\n# my own\n"


def test_the_key_of_one_host_is_never_used_for_another(remit: Remit, home: Path) -> None:
    remit("init", typed=f"en\nDashScope\n\n\n{SECRET}\n")
    remit("init", typed="en\nOllama\n\n\n\n")
    assert settings(home)["model"] == {"base_url": "http://127.0.0.1:11434/v1", "model": "qwen3:8b", "key": ""}

    remit("init", typed="en\nvLLM\n\n\nsk-MADEUP-another\n")
    assert settings(home)["model"] == {
        "base_url": "http://127.0.0.1:8000/v1",
        "model": "Qwen/Qwen3-8B",
        "key": "model-key-127.0.0.1",
    }
    with opened() as app:
        assert {s.name: (s.value, s.sinks) for s in app.vault.all()} == {
            "model-key": (SECRET, ("dashscope.aliyuncs.com",)),
            "model-key-127.0.0.1": ("sk-MADEUP-another", ("127.0.0.1",)),
        }

    remit("init", typed="en\nDashScope\n\n\n\n")
    assert settings(home)["model"]["key"] == "model-key"  # type: ignore[index]


def test_a_base_url_that_is_none_is_asked_for_again(remit: Remit, home: Path) -> None:
    (home / "settings.toml").unlink()
    said = remit("init", typed="en\nother\nlocalhost:8000\nhttp://[::1\nhttp://127.0.0.1:8000/v1\n\nmine\n\n")

    assert said.code == 0
    for url in ("localhost:8000", "http://[::1"):
        assert f"{url!r} is no base URL such as http://127.0.0.1:8000/v1; it begins with http" in said.out
    assert "A model must be named" in said.out
    assert settings(home)["model"] == {"base_url": "http://127.0.0.1:8000/v1", "model": "mine", "key": ""}


def test_a_policy_that_is_there_is_said_to_be_kept(remit: Remit, home: Path) -> None:
    assert f"Your policy is kept as it is: {home / 'policy.yaml'}\n" in remit("init", typed=AS_PROPOSED).out


@pytest.mark.parametrize("answers", range(6))
def test_an_interview_that_is_cut_off_writes_nothing(answers: int, remit: Remit, home: Path) -> None:
    before = (home / "settings.toml").read_text()
    (home / "policy.yaml").unlink()

    said = remit(
        "init",
        typed="\n".join(["zh", "dash", DASHSCOPE, "qwen3.8-max", SECRET, "back"][:answers]) + "\n" * bool(answers),
    )

    assert said.code == 2
    assert said.err == ("remit: the input ended before everything was asked, so nothing is set; run: remit init\n")
    assert (home / "settings.toml").read_text() == before
    assert not (home / "policy.yaml").exists()
    assert remit("secrets", "list").out == ""


@pytest.mark.parametrize("written", ["model = {model = 'm'}\n", "model.model = 'm'\n", "[ model ]\nmodel = 'm'\n"])
def test_settings_written_another_way_are_left_alone(written: str) -> None:
    with pytest.raises(BadSettings, match="cannot change; set language and"):
        changed(written, {"language": "en"}, {"model": "n"}, "settings.toml")


def test_every_starter_policy_is_there() -> None:
    presets = Path(module.__file__).parents[2] / "policies" / "presets"

    assert {path.stem for path in presets.glob("*.yaml")} == set(module.POLICIES)


def test_a_choice_that_is_none_is_told_and_asked_again(remit: Remit, home: Path) -> None:
    said = remit("init", typed="french\nen\nd\n\n\n" + SECRET + "\n")

    assert said.code == 0
    assert "'french' is none of these" in said.out


def test_dashscope_is_not_set_up_without_a_key(remit: Remit, home: Path) -> None:
    said = remit("init", typed=f"en\nDashScope\n\n\n\n{SECRET}\n")

    assert said.code == 0
    assert "dashscope.aliyuncs.com needs a key" in said.out
    assert settings(home)["model"]["key"] == "model-key"  # type: ignore[index]
