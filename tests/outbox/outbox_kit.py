"""What the tests of publishers share."""

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from onefill.core.relay import Message, Outcome
from onefill.ports.publisher import Publisher
from onefill.testing.publisher_kit import entry_message


def messages(count: int, first: int = 1, text: str = "") -> list[Message]:
    """Return messages of as many orders."""
    return [entry_message(first + n, first + n, text) for n in range(count)]


def kinds(outcomes: Sequence[Outcome]) -> list[type]:
    """Return the type of each outcome."""
    return [type(outcome) for outcome in outcomes]


@contextlib.asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[None]:
    """Start a publisher; close it."""
    try:
        await publisher.start()
        yield
    finally:
        await publisher.close()


def python(code: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a few lines in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
