"""What a person reads, in English or Chinese. English stands in the code; Chinese in `chinese.json` beside this file.

The table goes from English templates to Chinese ones with the same `{places}`. It is read when Chinese is
first said, so English costs nothing. What the model, the ledger and `--json` get stays English.
"""

from __future__ import annotations

import json
import os
import re
import string
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from agent.home import default_home

DEEPEST = 4
"""How many sentences may stand in one another: a reason in a refusal in a report."""
SENTENCES = frozenset(
    {
        "error",
        "why",
        "reason",
        "said",
        "what",
        "todo",
        "problem",
        "strerror",
        "missing",
        "lower",
        "doing",
        "title",
        "key_from",
    }
)
"""Places that hold a sentence, which is translated too. What fills any other place is shown to the letter."""
_PLACED = string.Formatter()


class Language:
    """Says things in the person's language."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __call__(self, english: str, **values: object) -> str:
        """A sentence of our code, translated when there is a translation, with its `{name}` places filled."""
        text = table().get(english, english) if self.code == "zh" else english
        return text.format(**values) if values else text

    def told(self, english: str) -> str:
        """A finished text whose template is not known here, such as an error's; each line that fits none stays."""
        return "\n".join(map(_translated, english.split("\n"))) if self.code == "zh" else english


@cache
def table() -> dict[str, str]:
    """Chinese templates by their English ones."""
    found: dict[str, str] = json.loads(Path(__file__).with_name("chinese.json").read_text("utf-8"))
    return found


def places(template: str) -> Iterator[tuple[str, str | None]]:
    """The parts of a template in order: literal text, and the name of the place after it, None at the end."""
    return ((literal, name) for literal, name, _, _ in _PLACED.parse(template))


def spoken(environment: Mapping[str, str] = os.environ) -> Language:
    """The language before any settings are checked: for help, and for what is wrong with the settings."""
    code = environment.get("REMIT_LANGUAGE")
    if not code:
        try:
            code = tomllib.loads((default_home(environment) / "settings.toml").read_text("utf-8")).get("language")
        except (OSError, ValueError):
            code = None
    return Language(code if code in ("en", "zh") else of_the_system(environment))


def of_the_system(environment: Mapping[str, str]) -> str:
    """The language that the system's variables name."""
    named = environment.get("LC_ALL") or environment.get("LC_MESSAGES") or environment.get("LANG") or ""
    return "zh" if named.lower().startswith("zh") else "en"


def _translated(english: str, depth: int = 0) -> str:
    """The line in Chinese by the template that says most of it."""
    words, lower = table(), english[:1].lower() + english[1:]
    if (whole := words.get(english, words.get(lower))) is not None:
        return whole
    for template, literals in _templates() if depth < DEEPEST else ():
        # Some sentences are given a capital when they become the start of others.
        text = english if template.startswith("{") or template[0] == english[:1] else lower
        # Most templates are ruled out by this, and never compiled.
        if all(map(text.__contains__, literals)) and (found := _pattern(template).fullmatch(text)):
            given = found.groupdict()
            told = {
                n: _translated(part, depth + 1) if n.rstrip("2") in SENTENCES else part for n, part in given.items()
            }
            return words[template].format(**told)
    return english


@cache
def _templates() -> list[tuple[str, tuple[str, ...]]]:
    """Templates with places, and their literal parts: those that only join sentences, then the most literal."""
    found = []
    for template in table():
        parts = [*places(template)]
        names, literals = {name for _, name in parts if name}, tuple(text for text, _ in parts if text)
        if names:
            joins = all(name.rstrip("2") in SENTENCES for name in names)
            found.append((not joins, -sum(map(len, literals)), template, literals))
    return [(template, literals) for *_, template, literals in sorted(found)]


@cache
def _pattern(template: str) -> re.Pattern[str]:
    pattern, known = "", set[str]()
    for literal, name in places(template):
        pattern += re.escape(literal)
        if name is not None:
            pattern += f"(?P={name})" if name in known else f"(?P<{name}>.*?)"
            known.add(name)
    return re.compile(pattern)
