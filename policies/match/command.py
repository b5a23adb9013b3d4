"""Patterns for commands: argument vectors against typed grammars, never text."""

from __future__ import annotations

import posixpath
import re
from difflib import get_close_matches
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from policies.action import Command, Value, canonical_url
from policies.match.neutral import bare
from policies.match.path import PathPattern, glob, is_under
from policies.match.programs import Reach, names, reach
from policies.match.url import UrlPattern

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
        program, *rest = bare(command.argv) or command.argv
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


# Never read by name: keys and passwords lie there. Not a boundary: whoever reads a whole folder reads them too.
_KEPT = re.compile(
    r"\.(ssh|gnupg|aws|azure|kube|docker|netrc|pgpass|my\.cnf|git-credentials|htpasswd|npmrc|pypirc|env(\..*)?|.*_history)|"
    r"(id_(rsa|dsa|ecdsa|ed25519)|g?shadow|ssh_host_.*_key)[~-]?|.*\.(pem|key|p12|pfx|jks|kdbx|keytab|ovpn)",
    re.IGNORECASE,
)
Root = Annotated[str, Field(pattern=r"^(\.|(/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)+)$")]


class ReadsPattern(Value):
    """Any command that only reads, by the grammars we ship: of the programs and groups in `reads`.

    Every path it names lies `under` one of the roots (`.` is the folder it runs in), every url inside `urls`, and ssh
    goes to one of `hosts`, exactly so, to run what this pattern allows too; `.` is no root there. It writes to no file.
    """

    reads: Annotated[tuple[str, ...], Field(min_length=1)]
    under: tuple[Root, ...] = ()
    urls: tuple[UrlPattern, ...] = ()
    hosts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = names()
        for name in self.reads:
            if name not in known:
                near = (get_close_matches(name, known, n=1) or sorted(known))[0]
                raise ValueError(f"{name!r} is no program or group that is known; did you mean {near!r}?")
        return self

    def matches(self, command: Command) -> bool:
        """True when the command only reads, and everything it names lies inside."""
        found = reach(command.argv)
        if found is None or command.stdout is not None:
            return False
        return self._admits(found, remote=False) and (command.stdin is None or self._under(command.stdin, self.under))

    def touches(self, command: Command) -> bool:
        """Always: this pattern cannot refuse, and a rule that denies does not load with it."""
        return True

    def _admits(self, found: Reach, *, remote: bool) -> bool:
        roots = tuple(root for root in self.under if not remote or root != ".")
        return (
            not found.names.isdisjoint(self.reads)
            and all(self._under(path, roots) for path in found.paths)
            and all(self._url(url) for url in found.urls)
            and (found.host is None or (not remote and found.host in self.hosts))
            and all(self._admits(each, remote=True) for each in found.remote)
        )

    def _under(self, path: str, roots: tuple[str, ...]) -> bool:
        kept = any(_KEPT.fullmatch(part) for part in path.split("/"))
        return not kept and path != "" and any(is_under(path, root) for root in roots)

    def _url(self, url: str) -> bool:
        try:
            made = canonical_url(url)
        except ValueError:
            return False
        return url in (made, made.removesuffix("/")) and any(pattern.matches(made) for pattern in self.urls)

    def __str__(self) -> str:
        where = [*self.under, *map(str, self.urls), *self.hosts]
        return f"{', '.join(self.reads)} (reading)" + (f" in {', '.join(where)}" if where else "")


def _spelling(given: object) -> str:
    several = "reads" in given if isinstance(given, dict) else isinstance(given, ReadsPattern)
    return "several programs" if several else "one program"


AnyCommand = Annotated[
    Annotated[CommandPattern, Tag("one program")] | Annotated[ReadsPattern, Tag("several programs")],
    Discriminator(_spelling),
]
"""What stands under `commands` in a rule."""
