"""A run with its gate, for the tests of the gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.policies.gating import Bench


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, one for each file of tests: every test has a run of its own in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    """A run without a plan."""
    made = Bench(home)
    yield made
    made.close()


@pytest.fixture
def granted(bench: Bench) -> Bench:
    """A run whose plan was accepted."""
    bench.accept()
    return bench
