"""The commands and what becomes of their errors."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from agent.cli import (
    FAILED,
    HELD,
    INTERRUPTED,
    USAGE,
    answers,
    audit,
    doctor,
    init,
    policy,
    practice,
    redact_command,
    run_command,
    runs_command,
    secrets_command,
    tools_command,
)
from agent.language import Language, spoken

app = typer.Typer(
    name="remit",
    help="An open agent for office and server work that does only what you granted.",
    epilog="To begin: remit init; without a key: remit practice up. "
    "Exit codes: 0 done; 1 failed or rejected; 2 bad input or settings; 3 waits for an answer; "
    "4 held, can be resumed; 5 stopped; 6 the ledger does not verify; 130 after Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS = (
    *(run_command, runs_command, answers, audit, policy, redact_command),
    *(secrets_command, tools_command, practice, init, doctor),
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # start-up time

        print(f"remit {version('remit')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for module in COMMANDS:
    module.register(app)

OURS = ("agent", "policies", "tools", "sandbox")
"""Errors from these packages carry one sentence for a person; any other is our bug and rises."""
_HELD = ("RecordsUnavailable", "StoreLocked", "StaleEpoch", "RunBusy", "SubmissionConflict")


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    say = spoken()
    try:
        command = get_command(app)
        if say.code != "en":
            from agent.cli.help import speak  # start-up time

            speak(command, say)
        code = command(list(arguments), standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        _shown(error, say)
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if error.filename is None:
            raise
        return _told(f"{str(error.filename)!r} cannot be used: {error.strerror}", USAGE, arguments, say)
    except Exception as error:
        name = type(error).__name__
        if type(error).__module__.split(".")[0] not in OURS:
            raise
        code = HELD if name in _HELD else FAILED if name == "AnswerRefused" else USAGE
        return _told(str(error), code, arguments, say)


def _shown(error: Any, say: Language) -> None:
    """Have what the parser raised show itself, with the usage of its command."""
    if say.code == "en":
        error.show()
        return
    from agent.cli.help import usage  # start-up time

    english = io.StringIO()
    error.show(file=english)
    for line in english.getvalue().splitlines():
        print(usage(line, say), file=sys.stderr)


def _told(sentence: str, code: int, arguments: Sequence[str], say: Language) -> int:
    """Show an expected error as one sentence on standard error, for programs in English; its exit code."""
    as_json = "--json" in arguments
    shown = json.dumps({"error": sentence}, ensure_ascii=False) if as_json else f"remit: {say.told(sentence)}"
    print(shown, file=sys.stderr)
    return code
