"""Time grows with the text and not faster: eight times the text, with room for noise, far from sixty-four."""

from __future__ import annotations

import time

import pytest

from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.redact.vault import MemoryVault

HOSTILE = [
    "1", "1111 ", "11111111111111111a", "eyJ-", "eyJaaaaaaaa.", "a.", "a@", "a@a.aa1", 'password="', "password=", "%25",
    "\\", "&#", "-----BEGIN PRIVATE KEY-----", "ab://a:", "sk-", "bearer ", "13800138000a@b.co", "⟦", "⟦a:", "+1 ",
    "\u200b", "made-up ", "m a d e - u p", "xoxb-", "authorization: basic ",
    "京A1234", "京A", "地址", "市", "路1", "路1号", "12 Main ", "1 A ", "passport ", "护照", "订单号", "电话", "QUFB", "QUFB" * 16 + "\n",
    "QUFB-", "密码", "密码a", "DE89 ", "DE", "1.2.3.", "1.2.3.4 ", "a:", "2001:", "name: ", "<password>", "| token ", "curl -u ",
    "mysql -p", "A123456(", "1 3 8 ", "ding", "sk_live_", "a_b-", "login x password ", "91", "token is ", "&sig=",
]  # fmt: skip


def cpu_s(piece: str, characters: int) -> float:
    redactor = Redactor(b"k" * 32, MemoryVault(), Secrets(["made-up", "made-up-too"]))
    text = piece * (characters // len(piece))
    begun = time.process_time()
    redactor.redact(text)
    return time.process_time() - begun


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear_for_texts_made_to_be_slow(piece: str) -> None:
    small = min(cpu_s(piece, 2_000) for _ in range(3))

    assert min(cpu_s(piece, 16_000) for _ in range(2)) < 24 * small + 0.01
