"""The event loop of a simulated world: one virtual time for all, on which processes stand still, and whose clocks run apart.

A process that is stopped, as by SIGSTOP, does nothing at all: what would have run in it is kept and runs, in its order, once it
goes on. What others do for it meanwhile (the network's deliveries, a database's commits) happens. A process knows by nothing
but the clocks that time has passed; and of a host that was suspended, the clock that nobody can set stood still as well.
"""

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from typing import Any, Protocol

from onefill.sim.virtual_loop import VirtualLoop

MOST_TURNS = 30_000
"""Turns of the loop in one world: ten times what the busiest takes."""


class Endless(BaseException):
    """The world goes on and on. Not an Exception, so that no handler under test takes it."""


class Process(Protocol):
    """What the loop needs to know of a process: how fast its clock runs that nobody can set, and what that showed at first.

    ``suspended_s``: for how much of the world's time that clock stood still.
    """

    rate: float
    origin_s: float
    suspended_s: float


current: "contextvars.ContextVar[Any]" = contextvars.ContextVar("life", default=None)
"""The life of a process in which the running code runs, ``None`` for the world outside."""


class WorldLoop(VirtualLoop):
    """See the module's text. ``now_s`` is the true time, whoever asks."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._held: dict[int, list[asyncio.Handle]] = {}
        """What the processes that stand still will do, by the id of the process."""

    def after(
        self,
        delay_s: float,
        callback: Callable[..., object],
        *arguments: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back after ``delay_s`` of true time, whoever asks."""
        return VirtualLoop.call_at(self, self.now_s + delay_s, callback, *arguments, context=context)

    # --------------------------------------------------------------- standing

    def stop_process(self, process: Process) -> None:
        """Make a process stand still from now on."""
        self._held.setdefault(id(process), [])

    def stands(self, process: Process) -> bool:
        """Tell whether a process stands still."""
        return id(process) in self._held

    def let_go_on(self, process: Process, *, suspended_s: float = 0.0) -> None:
        """Let a process go on: all that came due meanwhile happens now, in its order.

        ``suspended_s``: its clock stood still for so long, and every timer of it goes off by so much later.
        """
        loop: Any = self
        held = self._held.pop(id(process), [])
        if suspended_s:
            process.suspended_s += suspended_s
            timers = [one for one in held if isinstance(one, asyncio.TimerHandle)]
            loop._scheduled += timers
            for timer in loop._scheduled:
                if timer._context.get(current) is process:
                    timer._when += suspended_s
                    timer._scheduled = True
            heapq.heapify(loop._scheduled)
            held = [one for one in held if not isinstance(one, asyncio.TimerHandle)]
        loop._ready.extend(held)

    def about_to_run(self) -> None:
        """Put aside what is ready to run in a process that stands still."""
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Endless(f"after {self.turns} turns of the loop, {self.now_s:.3f} s into the world, it still goes on")
        if not self._held:
            return
        loop: Any = self
        ready, scheduled, due_s = loop._ready, loop._scheduled, self.now_s + loop._clock_resolution
        while scheduled and scheduled[0]._when < due_s:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            held = self._held.get(id(handle._context.get(current)))
            (ready if held is None else held).append(handle)


class SkewedLoop(WorldLoop):
    """A world's loop on which every process has a clock of its own. Slower to ask than the common one."""

    def time(self) -> float:
        """Return the time by the clock of the process that asks; outside every process, the true time."""
        process = current.get()
        return self.now_s if process is None else self._shown(process)

    def _shown(self, process: Process) -> float:
        return process.origin_s + (self.now_s - process.suspended_s) * process.rate

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at a time by the clock of the process that asks."""
        process = current.get()
        if process is not None:
            when = self.now_s + (when - self._shown(process)) / process.rate
        return super().call_at(when, callback, *args, context=context)
