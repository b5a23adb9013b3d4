"""Policies from YAML files (1.2, safe): every fault with its place, all faults at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from policies.errors import BadPolicy
from policies.grounds import Source
from policies.limits import Limit
from policies.match.command import CommandPattern
from policies.match.url import UrlPattern
from policies.people import People, Person
from policies.rules import Limits, Of, Policy, Rule, When, Where

MAX_BYTES = 1_000_000
MAX_RULES = 2_000
Place = tuple[int, int]
"""Line and column, from 0."""
M = TypeVar("M", bound=BaseModel)
_KEYS = sorted(
    {
        k
        for m in (Policy, Rule, Limits, Of, Limit, When, UrlPattern, CommandPattern, People, Person, Source)
        for k in m.model_fields
    }
)
_TAG = "tag:yaml.org,2002:"
_SAID = {
    "tuple_type": "should be a list",
    "model_type": "should be a mapping",
    "dict_type": "should be a mapping",
    "string_type": "should be text; quote it",
    "int_type": "should be a whole number",
    "too_short": "should not be empty",
    "string_too_short": "should not be empty",
}


def load(path: Path, *, practice: bool = False, groups: frozenset[str] | None = None) -> Policy:
    """The policy in a file. BadPolicy names every fault as `file:line:column: sentence`, one a line.

    A file that cannot be read has no place. A policy with `practice_only` loads only when `practice` says that this is
    the practice world. `groups` are those that a list of people knows; None means that there is no list.
    """
    return loads(read(path), str(path), practice=practice, groups=groups)


def loads(text: str, name: str, *, practice: bool = False, groups: frozenset[str] | None = None) -> Policy:
    """The policy in a text; `name` stands for the file in messages. BadPolicy as in `load`."""
    return _made(text, name, lambda reading, data: reading.policy(data, practice, groups))


def load_people(text: str, name: str) -> People:
    """The list of people in a text; BadPolicy as in `load`."""
    return _made(text, name, lambda reading, data: reading.people(data))


def read(path: Path) -> str:
    """The text of a file that governs; BadPolicy when it cannot be read, or is larger than 1 MB."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise BadPolicy(f"{path}: the policy cannot be read: {error.strerror}; name another file") from error
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{path}:1:1: the policy is not UTF-8; save it as UTF-8") from error


