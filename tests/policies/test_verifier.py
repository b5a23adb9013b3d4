"""The separate verifier: whatever is changed in an export, the first place that does not hold is named."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.audit.export import lines
from agent.store.runs import this_process
from agent.store.seal import Keys
from agent.store.store import Store
from policies import verifier
from policies.verifier import faults
from tests.agent.store.conftest import NOW, FixedClock, draft, new_run, url

LENGTH = 80
Line = dict[str, Any]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Line]]:
    """Two runs: `r1` of 80 entries and ended, `r2` of three."""
    folder, clock = tmp_path_factory.mktemp("export"), FixedClock()
    with closing(Store.open(url(folder), Keys.load(folder), clock)) as store:
        for run, count in (("r1", LENGTH - 1), ("r2", 3)):
            store.runs.create(new_run(run))
            epoch = store.runs.claim(run, this_process(), 60)
            for n in range(count):
                at = NOW + timedelta(seconds=n)
                store.ledger.record(run, [draft(n, body={"text": f"文 {n}"})], epoch=epoch, now=at)
        store.ledger.record("r1", [draft(event="ended")], epoch=1, now=NOW + timedelta(hours=1))
        made = [*lines(store, None, at=NOW, decisions=True)]
    yield json.loads(json.dumps(made))


def _entries(export: list[Line], run: str = "r1") -> tuple[int, list[Line]]:
    """Where the entries of a run begin, and they themselves."""
    at = [n for n, line in enumerate(export) if line["type"] == "entry" and line["run"] == run]
    return at[0], [export[n] for n in at]


def _with(export: list[Line], entries: list[Line]) -> list[Line]:
    begin, old = _entries(export)
    return copy.deepcopy([*export[:begin], *entries, *export[begin + len(old) :]])


def test_an_export_as_it_was_written_holds(export):
    assert [*faults(export)] == []
    assert [*faults(export, [*export[0]["keys"].values()])] == []


@given(data=st.data())
def test_any_single_change_of_the_entries_is_reported_where_it_begins(export, data):
    _, chain = _entries(export)
    at = data.draw(st.integers(0, LENGTH - 1))
    changed, first = copy.deepcopy(chain), at
    match data.draw(st.sampled_from(["change", "remove", "insert", "swap", "cut"])):
        case "change":
            name = data.draw(st.sampled_from([*verifier.ENTRY, "hash"]))
            changed[at][name] = data.draw(
                st.sampled_from([0, 7, "x", "2020-01-01T00:00:00Z", None, {"a": 1}]).filter(
                    lambda new: new != chain[at][name]
                )
            )
        case "remove":
            del changed[at]
        case "insert":
            changed.insert(at, data.draw(st.sampled_from(chain)))
            first += changed[at] == chain[at]
        case "swap":
            other = data.draw(st.integers(0, LENGTH - 1).filter(lambda n: n != at))
            changed[at], changed[other] = changed[other], changed[at]
            first = min(at, other)
        case "cut":
            changed = changed[:at]
    found = [*faults(_with(export, changed))]
    assert (found[0].run, found[0].index) == ("r1", first)


@pytest.mark.parametrize("at", [0, 40, 79])
def test_a_chain_forged_from_some_entry_on_is_found_by_its_checkpoints(export, at):
    _, chain = _entries(export)
    forged, prev = copy.deepcopy(chain), None
    for entry in forged[at:]:
        entry["facts"] = {"forged": True}
        entry["prev"] = prev or entry["prev"]
        prev = entry["hash"] = verifier.digest(entry, verifier.ENTRY)
    changed = _with(export, forged)
    next(line for line in changed if line["type"] == "run")["head"] = prev
    (fault,) = faults(changed)
    signed = [line["length"] - 1 for line in export if line["type"] == "checkpoint" and line["run"] == "r1"]
    assert fault.index == next(n for n in signed if n >= at)
    assert "is not the entry that checkpoint" in fault.why


def test_a_tail_cut_off_with_every_record_of_it_in_the_export_is_found(export):
    _, chain = _entries(export)
    changed = _with(export, chain[:70])
    changed[1] |= {"length": 70, "head": chain[69]["hash"]}
    assert [(f.index, f.why) for f in faults(changed)] == [(70, "the chain ends after 70 of 80 signed entries")]
    without = [line for line in changed if line["type"] != "checkpoint" or line["length"] != 80]
    assert [f.why[:29] for f in faults(without, noted=export[-1]["hash"])] == ["the checkpoint that was noted"]


def test_a_fork_and_a_missing_run_are_named(export):
    _, chain = _entries(export)
    twin = chain[5] | {"facts": {"other": 1}}
    twin["hash"] = verifier.digest(twin, verifier.ENTRY)
    assert (
        next(faults(_with(export, [*chain[:6], twin, *chain[6:]]))).why == "there is a second entry 5: the chain forks"
    )
    gone = [line for line in export if line.get("run") != "r2" or line["type"] == "checkpoint"]
    assert [(f.run, f.why) for f in faults(gone)] == [("r2", "the whole run is missing")]


def test_it_runs_alone_with_nothing_of_ours(export, tmp_path):
    alone = tmp_path / "verifier.py"
    alone.write_text(Path(verifier.__file__).read_text("utf-8"), "utf-8")
    file, (key,) = tmp_path / "export.jsonl", export[0]["keys"].values()
    last = export[-1]["hash"]

    def check(changed: list[Line], *options: str) -> tuple[int, str]:
        file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in changed), "utf-8")
        command = [sys.executable, "-I", str(alone), str(file), *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
        return done.returncode, done.stdout + done.stderr

    assert check(export, "--key", key, "--checkpoint", last) == (0, "intact\n")
    assert check(export) == (0, "intact, by the keys that the export itself names\n")
    assert check(export, "--key", "00" * 31 + "01")[0] == 6
    assert check(export, "--checkpoint", "0" * 64)[0] == 6
    _, chain = _entries(export)
    code, said = check(_with(export, chain[:3] + chain[4:]))
    assert (code, said.splitlines()[0]) == (6, "BROKEN: run r1, entry 3: entry 3 is missing or out of place")
    file.write_text("no export", "utf-8")
    assert check([])[0] == 2
