"""Where everything of one person is. Nothing heavy is imported here: help wants it too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def default_home(environment: Mapping[str, str] = os.environ) -> Path:
    """`REMIT_HOME`, else `remit` in the XDG data directory."""
    if home := environment.get("REMIT_HOME"):
        return Path(home).absolute()
    base = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "remit"
