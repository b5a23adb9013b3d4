"""Where everything of one person is. Nothing heavy is imported here: help wants it too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

OURS = frozenset({"settings.toml", "policy.yaml", "people.yaml", "policies", "servers.yaml", "tools"})
"""What a person may have put into a home before it is first used."""


def default_home(environment: Mapping[str, str] = os.environ) -> Path:
    """`REMIT_HOME`, else `remit` in the XDG data directory."""
    if home := environment.get("REMIT_HOME"):
        return Path(home).absolute()
    base = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "remit"


def make_home(home: Path) -> None:
    """See that the home is there, and that a new one is its owner's alone, also where `mkdir` made it.

    A folder that holds anything else is left as it is: it may be shared for a reason. The doctor tells of it.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_mode & 0o077 and {entry.name for entry in home.iterdir()} <= OURS:
        home.chmod(0o700)
