"""CPU of starting: `remit --help`, and `remit policy check` against importing what it needs."""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib.resources import files
from pathlib import Path


def run() -> list[tuple[str, float, str]]:
    """Rows of (what, figure, meaning)."""
    remit = str(Path(sys.executable).with_name("remit"))
    policy = str(files("policies.presets").joinpath("back-office.yaml"))
    helped = _cpu([remit, "--help"])
    checked = _cpu([remit, "policy", "check", policy])
    imported = _cpu([sys.executable, "-P", "-c", "import typer, policies.load, agent.cli.door"])
    return [
        ("remit --help, s", helped, "aim 0.3"),
        ("remit policy check / its imports", checked / imported, "aim 1.5"),
    ]


def _cpu(command: list[str], times: int = 5) -> float:
    """The least CPU of a few starts, in seconds."""
    best = 9.0
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best
