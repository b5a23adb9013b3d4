"""Only what a signer of the settings signed governs, where the settings name signers."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from agent.wiring import App
from policies.errors import BadPolicy
from tests.agent.cli.conftest import Remit, opened

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def policy(home: Path) -> Path:
    return home / "policy.yaml"


def require(remit: Remit, home: Path, policy: Path) -> None:
    """Sign the policy and let the settings name the signer, as the command says."""
    said = remit("policy", "sign", str(policy))
    assert said.code == 0, said.err
    first, _, lines = said.out.partition("\n")
    assert first == f"{policy} is signed by {ME}."
    settings = home / "settings.toml"
    settings.write_text(f"{settings.read_text()}\n{lines.split('settings.toml:', 1)[1].strip()}\n")


def in_force(app: App) -> str:
    return app.policy().name


def refused(said: str) -> None:
    with opened() as app, pytest.raises(BadPolicy) as caught:
        app.policy()
    assert said in str(caught.value)


def test_a_signed_policy_is_in_force_and_a_changed_one_is_not(remit: Remit, home: Path, policy: Path) -> None:
    require(remit, home, policy)
    with opened() as app:
        assert in_force(app) == "back-office"
    assert remit("policy", "verify", str(policy)).out == f"{policy} is signed by {ME}.\n"

    policy.write_text(policy.read_text() + "# a word more\n")
    refused(f"{policy}: the file was changed after it was signed by '{ME}'; sign it again")
    assert remit("policy", "verify", str(policy)).code == 2
    said = remit("run", "List the orders")
    assert (said.code, said.out) == (2, "")
    assert "was changed after it was signed" in said.err

    assert remit("policy", "sign", str(policy)).out == f"{policy} is signed by {ME}.\n"
    with opened() as app:
        assert in_force(app) == "back-office"


def test_without_a_signature_nothing_is_in_force(remit: Remit, home: Path, policy: Path) -> None:
    require(remit, home, policy)
    (home / "policy.yaml.sig").unlink()
    refused(f"{policy}: the file is not signed, so it is not in force; sign it with: remit policy sign FILE")


@pytest.mark.parametrize("name", ["people.yaml", "policies/organisation.yaml"])
def test_people_and_every_layer_must_be_signed_too(remit: Remit, home: Path, policy: Path, name: str) -> None:
    require(remit, home, policy)
    other = home / name
    other.parent.mkdir(exist_ok=True)
    other.write_text(policy.read_text() if "policies" in name else "version: 1\npersons: {}\n")
    refused(f"{other}: the file is not signed")
    assert remit("policy", "sign", str(other)).code == 0
    with opened() as app:
        assert in_force(app) == "back-office"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"by": "somebody"}, "its signer 'somebody' is not among 'signers' in settings.toml"),
        (lambda s: s | {"by": "other"}, "was changed after it was signed by 'other'"),
        (lambda s: s | {"sha256": "0" * 64}, "was changed after it was signed"),
        (lambda s: s | {"signature": s["signature"][:-8] + "AAAAAA=="}, "was changed after it was signed"),
        (lambda s: s | {"signature": "?"}, "cannot be read; sign it again"),
        (lambda s: s | {"version": 2}, "cannot be read; sign it again"),
        (lambda s: [], "cannot be read; sign it again"),
    ],
)
def test_a_signature_that_is_not_whole_counts_for_nothing(remit, home, policy, change, said):
    require(remit, home, policy)
    settings = home / "settings.toml"
    key = settings.read_text().rsplit('"', 2)[1]
    settings.write_text(f'{settings.read_text()}other = "{key}"\n')
    beside = home / "policy.yaml.sig"
    beside.write_text(json.dumps(change(json.loads(beside.read_text()))))
    refused(said)


def test_the_signing_key_is_sent_nowhere(remit: Remit, home: Path, policy: Path) -> None:
    require(remit, home, policy)
    with opened() as app:
        kept = app.vault.find("policy-signing-key")
        assert kept is not None
        assert kept.sinks == ("signing.invalid",)
        assert kept.value not in "".join(p.read_text("utf-8", "replace") for p in home.iterdir() if p.is_file())


def test_check_tells_who_signed(remit: Remit, home: Path, policy: Path) -> None:
    assert "is signed by" not in remit("policy", "check", str(policy)).out
    require(remit, home, policy)
    assert f"{policy} is signed by {ME}." in remit("policy", "check", str(policy)).out
    assert json.loads(remit("policy", "check", str(policy), "--json").out)["signed_by"] == ME
    (home / "policy.yaml.sig").unlink()
    assert "the file is not signed" in remit("policy", "check", str(policy)).out
