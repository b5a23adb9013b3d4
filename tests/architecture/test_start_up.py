"""The command line answers at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Importing all of them takes seconds (measured: langgraph 2.3, openai 1.2, sqlalchemy 0.8 s of processor time).
HEAVY = {
    "langgraph",
    "langchain_core",
    "playwright",
    "paramiko",
    "openai",
    "sqlalchemy",
    "alembic",
    "keyring",
    "openpyxl",
}

PROGRAM = """
import sys
from agent.cli import main
sys.argv = ["remit", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert end.code in (None, 0), end.code
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("policy", "--help")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], language: str) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        (sys.executable, "-c", PROGRAM, *arguments),
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
        env={**os.environ, "REMIT_LANGUAGE": language},
    )

    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.rpartition("imported:")[2].split())
    assert imported & HEAVY == set()
    assert arguments != ("--help",) or "pydantic" not in imported  # typer itself looks whether it is there for options
    assert "agent" in imported
