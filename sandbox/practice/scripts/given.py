"""A script that comes from outside of this package: turns in a list, or a generator function of any file.

`give` writes it into the folder of a world, whose model server then plays `sandbox.practice.scripts.given:play`.
"""

from __future__ import annotations

import inspect
import json
import os
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sandbox.practice.children import MARK
from sandbox.practice.errors import PracticeError
from sandbox.practice.script import Call, Calls, Fault, Kind, ModelRequest, Say, SayJson, Script, Turn

PLAY = f"{__name__}:play"
_FILE = "given.json"
_TURNS: dict[str, Callable[..., Turn]] = {"Say": Say, "Call": Call, "SayJson": SayJson}
_TAG = "practice turn"


def give(folder: Path, script: Sequence[Turn] | Callable[..., Script]) -> None:
    """Put the script into the world's folder. PracticeError for a function that its own file does not name.

    A function runs in the model's process, which runs its file anew: nothing of the caller's memory is there.
    """
    if callable(script):
        source = inspect.getsourcefile(script)
        if source is None or script.__name__ not in script.__globals__:
            raise PracticeError(f"the script {script.__name__!r} must be a function at the top of a file")
        given: Any = {"file": str(Path(source).resolve()), "function": script.__name__}
    else:
        given = list(script)
    (folder / _FILE).write_text(json.dumps(given, ensure_ascii=False, default=_told), "utf-8")


def play(first: ModelRequest) -> Script:
    """The script that was given to this process's world."""
    given = json.loads(Path(os.environ[MARK], _FILE).read_text("utf-8"), object_hook=_turn)
    if isinstance(given, dict):
        function = runpy.run_path(given["file"])[given["function"]]
        yield from function(first) if inspect.signature(function).parameters else function()
    else:
        for turn in given:  # noqa: UP028  a list has no place for the requests that are sent in
            yield turn


def _told(turn: Turn) -> dict[str, Any]:
    return {_TAG: type(turn).__name__, **vars(turn)}


def _turn(read: dict[str, Any]) -> Any:
    match read.pop(_TAG, None):
        case None:
            return read
        case "Calls":
            return Calls(*read["calls"])
        case "Fault":
            return Fault(**{**read, "kind": Kind(read["kind"])})
        case name:
            return _TURNS[name](**read)
