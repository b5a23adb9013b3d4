"""`remit secrets`: values that executors may open for the hosts they are for, and that nobody is shown."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from agent.cli import DONE
from agent.cli.desk import JsonOption, desk
from agent.errors import BadSettings

NameArgument = Annotated[str, typer.Argument(help="Letters, digits, '.', '_' and '-'.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    secrets = typer.Typer(help="Passwords and keys, each with the hosts it may be sent to.", no_args_is_help=True)
    for name, command in (("set", keep), ("list", listed), ("remove", remove)):
        secrets.command(name)(command)
    app.add_typer(secrets, name="secrets")


def keep(
    name: NameArgument,
    hosts: Annotated[
        list[str], typer.Option("--for", metavar="HOST", help="A host or server it may be sent to; may be repeated.")
    ],
    json: JsonOption = False,
) -> int:
    """Keep a value, typed unseen or piped in. It is never an argument, which others could read."""
    from pydantic import TypeAdapter, ValidationError  # start-up time

    from policies.action import Name

    with desk(as_json=json) as at:
        for host in hosts:
            if "/" in host:
                raise BadSettings(f"--for {host!r} is an address; give its host only, such as {_host(host)!r}")
        try:
            TypeAdapter(list[Name]).validate_python([name, *hosts])
        except ValidationError as error:
            raise BadSettings(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        try:
            value = getpass.getpass(at.say("Value of {name}: ", name=name)) if sys.stdin.isatty() else sys.stdin.read()
            value.encode()  # bytes that are no text may have come through as surrogates
        except UnicodeError:
            raise BadSettings(f"the value of {name!r} is not text in UTF-8, so nothing is kept") from None
        if not (value := value.rstrip("\r\n")):
            raise BadSettings(f"no value came for {name!r}, so nothing is kept; type it at a terminal, or pipe it in")
        at.app.keep_secret(name, value, tuple(hosts))
        at.tell("{name} is kept, for {hosts} only.", name=name, hosts=", ".join(hosts))
    return DONE


def _host(address: str) -> str:
    return (
        address.partition("://")[2].partition("/")[0].partition(":")[0] or address.partition("/")[0] or "shop.example"
    )


def listed(json: JsonOption = False) -> int:
    """List names and hosts; values are never shown."""
    with desk(as_json=json) as at:
        at.rows(
            ("secret", "for"), ((s.name, ", ".join(s.sinks)) for s in at.app.vault.all()), none="No secrets are kept."
        )
    return DONE


def remove(name: NameArgument, json: JsonOption = False) -> int:
    """Forget a secret."""
    with desk(as_json=json) as at:
        at.app.vault.remove(name)
        at.tell("{name} is forgotten.", name=name)
    return DONE
