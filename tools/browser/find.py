"""Which browser to drive: the one that is set, else one that the machine has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.errors import BrowserMissing

_ON_PATH = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "microsoft-edge")
_MACOS = (
    "Chromium.app/Contents/MacOS/Chromium",
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_CACHED = ("chromium-*/chrome-linux*/chrome", "chromium_headless_shell-*/chrome-*/*headless*shell")


def find_chromium(setting: str | None) -> Path:
    """The program to start: the setting, else from PATH, macOS applications, Playwright's own downloads.

    Full Chromium comes before the headless shell, which ignores the switch that keeps WebRTC off the network.
    BrowserMissing says how to get one. A setting that names no program is an error, never passed over.
    """
    if setting:
        if found := shutil.which(setting):
            return Path(found)
        raise BrowserMissing(f"There is no program {setting!r}; correct the setting `browser` or remove it.")
    for name in _ON_PATH:
        if found := shutil.which(name):
            return Path(found)
    for path in (Path("/Applications") / name for name in _MACOS):
        if path.exists():
            return path
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    for pattern in _CACHED:
        if cached := sorted(cache.glob(pattern)):
            return cached[-1]
    raise BrowserMissing(
        "No browser was found. On Debian or Ubuntu: `apt-get install chromium`; elsewhere: "
        "`python -m playwright install chromium`; or name one in the setting `browser`."
    )
