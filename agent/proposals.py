"""Actions written down, one JSON object a line, and what a policy says to each. Nothing is carried out.

A line is an action in its canonical form with, beside it, `id` and what the decision depends on: `context`
(`{"untrusted": true}`, or a whole label), `plan` (taken as accepted) or `mandate`, `attended`. A command is given
as text (`command`, read as live), as `argv`, or as `pipelines` of argument vectors. The names that stand in the
run's folder are given as `files`; without them a pattern such as `*.csv` stands for two files of any name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from pydantic import ValidationError

from policies.action import ACTION, Action, Command
from policies.decide import decide
from policies.decision import Decision, Effect
from policies.labels import TOP, Label
from policies.mandate import Acceptance, Mandate, Plan, PlannedStep
from policies.match.neutral import neutral
from policies.match.path import FRESH
from policies.request import Request
from policies.rules import Policy
from tools.commands import matching, parse
from tools.errors import ToolError

COMMANDS = ("shell.run", "server.run")
NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""`decide` reads no clock; a request needs a time all the same."""
_BESIDE = ("id", "context", "plan", "mandate", "attended", "files", "expect", "rule", "why", "planned")
_SAMPLES = ({"*": FRESH, "?": "x"}, {"*": f"{FRESH}-2", "?": "y"})
_CHUNK = 512
_THREADS = 4  # each waits for a parser of its own most of the time


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """One action with the facts it is to be judged by; `mandate` is made under a policy."""

    id: Any
    action: Action
    context: Label
    attended: bool
    plan: Plan | None
    mandate: Mandate | None

    def request(self, policy: Policy, *, planned: bool = False) -> Request:
        """The question to the policy. `planned`: some step of an accepted plan covers it and leaves all open."""
        mandate, plan = self.mandate, self.plan
        if mandate is None and plan is None and planned:
            plan = Plan(summary="", steps=(PlannedStep(n=1, title="", kind=self.action.kind),))
        if mandate is None and plan is not None:
            yes = Acceptance(by="dry-run", at=NO_TIME, plan_digest=plan.digest, policy_digest=policy.digest)
            mandate = Mandate(plan=plan, accepted=yes, met=frozenset(step.n for step in plan.steps))
        return Request(
            run="dry-run",
            seq=0,
            epoch=0,
            action=self.action,
            principal="dry-run",
            mandate=mandate,
            now=NO_TIME,
            context=self.context,
            attended=self.attended,
        )


class NoProposal(Exception):
    """What is wrong with a line, in a sentence. Its action is refused."""

    def __init__(self, id: Any, sentence: str) -> None:
        super().__init__(sentence)
        self.id = id


def read(line: str | bytes, number: int) -> Proposal:
    """The proposal on a line; NoProposal for one that is none. Without an `id` the line's number is one."""
    try:
        given = json.loads(line, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NoProposal(number, f"the line is no JSON object: {str(error).splitlines()[0]}") from None
    if not isinstance(given, dict):
        raise NoProposal(number, "the line is no JSON object: it must be an action with its kind")
    return proposal(given, number)


def proposal(given: Mapping[str, Any], number: int) -> Proposal:
    """The proposal in an object; NoProposal for one that is none."""
    line = given.get("id", number)
    try:
        return Proposal(
            id=line,
            action=ACTION.validate_python(_action(given)),
            context=_label(given.get("context")),
            attended=given.get("attended") is not False,
            plan=Plan.model_validate(given["plan"]) if given.get("plan") else None,
            mandate=Mandate.model_validate(given["mandate"]) if given.get("mandate") else None,
        )
    except ToolError as error:
        raise NoProposal(line, f"the command is not accepted: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise NoProposal(line, f"the line is no action: {where}: {said}".replace(": : ", ": ")) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise NoProposal(line, f"the line is no action: {error}") from None


def judged(lines: Iterable[str | bytes], policy: Policy, *, planned: bool = False) -> Iterator[dict[str, Any]]:
    """For each line `id`, `effect` (allow, ask or deny), `rules` and `reason`, in the order of the lines.

    A line that is no action is denied. Empty lines are left out.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(numbered, _CHUNK)):
            yield from pool.map(partial(_judged, policy=policy, planned=planned), chunk)


def answer(id: Any, decision: Decision) -> dict[str, Any]:
    """A decision as `judged` gives it."""
    found = {"id": id, "effect": decision.effect.name.lower(), "rules": list(decision.rules)}
    return found | {"reason": decision.reason}


def _judged(numbered: tuple[int, str | bytes], *, policy: Policy, planned: bool) -> dict[str, Any]:
    number, line = numbered
    try:
        found = read(line, number)
    except NoProposal as error:
        return {"id": error.id, "effect": Effect.DENY.name.lower(), "rules": [], "reason": str(error)}
    return answer(found.id, decide(found.request(policy, planned=planned), policy))


def _action(given: Mapping[str, Any]) -> dict[str, Any]:
    """The action's own fields, with a command in any of its spellings as pipelines."""
    made = {key: value for key, value in given.items() if key not in _BESIDE}
    if made.get("kind") == "tool.call":
        return {"declaration": ""} | made
    if made.get("kind") not in COMMANDS:
        return made
    spellings = [key for key in ("command", "argv", "pipelines") if key in made]
    if len(spellings) != 1:
        raise ValueError("give one of 'command', 'argv' and 'pipelines'")
    command = made.pop(spellings[0])
    match spellings[0]:
        case "command":
            if not isinstance(command, str):
                raise ValueError("'command' is a text")
            files = given.get("files")
            names = None if files is None else tuple(map(str, files))
            made["pipelines"] = _parsed(command, names, made["kind"] == "shell.run")
        case "argv":
            made["pipelines"] = [[_vector(command)]]
        case _:
            made["pipelines"] = [[_vector(one) for one in pipeline] for pipeline in command]
    return made


def _vector(given: Any) -> dict[str, Any]:
    """A command from its argument vector, spelled as the parser of command text would have."""
    command = given if isinstance(given, dict) else {"argv": given}
    words = command.get("argv")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError("'argv' is a list of texts")
    return command | {"argv": neutral(words)}


@lru_cache(maxsize=4096)
def _parsed(text: str, names: tuple[str, ...] | None, here: bool) -> tuple[tuple[Command, ...], ...]:
    glob = (_any_files if names is None else partial(matching, names)) if here else None
    return parse(text, glob=glob)


def _any_files(pattern: str) -> Sequence[str]:
    """Two names that fit the pattern and that no rule knows: what is right for them is right for all."""
    signs = re.compile(r"\[([*?\[])\]|([*?])")

    def named(sample: Mapping[str, str]) -> str:
        return signs.sub(lambda found: found[1] or sample[found[2]], pattern)

    return list(dict.fromkeys(map(named, _SAMPLES)))


def _label(context: Any) -> Label:
    if context is None:
        return TOP
    if isinstance(context, dict) and "untrusted" in context:
        if type(context["untrusted"]) is not bool or context.keys() - {"untrusted", "origins"}:
            raise ValueError("'context' says whether it is untrusted, or is a whole label")
        origins = frozenset(map(str, context.get("origins", ())))
        return Label(origins=origins) if context["untrusted"] else TOP
    return Label.model_validate(context)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
