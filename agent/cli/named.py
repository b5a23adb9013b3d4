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


class AnyGroup(frozenset[str]):
    """Nobody answers in a dry run, so a rule may name any group, and no list of people is needed."""

    def __contains__(self, group: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


def named_policy(name: str | None) -> Policy:
    """The policy in a file, or the preset of that name, or all that is in force here; BadPolicy, BadSettings."""
    from importlib.resources import files  # start-up time

    from agent.errors import BadSettings
    from agent.governance import policy_of
    from agent.settings import load_settings
    from policies.load import load, loads

    settings = load_settings()
    if name is None:
        return policy_of(settings, settings.policy_path, settings.principal)
    path = Path(name)
    if path.exists():
        return load(path, practice=settings.practice, groups=AnyGroup())
    preset = files("policies").joinpath("presets", f"{path.name}.yaml")
    if name != path.name or not preset.is_file():
        raise BadSettings(f"there is no policy {str(path)!r}; make one with: remit init, or name one: --policy FILE")
    return loads(preset.read_text("utf-8"), name, groups=AnyGroup())
