"""An action has one canonical form, and its digest is of what it holds now."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from policies.action import Command, EffectClass, Sheet, ShellRun, ToolCall, canonical_url
from tests.policies.asking import action


def test_a_copy_with_other_content_has_another_digest():
    first = action("file.write a.txt")
    before = first.digest
    changed = first.model_copy(update={"text": "other"})
    assert changed.digest != before
    assert changed.canonical != first.canonical
    assert first.model_copy().digest == before


def test_what_compares_with_nothing_is_no_argument_and_no_cell():
    with pytest.raises(ValidationError):
        ToolCall(tool="pay", arguments={"amount": {"deep": [float("nan")]}}, declaration="d")
    with pytest.raises(ValidationError):
        Sheet(columns=("a",), rows=((float("inf"),),))


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("HTTP://Shop.Example:80/%6frders/%7Eme?x=%6f#top", "http://shop.example/orders/~me?x=%6f"),
        ("http://shop.example/%e4%bd%a0", "http://shop.example/%E4%BD%A0"),
        ("http://shop.example/%2561", "http://shop.example/%2561"),
        ("https://shop.example:443", "https://shop.example/"),
    ],
)
def test_an_address_has_one_spelling(spelled, canonical):
    assert canonical_url(spelled) == canonical
    assert canonical_url(canonical) == canonical


@pytest.mark.parametrize(
    "odd", ["http://h/%", "http://h/%zz", "http://h/%%36%31", "http://h/a%2Fb", "http://h/%2e%2e/x"]
)
def test_an_odd_address_is_refused(odd):
    with pytest.raises(ValueError, match="http://h/"):
        canonical_url(odd)


@pytest.mark.parametrize(
    ("words", "effect"),
    [
        (["date", "+%s"], EffectClass.READ),
        (["date", "01010000"], EffectClass.WRITE),  # sets the clock
        (["uniq", "in"], EffectClass.READ),
        (["uniq", "in", "out"], EffectClass.WRITE),
        (["uniq", "-", "out"], EffectClass.WRITE),
        (["/usr/bin/cat", "a"], EffectClass.READ),
        (["/usr/bin/../../tmp/cat", "a"], EffectClass.WRITE),
        (["./cat", "a"], EffectClass.WRITE),
        (["sort", "-o", "out", "in"], EffectClass.WRITE),
    ],
)
def test_a_command_looks_only_when_it_cannot_do_more(words, effect):
    assert ShellRun(pipelines=((Command(argv=tuple(words)),),)).effect is effect


def test_a_redirection_to_a_file_is_a_write():
    assert ShellRun(pipelines=((Command(argv=("ls",), stdout="a"),),)).effect is EffectClass.WRITE
