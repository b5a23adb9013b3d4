"""The command line. Nothing heavy is imported here: `remit --help` must come at once."""

from __future__ import annotations

import sys

DONE, FAILED, USAGE, WAITING, HELD, STOPPED, BROKEN, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
"""Exit codes: done · failed or rejected · bad input or settings · waits for an answer · held by trouble, can be
resumed · stopped · the ledger does not verify · Ctrl-C."""


def main() -> None:
    """The entry point `remit`."""
    from agent.cli.door import run  # start-up time: typer is only needed when a command really runs

    sys.exit(run(sys.argv[1:]))
