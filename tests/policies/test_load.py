"""A policy file is used as its author meant it, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.errors import BadPolicy
from policies.load import load, loads
from tests.policies.asking import cases

GOOD = "version: 1\nname: t\nrules: []\n"


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in cases("faults.yaml")])
def test_every_fault_is_named_with_its_place(case):
    try:
        loads(case["text"], "file")
        said = []
    except BadPolicy as error:
        said = [line.removeprefix("file:") for line in str(error).split("\n")]
    if case.get("some"):
        assert set(case["said"]) <= set(said)
    else:
        assert said == case["said"]


def test_a_file_gives_the_policy_it_holds(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load(path) == loads(GOOD, "p.yaml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the policy cannot be read: No such file or directory; name another file"),
        (b"name: \xff", "the policy is not UTF-8; save it as UTF-8"),
        (b"#" * 1_000_001, "not usable: the policy is larger than 1 MB; split it"),
        ("# 规\n".encode() * 166_667, "not usable: the policy is larger than 1 MB; split it"),
        (b"\x00", "not usable: unacceptable character #x0000"),
        (b"[" * 20_000, "not usable: nested too deeply"),
    ],
)
def test_a_file_that_is_no_policy_gives_one_sentence(tmp_path, content, said):
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadPolicy) as error:
        load(path)
    place = "" if content is None else ":1:1"
    assert str(error.value).startswith(f"{path}{place}: {said}")
    assert "\n" not in str(error.value)


def test_there_are_at_most_2000_rules():
    rules = "".join(f"- {{id: r{n}, effect: deny, action: file.list, why: x}}\n" for n in range(2001))
    with pytest.raises(BadPolicy, match="more than 2000 rules; split the policy"):
        loads(f"version: 1\nname: t\nrules:\n{rules}", "file")


def test_a_practice_policy_loads_in_the_practice_world_only():
    path = Path(__file__).parents[2] / "sandbox/practice/allow-all.yaml"
    assert load(path, practice=True).practice_only
    with pytest.raises(BadPolicy, match="loads in the practice world only"):
        load(path)


def test_the_order_of_rules_does_not_change_the_digest():
    rules = [f"- {{id: {name}, effect: deny, action: file.list, why: x}}\n" for name in "abc"]
    texts = ["version: 1\nname: t\nrules:\n" + "".join(order) for order in (rules, rules[::-1])]
    first, second = (loads(text, "file") for text in texts)
    assert first == second and first.digest == second.digest
    assert first.digest != loads(texts[0].replace("why: x", "why: y"), "file").digest


def test_numbers_are_what_they_say():
    made = loads(GOOD + "limits: {steps: 0, money: {amount: 12.50, currency: CNY}}\n", "file")
    assert made.limits.steps == 0
    assert str(made.limits.money.amount) == "12.5"


RULES = "version: 1\nname: t\nrules:\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\n\tname: t\n", "2:1: not YAML: a tab stands here; indent with blanks"),
        (f"{RULES}\t- id: a\n", "4:1: not YAML: a tab stands here; indent with blanks"),
        (
            f"{RULES}  - id: a\n    why: look: first\n",
            "5:14: not YAML: a colon and a blank stand in this text; put the text into quotes",
        ),
        ("version：1\nname: t\n", "1:8: not YAML: the colon behind a key is full-width; write ':' and a blank"),
        (
            f"{RULES}  - id： a\n    why: x\n",
            "4:7: not YAML: the colon behind a key is full-width; write ':' and a blank",
        ),
        (
            f"{RULES}- id: a\n  effect：allow\n  why: x\n",
            "5:9: not YAML: the colon behind a key is full-width; write ':' and a blank",
        ),
        ("version:1\nname: t\n", "1:8: not YAML: a blank is missing behind the colon"),
        (
            f"{RULES}  - id: a\n   why: x\n",
            "5:4: not YAML: this line is not indented as the lines it belongs to; use the same number of blanks",
        ),
        (
            f"{RULES}  - id: a\n     why: x\n",
            "5:9: not YAML: this line is not indented as the lines it belongs to; use the same number of blanks",
        ),
        (
            "version: 1\nname: t\nrules\n  - id: a\n",
            "3:1: not YAML: a colon is missing behind this key; write ':' and a blank",
        ),
        (f"{RULES}  - url: *.example\n", "4:10: not YAML: a text that begins with '*' must stand in quotes"),
        ('version: 1\nname: "t\n', "2:7: not YAML: this quotation mark is never closed"),
        (f"{RULES}  - {{id: a\n", "4:5: not YAML: this bracket is never closed, or a comma is missing in it"),
    ],
)
def test_what_people_mistype_in_yaml_is_told_with_what_to_do(text, said):
    with pytest.raises(BadPolicy) as error:
        loads(text, "file")
    assert str(error.value) == f"file:{said}"


@pytest.mark.parametrize(("handle", "said"), [("emails", "did you mean 'email'?"), ("zebra", "there are address, ")])
def test_a_type_of_handle_that_does_not_exist_is_refused(handle, said):
    rule = f"- {{id: a, effect: ask, action: file.write, restore: [{handle}], why: x}}\n"
    with pytest.raises(BadPolicy) as error:
        loads(RULES + rule, "file")
    assert f"4:54: {handle!r} is no type of handle; {said}" in str(error.value)
