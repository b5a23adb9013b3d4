"""Executors that may use a real OpenSSH server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sandbox.practice.children import running
from tests.tools.servers.box import Box, Make, NoSecrets
from tools.servers.executor import ServerExecutor
from tools.servers.inventory import Inventory


@pytest.fixture(scope="module")
def lasting_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(tmp_path_factory.mktemp("box"))
    box.start()
    yield box
    box.stop()


@pytest.fixture
def box(lasting_box: Box) -> Box:
    if running(lasting_box.folder, "web1") is None:
        lasting_box.start()
    return lasting_box


@pytest.fixture
async def make(box: Box) -> AsyncIterator[Make]:
    """Makes an executor for the box as `web-1`; all are closed at the end."""
    made = []

    def make(secrets: NoSecrets | None = None, *, answer_s: float = 5, command_s: float = 20, **changes: Any) -> Any:
        inventory = Inventory(servers={"web-1": box.server(**changes)})
        limits = {"answer_s": answer_s, "command_s": command_s}
        made.append(ServerExecutor(inventory, secrets or NoSecrets(), this_machine=True, **limits))
        return made[-1]

    yield make
    for executor in made:
        await executor.close()


@pytest.fixture
def hands(make: Make) -> ServerExecutor:
    return make()
