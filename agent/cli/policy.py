"""`remit policy`: whether a policy file loads, and what a policy says to actions, without doing any."""

from __future__ import annotations

import json as json_text
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import DONE, USAGE
from agent.cli.desk import JsonOption

if TYPE_CHECKING:
    from policies.rules import Policy

PolicyOption = Annotated[
    str | None, typer.Option("--policy", help="A policy file, or the name of a preset; the one in force without it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    policy = typer.Typer(help="The rules that decide what may be done.", no_args_is_help=True)
    policy.callback()(lambda: None)  # without it a single command would take the group's place
    policy.command("check")(check)
    policy.command("decide")(decide)
    app.add_typer(policy, name="policy")


def check(files: Annotated[list[Path], typer.Argument(metavar="FILE…")], json: JsonOption = False) -> int:
    """Read policy files and try their cases. Every fault is named as file:line:column."""
    # Only what loading needs: this runs on every save of an editor.
    from agent.language import Language
    from agent.settings import load_settings
    from policies.errors import BadPolicy
    from policies.load import load

    settings, code = load_settings(), DONE
    say = Language(settings.language)
    for path in files:
        faults: list[str] = []
        name, rules = "", 0
        try:
            policy = load(path, practice=settings.practice)
            name, rules = policy.name, len(policy.rules)
        except BadPolicy as error:
            faults, code = str(error).splitlines(), USAGE
        if json:
            found = {"file": str(path), "policy": name, "rules": rules, "faults": [_fault(path, f) for f in faults]}
            print(json_text.dumps(found, ensure_ascii=False))
            continue
        for fault in faults or [
            say("{path}: policy {name}, {rules} rules, all cases hold.", path=path, name=name, rules=rules)
        ]:
            print(say.told(fault))
    return code


def decide(
    actions: Annotated[Path, typer.Option("--actions", help="Actions as JSON, one a line; - is standard input.")],
    policy: PolicyOption = None,
    planned: Annotated[
        bool, typer.Option("--planned", help="Judge as if a step of an accepted plan covered each action.")
    ] = False,
) -> int:
    """Say for each action what a policy decides: one JSON line with id, effect, rules and reason. Nothing is done."""
    from agent.proposals import judged  # start-up time

    chosen = named_policy(policy)
    with nullcontext(sys.stdin) if str(actions) == "-" else actions.open("rb") as lines:
        for found in judged(lines, chosen, planned=planned):
            print(json_text.dumps(found, ensure_ascii=False))
    return DONE


def named_policy(name: str | None) -> Policy:
    """The policy in a file, or the preset of that name, or the one in force; BadPolicy, BadSettings."""
    from importlib.resources import files  # start-up time

    from agent.errors import BadSettings
    from agent.settings import load_settings
    from policies.load import load, loads

    settings = load_settings()
    path = Path(name) if name else settings.policy_path
    preset = files("policies").joinpath("presets", f"{path.name}.yaml")
    if name == path.name and not path.exists() and preset.is_file():
        return loads(preset.read_text("utf-8"), path.name)
    if not path.exists():
        raise BadSettings(f"there is no policy {str(path)!r}; make one with: remit init, or name one: --policy FILE")
    return load(path, practice=settings.practice)


def _fault(path: Path, line: str) -> dict[str, Any]:
    """A fault as facts; line and column are None where the file itself cannot be read."""
    at, column, sentence = ([*line.removeprefix(f"{path}:").split(":", 2), "", ""])[:3]
    if not at.isdigit():
        return {"line": None, "column": None, "fault": line.removeprefix(f"{path}: ")}
    return {"line": int(at), "column": int(column), "fault": sentence.strip()}
