"""Command text and the argument vectors it stands for. Nothing here runs a command, and nothing runs a shell.

shfmt gives the syntax tree; a small closed part of it is accepted, all else is refused with a sentence that
tells what is accepted. What is accepted means the same to bash.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from policies.action import Command
from policies.match.neutral import neutral
from sandbox.errors import OutsideWorkspace
from sandbox.process import run_trusted
from sandbox.workspace import parts_of
from tools.errors import ToolError

Glob = Callable[[str], Sequence[str]]
"""The file names that fit a pattern of `*` and `?`, in order; `[*]` and `[?]` stand for the characters."""

_ACCEPTED = (
    "accepted are simple commands joined by '|' or '&&' on one line, literal words (quote anything special with "
    "'…'), '*' and '?' in names of files of the run's folder, and '<', '>' or '>>' with such a name"
)
_TEXT_CHARS = 16_000
_PIPELINES = 8  # as policies.action.Pipelines
_PLAIN = re.compile(r"[A-Za-z0-9_./,:=@%+-]+(?: +[A-Za-z0-9_./,:=@%+-]+)*")
_HIDDEN_CHARACTERS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Words of the shell itself (bash 5.2: help, compgen -k) that no file of this name does the same as.
_SHELL_WORDS = """. : alias bg bind break builtin caller case cd command compgen complete compopt continue coproc
declare dirs disown do done elif else enable esac eval exec exit export fc fg fi for function getopts hash help
history if in jobs let local logout mapfile popd pushd read readarray readonly return select set shift shopt
source suspend then time times trap type typeset ulimit umask unalias unset until wait while ! { } [[ ]]"""
_NO_PROGRAM = frozenset(_SHELL_WORDS.split())
Node = dict[str, Any]  # a node of shfmt's tree, read key by key; unknown keys are refused


def parse(text: str, *, glob: Glob | None) -> tuple[tuple[Command, ...], ...]:
    """The pipelines of a command line, first to last; each runs only when the one before ended with 0.

    Programs that would run what files name are spelled so that they do not (policies.match.neutral).
    Without `glob` there are no patterns. ToolError, for the model, for everything outside the accepted part,
    for a pattern without a match, and for a redirection out of the run's folder.
    """
    text = unicodedata.normalize("NFC", text).strip(" \t\n")
    if not text or len(text) > _TEXT_CHARS:
        raise ToolError(f"a command has between 1 and {_TEXT_CHARS:,} characters, this one has {len(text):,}")
    if any(c != "\t" and unicodedata.category(c) in _HIDDEN_CHARACTERS for c in text):
        raise _refusal("the command holds a line break, a control character or an invisible one")
    if _PLAIN.fullmatch(text):
        return ((_command(text.split(), {}),),)
    pipelines = tuple(tuple(_simple(s, glob) for s in _joined(p, "|")) for p in _joined(_statement(text), "&&"))
    if len(pipelines) > _PIPELINES:
        raise ToolError(f"at most {_PIPELINES} commands are joined by '&&'; send the rest as another call")
    if any(c.stdout for p in pipelines for c in p[:-1]) or any(c.stdin for p in pipelines for c in p[1:]):
        raise _refusal("a redirection stands inside a pipe")
    return pipelines


def render(pipelines: Sequence[Sequence[Command]]) -> str:
    """The one spelling of the pipelines, for cards and for a remote shell, which reads the same words."""
    return " && ".join(" | ".join(_rendered(command) for command in pipeline) for pipeline in pipelines)


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """Those of the files, and of the folders above them, that bash would put for `pattern`."""
    dotted = pattern.startswith("./")
    wanted = pattern.removeprefix("./").split("/")
    parts = [name.split("/") for name in names]
    there = {"/".join(p[:n]) for p in parts for n in range(1, len(p) + 1)}
    found = sorted(name for name in there if _fits(name.split("/"), wanted))
    return [f"./{name}" for name in found] if dotted else found


def _fits(name: list[str], wanted: list[str]) -> bool:
    return len(name) == len(wanted) and all(
        fnmatchcase(n, w) and (not n.startswith(".") or w.startswith(".")) for n, w in zip(name, wanted, strict=True)
    )


def _rendered(command: Command) -> str:
    program, *arguments = command.argv
    # A first word with '=' would be an assignment; shlex leaves it unquoted.
    words = [f"'{program}'" if shlex.quote(program) == program and "=" in program else shlex.quote(program)]
    words += [shlex.quote(argument) for argument in arguments]
    if command.stdin is not None:
        words += ["<", shlex.quote(command.stdin)]
    if command.stdout is not None:
        words += [">>" if command.append else ">", shlex.quote(command.stdout)]
    return " ".join(words)


def _statement(text: str) -> Node:
    shfmt = str(Path(sys.executable).with_name("shfmt"))
    code, tree, complaint = run_trusted((shfmt, "--to-json", "-ln=bash"), stdin=text.encode(), timeout_s=5)
    if code:
        raise _refusal(f"the command cannot be parsed (line:column: {complaint.decode().strip()})")
    file: Node = json.loads(tree)
    _only(file, "File", "Stmts")
    if len(file["Stmts"]) != 1:
        raise _refusal("there is more than one statement")
    statement: Node = file["Stmts"][0]
    return statement


def _joined(statement: Node, operator: str) -> list[Node]:
    """The statements that `operator` joins, left to right."""
    command = statement.get("Cmd", {})
    if command.get("Op") != operator:
        return [statement]
    _only(statement, None, "Cmd")
    _only(command, "BinaryCmd", "Op X Y")
    return [*_joined(command["X"], operator), *_joined(command["Y"], operator)]


def _simple(statement: Node, glob: Glob | None) -> Command:
    _only(statement, None, "Cmd Redirs")
    command = statement.get("Cmd", {"Type": "no command"})
    _only(command, "CallExpr", "Args")
    program, *arguments = command["Args"]
    words = [_literal(program), *(word for part in arguments for word in _words(part, glob))]
    made: dict[str, Any] = {}
    for node in statement.get("Redirs", []):
        if "N" in node:
            raise _refusal("'2>' is not accepted: what a program complains of is shown anyway")
        _only(node, None, "Op Word")
        side = {"<": "stdin", ">": "stdout", ">>": "stdout"}.get(node["Op"])
        if side is None or side in made:
            raise _refusal(f"the redirection {node['Op']!r} is not accepted here")
        try:
            made[side] = "/".join(parts_of(_literal(node["Word"])))
        except OutsideWorkspace as error:
            raise _refusal(f"a redirection leaves the run's folder: {str(error).rstrip('.')}") from error
        made["append"] = made.get("append", False) or node["Op"] == ">>"
    return _command(words, made)


def _command(words: Sequence[str], redirections: dict[str, Any]) -> Command:
    program = words[0]
    if program in _NO_PROGRAM or not program or "=" in program or program.startswith(("%", "-")):
        raise _refusal(f"{program!r} is no program")
    return Command(argv=neutral(words), **redirections)


def _words(word: Node, glob: Glob | None) -> Sequence[str]:
    literal, pattern = _read(word)
    # `--include=*.py` is no name of a file, and bash leaves it as it is.
    if pattern is None or re.match(r"--[a-z-]+=", literal):
        return [literal]
    if glob is None:
        raise _refusal(f"the pattern {literal!r} cannot be expanded here; quote it or name the files")
    if not (found := glob(pattern)):
        raise ToolError(f"no file of the run's folder fits the pattern {literal!r}; quote it or list the files")
    if any(name.startswith("-") for name in found):
        raise ToolError(f"the pattern {literal!r} fits a file whose name begins with '-'; write './{literal}'")
    return found


def _literal(word: Node) -> str:
    literal, pattern = _read(word)
    if pattern is not None:
        raise _refusal(f"{literal!r} is a pattern where one name belongs")
    return literal


def _read(word: Node) -> tuple[str, str | None]:
    """A word without its quotes, and as a pattern if it is one."""
    _only(word, None, "Parts")
    literal = pattern = ""
    active = False
    for part in word["Parts"]:
        if part["Type"] == "Lit":
            _only(part, "Lit", "Value")
            # `{}` alone, as `find -exec` has it, is not expanded.
            if re.match(r"~|.*[=:]~|(\\.|[^\\])*?[\[{]", part["Value"]) and part["Value"] != "{}":
                raise _refusal(f"{part['Value']!r} would be expanded")
            for escaped, plain in re.findall(r"\\(.)|(.)", part["Value"]):
                active |= plain in ("*", "?")
                literal += escaped or plain
                pattern += plain or _escaped(escaped)
        else:
            literal += (quoted := _quoted(part))
            pattern += _escaped(quoted)
    return literal, pattern if active else None


def _quoted(part: Node) -> str:
    if part["Type"] == "SglQuoted":
        _only(part, "SglQuoted", "Value")
        return str(part.get("Value", ""))
    _only(part, "DblQuoted", "Parts")
    for node in part.get("Parts", []):
        _only(node, "Lit", "Value")
    return "".join(re.sub(r'\\([$`"\\])', r"\1", node["Value"]) for node in part.get("Parts", []))


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _only(node: Node, type: str | None, keys: str) -> None:
    """Closed by default: another type, a comment, or anything that a later shfmt adds is refused."""
    if node.get("Type") != type:
        raise _refusal(f"shell syntax ({node.get('Op') or node.get('Type')}) is not accepted")
    for key in sorted(node.keys() - {"Type", "Position", "Left", "Right", *keys.split()}):
        if not key.endswith(("Pos", "End")):
            raise _refusal(f"shell syntax ({key}) is not accepted")


def _refusal(what: str) -> ToolError:
    return ToolError(f"{what}; {_ACCEPTED}")
