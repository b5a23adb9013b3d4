"""What a command would reach if all it does is read; None for whatever is not known to read only.

The grammars are data (`programs.toml`). A word that no grammar accounts for makes the whole command unknown.
Symbolic links, and what a folder holds that is read as a whole, are not seen here: the walls are the boundary.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from policies.match import scripts
from policies.match.neutral import bare, folders

_TABLE = Path(__file__).with_name("programs.toml")
_REVISION = r"(?!/|-)(?!(?:.*[/:])?\.\.(?:/|$))(?!.*/\.\.(?:/|$)).+|/.*"
_PS_LETTERS = "AacefgHhjlLmnoprStTuUvVwXxZ"
# What a word of each kind may be, whole. Kinds with a meaning of their own are in _COLLECTED and _PARSED.
_KINDS = {
    "text": r".*",
    "safe": r"(?!.*(?:\$[({]|`|\[\$)).*",  # some shells compute what they are told to test or to print
    "word": r"[A-Za-z0-9_@%:,+*?][A-Za-z0-9_@%:,.+*?-]*",
    "number": r"[+-]?[0-9]{1,12}[bkKmMG]?B?",
    "numbers": r"[0-9]+(,[0-9]+)*",
    "small": r"[0-9]{1,2}",
    "lines": r"\+?[0-9]{1,7}|all",
    "count": r"-?[0-9]{1,6}",
    "span": r"[+-]?[0-9]{1,12}[a-zA-Z]?",
    "perm": r"[-/]?([0-7]{1,4}|[ugoa]*[+=]?[rwxst,ugoa=+]+)",
    "datefmt": r"\+.*",
    "format": r"(?!.*%G).*",  # git asks gpg about signatures then, a program that its configuration names
    "mount": r"/|(/(?!\.\.?(/|$))[^/]+)+/?|\.",
    "unit": r"[A-Za-z0-9_@:.*?\\\[\]][A-Za-z0-9_@:.*?\\\[\]-]*",
    "journal": r"_{0,2}[A-Z][A-Z0-9_]*=.*|\+",
    "assign": r"(?!(ARGV|ARGC|ENVIRON|PROCINFO)\b)[A-Za-z_][A-Za-z0-9_]*=.*",
    "variable": r"(?!ENV$)[A-Za-z_][A-Za-z0-9_]*",
    # An unknown user makes ps read `-auxe` as `auxe`, and that shows environments.
    "psuser": rf"(?![axwfujlh]*[eE][{_PS_LETTERS}]*$)[A-Za-z0-9_.][A-Za-z0-9_.-]*|redis|postgres",
    "psformat": r"(?!.*(?i:environ))[A-Za-z0-9_%,=: -]+",
    "psbsd": r"[auxwfjlhrTmv]+|[0-9]+(,[0-9]+)*",
    "ssfilter": r"state|established|listening|connected|synchronized|time-wait|close-wait|syn-sent|syn-recv|"
    r"fin-wait-[12]|(sport|dport) *(=|eq) *:[a-z0-9]+|"
    r"closed|all|sport|dport|=|eq|gt|lt|and|or|not|\(|\)|:[a-z0-9]+|src|dst|[0-9]+(\.[0-9]+){3}(:[0-9]+)?",
    "header": r"[^@\x00-\x1f][^\x00-\x1f]*",
    "writeout": r"(?!@)(?!.*%(\{)?output).*",
    "sshoption": r"(BatchMode|StrictHostKeyChecking)=yes|(ConnectTimeout|ServerAlive(Interval|CountMax))=[0-9]{1,3}|"
    r"(ClearAllForwardings|IdentitiesOnly)=yes|(ForwardAgent|PermitLocalCommand)=no",
    "path": r"(?!-.).+",
    "plain": r"(?!-.)[A-Za-z0-9_./,:@%+-]+",
    "awkpath": r"(?!-.)[^=]+",
    "archive": r"(?!-.)[^:]+",  # tar reads host:file over the network
    "rev": _REVISION,
    "url": r"(?!-)[^][{}]+",  # curl makes several of one with brackets
    "host": r"([a-z_][a-z0-9_-]*@)?[a-zA-Z0-9][a-zA-Z0-9.-]*",
    "remote": r".*",
}
_PARSED: dict[str, Callable[[str], bool]] = {"sed": scripts.sed_reads, "awk": scripts.awk_reads, "jq": scripts.jq_reads}
_PATHS = frozenset({"path", "plain", "awkpath", "archive", "rev"})
_SIGNED = frozenset({"number", "span", "perm", "count"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """What one command that only reads would reach."""

    names: frozenset[str]
    """Its program, and the group that it is in."""
    paths: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    host: str | None = None
    remote: tuple[Reach, ...] = ()
    """What the command on the host would reach there."""


@lru_cache(maxsize=4096)
def reach(argv: tuple[str, ...]) -> Reach | None:
    """What the command would reach; None when it is not known to read only.

    git, curl and python3 must be spelled as `policies.match.neutral` spells them.
    """
    plain = bare(argv)
    if plain is None or not all(word.isprintable() for word in plain):
        return None
    program = re.sub(r"^/(usr/)?s?bin/", "", plain[0])
    base, words = folders(program, plain[1:])
    if program == "tar" and words and re.fullmatch(r"[tvzjJa]+f?", words[0]):
        words[0] = f"-{words[0]}"
    named = [program, *words]
    n = next((n for n in (3, 2, 1) if "/".join(named[:n]) in _table() and "/" not in program), 0)
    if not n:
        return None
    if named[n:] in (["--help"], ["--version"]) and program != "git":
        return Reach(names=frozenset({program, *_table()["/".join(named[:n])].groups}))
    return _table()["/".join(named[:n])].reach(program, named[n:], base)


def names() -> frozenset[str]:
    """Every group and every program that a rule may name."""
    return frozenset(name.split("/")[0] for name in _table()) | {group for g in _table().values() for group in g.groups}


@dataclass(frozen=True, slots=True)
class _Item:
    """One place among the operands."""

    kind: str
    times: str

    @classmethod
    def of(cls, text: str) -> _Item:
        return cls(text.rstrip("?*+"), text[-1] if text[-1] in "?*+" else "")


@dataclass(frozen=True, slots=True)
class _Option:
    kinds: tuple[str, ...] = ()
    attached: bool = False
    """The value may be left out, and if it is there it is attached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grammar:
    groups: tuple[str, ...]
    options: Mapping[str, _Option] = field(default_factory=dict)
    operands: tuple[tuple[_Item, ...], ...] = ((),)
    words: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    listing: frozenset[str] = frozenset()
    needs: tuple[frozenset[str], ...] = ()
    here: bool | frozenset[str] = False
    single: bool = False
    apart: bool = False
    stops: bool = False

    @classmethod
    def of(cls, group: str, spec: dict[str, Any]) -> _Grammar:
        spec = dict(spec)
        sides = [side.split() for side in spec.pop("operands", "none").split(" / ")]
        operands = tuple(tuple(_Item.of(word) for word in side if word != "none") for side in sides)
        options = dict(_option(word) for word in spec.pop("options", "").split())
        here, needs = spec.pop("here", False), spec.pop("needs", ())
        sets: dict[str, Any] = {n: frozenset(spec.pop(n, "").split()) for n in ("words", "without", "listing")}
        flags: dict[str, Any] = {n: spec.pop(n, False) for n in ("single", "apart", "stops")}
        assert not spec, f"the table of programs has an unknown key: {spec}"
        return cls(
            groups=(group,),
            options=options,
            operands=operands,
            here=here if isinstance(here, bool) else frozenset(here.split()),
            needs=tuple(frozenset(need.split()) for need in needs),
            **sets,
            **flags,
        )

    def reach(self, program: str, words: Sequence[str], base: tuple[str, ...]) -> Reach | None:
        parsed = self._parsed(list(words))
        if parsed is None:
            return None
        said, operands = parsed
        seen = {name for name, _, _ in said}
        sides = [side[1:] if seen & self.without else side for side in self.operands]
        placed = next((kinds for side in sides if (kinds := _place(side, operands)) is not None), None)
        if placed is None or not all(seen & need for need in self.needs):
            return None
        if operands and self.listing and not self.listing & seen:
            return None
        if not all(_fits(kind, value) for _, kind, value in said if kind):
            return None
        values = list(zip(placed, operands, strict=True))
        paths = [v for k, v in values if k in _PATHS and k != "rev"]
        default = self.here is True or (self.here and bool(self.here & seen))
        reached = [*base] if base else (["."] if default and not paths else [])
        values += [(kind, value) for _, kind, value in said]
        reached += [_in_tree(v, base) if k == "rev" else v for k, v in values if k in _PATHS and v != "-"]
        remote = _remote([v for k, v in values if k == "remote"])
        if remote is None:
            return None
        urls, host = tuple(v for k, v in values if k == "url"), next((v for k, v in values if k == "host"), None)
        if "curl" in self.groups and not urls:
            return None
        found = frozenset({program, *self.groups})
        return Reach(names=found, paths=tuple(reached), urls=urls, host=host, remote=remote)

    def _parsed(self, queue: list[str]) -> tuple[list[tuple[str, str, str]], list[str]] | None:
        """The options as (name, kind, value) and the operands; None for an option that is not listed."""
        said, operands = list[tuple[str, str, str]](), list[str]()
        while queue:
            word = queue.pop(0)
            if word in self.words:
                continue
            if word == "--" and not self.single:
                return said, operands + queue
            if word == "-" or not word.startswith("-"):
                operands.append(word)
                if self.stops:
                    return said, operands + queue
                continue
            given = self._given(word, queue)
            if given is None:
                return None
            said += given
        return said, operands

    def _given(self, word: str, queue: list[str]) -> list[tuple[str, str, str]] | None:
        """What one word with a dash says; takes its values off the queue."""
        if "-NUM" in self.options and re.fullmatch(r"-[0-9]{1,9}", word):
            return []
        if option := self.options.get(word):
            return self._valued(word, option, queue)
        if word.startswith("--"):
            name, is_pair, value = word.partition("=")
            option = self.options.get(name)
            fits = is_pair and option is not None and len(option.kinds) == 1
            return [(name, option.kinds[0], value)] if fits and option else None
        return None if self.single else self._cluster(word, queue)

    def _valued(self, name: str, option: _Option, queue: list[str]) -> list[tuple[str, str, str]] | None:
        if option.attached or not option.kinds:
            return [(name, "", "")]
        values = [queue.pop(0) for _ in option.kinds if queue]
        # A value that looks like an option is refused: the program might not take one there.
        odd = any(
            v.startswith("-") and v != "-" and k not in _SIGNED for k, v in zip(option.kinds, values, strict=False)
        )
        if odd or len(values) < len(option.kinds):
            return None
        return [(name, kind, value) for kind, value in zip(option.kinds, values, strict=True)]

    def _cluster(self, word: str, queue: list[str]) -> list[tuple[str, str, str]] | None:
        """One-letter options joined, the last perhaps with its value."""
        found = list[tuple[str, str, str]]()
        for n, letter in enumerate(word[1:], 1):
            name, rest = f"-{letter}", word[n + 1 :]
            option = self.options.get(name)
            if option is None or (rest and option.kinds and (self.apart or len(option.kinds) > 1)):
                return None
            if option.kinds and rest:
                return [*found, (name, option.kinds[0], rest)]
            given = self._valued(name, option, queue)
            if given is None:
                return None
            found += given
        return found


