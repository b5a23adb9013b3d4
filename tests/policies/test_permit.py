"""A permit: one action, once, while the gate waits for it."""

from __future__ import annotations

import pytest

from policies import permit as minting
from policies.action import FileRead, FileWrite
from policies.decision import Obligations
from policies.errors import PolicyError
from policies.permit import Permit

ACTION = FileRead(path="a.txt")


def _permit(mint: object = minting._MINT) -> Permit:
    return Permit(
        mint=mint, action=ACTION, run="R1", key="R1:1", obligations=Obligations(), opener=lambda text: f"opened {text}"
    )


def test_only_the_gate_mints_permits():
    for mint in (None, object(), True):
        with pytest.raises(PolicyError, match="only the gate"):
            _permit(mint)


def test_a_permit_gives_its_action_once():
    permit = _permit()
    assert permit.redeem(FileRead) is ACTION
    with pytest.raises(PolicyError, match="already used"):
        permit.redeem(FileRead)


def test_a_permit_for_another_type_gives_nothing_and_stays_good_for_its_own():
    permit = _permit()
    with pytest.raises(PolicyError, match="is for FileRead, not FileWrite"):
        permit.redeem(FileWrite)
    assert permit.redeem(FileRead) is ACTION


def test_an_expired_permit_gives_and_opens_nothing():
    permit = _permit()
    assert permit.opened("x") == "opened x"
    permit.expire()
    with pytest.raises(PolicyError, match="its time is over"):
        permit.redeem(FileRead)
    with pytest.raises(PolicyError, match="is over"):
        permit.opened("x")


def test_a_permit_has_no_place_for_more_than_it_was_minted_with():
    with pytest.raises(AttributeError):
        _permit().more = 1  # type: ignore[attr-defined]
