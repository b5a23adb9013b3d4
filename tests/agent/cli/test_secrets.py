"""Secrets are kept for named hosts, and no command shows a value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.cli.conftest import SECRET, Remit, opened


def test_a_value_is_piped_in_and_kept_for_its_hosts_alone(remit: Remit, home: Path) -> None:
    said = remit("secrets", "set", "shop-key", "--for", "shop.example", "--for", "web-1", typed=f"{SECRET}\n")

    assert (said.code, said.out) == (0, "shop-key is kept, for shop.example, web-1 only.\n")
    with opened() as app:
        kept = app.vault.find("shop-key")
    assert kept is not None
    assert (kept.value, kept.sinks) == (SECRET, ("shop.example", "web-1"))


def test_names_are_listed_and_values_never(remit: Remit) -> None:
    remit("secrets", "set", "shop-key", "--for", "shop.example", typed=SECRET)

    said, as_json = remit("secrets", "list"), remit("secrets", "list", "--json")

    assert said.out == "secret\tfor\nshop-key\tshop.example\n"
    assert as_json.objects == [{"secret": "shop-key", "for": "shop.example"}]


def test_a_secret_is_forgotten(remit: Remit) -> None:
    remit("secrets", "set", "shop-key", "--for", "shop.example", typed=SECRET)

    assert remit("secrets", "remove", "shop-key").out == "shop-key is forgotten.\n"
    assert remit("secrets", "list").out == ""
    again = remit("secrets", "remove", "shop-key")
    assert (again.code, again.err) == (2, "remit: there is no secret 'shop-key'; see: remit secrets list\n")


@pytest.mark.parametrize(
    ("arguments", "typed", "sentence"),
    [
        (("shop-key", "--for", "shop.example"), "abc", "must have 4 to 64"),
        (("shop-key", "--for", "shop.example"), "", "no value came for 'shop-key', so nothing is kept"),
        (("shop key", "--for", "shop.example"), SECRET, "'shop key' is not a name"),
        (("shop-key", "--for", "https://shop.example/"), SECRET, "give its host only, such as 'shop.example'"),
        (("shop-key",), SECRET, "Missing option '--for'"),
        (("shop-key", SECRET, "--for", "shop.example"), "", "unexpected extra argument"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_sentence(
    arguments: tuple[str, ...], typed: str, sentence: str, remit: Remit
) -> None:
    said = remit("secrets", "set", *arguments, typed=typed)

    assert said.code == 2
    assert sentence in said.err
    assert remit("secrets", "list").out == ""


def test_bytes_that_are_no_text_are_not_kept(home: Path) -> None:
    command = (Path(sys.executable).with_name("remit"), "secrets", "set", "shop-key", "--for", "shop.example")

    done = subprocess.run(command, input=b"MADEUP-\xff\xfe", capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"remit: the value of 'shop-key' is not text in UTF-8, so nothing is kept\n"
