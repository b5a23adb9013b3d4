from __future__ import annotations

import base64
import html
import json
import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.errors import HandleNotAllowed, SecretTooShort, UnknownHandle
from policies.redact.detect import FAMILIES
from policies.redact.handle import HANDLE, escape_lookalikes, identity, joined_handle
from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.redact.vault import MemoryVault

KEY = b"k" * 32
TYPES = frozenset({"secret"} | {each.type for family in FAMILIES for each in family.detectors})
SECRET = "Made-up/Pass+w0rd?"
SAMPLES = [
    line.partition("\t")[2].replace("«", "").replace("»", "")
    for name in ("found.txt", "tokens.txt")
    for line in (Path(__file__).parent / name).read_text("utf-8").splitlines()
    if not line.startswith("#")
]
FRAGMENTS = [
    *SAMPLES,
    SECRET,
    "⟦",
    "⟧",
    "⟦phone:aaaaaaaaaa⟧",
    "(U+27E6)",
    "+86",
    "@",
    " ",
    "\\",
    "%",
    "&#",
    '"',
    "，",
    "A",
    "1",
]


def redactor(vault: MemoryVault | None = None, secrets: tuple[str, ...] = (SECRET,), key: bytes = KEY) -> Redactor:
    return Redactor(key, MemoryVault() if vault is None else vault, Secrets(secrets))


texts = st.one_of(
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=8).map("".join),
    st.text(max_size=60),
    st.text(alphabet='0123456789+-. @ab"=:%\\u&#;⟦⟧:', max_size=60),
)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_what_was_redacted_comes_back_exactly(text: str) -> None:
    one = redactor()

    assert one.restore(one.redact(text).text, TYPES, secrets=True) == escape_lookalikes(text)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_redacting_again_changes_nothing_and_finds_nothing(text: str) -> None:
    one = redactor()
    once = one.redact(text)
    again = one.redact(once.text)

    assert (again.text, again.found) == (once.text, ())
    assert one.leaks(once.text) == ()


@settings(max_examples=400, deadline=None)
@given(texts)
def test_the_spans_found_are_the_spans_replaced(text: str) -> None:
    vault = MemoryVault()
    redacted = redactor(vault).redact(text)
    spans = [(0, 0), *((each.start, each.end) for each in redacted.found), (len(text), len(text))]
    kept = [escape_lookalikes(text[end:start]) for (_, end), (start, _) in pairwise(spans)]
    handles = [each.handle for each in redacted.found]

    assert redacted.text == "".join(part for pair in zip(kept, [*handles, ""], strict=True) for part in pair)
    assert [vault.get(each.handle) for each in redacted.found] == [
        escape_lookalikes(text[each.start : each.end]) for each in redacted.found
    ]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(TYPES)), st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=10, max_size=10))
def test_a_forged_handle_never_restores(type_: str, code: str) -> None:
    one = redactor()
    one.redact("13800138000 someone@example.com")
    forged = f"⟦{type_}:{code}⟧"

    with pytest.raises(UnknownHandle, match=code):
        one.restore(f"to {forged}", TYPES, secrets=True)
    assert one.redact(forged).text.startswith(f"(U+27E6){type_}:")


def test_a_handle_of_another_run_is_foreign() -> None:
    foreign = redactor(key=b"x" * 32).redact("13800138000").text
    one = redactor()
    one.redact("13800138000")

    with pytest.raises(UnknownHandle):
        one.restore(foreign, TYPES)


@pytest.mark.parametrize("garbled", ["⟦phone:abc⟧", "⟦Phone:aaaaaaaaaa⟧", "⟦", "⟦phone:aaaaaaaaaa", "⟦⟦"])
def test_a_garbled_handle_never_lands(garbled: str) -> None:
    with pytest.raises(UnknownHandle):
        redactor().restore(f"x {garbled} y", TYPES)


def test_only_types_allowed_at_the_sink_are_restored() -> None:
    one = redactor()
    text = one.redact("13800138000 someone@example.com").text

    with pytest.raises(HandleNotAllowed, match="'email'"):
        one.restore(text, frozenset({"phone"}))
    assert one.restore(text, frozenset({"phone", "email"})) == "13800138000 someone@example.com"