@cache
def _table() -> dict[str, _Grammar]:
    """The grammars by program, `git/log` for a subcommand. Read at the first use."""
    data = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {
        name: _Grammar.of(group, spec)
        for group, grammars in data.items()
        for several, spec in grammars.items()
        for name in several.split()
    }


def _option(text: str) -> tuple[str, _Option]:
    if found := re.fullmatch(r"(-[^=\[]+)\[=(.+)\]", text):
        return found[1], _Option((found[2],), attached=True)
    name, _, kinds = text.partition("=")
    return name, _Option(tuple(kinds.split(",")) if kinds else ())


def _in_tree(revision: str, base: tuple[str, ...]) -> str:
    """The path that a revision or a path of a repository may stand for."""
    if revision.startswith("/"):
        return revision
    return "/".join([*base, revision.rpartition(":")[2].lstrip("/") or "."])


def _place(items: Sequence[_Item], words: Sequence[str]) -> list[str] | None:
    """The kind of every word, or None when the words do not fit the places."""
    if not items:
        return None if words else []
    first, rest = items[0], items[1:]
    if words and _fits(first.kind, words[0]):
        again = items if first.times == "*" else (_Item(first.kind, "*"), *rest) if first.times == "+" else rest
        if (after := _place(again, words[1:])) is not None:
            return [first.kind, *after]
    return _place(rest, words) if first.times in ("?", "*") else None


