"""Every sentence of the command line has its Chinese, and no Chinese is left over."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.chinese import CHINESE
from agent.language import Language

ROOT = Path(__file__).parents[3]


def _trees(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name != "chinese.py":
                yield ast.parse(path.read_text("utf-8"))


def _texts(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _said() -> set[str]:
    """The sentences given to `say`, also those chosen in the call: `say("yes" if yes else "no")`."""
    said: set[str] = set()
    for tree in _trees("agent"):
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args:
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                chosen = call.args[0]
                if name in ("say", "tell") and isinstance(chosen, ast.Constant | ast.IfExp):
                    said |= _texts(chosen)
    return said


def _headings() -> set[str]:
    """The names of columns, and of what the doctor looks at."""
    found: set[str] = set()
    for tree in _trees("agent/cli"):
        for call in ast.walk(tree):
            name = getattr(call.func, "attr", getattr(call.func, "id", "")) if isinstance(call, ast.Call) else ""
            if isinstance(call, ast.Call) and name in ("rows", "Finding") and call.args:
                found |= _texts(call.args[0])
    return found


def test_every_sentence_has_its_chinese() -> None:
    assert sorted((_said() | _headings()) - CHINESE.keys()) == []


def test_no_chinese_is_left_over() -> None:
    used = set().union(*map(_texts, _trees("agent", "policies")))

    assert sorted(CHINESE.keys() - used) == []


@pytest.mark.parametrize("english", sorted(CHINESE))
def test_a_translation_has_the_same_places(english: str) -> None:
    assert _places(english) == _places(CHINESE[english])


def test_a_sentence_without_chinese_is_said_in_english() -> None:
    assert Language("zh")("{n} herons", n=2) == "2 herons"
    assert Language("zh")("{tokens} tokens, {n} questions", tokens=1, n=2) != "1 tokens, 2 questions"


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}
