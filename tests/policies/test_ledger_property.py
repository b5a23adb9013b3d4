"""Whenever the process dies while it writes, the ledger verifies to its last entry and no effect is without intent."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audit.export import lines
from agent.store.database import Database
from policies.outcome import Done
from policies.verifier import faults
from tests.policies.gating import NOW, PHONE, Bench, tool


class Died(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def one() -> Iterator[Bench]:
    """A run that every example goes on with."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.accept()
        yield bench
        bench.close()


_SEQS = count()


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 45), name=st.sampled_from(["go", "each", "shut", "unheard"]))
def test_a_crash_at_any_write_leaves_a_ledger_that_verifies_with_an_intent_before_each_effect(
    one: Bench, at: int, name: str
) -> None:
    seq, before, left = next(_SEQS), len(one.events()), iter(range(at))
    execute = Database._execute

    def dying(self: Database, sql: str, values: Any = ()) -> Any:
        if next(left, None) is None:
            raise Died
        return execute(self, sql, values)

    Database._execute = dying  # type: ignore[method-assign]
    try:
        asyncio.run(one.submit(tool(name, seq), seq))
    except Died:
        pass
    finally:
        Database._execute = execute  # type: ignore[method-assign]
    one.reopen()

    assert one.store.ledger.verify(one.run) is None
    assert one.store.ledger.verify_checkpoints() is None
    assert len(one.events()) >= before
    intents = {f"{one.run}:{entry.seq}" for entry in one.store.ledger.entries(one.run) if entry.event == "intent"}
    assert set(one.world.tried) <= intents


async def test_every_event_names_policy_mandate_action_and_labels(granted: Bench) -> None:
    waiting = await granted.submit(tool("each", n=1))
    granted.answer(waiting, by="bob")
    assert isinstance(await granted.submit(tool("each", n=1)), Done)
    await granted.submit(tool("shut"), 2)
    entries = {entry.event: entry.facts for entry in granted.store.ledger.entries(granted.run)}

    mandate = granted.store.mandates.get(granted.run)
    assert mandate is not None
    digest, plan = tool("each", n=1).digest, mandate.plan.digest
    assert list(entries) == ["asked", "answered", "intent", "done", "denied"]
    for event, facts in entries.items():
        assert facts["policy"] == granted.policy.digest, event
        if event != "answered":
            assert (facts["mandate"], facts["kind"]) == (plan, "tool.call")
            assert {"integrity", "private"} <= facts.keys()
    assert entries["answered"] == {
        **{"question": entries["asked"]["question"], "yes": True, "by": "bob", "digest": digest},
        "policy": granted.policy.digest,
    }
    assert [entries[e]["action"] for e in ("asked", "intent", "done")] == [digest] * 3


async def test_an_export_of_decisions_has_all_that_they_were_made_from_and_no_contents(granted: Bench) -> None:
    words = "some words that only travel"
    await granted.submit(tool("go", n=7, words=words, phone=granted.redactor.redact_text(PHONE)), 1)
    await granted.submit(tool("shut", words=words), 2)

    made = [*lines(granted.store, [granted.run], at=NOW, decisions=True)]

    first, second = (line["replay"] for line in made if "replay" in line)
    assert [*faults(made)] == []
    assert (first["missing"], first["whole"], first["attended"], first["grounded"]) == ([], False, True, [])
    assert first["context"] == {"integrity": 4, "readers": None, "origins": []}
    assert first["mandate"]["accepted"]
    assert (first["mandate"]["spent"], first["mandate"]["plan"]) == ({}, made[2]["facts"]["mandate"])
    given = first["action"]["arguments"]
    assert given["n"] == 7
    assert given["phone"].endswith(granted.redactor.redact_text(PHONE))
    assert given["words"].startswith("‹")
    assert given["words"] == second["action"]["arguments"]["words"]
    assert words not in str(made)
    whole = [*lines(granted.store, [granted.run], at=NOW, decisions=False)]
    assert words in str(whole)
