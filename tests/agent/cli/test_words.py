"""Every sentence of the command line has its Chinese, and no Chinese is left over."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

from agent.language import Language, table

ROOT = Path(__file__).parents[3]
CHINESE = table()


def _trees(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text("utf-8"))


def _texts(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _said() -> set[str]:
    """What is said, also when it is chosen in the call: `say("yes" if yes else "no")`; and names of columns."""
    said: set[str] = set()
    for folder, verbs in (("agent", ("say",)), ("agent/cli", ("tell", "rows"))):
        for tree in _trees(folder):
            for call in ast.walk(tree):
                name = getattr(call.func, "attr", getattr(call.func, "id", "")) if isinstance(call, ast.Call) else ""
                if name in verbs and isinstance(call, ast.Call) and call.args:
                    chosen = call.args[0]
                    said |= _texts(chosen) if isinstance(chosen, ast.Constant | ast.IfExp | ast.Tuple) else set()
    return said


def test_every_sentence_has_its_chinese() -> None:
    assert sorted(_said() - CHINESE.keys()) == []


def test_no_chinese_is_left_over() -> None:
    used = set().union(*map(_texts, _trees("agent", "policies")))

    assert sorted(CHINESE.keys() - used) == []


def test_a_translation_has_the_same_places() -> None:
    assert [english for english, chinese in CHINESE.items() if _places(english) != _places(chinese)] == []


def test_a_sentence_without_chinese_is_said_in_english() -> None:
    assert Language("zh")("{n} herons", n=2) == "2 herons"
    assert Language("zh")("{tokens} tokens, {n} questions", tokens=1, n=2) != "1 tokens, 2 questions"


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}
