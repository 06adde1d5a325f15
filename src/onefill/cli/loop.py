"""Running a command's coroutine on the fastest event loop there is."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may hold the interpreter while another waits. The default, 5 ms, is longer than a commit takes, and the
ledger's thread needs the interpreter a few times for each."""
_COLLECT_AFTER = (50_000, 20, 50)
"""Allocations before the cycle collector runs. The values that pass through here hold no cycles; searching for them among
all open orders costs a tenth of the time."""


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on uvloop, where it is available."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.freeze()  # what the start made is never garbage
    gc.set_threshold(*_COLLECT_AFTER)
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop  # noqa: PLC0415 - not installed on Windows

    return uvloop.run(work)


def told_to_end() -> asyncio.Event:
    """Return an event of the running loop that is set once the process is told to end, by Ctrl-C or SIGTERM."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows Ctrl-C is an exception, and ends it so
            loop.add_signal_handler(number, ended.set)
    return ended
