"""The commands and what becomes of their errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import typer

from agent.cli import (
    FAILED,
    HELD,
    USAGE,
    answers,
    audit,
    doctor,
    policy,
    practice,
    run_command,
    runs_command,
    secrets_command,
    tools_command,
)

app = typer.Typer(
    name="remit",
    help="An open agent for office and server work that does only what you granted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
runs = typer.Typer(help="What ran, what runs, and how to go on.", no_args_is_help=True)
for module in (run_command, runs_command, answers, audit, policy, secrets_command, tools_command, practice, doctor):
    module.register(app)

OURS = ("agent", "policies", "tools", "sandbox")
"""Errors from these packages carry one sentence for a person; any other is our bug and rises."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    try:
        code = app(list(arguments), standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return USAGE
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201
        return 130
    except Exception as error:
        if type(error).__module__.split(".")[0] not in OURS:
            raise
        return told(error, as_json="--json" in arguments)
    return code if isinstance(code, int) else 0


def told(error: Exception, *, as_json: bool) -> int:
    """Show an expected error as one sentence on standard error; its exit code."""
    print(json.dumps({"error": str(error)}, ensure_ascii=False) if as_json else f"remit: {error}", file=sys.stderr)  # noqa: T201
    kind = type(error).__name__
    if kind in ("RecordsUnavailable", "StoreLocked", "StaleEpoch", "RunBusy", "SubmissionConflict"):
        return HELD
    return FAILED if kind == "AnswerRefused" else USAGE


Register = Callable[[Any], None]
