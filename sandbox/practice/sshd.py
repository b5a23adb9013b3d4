"""web-1: a real OpenSSH server on loopback with its own keys, one user and a folder of its own.

etc/  keys, sshd_config, the worker's record    bin/  systemctl, first on a session's PATH
srv/  config.ini (holds a planted API key), worker.log, heartbeat
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from string import Template

from sandbox.practice.children import MARK, environment, python
from sandbox.practice.errors import PracticeError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ASSETS = Path(__file__).parent / "assets"


def user() -> str:
    """The only account that may log in: the one the world runs under."""
    return pwd.getpwuid(os.getuid()).pw_name


def make(folder: Path, port: int) -> str:
    """Lay out web-1 under `folder`/web1 and return its host public key line (`ssh-ed25519 AAAA…`)."""
    etc, bin_, srv = (folder / "web1" / part for part in ("etc", "bin", "srv"))
    for part in (etc, bin_, srv):
        part.mkdir(parents=True)
    for key in ("host_key", "client_key"):
        command = [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "made-up", "-f", key]
        subprocess.run(command, cwd=etc, check=True, timeout=30)
    template = Template((_ASSETS / "sshd_config").read_text("utf-8"))
    names = {"folder": folder, "port": port, "user": user(), "path": _PATH, "mark": MARK}
    (etc / "sshd_config").write_text(template.substitute(names))
    shutil.copyfile(_ASSETS / "config.ini", srv / "config.ini")
    variables = [f"{name}={value}" for name, value in environment(folder, _PATH).items()]
    systemctl = shlex.join(["env", *variables, *python("web1.systemctl", folder)])
    (bin_ / "systemctl").write_text(f'#!/bin/sh\nexec {systemctl} "$@"\n')
    (bin_ / "systemctl").chmod(0o755)
    return " ".join((etc / "host_key.pub").read_text().split()[:2])


def command(folder: Path) -> list[str]:
    """What starts the server that make() has laid out."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation asks for it
    return [_program("sshd"), "-D", "-e", "-f", str(folder / "web1" / "etc" / "sshd_config")]


def _program(name: str) -> str:
    if found := shutil.which(name, path=_PATH):
        return found
    raise PracticeError(f"{name!r} was not found: install the OpenSSH server (Debian: openssh-server)")
