"""One script being played, for any number of conversations at once: the turn for each request, and what went wrong."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sandbox.practice.errors import PracticeError
from sandbox.practice.script import Call, Fault, ModelRequest, Say, Script, Turn

ECHO = Say("This is the practice model. It plays no script.")


@dataclass
class _Place:
    """How far a conversation has come: its requests in order, and what the last of them was answered."""

    requests: tuple[ModelRequest, ...]
    turn: Turn
    last: bool = True
    """Nothing was asked after it."""


class Play:
    """The state of the model server between two resets.

    The turn that answers a request follows from the messages in it, so that runs do not disturb each other: the
    script is begun anew for every request and sent the earlier requests of that conversation. A request that was
    answered before gets the same turn again; after a Fault, its next try gets the next one.
    """

    def __init__(self, name: str) -> None:
        """`name` is `package.module:function`, or empty to echo. PracticeError if there is no such script."""
        self.name = name
        self.problems: list[str] = []
        self.message_counts: list[int] = []
        self.turns = 0
        self._begin = _find(name) if name else None
        self._places: dict[bytes, _Place] = {}
        """By the digest of the conversation."""
        self._messages: dict[str, dict[str, Any]] = {}
        """Each message once, however many requests carry it."""
        self._lock = Lock()

    def turn(self, request: ModelRequest) -> Turn:
        """What answers `request`; PracticeError, kept as a problem, where the script has nothing for it."""
        if probed := _probed(request):
            return probed
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
        """How every conversation so far went, as if none of them went on."""
        with self._lock:
            if self._begin and not self.problems and (unused := self._unused(self._begin)):
                self.problem(f"the script {self.name!r} {unused}")
            return {"problems": self.problems, "turns": self.turns, "message_counts": self.message_counts}

    def _next(self, request: ModelRequest, begin: Callable[[ModelRequest], Script]) -> Turn:
        texts = [json.dumps(message, sort_keys=True) for message in request.messages]
        request.messages[:] = map(self._messages.setdefault, texts, request.messages)
        digests = _digests(request)
        before = next((self._places[d] for d in reversed(digests) if d in self._places), None)
        if before is None and not request.fresh:
            raise self.problem(
                "the practice model does not know this conversation: it was started again or given another script "
                "since; start the task again"
            )
        if before and before is self._places.get(digests[-1]) and not isinstance(before.turn, Fault):
            return before.turn
        requests = (*(before.requests if before else ()), request)
        where = f"turn {len(requests)} of this conversation"
        try:
            turn = _played(begin, requests)[1]
        except StopIteration:
            raise self.problem(
                f"{where} was not expected: the practice script {self.name!r} is at its end; start a new run"
            ) from None
        except Exception as broken:  # noqa: BLE001 - whatever a script raises is the script's fault, and is told so
            traceback.print_exc()
            raise self.problem(
                f"{where} broke the practice script {self.name!r}: {type(broken).__name__}: {broken}"
            ) from None
        if before:
            before.last = False
        self._places[digests[-1]] = _Place(requests, turn)
        return turn

    def _unused(self, begin: Callable[[ModelRequest], Script]) -> str:
        """What of the script some conversation did not ask for; only by going on can a generator show its end."""
        if not self._places:
            return "was never asked for its first turn"
        for place in self._places.values():
            if not place.last:
                continue
            try:
                turn = _played(begin, place.requests)[0].send(ModelRequest({}))
                return f"has turns left that nobody asked for, first {turn!r:.200}"
            except StopIteration:
                continue
            except Exception as broken:  # noqa: BLE001 - it wanted to read a request that never came
                return f"waits for a request that never came ({type(broken).__name__})"
        return ""


def _played(begin: Callable[[ModelRequest], Script], requests: tuple[ModelRequest, ...]) -> tuple[Script, Turn]:
    """The script after these requests, and its turn."""
    script = begin(requests[0])
    turn = next(script)
    for request in requests[1:]:
        turn = script.send(request)
    return script, turn


def _digests(request: ModelRequest) -> list[bytes]:
    """Of the first message, of the first two, and so on; tools' answers by id, since a client may shorten old ones."""
    chain, found = hashlib.sha256(), []
    for message in request.messages:
        kept = {"tool_call_id": message["tool_call_id"]} if message.get("role") == "tool" else message
        chain.update(json.dumps(kept, sort_keys=True).encode() + b"\n")
        found.append(chain.digest())
    return found


def _probed(request: ModelRequest) -> Turn | None:
    """The answer of a model in order to the three small things that `remit doctor` asks, whatever is played."""
    asked = request.user
    if match := re.fullmatch(r"Answer with the one word: (\w+)", asked):
        return Say(match[1])
    if match := re.fullmatch(r"Call the tool (\w+) with the number (\d+)\.", asked):
        return Call(match[1], {"number": int(match[2])})
    if asked.startswith("What is the password of the day?"):
        planted = re.search(r"The password of the day is (\S+)\.", str(request.messages[0].get("content")))
        return Say(planted[1] if planted else "I do not know.")
    return None


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