def _fits(kind: str, word: str) -> bool:
    if parsed := _PARSED.get(kind):
        return parsed(word)
    if pattern := _KINDS.get(kind):
        return re.fullmatch(pattern, word) is not None
    return word in kind.removeprefix("=").split("|")


# A remote shell reads these words as we do: plain ones, quoted ones without anything that is expanded in them.
_REMOTE = re.compile(r""" +|(\||&&)|((?:[A-Za-z0-9_./,:@%+=-]|'[^']*'|"[^"$`\\!]*")+)""")


def _remote(words: Sequence[str]) -> tuple[Reach, ...] | None:
    """What the command reaches that ssh hands to the shell of the host; None for what is not known to read only."""
    text = " ".join(words)
    if text.startswith("-"):
        return None
    reached, at, argv = list[Reach](), 0, list[str]()
    while words:
        found = _REMOTE.match(text, at)
        at = found.end() if found else at
        if found and found[2]:
            argv.append(re.sub(r"'([^']*)'|\"([^\"]*)\"", lambda q: q[1] or q[2] or "", found[2]))
        elif found is None or found[1]:
            last = reach(tuple(argv)) if argv and "=" not in argv[0] else None
            if last is None or last.host or (found is None and at < len(text)):
                return None
            reached.append(last)
            argv = []
            if found is None:
                return tuple(reached)
    return ()
