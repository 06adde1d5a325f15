"""Fixtures of the engine's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds, each in a folder of its own; arguments are the gateway's settings and the exchange's dialect."""
    made: list[World] = []

    def make(settings: Any = None, **dialect: Any) -> World:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(folder, settings, **dialect))
        return made[-1]

    yield make
    for world in made:
        world.close_eyes()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with a strict venue: ids unique for ever, look-up, expiry of 2 s, "not found" conclusive after 5 s."""
    return make_world()
