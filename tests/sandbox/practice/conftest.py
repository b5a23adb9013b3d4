from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.practice.world import World, down, up
from tests.sandbox.practice.visitor import TODAY, Visitor


@pytest.fixture(scope="module")
def lasting_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("practice") / "world"
    yield up(folder, today=TODAY)
    down(folder)


@pytest.fixture
def world(lasting_world: World) -> World:
    lasting_world.set_script(None)
    lasting_world.reset()
    return lasting_world


@pytest.fixture
def office(world: World) -> Visitor:
    return Visitor(world).log_in()


@pytest.fixture
def stranger(world: World) -> Visitor:
    return Visitor(world)
