"""`remit policy`: whether a policy file loads, and what a policy says to actions, without doing any."""

from __future__ import annotations

import json as json_text
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli import DONE, FAILED, USAGE, policy_new, policy_replay, policy_signing, policy_told
from agent.cli.desk import JsonOption
from agent.cli.named import PolicyOption, named_policy


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    policy = typer.Typer(help="The rules that decide what may be done.", no_args_is_help=True)
    policy.callback()(lambda: None)  # without it a single command would take the group's place
    policy.command("check")(check)
    policy.command("decide")(decide)
    policy.command("test")(test)
    policy_told.register(policy)
    policy_signing.register(policy)
    policy_replay.register(policy)
    policy_new.register(policy)
    app.add_typer(policy, name="policy")


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…")],
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 also for rules that are only odd.")] = False,
    json: JsonOption = False,
) -> int:
    """Read policy files and try their cases. Every fault is named as file:line:column; rules that are odd are too."""
    # Only what loading needs: this runs on every save of an editor.
    from agent.governance import groups_of, signed
    from agent.language import Language
    from agent.settings import load_settings
    from policies.doubts import Doubt, doubts
    from policies.errors import BadPolicy
    from policies.load import load

    settings, code = load_settings(), DONE
    say = Language(settings.language)
    for path in files:
        faults: list[str] = []
        name, rules, odd = "", 0, list[Doubt]()
        try:
            policy = load(path, practice=settings.practice, groups=groups_of(settings))
            name, rules, odd = policy.name, len(policy.rules), list(doubts(policy))
        except BadPolicy as error:
            faults, code = str(error).splitlines(), USAGE
        code = FAILED if odd and strict and code == DONE else code
        # Nobody can have signed it where no signer is named, and looking would load cryptography.
        by, unsigned = signed(settings, path) if settings.signers else ("", "")
        if json:
            found = {"file": str(path), "policy": name, "rules": rules, "faults": [_fault(path, f) for f in faults]}
            found |= {"doubts": [doubt.model_dump() for doubt in odd], "signed_by": by}
            print(json_text.dumps(found, ensure_ascii=False))
            continue
        for fault in faults or [
            say("{path}: policy {name}, {rules} rules, all cases hold.", path=path, name=name, rules=rules)
        ]:
            print(say.told(fault))
        if by:
            print(say("{path} is signed by {by}.", path=path, by=by))
        elif unsigned and not faults:
            print(say.told(unsigned))
        for doubt in odd:
            print(say("{path}: rule {rule}: {said}.", path=path, rule=doubt.rule, said=say.told(doubt.said)))
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


def test(
    scenarios: Annotated[list[Path], typer.Argument(metavar="FILE…")],
    policy: PolicyOption = None,
    json: JsonOption = False,
) -> int:
    """Judge the actions of scenario files and compare with what each expects. Exit code 1 if one differs."""
    from agent.language import Language  # start-up time
    from agent.scenarios import tried
    from agent.settings import load_settings

    chosen, say, code = named_policy(policy), Language(load_settings().language), DONE
    fired: set[str] = set()
    for path in scenarios:
        found = tried(path, chosen)
        wrong = [row for row in found if not row["holds"]]
        fired |= {rule for row in found for rule in row["rules"]}
        code = FAILED if wrong else code
        for row in found if json else wrong:
            told = {**row, "expected": say(row["expected"]), "got": say(row["effect"]), "said": say.told(row["reason"])}
            if json:
                print(json_text.dumps(row, ensure_ascii=False))
            else:
                print(say("{file}: {id}: expected {expected}, and it is {got}: {said}", **told))
        if not json:
            print(say("{path}: {n} of {all} hold.", path=path, n=len(found) - len(wrong), all=len(found)))
    idle = [rule.id for rule in chosen.rules if rule.id not in fired]
    if idle and not json:
        print(say("No scenario reaches: {rules}", rules=", ".join(idle)))
    return code


def _fault(path: Path, line: str) -> dict[str, Any]:
    """A fault as facts; line and column are None where the file itself cannot be read."""
    at, column, sentence = ([*line.removeprefix(f"{path}:").split(":", 2), "", ""])[:3]
    if not at.isdigit():
        return {"line": None, "column": None, "fault": line.removeprefix(f"{path}: ")}
    return {"line": int(at), "column": int(column), "fault": sentence.strip()}
