"""Time limits for many waits at the price of few timers.

A timer for each order would cost more than the rest of its bookkeeping, and nearly all are cancelled. Limits are rounded up to
a tick instead, and all limits of one tick share a timer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from onefill.core.errors import InvariantBroken

T = TypeVar("T")
TICK_S = 0.05
"""A limit may be late by so much."""
_FAR_S = 60.0
"""A tick that nobody waits for any more is kept if it comes sooner: one timer more or less is cheaper than its making."""

Token = tuple[int, int]


class Deadlines:
    """Calls back when a limit passes, unless it was removed before."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticks: dict[int, dict[int, Callable[[], object]]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._count = 0

    def add(self, after_s: float, callback: Callable[[], object]) -> Token:
        """Call ``callback`` once ``after_s`` has passed. Returns what :meth:`remove` takes."""
        tick = int((self._loop.time() + after_s) / TICK_S) + 1
        self._count += 1
        waiting = self._ticks.get(tick)
        if waiting is None:
            waiting = self._ticks[tick] = {}
            self._timers[tick] = self._loop.call_at(tick * TICK_S, self._pass, tick)
        waiting[self._count] = callback
        return tick, self._count

    def remove(self, token: Token) -> bool:
        """Forget a limit. False if it has passed."""
        waiting = self._ticks.get(token[0])
        if waiting is None or waiting.pop(token[1], None) is None:
            return False
        if not waiting and token[0] * TICK_S - self._loop.time() > _FAR_S:
            del self._ticks[token[0]]
            self._timers.pop(token[0]).cancel()
        return True

    def _pass(self, tick: int) -> None:
        del self._timers[tick]
        waiting = self._ticks[tick]
        while waiting:
            waiting.pop(next(iter(waiting)))()  # one by one: each may remove another
        del self._ticks[tick]

    async def bound(self, work: Awaitable[T], limit_s: float) -> T:
        """Return what ``work`` returns, or cancel it and raise TimeoutError once ``limit_s`` has passed."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise InvariantBroken("a limit bounds the work of a task")
        token = self.add(limit_s, task.cancel)
        try:
            reply = await work
        except asyncio.CancelledError:
            if not self.remove(token) and task.uncancel() == 0:
                raise TimeoutError(f"no reply within {limit_s:g} s") from None
            raise
        except BaseException:
            self._end(token, task)
            raise
        self._end(token, task)
        return reply

    def _end(self, token: Token, task: "asyncio.Task[Any]") -> None:
        if not self.remove(token):
            task.uncancel()  # the work took the cancellation for its own and went on to an end

    def close(self) -> None:
        """Drop every limit."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ticks.clear()
