"""`remit policy new`: a short interview that writes a first policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import DONE


def register(policy: typer.Typer) -> None:
    """Add the commands of this module."""
    policy.command("new")(new)


def new(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; standard output without.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The policy's name.")] = None,
    site: Annotated[str | None, typer.Option("--site", help="A site that may be read, such as https://x.com")] = None,
    submit: Annotated[
        str | None, typer.Option("--submit", help="A path of it where forms are sent after asking: /orders/*/remind")
    ] = None,
    server: Annotated[str | None, typer.Option("--server", help="A server that may be looked at.")] = None,
) -> int:
    """Write a small policy of your own: asks what is not given as an option, and never overwrites a file."""
    from agent.errors import BadSettings  # start-up time
    from agent.language import Language
    from agent.settings import load_settings
    from agent.starter import Answers, starter

    say = Language(load_settings().language)
    if file is not None and file.exists():
        raise BadSettings(f"there is a file {str(file)!r} already; name another one")
    given = {"name": name, "site": site, "submit": submit, "server": server}
    if all(answer is None for answer in given.values()):
        given["name"] = _asked(say("The policy's name"), "mine")
        given["site"] = _asked(say("A site that may be read (empty: none)"))
        if given["site"]:
            given["submit"] = _asked(say("A path of it where forms are sent after asking (empty: none)"))
        given["server"] = _asked(say("A server that may be looked at (empty: none)"))
    text = starter(Answers(**{"name": "mine"} | {key: answer for key, answer in given.items() if answer}))
    if file is None:
        sys.stdout.write(text)
        return DONE
    file.write_text(text, encoding="utf-8")
    print(say("Written: {file}. Try it: remit policy check {file}", file=file))
    return DONE


def _asked(prompt: str, proposed: str = "") -> str:
    shown = f"{prompt}{f' [{proposed}]' if proposed else ''}: "
    print(shown, end="", file=sys.stderr, flush=True)  # what is written to standard output is the policy
    return sys.stdin.readline().strip() or proposed
