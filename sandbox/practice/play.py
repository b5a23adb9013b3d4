"""One script being played: gives the turn for each request, and says in the end what went wrong."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

from sandbox.practice.errors import PracticeError
from sandbox.practice.script import Call, ModelRequest, Say, Script, Turn

ECHO = Say("This is the practice model. It plays no script.")


class Play:
    """The state of the model server between two resets."""

    def __init__(self, name: str) -> None:
        """`name` is `package.module:function`, or empty to echo. PracticeError if there is no such script."""
        self.name = name
        self.problems: list[str] = []
        self.message_counts: list[int] = []
        self.turns = 0
        self._begin = _find(name) if name else None
        self._script: Script | None = None
        self._lock = Lock()

    def turn(self, request: ModelRequest) -> Turn:
        """What answers `request`; PracticeError, kept as a problem, where the script has nothing for it."""
        with self._lock:
            self.message_counts.append(len(request.messages))
            turn = self._next(request, self._begin) if self._begin else _unscripted(request)
            self.turns += 1
            return turn

    def problem(self, sentence: str) -> PracticeError:
        """Keep a problem for the verdict and give it as an error to raise."""
        self.problems.append(sentence)
        return PracticeError(sentence)

    def verdict(self) -> dict[str, Any]:
        """End the script and tell how it went."""
        with self._lock:
            if self._begin and not self.problems and (unused := self._unused()):
                self.problem(f"the script {self.name!r} {unused}")
            return {"problems": self.problems, "turns": self.turns, "message_counts": self.message_counts}

    def _next(self, request: ModelRequest, begin: Callable[[ModelRequest], Script]) -> Turn:
        where = f"request {len(self.message_counts)} to the script {self.name!r}"
        try:
            if self._script:
                with suppress(StopIteration):
                    return self._script.send(request)
            if self._script is None or request.fresh:  # at its end, a script serves the next run from its start
                self._script = begin(request)
                return next(self._script)
        except StopIteration:
            pass
        except Exception as broken:  # noqa: BLE001 - whatever a script raises is the script's fault, and is told so
            traceback.print_exc()
            raise self.problem(f"{where} broke it: {type(broken).__name__}: {broken}") from None
        raise self.problem(f"{where} was not expected: the script has no turn left")

    def _unused(self) -> str:
        """What of the script nobody asked for; only by going on can a generator show that it is at its end."""
        if self._script is None:
            return "was never asked for its first turn"
        try:
            return f"has turns left that nobody asked for, first {self._script.send(ModelRequest({}))!r:.200}"
        except StopIteration:
            return ""
        except Exception as broken:  # noqa: BLE001 - it wanted to read a request that never came
            return f"waits for a request that never came ({type(broken).__name__})"


def _find(name: str) -> Callable[[ModelRequest], Script]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as missing:  # noqa: BLE001 - a script's module may fail in any way while it is imported
        traceback.print_exc()
        raise PracticeError(f"the script {name!r} cannot be loaded: {type(missing).__name__}: {missing}") from None
    return found if inspect.signature(found).parameters else lambda _: found()


def _unscripted(request: ModelRequest) -> Turn:
    """An echo, or for a model named `bench-<tool>-<n>` n calls of that tool, then text."""
    bench, _, rest = str(request.raw["model"]).partition("-")
    tool, _, count = rest.rpartition("-")
    if bench != "bench" or not count.isdigit() or not request.tools:
        return ECHO
    done = sum(message["role"] == "tool" for message in request.messages)
    return Call(tool, {}) if done < int(count) else Say("Done.")
