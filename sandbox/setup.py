"""Everything a checkout needs, put in place: `python3 sandbox/setup.py`, or what of it is there: `--check`.

Runs before anything is installed, so it imports the standard library alone, and its syntax is old enough for a
Python that is too old to be told so. The second time it only looks, which takes a tenth of a second.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / os.environ.get("REMIT_VENV", ".venv")
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements-dev.lock"
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome", "microsoft-edge")


class Failed(Exception):
    """A step that did not work, and what to do about it."""


class Part(NamedTuple):
    """Something of the operating system's that is used."""

    name: str
    package: str
    """Debian's and Ubuntu's."""
    there: Callable[[], bool]
    otherwise: str
    """How to get it where we cannot."""


PARTS = (
    Part(
        "bubblewrap",
        "bubblewrap",
        lambda: bool(shutil.which("bwrap")),
        "children cannot be confined: install the package bubblewrap (0.8 or newer) as root",
    ),
    Part(
        "OpenSSH server",
        "openssh-server",
        lambda: Path("/usr/sbin/sshd").exists() or bool(shutil.which("sshd")),
        "no server to practise on: install the package openssh-server as root",
    ),
    Part(
        "browser",
        "chromium",
        lambda: any(map(shutil.which, BROWSERS)) or bool(_playwrights()),
        "install Chromium with the system's packages, or name a mirror in PLAYWRIGHT_DOWNLOAD_HOST and try again",
    ),
    Part(
        "CJK fonts",
        "fonts-noto-cjk",
        lambda: bool(shutil.which("fc-list")) and bool(_output("fc-list", ":lang=zh", "family")),
        "Chinese pages show boxes in screenshots: install the package fonts-noto-cjk as root",
    ),
)


def main() -> int:
    """0 if the environment stands. With --check, 0 if nothing at all is missing."""
    parser = argparse.ArgumentParser(description="Puts in place what Remit needs.")
    parser.add_argument("--check", action="store_true", help="only say what is there; 1 if something is missing")
    only_look = parser.parse_args().check
    if sys.version_info < (3, 11):  # noqa: UP036
        _say("Python", f"this is {sys.version.split()[0]}; Remit needs 3.11 or newer: make PY=python3.12, for instance")
        return 1
    try:
        if not only_look:
            _install_environment()
            _install_parts()
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    missing = [part for part in PARTS if not part.there()]
    for part in PARTS:
        _say(part.name, f"missing: {part.otherwise}" if part in missing else "ready")
    standing = _stands()
    _say("environment", f"ready in {VENV}" if standing else f"missing in {VENV}: run python3 sandbox/setup.py")
    return int(not standing or (only_look and bool(missing)))


def _stands() -> bool:
    stamp = VENV / "remit.stamp"
    return (VENV / "bin" / "remit").exists() and PYTHON.exists() and stamp.exists() and stamp.read_text() == _digest()


def _digest() -> str:
    # The place, too: an environment that was moved, or copied with its checkout, points to the old one.
    content = LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    return hashlib.sha256(content).hexdigest()


def _install_environment() -> None:
    if _stands():
        return
    uv = shutil.which("uv")
    if uv and not _output(uv, "--version"):
        uv = None  # a version manager's shim without anything behind it
    _say("environment", f"making {VENV} with {'uv' if uv else 'pip'} …")
    if uv:
        if not PYTHON.exists():
            _do(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV))
        install = (uv, "pip", "install", "--quiet", "--python", str(PYTHON))
    else:
        if not PYTHON.exists():
            _make_with_venv()
        install = (str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    environment = _uv_environment() if uv else None
    _do(*install, "--require-hashes", "-r", str(LOCK), environment=environment)
    # Built with the hatchling of the lock file.
    _do(*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT), environment=environment)
    (VENV / "remit.stamp").write_text(_digest())


def _make_with_venv() -> None:
    command = (sys.executable, "-m", "venv", "--clear", str(VENV))
    try:
        _do(*command)
    except Failed:
        if not _may_apt():
            raise Failed(
                "This Python cannot make virtual environments: install uv, or as root the package python3-venv."
            ) from None
        _apt("python3-venv")
        _do(*command)


def _uv_environment() -> dict[str, str]:
    """Ours, with pip's mirror: uv reads neither pip's variables nor its files."""
    environment = dict(os.environ)
    mirror = environment.get("PIP_INDEX_URL") or _output(
        sys.executable, "-m", "pip", "config", "get", "global.index-url"
    )
    if mirror and "UV_INDEX_URL" not in environment:
        environment.setdefault("UV_DEFAULT_INDEX", mirror)
    return environment


def _install_parts() -> None:
    missing = [part for part in PARTS if not part.there()]
    # Ubuntu's chromium is a snap, which starts in no container and behind no wall of ours.
    packages = [part.package for part in missing if not (part.package == "chromium" and _system() == "ubuntu")]
    if packages and _may_apt():
        _say("system", f"installing {', '.join(packages)} …")
        try:
            _apt(*packages)
        except Failed as failed:
            _say("system", str(failed))
    if missing and not next(part for part in PARTS if part.name == "browser").there():
        _say("browser", "fetching Chromium with Playwright …")
        libraries = ("--with-deps",) if _may_apt() else ()
        try:
            _do(str(PYTHON), "-m", "playwright", "install", *libraries, "chromium")
        except Failed as failed:
            _say("browser", str(failed))


def _playwrights() -> list[Path]:
    cache = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright"
    return list(Path(cache).glob("chromium-*/INSTALLATION_COMPLETE"))


def _system() -> str:
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    return next((line[3:].strip('"') for line in lines if line.startswith("ID=")), "")


def _may_apt() -> bool:
    return os.getuid() == 0 and bool(shutil.which("apt-get"))


def _apt(*packages: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _do("apt-get", "update", "-qq", environment=quiet)
    _do("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages, environment=quiet)


def _do(*command: str, environment: dict[str, str] | None = None) -> None:
    """Runs a step. What it printed is lost unless it fails."""
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace")[-2000:]
        raise Failed(f"{said}\nThis step failed, its last words are above: {' '.join(command)}")


def _output(*command: str) -> str:
    """What a command says, or nothing if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return "" if done.returncode else done.stdout.decode("utf-8", "replace").strip()


def _say(part: str, text: str) -> None:
    print(f"{part:<15} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
