"""An event loop whose time jumps to the next timer as soon as nothing is ready: waits of any length take no time.

It is also a detector of lost wake-ups: where a real loop would sleep for ever, because nothing is ready and no timer is set,
this one raises :class:`NothingLeft`.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class NothingLeft(BaseException):
    """Somebody waits, and nothing will ever happen. Not an Exception, so that no handler under test takes it."""


class _Jumping(selectors.DefaultSelector):
    """Never sleeps: moves the loop's time on by what it would have slept."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingLeft("nothing is ready, no timer is set, and somebody waits")
            self.loop.now_s += max(timeout, 0)
        self.loop.about_to_run()
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module's text. Not for work on threads, whose end it does not wait for."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-6  # or a timer at a time too large for 1e-9 to count would never be due
        self.complaints: list[str] = []
        """What went to the loop's exception handler: exceptions that nobody saw."""
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now_s

    def about_to_run(self) -> None:
        """Called whenever time has moved on, before what is due then is run."""

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")


def run(work: Callable[[], Coroutine[Any, Any, T]], *, start_s: float = 0.0) -> T:
    """Run ``work`` in virtual time. Raises AssertionError if it leaves a task behind or an exception went unseen."""

    async def watched() -> T:
        result = await work()
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            raise AssertionError(f"left running: {left}")
        return result

    loop = VirtualLoop(start_s)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(watched())
    if loop.complaints:
        raise AssertionError(loop.complaints)
    return result
