"""The chain: whatever is changed, the first entry that does not hold is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ledger import GENESIS, Draft, Entry, linked, verify

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LENGTH = 8


def _chain(length: int = LENGTH, run: str = "R1") -> list[Entry]:
    chain: list[Entry] = []
    for n in range(length):
        draft = Draft(event="done", seq=n, facts={"action": f"a{n}"}, body={"text": f"t{n}"} if n % 2 else None)
        prev = chain[-1].hash if chain else GENESIS
        chain.append(linked(draft, run=run, index=n, prev=prev, at=NOW + timedelta(seconds=n)))
    return chain


CHAIN = _chain()


def _first_fault(chain: list[Entry], whole: list[Entry] = CHAIN) -> int | None:
    broken = verify("R1", chain, length=len(whole), head=whole[-1].hash if whole else GENESIS)
    return None if broken is None else broken.index


def test_a_chain_as_it_was_written_holds_also_when_it_is_empty():
    assert _first_fault(CHAIN) is None
    assert _first_fault([], []) is None


@pytest.mark.parametrize("at", range(LENGTH))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("run", "R2"),
        ("index", 99),
        ("at", NOW + timedelta(days=9)),
        ("event", "intent"),
        ("seq", 99),
        ("facts", {"action": "another"}),
        ("body_digest", "0" * 64),
        ("prev", "1" * 64),
        ("hash", "1" * 64),
    ],
)
def test_a_change_of_any_field_is_found_at_its_entry(at, name, value):
    changed = [*CHAIN[:at], CHAIN[at].model_copy(update={name: value}), *CHAIN[at + 1 :]]
    assert _first_fault(changed) == at


@pytest.mark.parametrize("at", range(LENGTH))
def test_an_entry_that_was_written_anew_with_its_hash_breaks_the_one_after_it(at):
    forged = CHAIN[at].model_copy(update={"facts": {"action": "forged"}})
    forged = forged.model_copy(update={"hash": forged.computed()})
    assert _first_fault([*CHAIN[:at], forged, *CHAIN[at + 1 :]]) == at + 1


@given(st.data())
def test_removing_inserting_swapping_and_cutting_are_found_where_they_begin(data: Any):
    at = data.draw(st.integers(0, LENGTH - 1))
    match data.draw(st.sampled_from(["remove", "insert", "swap", "cut", "replace"])):
        case "remove":
            changed, first = [*CHAIN[:at], *CHAIN[at + 1 :]], at
        case "insert":
            changed, first = [*CHAIN[:at], data.draw(st.sampled_from(CHAIN)), *CHAIN[at:]], at
            if changed[at] == CHAIN[at]:
                first += 1  # the same entry twice: the second is one too many
        case "swap":
            other = data.draw(st.integers(0, LENGTH - 1).filter(lambda n: n != at))
            changed, first = list(CHAIN), min(at, other)
            changed[at], changed[other] = changed[other], changed[at]
        case "cut":
            changed, first = CHAIN[:at], at
        case _:
            changed, first = [*CHAIN[:at], *_chain(LENGTH, "R2")[at:]], at
    assert _first_fault(changed) == first


def test_a_longer_chain_than_was_recorded_is_found():
    longer = _chain(LENGTH + 1)
    assert _first_fault(longer) == LENGTH + 1


def test_a_time_that_goes_back_is_found_though_every_hash_is_right():
    draft = Draft(event="done", seq=9, facts={})
    early = linked(draft, run="R1", index=LENGTH, prev=CHAIN[-1].hash, at=NOW)
    broken = verify("R1", [*CHAIN, early], length=LENGTH + 1, head=early.hash)
    assert broken is not None
    assert (broken.index, broken.why) == (LENGTH, "its time lies before the entry before it")


def test_the_chain_holds_a_digest_of_a_body_and_never_the_body():
    entry = linked(Draft(event="done", seq=1, facts={}, body={"text": "MADEUP"}), run="R", index=0, prev="", at=NOW)
    assert entry.body_digest
    assert "MADEUP" not in entry.model_dump_json()
