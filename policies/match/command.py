"""Patterns for commands: argument vectors against typed grammars, never text."""

from __future__ import annotations

import posixpath
import re
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policies.action import Command, Value
from policies.match.path import PathPattern, glob, is_under

# Programs that run what their arguments say. Only exact arguments can grant them.
# Wrappers and shells from issue lists of agents that allowed them by name; interpreters because
# any operand is a program (awk's system(), sed's `e`, tar's checkpoint actions).
_RUN_OTHERS = (
    "ash awk bash busybox chroot command csh dash doas env eval exec expect fish flock gawk gdb git ionice ksh "
    "less lua make man mawk more nice node nohup nsenter parallel perl php pkexec pwsh python rsync ruby "
    "runuser screen script sed setsid sh ssh stdbuf strace su sudo systemd-run tar taskset tclsh time timeout "
    "tmux unshare vi vim watch xargs zip zsh"
)
RUN_OTHERS = frozenset(_RUN_OTHERS.split())
# Options of otherwise harmless programs that run others, write or delete (find(1), sort(1), rg(1)).
_NEVER = "-exec -execdir -ok -okdir -delete -fprint -fprint0 -fprintf -fls --compress-program --pre --hostname-bin"
NEVER_OPTIONS = frozenset(_NEVER.split())

_IN_SHELLS = re.compile(r"""[\s;&|()<>'"`]+""")


class Under(Value):
    """Paths at or below a root, spelled without `..`."""

    under: str


OptionValue = Literal["any", "number"] | Annotated[tuple[str, ...], Field(min_length=1)]


class CommandPattern(Value):
    """One program. Either `args`, exactly; or `options` by list and `operands`.

    `program` is a bare name or an absolute path, and only that spelling matches. An option is `-h`, or
    `{-n: number}` when it takes a value (`any`, `number`, or a list). One-letter options may be joined
    unless a longer one with a single dash is listed. `operands` is any, none, a list of allowed ones, or
    `{under: root}`. `stdin` and `stdout` name the paths that a redirection may use; without them there is none.
    """

    program: str
    args: tuple[str, ...] | None = None
    options: tuple[str | dict[str, OptionValue], ...] | None = None
    operands: Literal["any", "none"] | tuple[str, ...] | Under | None = None
    stdin: PathPattern | None = None
    stdout: PathPattern | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not re.fullmatch(r"[^/\s]+|(/(?!\.\.?(/|$))[^/\s]+)+", self.program):
            raise ValueError(f"{self.program!r} is neither a bare program name nor an absolute path")
        if self.args is not None and (self.options is not None or self.operands is not None):
            raise ValueError("give exact `args`, or `options` and `operands`, not both")
        for bad in (o for o in self.grammar if not o.startswith("-") or o in NEVER_OPTIONS or o in ("-", "--")):
            raise ValueError(f"{bad!r} is not an option that can be granted in a list; give exact `args`")
        return self

    @cached_property
    def grammar(self) -> dict[str, OptionValue | None]:
        """The listed options, each with what it takes."""
        pairs = ([(o, None)] if isinstance(o, str) else o.items() for o in self.options or ())
        return dict(pair for each in pairs for pair in each)

    @property
    def runs_others(self) -> bool:
        """True when the program runs what its arguments say, and they are not exact."""
        return self.args is None and _name(self.program) in RUN_OTHERS

    def matches(self, command: Command) -> bool:
        """True when program, every option, every operand and every redirection is inside the pattern."""
        program, *rest = command.argv
        if program != self.program or not all(word.isprintable() for word in rest):
            return False
        if not (_redirected(self.stdin, command.stdin) and _redirected(self.stdout, command.stdout)):
            return False
        if self.args is not None:
            return tuple(rest) == self.args
        operands = self._operands_of(rest)
        return operands is not None and all(self._admits(operand) for operand in operands)

    def touches(self, command: Command) -> bool:
        """True when a program of that name is called, by any path or wrapper, with at least the words of `args`.

        In any order; options joined or with their value attached, and paths spelled otherwise, count as what they say.
        That `-r` and `--recursive` mean the same is not known here.
        """
        wrapped = _name(command.argv[0]) in RUN_OTHERS
        words = _IN_SHELLS.split(" ".join(command.argv)) if wrapped else command.argv
        called = words if wrapped else words[:1]
        if not any(PurePosixPath(word).name == PurePosixPath(self.program).name for word in called):
            return False
        said = {part for word in words for part in _parts(word)}
        return all(_said(part, said) for word in self.args or () for part in _meant(word))

    def _operands_of(self, words: list[str]) -> list[str] | None:
        """What is left of `words` without options; None when an option is not listed or its value is not."""
        options, operands = self.grammar, list[str]()
        joined = not any(len(o) > 2 and o[1] != "-" for o in options)
        queue = list(words)
        while queue:
            word = queue.pop(0)
            if word == "--":
                return operands + queue
            if word == "-" or not word.startswith("-"):
                operands.append(word)
                continue
            if word in options:
                wanted = options[word]
                if wanted is not None and not (queue and _value_fits(wanted, queue.pop(0))):
                    return None
                continue
            name, has_value, value = word.partition("=") if word.startswith("--") else (word[:2], "=", word[2:])
            wanted = options.get(name)
            if wanted is not None and has_value and _value_fits(wanted, value):
                continue
            if word.startswith("--") or not (joined and all(options.get(f"-{c}", "") is None for c in word[1:])):
                return None
        return operands

    def _admits(self, operand: str) -> bool:
        if isinstance(self.operands, Under):
            return is_under(operand, self.operands.under)
        if isinstance(self.operands, tuple):
            return operand in self.operands
        return self.operands == "any"

    def __str__(self) -> str:
        if self.args is not None:
            return " ".join((self.program, *self.args))
        words = [self.program, f"[{' '.join(self.grammar)}]" if self.grammar else ""]
        if isinstance(self.operands, Under):
            words.append(f"{self.operands.under}/**")
        elif self.operands not in (None, "none"):
            words.append("…" if self.operands == "any" else "|".join(self.operands))
        return " ".join(filter(None, words))


