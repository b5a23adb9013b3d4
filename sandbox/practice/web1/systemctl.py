"""`systemctl` as far as web-1 needs it: one unit, systemd's words and exit codes.

Exit codes: 0 done or active; 1 wrong use; 3 not active; 4 status of an unknown unit; 5 no unit to act on.
Source: systemctl(1), "Exit status", and the LSB codes it quotes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sandbox.practice.children import running
from sandbox.practice.errors import PracticeError
from sandbox.practice.web1.unit import State, Unit

NAME = "worker.service"
_SHOWN = {
    State.ACTIVE: ("●", "active (running)"),
    State.FAILED: ("×", "failed (Result: signal)"),
    State.INACTIVE: ("○", "inactive (dead)"),
}


def main(world: Path, arguments: list[str]) -> int:
    """Do what one command line asks; options such as --no-pager change nothing."""
    verb, *units = [word for word in arguments if not word.startswith("-")] or [""]
    if verb not in ("is-active", "status", "start", "stop", "restart"):
        return _fault(1, f"Unknown command verb '{verb}'.")
    if len(units) != 1:
        return _fault(1, "Name one unit.")
    name, unit = units[0] if "." in units[0] else f"{units[0]}.service", Unit(world)
    if verb == "is-active":
        state = unit.state() if name == NAME else State.INACTIVE
        print(state)
        return 0 if state is State.ACTIVE else 3
    if name != NAME and verb == "status":
        return _fault(4, f"Unit {name} could not be found.")
    if name != NAME:
        return _fault(5, f"Failed to {verb} {name}: Unit {name} not found.")
    return _status(unit) if verb == "status" else _act(unit, verb)


def _act(unit: Unit, verb: str) -> int:
    try:
        if verb in ("stop", "restart"):
            unit.stop()
        if verb in ("start", "restart"):
            unit.start()
    except PracticeError:
        return _fault(1, f"Job for {NAME} failed. See 'systemctl status {NAME}' for details.")
    return 0


def _status(unit: Unit) -> int:
    state, worker = unit.state(), running(unit.world, "worker")
    mark, words = _SHOWN[state]
    print(f"{mark} {NAME} - Order mail worker")
    print(f"     Loaded: loaded (/etc/systemd/system/{NAME}; enabled; preset: enabled)")
    print(f"     Active: {words} since {unit.wanted()[1]}")
    if worker:
        print(f"   Main PID: {worker.pid} (worker)")
    print("", *(unit.world / "web1" / "srv" / "worker.log").read_text("utf-8").splitlines()[-5:], sep="\n")
    return 0 if state is State.ACTIVE else 3


def _fault(code: int, text: str) -> int:
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
