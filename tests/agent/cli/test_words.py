"""Every sentence that a person reads has its Chinese, and no Chinese is left over."""

from __future__ import annotations

import json

import pytest

from agent.language import Language, places, table
from tests.agent.sentences import OTHERS, sentences, words

CHINESE = Language("zh")


def test_every_sentence_has_its_chinese() -> None:
    lacking = {template: place for template, place in sentences().items() if template not in table()}

    # Put these lines into agent/chinese.json, with the Chinese behind the colon and the same {places} in it.
    lines = [f'  {json.dumps(template, ensure_ascii=False)}: "",  <- {place}' for template, place in lacking.items()]
    assert not lines, "without Chinese in agent/chinese.json:\n" + "\n".join(lines)


def test_no_chinese_is_left_over() -> None:
    unused = table().keys() - sentences().keys() - words()

    assert not unused, "nothing says these any more; take them out of agent/chinese.json:\n" + "\n".join(sorted(unused))


def test_a_translation_has_the_same_places() -> None:
    assert [english for english, chinese in table().items() if _named(english) != _named(chinese)] == []


def test_a_sentence_without_chinese_is_said_in_english() -> None:
    assert CHINESE("{n} herons", n=2) == "2 herons"
    assert CHINESE.told("two herons refuse it") == "two herons refuse it"
    assert CHINESE("{n} questions", n=2) == "2 次询问"


@pytest.mark.parametrize(
    "template", [t for t in sentences() if t in table() and t not in OTHERS and any(n for _, n in places(t))]
)
def test_a_finished_sentence_is_told_in_chinese(template: str) -> None:
    finished = template.format(**{name: f"'{name}-7'" for name in _named(template)})

    assert CHINESE.told(finished) == table()[template].format(**{name: f"'{name}-7'" for name in _named(template)})


def test_sentences_in_a_sentence_are_told_too() -> None:
    given = "p.yaml:3:5: unknown key 'urls'; did you mean 'url'?\np.yaml:9:1: 'rules' should be a list; or key 'id' is missing"

    assert (
        CHINESE.told(given)
        == "p.yaml:3:5: 未知的键 'urls'；是否应为 'url'？\np.yaml:9:1: 'rules' 应为列表；或者 缺少键 'id'"
    )
    assert CHINESE.told("rule 'x' refuses it: herons live here") == "规则 'x' 拒绝：herons live here"
    assert CHINESE.told("The key was not accepted (a.example, model 'm'): check model and parameters.") == (
        "密钥未被接受（a.example，模型 'm'）：请检查模型和参数。"
    )


def test_a_value_is_shown_to_the_letter_though_it_reads_like_a_sentence() -> None:
    assert CHINESE.told("read no order was deleted on web-1") == "读取 web-1 上的 no order was deleted"


def test_english_stays_as_it_is() -> None:
    assert Language("en").told("no order was deleted") == "no order was deleted"


def _named(template: str) -> set[str]:
    return {name for _, name in places(template) if name}