def _made(text: str, name: str, make: Callable[[_Reading, Any], M | None]) -> M:
    reading, made = _Reading(), None
    try:
        if len(text.encode()) > MAX_BYTES:
            raise YAMLError("the policy is larger than 1 MB; split it")
        root = YAML(typ="safe", pure=True).compose(text)
        made = make(reading, reading.value(root, ()) if root else {})
    except MarkedYAMLError as error:
        place, problem = _not_yaml(error, text.splitlines())
        reading.faults.add((place, f"not YAML: {problem}"))
    except (YAMLError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        reading.faults.add(((0, 0), f"not usable: {said}"))
    if reading.faults or made is None:
        lines = (f"{name}:{line + 1}:{column + 1}: {said}" for (line, column), said in sorted(reading.faults))
        raise BadPolicy("\n".join(lines))
    return made


class _Reading:
    """One text on its way to a policy, or a list of people: where everything stands, and what is wrong."""

    def __init__(self) -> None:
        self.at: dict[Where, Place] = {(): (0, 0)}
        self.keys: dict[Where, Place] = {}
        self.faults: set[tuple[Place, str]] = set()

    def value(self, node: Node, where: Where) -> Any:
        """The plain value of a node. Aliases, tags and keys that are no text are faults, so nothing can multiply."""
        self.at[where] = _start(node)
        if node.anchor is not None:
            self.faults.add((_start(node), "anchors and aliases are not allowed here; write it out"))
            return None
        if isinstance(node, SequenceNode):
            return tuple(self.value(item, (*where, n)) for n, item in enumerate(node.value))
        return self._mapping(node, where) if isinstance(node, MappingNode) else self._scalar(node)

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if str(key.tag) != f"{_TAG}str" or key.value in found:
                said = (
                    f"key {key.value!r} is given twice; keep one" if key.value in found else "a key must be plain text"
                )
                self.faults.add((_start(key), said))
                continue
            found[key.value] = self.value(value, (*where, key.value))
            self.keys[(*where, key.value)] = _start(key)
        return found

    def _scalar(self, node: Node) -> Any:
        text = str(node.value)
        match str(node.tag).removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", text):
                return int(text)
            case "float" if re.fullmatch(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}", text):
                return float(text)
            case "str" | "timestamp" | "int" | "float":
                return text
            case tag:
                self.faults.add((_start(node), f"tag {tag[:40]!r} is not allowed; write plain YAML"))
                return None

    def people(self, data: Any) -> People | None:
        """The list of people; None, or faults, when it must not be used."""
        found = self._checked(People, data, ())
        for where, sentence in found.faults() if found else ():
            self._fault(where, sentence)
        return found

    def policy(self, data: Any, practice: bool, groups: frozenset[str] | None) -> Policy | None:
        """The policy as far as it can be made; None, or faults, when it must not be used."""
        if not isinstance(data, dict):
            self._fault((), "a policy is a mapping with version, name and rules")
            return None
        given = data.get("rules")
        rules = [self._rule(raw, n) for n, raw in enumerate(given[:MAX_RULES])] if isinstance(given, tuple) else []
        if isinstance(given, tuple):
            data = data | {"rules": ()}
            if len(given) > MAX_RULES:
                self._fault(("rules", MAX_RULES), f"more than {MAX_RULES} rules; split the policy")
        ids = [rule.id if rule else None for rule in rules]
        for n, rule_id in enumerate(ids):
            if rule_id is not None and rule_id in ids[:n]:
                self._fault(("rules", n, "id"), f"rule id {rule_id!r} is given twice; rename one")
        for n, rule in enumerate(rules):
            if rule and rule.of and rule.of.group and rule.of.group not in (groups or ()):
                self._fault(("rules", n, "of", "group"), _no_group(rule.of.group, groups))
        head = self._checked(Policy, data, ())
        if head is None:
            return None
        for n, source in enumerate(head.trust):
            for sentence in source.faults():
                self._fault(("trust", n), sentence)
        if head.practice_only and not practice:
            self._fault(("practice_only",), "this policy loads in the practice world only; use another one")
        if not head.practice_only:
            self._loose(head, rules)
        return Policy.model_validate(dict(head) | {"rules": tuple(rule for rule in rules if rule)})

    def _loose(self, head: Policy, rules: list[Rule | None]) -> None:
        if head.unplanned == "allow":
            self._fault(("unplanned",), "'allow' is for the practice world; use ask or deny, or set practice_only")
        for n, rule in enumerate(rules):
            for where, sentence in rule.too_wide() if rule else ():
                self._fault(("rules", n, *where), sentence)

    def _rule(self, raw: Any, n: int) -> Rule | None:
        rule = self._checked(Rule, raw, ("rules", n))
        for where, sentence in rule.faults() if rule else ():
            self._fault(("rules", n, *where), sentence)
        return rule

    def _checked(self, model: type[M], raw: Any, where: Where) -> M | None:
        try:
            return model.model_validate(raw, strict=True)
        except ValidationError as error:
            told: dict[Place, dict[str, None]] = {}
            for one in error.errors(include_url=False):
                spot = self._spot((*where, *one["loc"]))
                at = self.keys[spot] if one["type"] == "extra_forbidden" else self.at[spot]
                told.setdefault(at, {})[_sentence(one, spot)] = None
            self.faults |= {(at, "; or ".join(said)) for at, said in told.items()}
            return None

    def _fault(self, where: Where, sentence: str) -> None:
        self.faults.add((self.at[self._spot(where)], sentence))

    def _spot(self, where: Where) -> Where:
        """`where` without the parts that do not stand in the file: missing keys, and names of types."""
        found: Where = ()
        for part in where:
            found = (*found, part) if (*found, part) in self.at else found
        return found


_FULL_WIDTH = re.compile(r"\s*(?:- *)?[\w-]+\s*(：)")
_NO_BLANK = re.compile(r"\s*(?:- *)?[\w-]+(:)[^\s/]")
_INDENT = "this line is not indented as the lines it belongs to; use the same number of blanks"


def _not_yaml(error: MarkedYAMLError, lines: list[str]) -> tuple[Place, str]:
    """Where a text stops to be YAML, and what to do about what people mistype; else what the parser says."""
    mark, said = error.problem_mark, str(error.problem)
    begun = error.context_mark or mark
    if mark is None or begun is None:
        return (0, 0), said
    at, since = (mark.line, mark.column), (begun.line, begun.column)
    line = lines[mark.line] if mark.line < len(lines) else ""
    for n in range(max(0, min(begun.line, mark.line) - 1), min(mark.line + 1, len(lines))):
        if found := _FULL_WIDTH.match(lines[n]):
            return (n, found.start(1)), "the colon behind a key is full-width; write ':' and a blank"
        if found := _NO_BLANK.match(lines[n]):
            return (n, found.start(1)), "a blank is missing behind the colon"
    if "'\\t'" in said:
        return at, "a tab stands here; indent with blanks"
    if "mapping values" in said and ": " in line[: mark.column]:
        return at, "a colon and a blank stand in this text; put the text into quotes"
    if "mapping values" in said or "<block end>" in said:
        return at, _INDENT
    if "expected ':'" in said:
        return since, "a colon is missing behind this key; write ':' and a blank"
    if "alias" in said or "cannot start" in said:
        return at, f"a text that begins with {line[mark.column : mark.column + 1]!r} must stand in quotes"
    if "end of stream" in said:
        return since, "this quotation mark is never closed"
    if said.startswith("expected ',' or"):
        return since, "this bracket is never closed, or a comma is missing in it"
    return at, said


def _no_group(group: str, groups: frozenset[str] | None) -> str:
    if groups is None:
        return f"nobody is known to be in group {group!r}; list its people in people.yaml, or leave 'group' out"
    near = difflib.get_close_matches(group, groups, n=1)
    return f"group {group!r} is not in people.yaml" + (f"; did you mean {near[0]!r}?" if near else "; add it there")


def _start(node: Node) -> Place:
    return node.start_mark.line, node.start_mark.column


def _sentence(fault: ErrorDetails, spot: Where) -> str:
    key = str(fault["loc"][-1]) if fault["loc"] else ""
    if fault["type"] == "missing":
        return f"key {key!r} is missing"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, [known for known in _KEYS if known != key], n=1)
        return f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "; remove it")
    said = _SAID.get(fault["type"], fault["msg"].removeprefix("Value error, ").removeprefix("Input "))
    name = next((part for part in reversed(spot) if isinstance(part, str)), "policy")
    return f"{name!r} {said}" if said.startswith("should") else said