@pytest.mark.parametrize("secret", [SECRET, "AKIAMADEUP0000000000", "password=MADEUP-1"])
def test_a_secret_is_restored_only_by_an_executor_that_says_so(secret: str) -> None:
    one = redactor()
    text = one.redact(secret).text

    with pytest.raises(HandleNotAllowed):
        one.restore(text, TYPES)
    with pytest.raises(HandleNotAllowed):
        one.restore(text, frozenset(), secrets=True)
    assert one.restore(text, TYPES, secrets=True) == secret


def test_equal_values_have_one_handle_in_a_run_and_another_in_the_next() -> None:
    one = redactor()
    first, second = (one.redact(f"{mark}13800138000").found[0].handle for mark in "a，".replace("a", " "))

    assert first == second
    assert redactor(key=b"x" * 32).redact("13800138000").found[0].handle != first


def test_spellings_of_one_value_share_its_identity_and_each_comes_back_as_it_was() -> None:
    one = redactor()
    text = "13800138000 +86 138-0013-8000 １３８００１３８０００ A@Example.com a@example.com"
    redacted = one.redact(text)
    phone, *others, upper, lower = (each.handle for each in redacted.found)

    assert {identity(each) for each in others} == {identity(phone)}
    assert identity(upper) == identity(lower)
    assert len({each.handle for each in redacted.found}) == 5
    assert one.restore(redacted.text, TYPES) == text


def test_handles_already_in_the_text_stay_and_can_be_listed() -> None:
    one = redactor()
    handle = one.redact("13800138000").text

    assert one.redact(f"call {handle} or ⟦x").text == f"call {handle} or (U+27E6)x"
    assert one.handles_in(f"call {handle}⟦phone:aaaaaaaaaa⟧") == (("phone", handle), ("phone", "⟦phone:aaaaaaaaaa⟧"))


def test_two_pieces_from_outside_cannot_be_joined_into_a_handle() -> None:
    one = redactor()
    handle = one.redact("13800138000").text

    assert HANDLE.search(one.redact(handle[:9]).text + one.redact(handle[9:]).text) is None


def test_a_redactor_made_for_a_vault_with_values_goes_on_where_the_last_one_stopped() -> None:
    vault = MemoryVault()
    before = redactor(vault).redact("13800138000, password=MADEUP-0001").text
    after = redactor(vault)

    assert after.leaks("call 13800138000") == ("phone",)
    assert after.redact("MADEUP-0001").found[0].type == "password"
    assert after.restore(before, TYPES, secrets=True) == "13800138000, password=MADEUP-0001"


def test_a_password_seen_once_in_its_context_is_found_without_it() -> None:
    one = redactor()

    assert [each.type for each in one.redact("it was MADEUP-0001: password=MADEUP-0001").found] == ["password"] * 2
    assert one.leaks("said MADEUP-0001") == ("password",)


def test_leaks_names_known_secrets_and_values_behind_handles_only() -> None:
    one = redactor()
    one.redact("13800138000")

    assert one.leaks(f"138-0013-8000 other@example.com {SECRET}") == ("phone", "secret")
    assert one.leaks("nothing here") == ()


def spellings(secret: str) -> dict[str, str]:
    data = secret.encode()
    return {
        "raw": secret,
        "next to Chinese": f"是{secret}吗",
        "url": quote(secret, safe=""),
        "url, lower case": quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
        "json": json.dumps(secret),
        "json, every character": "".join(f"\\u{ord(each):04x}" for each in secret),
        "html": html.escape(secret),
        "html, every character": "".join(f"&#{ord(each)};" for each in secret),
        "hex": data.hex(),
        "hex, upper case": data.hex().upper(),
        "base64": base64.b64encode(data).decode(),
        "base64 after one byte": base64.b64encode(b"x" + data + b"tail").decode(),
        "base64 after two bytes": base64.b64encode(b"xy" + data + b"tail").decode(),
        "base64 in a URL": base64.urlsafe_b64encode(b"?>" + data).decode(),
        "base64 in lines": "\n".join(base64.b64encode(data * 3).decode()[at : at + 10] for at in range(0, 80, 10)),
        "blanks": " ".join(secret),
        "lines": secret[:5] + "\n" + secret[5:],
        "zero-width": "\u200b".join(secret),
        "full-width": "".join(chr(ord(each) + 0xFEE0) if each.isascii() else each for each in secret),
    }


