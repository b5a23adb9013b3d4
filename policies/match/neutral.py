"""Commands spelled so that files they come upon cannot make them run something.

A repository's configuration may name programs (core.fsmonitor, textconv, external diffs, gpg), and so may ~/.curlrc
what else to fetch, and a folder `json` what `python3 -m json.tool` is. Who parses command text writes it in this
spelling, so that what is judged is what runs. Not reached are git's clean filters: they need a configuration that
names them, and run behind the same walls.
"""

from __future__ import annotations

from collections.abc import Sequence

_GIT = (
    "--no-pager",
    "--no-optional-locks",
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    # No signature is verified by a program of the repository's choice, and no object is fetched from elsewhere.
    *("-c", "log.showSignature=false", "-c", "protocol.allow=never"),
)
_DIFF = ("--no-ext-diff", "--no-textconv")
_AFTER = {
    "status": ("--ignore-submodules=all",),
    "diff": (*_DIFF, "--ignore-submodules=all"),
    "blame": ("--no-textconv",),
    "annotate": ("--no-textconv",),
    **dict.fromkeys(("log", "show", "whatchanged", "diff-tree", "diff-index", "diff-files"), _DIFF),
}
_JSON = ("-m", "json.tool")


def neutral(argv: Sequence[str]) -> tuple[str, ...]:
    """The same command in its harmless spelling: the same words where they are that already, or need none."""
    program, *words = argv
    name = program.rsplit("/", 1)[-1]
    if name == "git":
        words = _strip(words, _GIT) if words[: len(_GIT)] == [*_GIT] else _strip(words, ("--no-pager",))
        base, words = folders(name, words)
        after = _AFTER.get(words[0], ()) if words else ()
        here = (word for folder in base for word in ("-C", folder))
        return (program, *_GIT, *here, *words[:1], *after, *_strip(words[1:], after))
    if name == "curl":
        return (program, "-q", *_strip(words, ("-q",)))
    if name in ("python", "python3") and tuple(_strip(words, ("-I",))[:2]) == _JSON:
        return (program, "-I", *_strip(words, ("-I",)))
    return tuple(argv)


def bare(argv: Sequence[str]) -> tuple[str, ...] | None:
    """The command without what `neutral` adds; None when it is not spelled so."""
    if neutral(argv) != tuple(argv):
        return None
    program, *words = argv
    name = program.rsplit("/", 1)[-1]
    if name == "git":
        base, words = folders(name, _strip(words, _GIT))
        here = (word for folder in base for word in ("-C", folder))
        return (program, *here, *words[:1], *_strip(words[1:], _AFTER.get(words[0], ()) if words else ()))
    if name == "curl" or (name in ("python", "python3") and tuple(words[:3]) == ("-I", *_JSON)):
        return (program, *words[1:])
    return tuple(argv)


def folders(program: str, words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The folders that `git -C` names, and the words after them."""
    found, left = list[str](), list(words)
    while program == "git" and len(left) > 1 and left[0] == "-C":
        found.append(left[1])
        left = left[2:]
    return tuple(found), left


def _strip(words: Sequence[str], first: Sequence[str]) -> list[str]:
    return list(words[len(first) :] if first and tuple(words[: len(first)]) == tuple(first) else words)