def _parts(word: str) -> set[str]:
    """Everything that a word may say: itself, each of its joined options, and the value attached to one."""
    parts = {word, _plain(word)}
    name, _, value = word.partition("=")
    if word.startswith("--"):
        return parts | {name, _plain(value)}
    if word.startswith("-"):
        ends = {word[2:].removeprefix("="), word[word.find("/") :] if "/" in word else ""}
        return parts | {f"-{letter}" for letter in word[1:]} | {_plain(end) for end in ends} | {_plain(value)}
    return parts | {_plain(value)}


def _meant(word: str) -> set[str]:
    """The least that must be said for a word of `args` to be."""
    name, is_pair, value = word.partition("=")
    if word.startswith("--") and is_pair:
        return {name, _plain(value)}
    if re.fullmatch(r"-[A-Za-z0-9]+", word):
        return {f"-{letter}" for letter in word[1:]}
    return {_plain(word)}


def _said(part: str, said: set[str]) -> bool:
    """Whether it is among what is said; a long option also where it is cut short, as getopt lets it be."""
    long = part.startswith("--") and any(len(word) > 2 and word[:2] == "--" and part.startswith(word) for word in said)
    return part in said or long


def _plain(word: str) -> str:
    """A path without what does not change where it leads; any other word as it is."""
    return re.sub("^//", "/", posixpath.normpath(word)) if "/" in word else word


def _redirected(pattern: str | None, path: str | None) -> bool:
    return path is None or (pattern is not None and glob(pattern).matches(path))


def _value_fits(wanted: OptionValue, value: str) -> bool:
    if isinstance(wanted, tuple):
        return value in wanted
    # A value that looks like an option is refused: the program might not take one there.
    return re.fullmatch(r"\+?[0-9]+" if wanted == "number" else r"[^-].*|", value) is not None


def _name(program: str) -> str:
    return PurePosixPath(program).name.rstrip("0123456789.")
