"""Finds in the source every sentence that a person may read, as templates: `no run begins with {prefix}`.

A place has the name that stands last in its expression. A choice in a sentence makes two templates; a local
name is looked up where it was given its text.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
Known = dict[str, list[ast.expr]]
"""What each name in reach was given."""
LEFT_OUT = {
    "agent/prompts": "for the model",
    "agent/practice.py": "makes the practice home",
    "policies/permit.py": "guards against our own mistakes",
    "policies/redact/folded.py": "guards against our own mistakes",
    "sandbox/practice": "the practice world: for those who develop Remit",
    "sandbox/setup.py": "runs before anything is installed, with the standard library alone; PARTS is said by doctor",
}
FOR_THE_MODEL = {"ToolError"}
"""Errors whose sentences the model reads, which gets English."""
# Calls that take a sentence: the number of the argument, or its name.
SAID: dict[str, tuple[int | str, ...]] = {
    **{"say": (0,), "told": (0,), "_fault": (1,), "deny": (1,), "_denied": (1,), "_not_again": (2,)},
    **{"_failed": (0,), "_unusable": (1,), "ask_about_plan": (3,)},
    **{"Decision": ("reason",), "Failed": ("reason",), "Unknown": ("reason",), "replace": ("reason", "what")},
    **{"Broken": ("why",), "Flaw": (2,), "Stand": ("trouble",), "Reached": ("missing",), "Typer": ("epilog",)},
    **{"Trouble": (1, 2), "broken": (0,), "away": (0,)},
}
SAID_IN_COMMANDS: dict[str, tuple[int | str, ...]] = {"tell": (0,), "rows": (0,), "_told": (0,)}
KEYS = ("trouble", "why", "evidence")
"""Keys of dicts under which a sentence stands."""
DICTS = ("_TITLES", "_LABELS", "flags", "Verdict")
"""Names whose values are all said."""
GIVES = (
    "backend_name",
    "_file_key",
    "faults",
    "too_wide",
    "_beside",
    "_wide",
    "_case_faults",
    "_named",
    "_sentence",
    "_cuts",
    "_not_yaml",
    "_judged",
    "_evidence",
    "_missing",
    "_why",
    "plan_card",
    "may_answer",
    "_without_a_list",
    "_no_group",
)
"""Functions that give sentences, or parts of them; a place that is filled by one is called `said`."""
OTHERS = (
    # What the command line's parser says.
    *("Usage: {usage}", "Try '{command}' for help.", "Show this message and exit.", "Arguments", "Options", "Commands"),
    *(
        "Missing argument {name}.",
        "Missing option {name}.",
        "Missing command.",
        "Error: {said}",
        "[OPTIONS]",
        "COMMAND [ARGS]",
        "No such command {name}.",
        "No such option: {name}",
    ),
    *("No such command {name}. Did you mean {other}?", "No such option: {name} (Possible options: {others})"),
    *("Option {name} requires an argument.", "Got unexpected extra argument(s) ({arguments})"),
    *("Invalid value for {name}: {said}", "default: {default}", "required"),
    # What the system and the parser of values say of a file or a value.
    *("No such file or directory", "Permission denied", "Is a directory", "Not a directory", "File exists"),
    *("No space left on device", "Read-only file system"),
    *("{name} should be a list", "{name} should be a mapping", "{name} should be text; quote it"),
    *("{name} should be a whole number", "{name} should not be empty", "{name} should be {choices}"),
    *("{name} should be greater than or equal to {least}", "{name} should be less than or equal to {most}"),
    *("{name} should match pattern {pattern}", "{said}; or {said2}", "{path}:{line}:{column}: {said}"),
    "input should be a valid integer, unable to parse string as an integer",
    *("input should be {choices}", "input should be greater than or equal to {least}"),
    # What stands in tuples and in a module that is left out.
    *("it was begun and then interrupted: yes = it happened, no = it did not", "field {name}", "argument {name}"),
    *("{what} ({host}, model {model}): {todo}.", "run a command on {server}: {command}"),
    "run a command in this run's folder: {command}",
    "Chinese pages show boxes in screenshots: install the package fonts-noto-cjk as root",
    *("extra inputs are not permitted", "input should be a valid {type}", "field required"),
)
"""What libraries say and our code passes on, and how sentences are joined."""


def sentences() -> dict[str, str]:
    """Every template, with the place of one that says it."""
    found: dict[str, str] = dict.fromkeys(OTHERS, "tests/agent/sentences.py: OTHERS")
    for path in _sources():
        at = str(path.relative_to(ROOT))
        for node, template in _said(ast.parse(path.read_text("utf-8")), {}, in_commands=at.startswith("agent/cli")):
            found.setdefault(template, f"{at}:{node.lineno}")
    for path in sorted((ROOT / "policies/presets").glob("*.yaml")):
        for rule in YAML(typ="safe", pure=True).load(path.read_text("utf-8"))["rules"]:
            found.setdefault(rule["why"], f"{path.relative_to(ROOT)}: {rule['id']}")
    return found


def words() -> set[str]:
    """Every text that stands alone in quotes in `agent` and `policies`: labels, states, column heads."""
    trees = (ast.parse(path.read_text("utf-8")) for path in _sources() if path.parts[-2] != "tools")
    return {
        n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


def _sources() -> Iterator[Path]:
    for folder in ("agent", "policies", "tools", "sandbox"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(str(path.relative_to(ROOT)).startswith(out) for out in LEFT_OUT):
                yield path


@cache
def _errors() -> frozenset[str]:
    """Names of the exceptions of ours, and of those that carry a sentence of ours to them."""
    files = ("agent/errors.py", "policies/errors.py", "tools/errors.py", "sandbox/errors.py")
    trees = (ast.parse((ROOT / file).read_text("utf-8")) for file in files)
    ours = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return frozenset(ours | {"ValueError", "Fault", "KeyringError"}) - FOR_THE_MODEL


def _said(scope: ast.AST, known: Known, *, in_commands: bool) -> Iterator[tuple[ast.expr, str]]:
    """Every sentence said in a scope and in the functions within it."""
    known = known | _given(scope)
    if isinstance(scope, ast.Module):
        known |= {name: [] for name in DICTS}
    for node in _own(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _said(node, known, in_commands=in_commands)
        given = getattr(scope, "name", "") in GIVES and isinstance(node, ast.Return | ast.Yield) and node.value
        for expression in (*_sinks(node, in_commands), *([given] if given else [])):
            for template in templates(expression, known):
                yield expression, template
    if isinstance(scope, ast.Module) and in_commands:
        functions = {node.name: node for node in scope.body if isinstance(node, ast.FunctionDef)}
        if register := functions.get("register"):
            for node in ast.walk(register):
                if isinstance(node, ast.Name) and (command := functions.get(node.id)):
                    yield (
                        ast.Constant(node.id, lineno=command.lineno),
                        " ".join((ast.get_docstring(command) or "").split()),
                    )


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Every node of a scope, without what stands inside the functions in it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _own(node)


def _given(scope: ast.AST) -> Known:
    """What is assigned to each name in a scope."""
    found: Known = {}
    fields = {f for node in _own(scope) if isinstance(node, ast.ClassDef) for f in node.body}
    for node in _own(scope):
        if node in fields:
            continue
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name, value in _pairs(target, node.value):
                    found.setdefault(name, []).append(value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            more = ast.BinOp(ast.Name(node.target.id), ast.Add(), node.value)
            found.setdefault(node.target.id, []).append(more)
        elif isinstance(node, ast.NamedExpr):
            found.setdefault(node.target.id, []).append(node.value)
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        for one in [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]:
            if isinstance(one, ast.Tuple) and len(one.elts) == len(target.elts):
                for each, given in zip(target.elts, one.elts, strict=True):
                    yield from _pairs(each, given)


def _sinks(node: ast.AST, in_commands: bool) -> Iterator[ast.expr]:
    """The expressions in a node that a person reads."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        known = SAID | SAID_IN_COMMANDS if in_commands else SAID
        for place in (0,) if name in _errors() else known.get(name, ()):
            if isinstance(place, int) and place < len(node.args):
                yield node.args[place]
            yield from (k.value for k in node.keywords if k.arg == place)
        yield from (k.value for k in node.keywords if k.arg == "help" and in_commands)
        if name in ("add", "append") and ast.unparse(node.func).split(".")[-2] in ("faults", "lines"):
            yield from node.args
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in KEYS:
                yield value
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in DICTS:
        if isinstance(node.value, ast.Dict):
            yield from node.value.values
        elif isinstance(node.value, ast.Subscript):  # a Literal
            yield node.value.slice


