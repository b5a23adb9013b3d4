from __future__ import annotations

from pathlib import Path

import pytest

from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.redact.vault import MemoryVault

HERE = Path(__file__).parent


def lines(name: str) -> list[str]:
    return [line for line in (HERE / name).read_text("utf-8").splitlines() if line and not line.startswith("# ")]


def found(text: str) -> list[tuple[str, str]]:
    redacted = Redactor(b"k" * 32, MemoryVault(), Secrets()).redact(text)
    return [(each.type, text[each.start : each.end]) for each in redacted.found]


@pytest.mark.parametrize("line", lines("found.txt"))
def test_a_value_is_found_exactly(line: str) -> None:
    type_, _, marked = line.partition("\t")
    value = marked[marked.index("«") + 1 : marked.index("»")]

    assert found(marked.replace("«", "").replace("»", "")) == [(type_, value)]


@pytest.mark.parametrize("line", lines("not_found.txt"))
def test_nothing_is_found_in_what_only_looks_like_a_value(line: str) -> None:
    assert found(line) == []


SURROUNDINGS = [
    "{}",
    "令牌{}结束",
    "（{}）",
    'x = "{}"',
    "<td>{}</td>",
    '{{"a":"\\n{}\\n"}}',
    "see {}, then go on",
    "用{}。",
    "https://example.com/?k={}&page=2",
    "a%20{}%20b",
    "&quot;{}&quot;",
]


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
@pytest.mark.parametrize("line", lines("tokens.txt"))
def test_a_credential_is_found_in_every_surrounding(line: str, surrounding: str) -> None:
    type_, _, token = line.partition("\t")

    assert found(surrounding.format(token)) == [(type_, token)]


@pytest.mark.parametrize("label", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
@pytest.mark.parametrize("joint", ["\n", "\\n", "\r\n"])
def test_a_private_key_is_one_value_from_its_first_dash_to_its_last(label: str, joint: str) -> None:
    key = joint.join(
        (f"-----BEGIN {label}PRIVATE KEY-----", "MADEUP0+/=", "MADEUP", f"-----END {label}PRIVATE KEY-----")
    )

    assert found(f"密钥文件{key}完") == [("private_key", key)]


def test_a_private_key_without_its_end_is_taken_as_far_as_it_goes() -> None:
    assert found("-----BEGIN PRIVATE KEY-----\nMADEUP0+/\nMADEUP").pop()[1].endswith("MADEUP")


@pytest.mark.parametrize("invisible", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad"])
def test_invisible_characters_hide_nothing(invisible: str) -> None:
    split = invisible.join("13800138000")

    assert found(f"电话{split}。") == [("phone", split)]


def test_escapes_inside_escapes_are_taken_off() -> None:
    assert found("q=%2531%2533800138000") == [("phone", "%2531%2533800138000")]
    assert found('"{\\"t\\":\\"\\\\u0031\\\\u0033800138000\\"}"') == [("phone", "\\\\u0031\\\\u0033800138000")]
    assert found("&amp;#49;3800138000") == [("phone", "&amp;#49;3800138000")]


def test_every_one_of_a_list_is_found() -> None:
    text = "13800138000/13912345678,11010519491231002X 4111111111111111\t010-62345678、a@b.com;c@d.org"

    assert [each for each, _ in found(text)] == [
        *("phone", "phone", "cn_id", "bank_card", "phone", "email", "email"),
    ]


def test_a_card_is_found_before_its_expiry_date() -> None:
    assert found("4111 1111 1111 1111 12/27 123") == [("bank_card", "4111 1111 1111 1111")]


def test_a_value_that_touches_a_handle_is_part_of_that_word() -> None:
    assert found("a@b.com13800138000") == [("email", "a@b.com")]
