"""`remit policy explain|describe|schema`: a policy in words, for people and for editors."""

from __future__ import annotations

import json as json_text
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import DONE
from agent.cli.desk import JsonOption
from agent.cli.named import PolicyOption, named_policy

if TYPE_CHECKING:
    from agent.language import Language
    from policies.describe import May
    from policies.explain import Told


def register(policy: typer.Typer) -> None:
    """Add the commands of this module."""
    policy.command("explain")(explain)
    policy.command("describe")(describe)
    policy.command("schema")(schema)


def explain(
    action: Annotated[str | None, typer.Argument(help="The action as JSON; - reads it from standard input.")] = None,
    policy: PolicyOption = None,
    command: Annotated[str | None, typer.Option("--command", help="A command line instead of JSON.")] = None,
    server: Annotated[str | None, typer.Option("--server", help="The server that --command is for.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="A page to open instead of JSON.")] = None,
    untrusted: Annotated[bool, typer.Option("--untrusted", help="As if words of strangers had been read.")] = False,
    planned: Annotated[
        bool, typer.Option("--planned", help="Judge as if a step of an accepted plan covered each action.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Say why one action is allowed, asked about or refused, and which rules nearly match."""
    from agent.errors import BadSettings  # start-up time
    from agent.language import Language
    from agent.proposals import NoProposal, proposal, read
    from agent.settings import load_settings
    from policies.explain import explain as explained

    chosen, say = named_policy(policy), Language(load_settings().language)
    beside: dict[str, Any] = {"context": {"untrusted": True}} if untrusted else {}
    try:
        if command is not None:
            place = {"kind": "server.run", "server": server} if server else {"kind": "shell.run"}
            found = proposal({**place, "command": command} | beside, 1)
        elif url is not None:
            found = proposal({"kind": "browser.open", "url": url} | beside, 1)
        else:
            found = read(sys.stdin.read() if action in (None, "-") else str(action), 1)
    except NoProposal as error:
        raise BadSettings(str(error)) from None
    told = explained(found.request(chosen, planned=planned), chosen)
    if json:
        print(json_text.dumps({**told.model_dump(mode="json"), "effect": told.decision.effect.name.lower()}))
        return DONE
    print(f"{say(told.decision.effect.name.lower())}  {say.told(told.decision.reason)}")
    for one in told.matched:
        print(f"  {one.rule} ({say(one.effect)}): {_standing(one, say)}: {say.told(one.why)}")
    for one in told.nearly:
        print(say("  nearly {rule} ({effect}):", rule=one.rule, effect=say(one.effect)))
        for fault in one.failed:
            parts = {"matcher": fault.matcher, "given": fault.given, "wanted": fault.wanted}
            print(say("    {matcher} is {given}, and the rule is about {wanted}", **parts))
    if told.decision.instead:
        print(f"  {say.told(told.decision.instead)}")
    return DONE


def describe(
    policy: PolicyOption = None,
    table: Annotated[bool, typer.Option("--table", help="A table of who may do what instead of sentences.")] = False,
    json: JsonOption = False,
) -> int:
    """Say in plain sentences what a policy allows, asks about and refuses."""
    from agent.language import Language  # start-up time
    from agent.settings import load_settings
    from policies.describe import describe as described

    chosen, say = named_policy(policy), Language(load_settings().language)
    rows = described(chosen)
    if json:
        for row in rows:
            print(json_text.dumps(row.model_dump(mode="json"), ensure_ascii=False))
        return DONE
    if table:
        print("\t".join(say(head) for head in ("who", "may", "what", "where", "rule")))
        for row in rows:
            print("\t".join((_who(row, say), say(row.effect), _what(row, say), row.where or "*", row.rule)))
        return DONE
    print(say("Policy {name}: what no rule speaks about is refused.", name=chosen.name))
    match chosen.unplanned:
        case "ask":
            print(say("An effect that no accepted plan covers is asked about, one by one."))
        case "deny":
            print(say("An effect that no accepted plan covers is refused."))
        case "allow":
            print(say("An effect needs no plan: this is for the practice world only."))
    limits = chosen.limits
    used = {"steps": limits.steps, "minutes": limits.minutes, "tokens": limits.tokens}
    print(say("A run ends after {steps} steps, {minutes} minutes or {tokens} tokens.", **used))
    for row in rows:
        print(f"- {_sentence(row, say)}")
    return DONE


def schema() -> int:
    """Print the JSON Schema of policy files, for editors."""
    from policies.schema import schema as made  # start-up time

    print(json_text.dumps(made(), indent=2, ensure_ascii=False))
    return DONE


def _standing(one: Told, say: Language) -> str:
    match one.standing:
        case "decides":
            return say("it decides")
        case "overruled":
            return say("it matches, and a stricter rule decides")
        case "condition" | "fails":
            return say("its condition does not hold")


def _sentence(row: May, say: Language) -> str:
    what, where = _what(row, say), row.where or say("anything")
    match row.effect:
        case "deny":
            told = say("Refused: {actions} for {where}", actions=what, where=where)
        case "ask":
            told = say("Asked first: {actions} for {where}", actions=what, where=where)
        case _:
            told = say("Allowed: {actions} for {where}", actions=what, where=where)
    if row.after_strangers:
        told += say(", once words of strangers were read")
    if row.unnamed_sink:
        told += say(", where nobody named the place it lands")
    if row.ask:
        told += say(", of {who}, within {hours} hours", who=_who(row, say), hours=f"{row.within_s / 3600:g}")
    if row.limit:
        told += say(", at most {limit}", limit=row.limit)
    if row.restore:
        told += say(", with personal values ({types})", types=", ".join(row.restore))
    if row.secrets:
        told += say(", with the secrets {names}", names=", ".join(row.secrets))
    return f"{told}. {say('Because')} {say.told(row.why)}. [{row.rule}]"


def _who(row: May, say: Language) -> str:
    if row.effect != "ask":
        return say("everyone")
    people = row.group or say("a person")
    return f"{people} ×{row.answers}" if row.answers > 1 else people


def _what(row: May, say: Language) -> str:
    from policies.action import KINDS  # start-up time

    return say("every action") if len(row.actions) == len(KINDS) else ", ".join(row.actions)