def templates(node: ast.expr, known: Known) -> list[str]:
    """The templates that an expression stands for; nothing if no part of it is written out."""
    found = []
    for raw in _made(node, known, 0):
        text = _FIELD.sub(partial(_numbered, {}), raw)
        if re.search(r"[A-Za-z]{2}", re.sub(r"\{[^{}]*\}", "", text)):
            found.append(text)
    return found


_FIELD = re.compile(r"\{(\w+)\0([^\0]*)\0\}")


def _numbered(names: dict[str, list[str]], field: re.Match[str]) -> str:
    """The place, with a number behind it if another expression of the sentence has the name."""
    name, expression = field.groups()
    mine = names.setdefault(name, [])
    if expression not in mine:
        mine.append(expression)
    n = mine.index(expression) + 1
    return f"{{{name}{n if n > 1 else ''}}}"


def _made(node: ast.expr, known: Known, depth: int) -> list[str]:
    match node:
        case ast.Constant(value=str(text)):
            # A template of `str.format`, whose places may hold `{control.name!r}`, or a literal.
            return [
                re.sub(r"\{[\w.]*?(\w+)(![rs])?\}", r"{\1}", text)
                if depth == 0
                else text.replace("{", "{{").replace("}", "}}")
            ]
        case ast.JoinedStr(values=parts):
            return ["".join(one) for one in itertools.product(*(_made(p, known, depth + 1) for p in parts))]
        case ast.FormattedValue(value=value, format_spec=None, conversion=-1):
            return _made(value, known, depth + 1)
        case ast.FormattedValue(value=value):
            return [_place(value)]
        case ast.IfExp(body=one, orelse=other):
            return _made(one, known, depth) + _made(other, known, depth)
        case ast.BoolOp(op=ast.Or(), values=values):
            return [t for v in values for t in _made(v, known, depth)]
        case ast.BinOp(op=ast.Add(), left=left, right=right) if not isinstance(getattr(right, "value", ""), int):
            return [a + b for a in _made(left, known, depth + 1) for b in _made(right, known, depth + 1)]
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [t for p in parts if not isinstance(p, ast.Tuple) for t in _made(p, known, depth)]
        case ast.Call(func=ast.Name(id="getattr"), args=[_, _, default]):
            return [_place(node), *_made(default, known, depth)]
        case ast.Name(id=name) if depth < 6 and name in known:
            others = {one: value for one, value in known.items() if one != name}  # else it might never end
            made = [t for value in known[name] for t in _made(value, others, max(depth, 1) + 1)]
            written = [t for t in made if re.search(r"[A-Za-z]{2}", _FIELD.sub("", t))]
            return written + ([_place(node)] if len(written) < len(made) or not made else [])
        case _:
            return [_place(node)]


def _place(node: ast.expr) -> str:
    """A place: its name, and the expression that tells it from others of that name."""
    expression = ast.unparse(node)
    names = re.findall(r"(?<![\w'\"])[A-Za-z_]\w*", re.sub(r"'[^']*'", "", expression)) or ["value"]
    name = "said" if any(part in GIVES for part in names) else names[-1].strip("_")
    return f"{{{name}\0{expression}\0}}"
