"""What tests of commands over ccxt share: an imitation of a venue to run against, and settings that reach it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from onefill.gameday.ccxt_settings import environment, toml, venue_table
from onefill.sim.imitations.base import Imitation


@contextlib.contextmanager
def serving(kind: type[Imitation]) -> Iterator[Imitation]:
    """Run an imitation on a loop of its own."""
    loop, venue = asyncio.new_event_loop(), kind()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(venue.start(), loop).result(30)
        yield venue
    finally:
        asyncio.run_coroutine_threadsafe(venue.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def settings_of(
    folder: Path,
    venue: Imitation,
    patch: pytest.MonkeyPatch,
    credentials: Mapping[str, str] = {},
    **more: Any,
) -> Path:
    """Write settings of a venue called x, with its credentials (or others) in the environment."""
    for name, value in (environment(type(venue), "X") | credentials).items():
        patch.setenv(name, value)
    path = folder / "onefill.toml"
    path.write_text(toml({"venues": {"x": venue_table(type(venue), venue.url, "X", **more)}}))
    return path
