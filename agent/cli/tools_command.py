"""`remit tools`: the tools that users bring, from REMIT_HOME/tools."""

from __future__ import annotations

import typer

from agent.cli import DONE, FAILED
from agent.cli.desk import JsonOption, desk


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    tools = typer.Typer(help="Tools of your own: a program and a YAML file each.", no_args_is_help=True)
    tools.command("list")(listed)
    tools.command("check")(check)
    app.add_typer(tools, name="tools")


def listed(json: JsonOption = False) -> int:
    """List your tools and what they declare."""
    with desk(as_json=json) as at:
        found = at.app.own_tools().declarations
        at.rows(
            ("tool", "effect", "program", "what"),
            ((d.name, d.effect.value, d.program, d.description) for d in found),
            none="You have no tools of your own.",
        )
    return DONE


def check(json: JsonOption = False) -> int:
    """Read every declaration, and try each tool on its example. It runs confined, in an empty folder."""
    import asyncio  # start-up time

    with desk(as_json=json) as at:
        tools = at.app.own_tools()
        faults, n = asyncio.run(tools.check()), len(tools.declarations)
        for fault in () if json else faults:
            print(at.say.told(fault))
        if json or not faults:
            at.tell("Tools: {n}, all right.", n=n, faults=faults)
        return FAILED if faults else DONE
