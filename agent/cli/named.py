"""The policy that a command is about: a file, a preset by its name, or the one in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from policies.rules import Policy

PolicyOption = Annotated[
    str | None, typer.Option("--policy", help="A policy file, or the name of a preset; the one in force without it.")
]


def named_policy(name: str | None) -> Policy:
    """The policy in a file, or the preset of that name, or the one in force; BadPolicy, BadSettings."""
    from importlib.resources import files  # start-up time

    from agent.errors import BadSettings
    from agent.governance import groups_of, policy_of
    from agent.settings import load_settings
    from policies.load import load, loads

    settings = load_settings()
    path = Path(name) if name else settings.policy_path
    preset = files("policies").joinpath("presets", f"{path.name}.yaml")
    if name == path.name and not path.exists() and preset.is_file():
        return loads(preset.read_text("utf-8"), path.name)
    if not path.exists():
        raise BadSettings(f"there is no policy {str(path)!r}; make one with: remit init, or name one: --policy FILE")
    if name is None:
        return policy_of(settings, path, settings.principal)
    return load(path, practice=settings.practice, groups=groups_of(settings))
