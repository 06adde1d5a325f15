"""Steps of users' own processes, each carried out once and remembered with its result (``gateway.once``).

Begun is committed before the step's function runs, done with its result after it: the same two commits as for an order. What
lies between them may have happened or not when the process dies there, and nobody can tell from here. The next attempt is told
so, and has the same idempotency key to hand on.
"""

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from onefill.core import once, values
from onefill.core.errors import CallerError, Fenced, OnefillError, RouteClosed, StepInDoubt, StepReused
from onefill.core.once import Attempt
from onefill.core.outside_events import StepBegun, StepDone
from onefill.engine.route import Route
from onefill.ports.clock import Clock
from onefill.ports.ledger import Committed, Ledger, Outcome, StepRecord, StepTaken

Errors = tuple[type[Exception], ...]
StepFunction = Callable[[Attempt], Any]
"""A step's work: plain, which runs on a thread of its own, or a coroutine function."""


_MOST_THREADS = 16
"""On which plain functions run; more of them wait for one."""


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of ``once``, checked."""

    key: str
    step: str
    arguments: str
    work: StepFunction
    keep_errors: Errors
    repeat: bool


class Steps:
    """The steps under way in this process. Calls for the same step share one."""

    def __init__(
        self,
        ledger: Ledger,
        routes: Mapping[str, Route],
        clock: Clock,
        venues: Collection[str],
        missing: Callable[[str], OnefillError],
    ) -> None:
        """``venues``: every route that there is; ``routes``: those held here, ``missing`` tells of another one."""
        self._ledger = ledger
        self._routes = routes
        self._clock = clock
        self._venues = venues
        self._missing = missing
        self._under_way: dict[tuple[str, str, str], tuple[str, asyncio.Task[bytes]]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    async def once(
        self,
        key: str,
        step: str,
        work: StepFunction,
        *,
        arguments: Any,
        route: str | None,
        keep_errors: type[Exception] | Collection[type[Exception]],
        repeat: bool,
        result_type: Any,
    ) -> Any:
        """See :meth:`onefill.engine.outside.Outside.once`."""
        errors = (keep_errors,) if isinstance(keep_errors, type) else tuple(keep_errors)
        call = _Call(
            key=values.caller_key(key),
            step=values.name(step, "step"),
            arguments=once.arguments_digest(arguments),
            work=work,
            keep_errors=errors,
            repeat=repeat,
        )
        name = self.route(route)
        home = self._routes.get(name)
        kept = await (self._done_elsewhere(name, call) if home is None else self._shared(home, call))
        return once.told(kept, key, step, result_type)

    async def _done_elsewhere(self, route: str, call: _Call) -> bytes:
        """Return what is kept of a step of a route that another process has. Raises RouteElsewhere unless it is done."""
        known = await self._ledger.step(route, call.key, call.step)
        if known is not None and known.arguments != call.arguments:
            raise StepReused(call.key, call.step)
        if known is None or known.result is None:
            raise self._missing(route)
        return known.result

    def route(self, name: str | None) -> str:
        """Return the route that a process's steps are kept on. Raises CallerError if several could be meant."""
        if name is None and len(self._venues) > 1:
            raise CallerError(
                f"route: is missing, and there are several: {', '.join(sorted(self._venues))}. Name the one on which this "
                "process is kept, always the same. Nothing was carried out"
            )
        wanted = name if name is not None else next(iter(self._venues), "")
        if wanted not in self._routes and wanted not in self._venues:
            raise self._missing(wanted)
        return wanted

    async def _shared(self, route: Route, call: _Call) -> bytes:
        """Return what is kept of a step, carrying it out unless that was done or is under way."""
        place = (route.name, call.key, call.step)
        known = self._under_way.get(place)
        if known is None:
            if self._closed:
                raise _closed()
            # A task of its own: whoever asked may give up, and the others still wait for it.
            task = asyncio.get_running_loop().create_task(self._carried_out(route, call))
            self._under_way[place] = (call.arguments, task)
            task.add_done_callback(lambda done: self._ended(place, done))
        else:
            arguments, task = known
            if arguments != call.arguments:
                raise StepReused(call.key, call.step)
            if task is asyncio.current_task():
                raise CallerError(f"step {call.step!r} of {call.key!r} calls itself, which would wait for ever")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asked = asyncio.current_task()
            if task.cancelled() and asked is not None and not asked.cancelling():
                raise _closed() from None  # it was not whoever asked that was cancelled
            raise

    def _ended(self, place: tuple[str, str, str], task: "asyncio.Task[bytes]") -> None:
        del self._under_way[place]
        if not task.cancelled():
            task.exception()  # whoever asked may have given up: it is no news to the loop

    async def _carried_out(self, route: Route, call: _Call) -> bytes:
        known = await self._ledger.step(route.name, call.key, call.step)
        while True:
            if known is not None:
                if known.arguments != call.arguments:
                    raise StepReused(call.key, call.step)
                if known.result is not None:
                    return known.result
                if not call.repeat:
                    raise StepInDoubt(call.key, call.step, known.attempt)
            route.admit()
            begun = StepRecord(
                key=call.key,
                step=call.step,
                attempt=1 if known is None else known.attempt + 1,
                begun_at_us=self._clock.now_us(),
                arguments=call.arguments,
            )
            event = StepBegun(call.key, call.step, begun.attempt)
            outcome = await asyncio.shield(route.record_route_event(event, step=begun))
            if isinstance(outcome, Committed):
                return await self._kept(route, begun, await self._worked(route, call, begun))
            known = _taken(outcome)

    async def _worked(self, route: Route, call: _Call, begun: StepRecord) -> bytes:
        """Run the step's function, and return what is to be kept of it."""
        attempt = Attempt(number=begun.attempt, idempotency_key=once.idempotency_key(route.name, call.key, call.step))
        try:
            result = await self._run(call.work, attempt)
        except call.keep_errors as error:
            return once.kept_error(error)
        return once.kept_result(result, call.key, call.step)

    async def _run(self, work: StepFunction, attempt: Attempt) -> Any:
        if inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(type(work).__call__):
            return await work(attempt)
        # Threads of their own: neither orders nor the look-up of a venue's address are to wait for it.
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="onefill-step")
        run = functools.partial(contextvars.copy_context().run, work, attempt)
        made = await asyncio.get_running_loop().run_in_executor(self._threads, run)
        return await made if isinstance(made, Awaitable) else made

    async def _kept(self, route: Route, begun: StepRecord, result: bytes) -> bytes:
        """Keep a result, and return the one that is kept: another's, if somebody else was first."""
        while True:
            done = msgspec.structs.replace(begun, result=result, done_at_us=self._clock.now_us())
            event = StepDone(done.key, done.step, done.attempt, hashlib.sha256(result).hexdigest())
            try:
                outcome = await asyncio.shield(route.record_route_event(event, step=done))
            except Fenced:
                # Another process has the route now. If it has done the step by now, its result is the one.
                found = await self._ledger.step(route.name, done.key, done.step)
                if found is None or found.result is None:
                    raise
                return found.result
            if isinstance(outcome, Committed):
                return result
            known = _taken(outcome)
            if known.result is not None:
                return known.result
            begun = known

    async def close(self) -> None:
        """End what is under way; it reads as begun. Plain functions on their threads go on, and their results are not kept."""
        self._closed = True
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _taken(outcome: Outcome) -> StepRecord:
    if not isinstance(outcome, StepTaken):
        raise RouteClosed(f"the ledger refused a step: {outcome!r}. Call again")
    return outcome.step


def _closed() -> RouteClosed:
    return RouteClosed(
        "the gateway was closed, or the step's work was cancelled. A step that was under way may have had its effect; it is "
        "open, and the next call is told so"
    )