@pytest.mark.parametrize("spelling", spellings(SECRET))
def test_a_known_secret_is_found_in_every_encoding(spelling: str) -> None:
    one = redactor()
    text = f"x: {spellings(SECRET)[spelling]} ."
    redacted = one.redact(text)

    assert {each.type for each in redacted.found} == {"secret"}
    assert one.leaks(text) == ("secret",)
    assert one.leaks(redacted.text) == ()


@pytest.mark.parametrize(
    "spelling", ["raw", "url", "json", "json, every character", "hex", "base64", "base64 in a URL"]
)
def test_a_known_secret_in_chinese_is_found_too(spelling: str) -> None:
    secret = "芝麻开门·made-up"

    assert redactor(secrets=(secret,)).leaks(f"x {spellings(secret)[spelling]} y") == ("secret",)


def test_a_short_secret_is_not_looked_for_across_blanks() -> None:
    one = redactor(secrets=("1z3q",))

    assert one.leaks("code 1z3q.") == ("secret",)
    assert one.leaks("1 z 3 q") == ()


@pytest.mark.parametrize("secret", ["ab cd", "made up and long", "two\nlines, made up", "口令 made up"])
def test_a_secret_with_blanks_of_its_own_is_found(secret: str) -> None:
    assert redactor(secrets=(secret,)).leaks(f"is {secret}.") == ("secret",)


def test_a_secret_too_short_to_search_for_is_refused_without_being_shown() -> None:
    with pytest.raises(SecretTooShort) as refused:
        Secrets(["q7z"])
    assert "q7z" not in str(refused.value)


def test_the_longer_of_two_secrets_wins() -> None:
    redacted = redactor(secrets=("made-up", "xmade-upx")).redact("a xmade-upx b")

    assert [(each.start, each.end) for each in redacted.found] == [(2, 11)]


RESTORED = ("13800138000", "138-0013-8000", "11010519491231002X", "4111111111111111")


@pytest.mark.parametrize("value", RESTORED)
@pytest.mark.parametrize("around", ["x{}", "{}x", "0{}0", "1.{}", "{}{}", "0\u200b{}", "%30{}", "1-{}-2", "a 1{} 7"])
def test_a_known_number_is_found_inside_longer_words_by_every_later_redactor_too(value: str, around: str) -> None:
    vault = MemoryVault()
    one = redactor(vault)
    handle = one.redact(value).text
    landed = one.restore(around.replace("{}", handle), TYPES)
    digits = re.sub("[^0-9X]", "", value)

    for each in (one, redactor(vault)):
        assert digits not in re.sub("[^0-9X]", "", HANDLE.sub("", each.redact(landed).text))
        assert digits not in re.sub("[^0-9X]", "", HANDLE.sub("", each.redact(re.sub("[ -]", "", landed)).text))
        assert each.leaks(landed)
        assert each.restore(each.redact(landed).text, TYPES) == landed


def test_a_number_in_a_table_of_five_thousand_known_ones_is_found_inside_a_longer_one() -> None:
    one = redactor()
    one.redact(" ".join(str(n) for n in range(13800000000, 13800100000, 20)))

    assert one.redact("0138000999800").text.startswith("0⟦phone:")


def test_a_restored_value_is_found_in_every_encoding_in_which_a_secret_is() -> None:
    one = redactor()
    landed = one.restore(one.redact("someone@example.com 13800138000").text, TYPES)

    for value in landed.split():
        assert one.redact(base64.b64encode(f"<<{value}>>".encode()).decode()).found
        assert one.redact(value.encode().hex()).found


@pytest.mark.parametrize("text", ["0{}", "{}x", "{}{}", "a\u200b{}", "{}\uff10"])
def test_a_handle_that_touches_a_word_or_another_handle_is_named(text: str) -> None:
    handle = redactor().redact("13800138000").text

    assert joined_handle(text.replace("{}", handle)) == handle
    assert joined_handle(f"电话{handle}，（{handle}）<{handle}>\n{handle}") is None
