"""A page as the model reads it: an accessibility snapshot with refs, without the values of password fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from playwright.async_api import Page

from policies.action import Control

PART_BYTES = 24_000
"""About 9,000 Qwen tokens (measured on tables)."""
_KEY = re.compile(r"( *)- (?:'((?:[^']|'')*)'|(\w+(?: \"(?:[^\"\\]|\\.)*\")?(?: \[[^\]]*\])*))(?::(?: (.*))?)?$")
_ROLE = re.compile(r"(\w+)(?: (\"(?:[^\"\\]|\\.)*\"))?((?: \[[^\]]*\])*)$")
_REF = re.compile(r" \[ref=((?:f\d+)?e\d+)\]")
_ENTRY = frozenset({"row", "listitem", "article"})
"""Roles of the repeated entries whose words tell one "Delete" from the next."""
_FIELDS = frozenset({"textbox", "searchbox", "spinbutton", "combobox", "slider"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One node of a snapshot."""

    depth: int
    role: str
    name: str
    ref: str
    """Empty when the node has none."""
    value: str


class Snapshot:
    """The accessibility tree of a page and its frames, as Playwright writes it for models."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """All nodes, in order. Text that merely looks like a node or a ref is part of a name or value."""
        return tuple(line for line in map(_line, self.text.splitlines()) if line)

    def control(self, line: Line) -> Control:
        """Role and name; where other nodes have the same, with the words of its row or list entry."""
        at = self.lines.index(line)
        same = [i for i, other in enumerate(self.lines) if (other.role, other.name) == (line.role, line.name)]
        if len(same) == 1 or not line.name:
            return Control(role=line.role, name=line.name)
        if entry := self._entry(at):
            return Control(role=line.role, name=f"{line.name} ({entry})")
        return Control(role=line.role, name=f"{line.name} ({same.index(at) + 1} of {len(same)})")

    def parts(self) -> list[str]:
        """The text in pieces of at most `PART_BYTES`, cut between lines where possible."""
        parts, size = [""], 0
        for line in self.text.splitlines(keepends=True):
            for start in range(0, len(line), PART_BYTES // 4):
                piece = line[start : start + PART_BYTES // 4]
                size += len(piece.encode())
                if size > PART_BYTES:
                    parts.append("")
                    size = len(piece.encode())
                parts[-1] += piece
        return parts

    def _entry(self, at: int) -> str:
        depth = self.lines[at].depth
        for i in range(at - 1, -1, -1):
            if (line := self.lines[i]).depth < depth:
                depth = line.depth
                if line.role in _ENTRY:
                    entry = self.lines[i:at]
                    words = [f"{e.name} {'' if e.role in _FIELDS else e.value}".strip() for e in entry]
                    return " ".join(filter(None, words))[:80]
        return ""


async def snapshot(page: Page, clean: Callable[[str], str], *, timeout_s: float) -> Snapshot:
    """The page as it is now, passwords hidden. `clean` takes out what else must not be seen."""
    hidden = set()
    for frame in page.frames:
        # Open shadow roots too: locators look into them.
        values = await frame.locator("input[type=password i]").evaluate_all("all => all.map(e => e.value)")
        hidden |= {" ".join(value.split()) for value in values} - {""}
    text = await page.aria_snapshot(mode="ai", timeout=timeout_s * 1000)
    kept = (_masked(line, hidden) for line in text.splitlines()) if hidden else text.splitlines()
    return Snapshot(clean("\n".join(kept)))


def _masked(text: str, hidden: set[str]) -> str:
    line = _line(text)
    if line is None or line.value not in hidden:
        return text
    head = _KEY.match(text)
    assert head is not None, "it was parsed just now"
    return f"{text[: head.start(4)]}(hidden)"


def _line(text: str) -> Line | None:
    key = _KEY.match(text)
    if key is None:
        return None
    indent, quoted, plain, value = key.groups()
    node = _ROLE.match(quoted.replace("''", "'") if quoted is not None else plain)
    if node is None:
        return None
    role, name, marks = node.groups()
    ref = _REF.search(marks)
    return Line(
        depth=len(indent) // 2,
        role=role,
        name=_unquoted(name or ""),
        ref=ref.group(1) if ref else "",
        value=_unquoted(value or ""),
    )


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:  # YAML has escapes that JSON has not, such as \x7f
        return text.strip('"')
