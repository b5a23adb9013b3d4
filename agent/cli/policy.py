"""`remit policy check`: whether a policy file loads, with every fault at its place."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import DONE, USAGE
from agent.cli.desk import JsonOption


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    policy = typer.Typer(help="The rules that decide what may be done.", no_args_is_help=True)
    policy.callback()(lambda: None)  # without it a single command would take the group's place
    policy.command("check")(check)
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


def _fault(path: Path, line: str) -> dict[str, Any]:
    """A fault as facts; line and column are None where the file itself cannot be read."""
    at, column, sentence = ([*line.removeprefix(f"{path}:").split(":", 2), "", ""])[:3]
    if not at.isdigit():
        return {"line": None, "column": None, "fault": line.removeprefix(f"{path}: ")}
    return {"line": int(at), "column": int(column), "fault": sentence.strip()}
