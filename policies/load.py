"""Policies from YAML files (1.2, safe): every fault with its place, all faults at once."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from policies.errors import BadPolicy
from policies.match.command import CommandPattern
from policies.match.url import UrlPattern
from policies.rules import Limit, Limits, Of, Policy, Rule, When, Where

MAX_BYTES = 1_000_000
MAX_RULES = 2_000
M = TypeVar("M", bound=BaseModel)
_KEYS = sorted({k for m in (Policy, Rule, Limits, Of, Limit, When, UrlPattern, CommandPattern) for k in m.model_fields})
_TAG = "tag:yaml.org,2002:"


def load(path: Path, *, practice: bool = False) -> Policy:
    """The policy in a file. BadPolicy names every fault as `file:line:column: sentence`, one a line.

    A policy with `practice_only` loads only when `practice` says that this is the practice world.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return loads(data.decode(), str(path), practice=practice)
    except OSError as error:
        raise BadPolicy(f"{path}:1:1: the policy cannot be read: {error.strerror}; name another file") from error
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{path}:1:1: the policy is not UTF-8; save it as UTF-8") from error


def loads(text: str, name: str, *, practice: bool = False) -> Policy:
    """The policy in a text; `name` stands for the file in messages. BadPolicy as in `load`."""
    if len(text) > MAX_BYTES:
        raise BadPolicy(f"{name}:1:1: the policy is larger than 1 MB; split it")
    reading = _Reading(name)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        data = reading.value(root, ()) if root is not None else {}
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line, mark.column) if mark else (0, 0)
        raise BadPolicy(reading.line(at, f"not YAML: {error.problem or error.context}")) from error
    except YAMLError as error:
        raise BadPolicy(reading.line((0, 0), f"not YAML: {str(error).splitlines()[0]}")) from error
    except RecursionError as error:
        raise BadPolicy(reading.line((0, 0), "nested too deeply")) from error
    policy = reading.policy(data, practice)
    if reading.faults or policy is None:
        raise BadPolicy("\n".join(reading.line(at, said) for at, said in sorted(reading.faults)))
    return policy


class _Reading:
    """One text on its way to a policy: where everything stands, and what is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at: dict[Where, tuple[int, int]] = {(): (0, 0)}
        self.keys: dict[Where, tuple[int, int]] = {}
        self.faults: set[tuple[tuple[int, int], str]] = set()

    def line(self, at: tuple[int, int], sentence: str) -> str:
        return f"{self.name}:{at[0] + 1}:{at[1] + 1}: {sentence}"

    def fault(self, where: Where, sentence: str) -> None:
        """Remember a fault at the nearest place that stands in the file."""
        self.faults.add((self.at[self.place(where)], sentence))

    def place(self, where: Where) -> Where:
        """`where` without the parts that do not stand in the file: missing keys, and names of types."""
        found: Where = ()
        for part in where:
            found = (*found, part) if (*found, part) in self.at else found
        return found

    def value(self, node: Node, where: Where) -> Any:
        """The plain value of a node. Aliases, tags and non-text keys are faults, so nothing can multiply."""
        self.at[where] = (node.start_mark.line, node.start_mark.column)
        if node.anchor is not None:
            self.fault(where, "anchors and aliases are not allowed here; write it out")
            return None
        if isinstance(node, SequenceNode):
            return tuple(self.value(item, (*where, n)) for n, item in enumerate(node.value))
        if isinstance(node, MappingNode):
            return self._mapping(node, where)
        return self._scalar(node, where)

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            at = (key.start_mark.line, key.start_mark.column)
            if not isinstance(key, ScalarNode) or str(key.tag) != f"{_TAG}str":
                self.faults.add((at, "a key must be plain text"))
            elif key.value in found:
                self.faults.add((at, f"key {key.value!r} is given twice; keep one"))
            else:
                found[key.value] = self.value(value, (*where, key.value))
                self.keys[(*where, key.value)] = at
        return found

    def _scalar(self, node: Node, where: Where) -> Any:
        text = str(node.value)
        match str(node.tag).removeprefix(_TAG):
            case "str" | "timestamp":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", text):
                return int(text)
            case "float" if re.fullmatch(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}", text):
                return float(text)
            case "int" | "float":
                return text
            case tag:
                self.fault(where, f"tag {tag[:40]!r} is not allowed; write plain YAML")
                return None

    def policy(self, data: Any, practice: bool) -> Policy | None:
        """The policy, or None with faults recorded."""
        if not isinstance(data, dict):
            self.fault((), "a policy is a mapping with version, name and rules")
            return None
        rules = data.get("rules")
        given = rules if isinstance(rules, tuple) else ()
        made = [self._rule(raw, n) for n, raw in enumerate(given[:MAX_RULES])]
        self._twice(made)
        if len(given) > MAX_RULES:
            self.fault(("rules", MAX_RULES), f"more than {MAX_RULES} rules; split the policy")
        head = self._checked(Policy, {**data, **({"rules": ()} if isinstance(rules, tuple) else {})}, ())
        if head is None:
            return None
        if head.practice_only and not practice:
            self.fault(("practice_only",), "this policy loads in the practice world only; use another one")
        if not head.practice_only:
            if head.unplanned == "allow":
                self.fault(("unplanned",), "'allow' is for the practice world; use ask or deny, or set practice_only")
            for n, rule in enumerate(made):
                for where, sentence in rule.too_wide() if rule else ():
                    self.fault(("rules", n, *where), sentence)
        return Policy(**{**dict(head), "rules": tuple(rule for rule in made if rule)})

    def _rule(self, raw: Any, n: int) -> Rule | None:
        rule = self._checked(Rule, raw, ("rules", n))
        for where, sentence in rule.faults() if rule else ():
            self.fault(("rules", n, *where), sentence)
        return rule

    def _twice(self, rules: list[Rule | None]) -> None:
        seen: set[str] = set()
        for n, rule in enumerate(rules):
            if rule and rule.id in seen:
                self.fault(("rules", n, "id"), f"rule id {rule.id!r} is given twice; rename one")
            seen |= {rule.id} if rule else set()

    def _checked(self, model: type[M], raw: Any, where: Where) -> M | None:
        try:
            return model.model_validate(raw, strict=True)
        except ValidationError as error:
            told: dict[tuple[int, int], list[str]] = {}
            for one in error.errors(include_url=False):
                place = self.place((*where, *one["loc"]))
                extra = one["type"] == "extra_forbidden"
                told.setdefault(self.keys[place] if extra else self.at[place], []).append(_sentence(one, place))
            self.faults |= {(at, "; or ".join(dict.fromkeys(said))) for at, said in told.items()}
            return None


def _sentence(fault: ErrorDetails, place: Where) -> str:
    key = fault["loc"][-1] if fault["loc"] else ""
    match fault["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            return f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "; remove it")
        case "missing":
            return f"key {key!r} is missing"
        case "too_short" | "string_too_short":
            said = "should not be empty"
        case "tuple_type":
            said = "should be a list"
        case "model_type" | "dict_type":
            said = "should be a mapping"
        case "string_type":
            said = "should be text; quote it"
        case _:
            said = (
                fault["msg"]
                .removeprefix("Value error, ")
                .removeprefix("Input ")
                .replace("valid integer", "whole number")
            )
    name = next((part for part in reversed(place) if isinstance(part, str)), "policy")
    return f"{name!r} {said}" if said.startswith("should") else said
