"""Running a command's coroutine on the fastest event loop there is."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may hold the interpreter while another waits. The default, 5 ms, is longer than a commit takes, and the
ledger's thread needs the interpreter a few times for each."""


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on uvloop, where it is available."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop  # noqa: PLC0415 - not installed on Windows

    return uvloop.run(work)
