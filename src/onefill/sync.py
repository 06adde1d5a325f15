"""The gateway for plain code: the same methods, without ``await``.

    with onefill.sync.open("orders.db", venues={"sim": venue}) as gateway:
        order = gateway.submit(intent, key="rebalance-2026-11-21-BTC")

An event loop runs on a thread of its own; any thread may call.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

from onefill.core.answers import Answer, CancelAnswer, ReplaceAnswer
from onefill.core.control import Control, State
from onefill.core.errors import CallerError, RouteClosed
from onefill.core.events import Verdict
from onefill.core.inbox import Headers, Receipt, Verifier
from onefill.core.incident import Incident, Step, StepResult
from onefill.core.intent import Intent
from onefill.core.once import Attempt
from onefill.core.order import Order
from onefill.core.position import Position
from onefill.core.reconcile import Report
from onefill.core.relay import Message
from onefill.core.risk_limits import Risk
from onefill.engine.controller import ControlPlan, GatewayStatus
from onefill.engine.event_stream import EventStream
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Begin, Subscriber
from onefill.engine.settings import GatewaySettings, NodeSettings
from onefill.ports.ledger import OpeningPosition, StepRecord
from onefill.ports.venue import Venue
from onefill.service.callback_settings import CallbackPlan
from onefill.service.wiring import open_gateway

T = TypeVar("T")
_NOT_OPEN = "the gateway is not open: use it inside `with onefill.sync.open(...)`"


class SyncGateway:
    """A :class:`~onefill.engine.gateway.Gateway` behind plain calls. Use it as a context manager, once."""

    def __init__(self, opening: AbstractAsyncContextManager[Gateway]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._here = threading.local()
        """The steps that this thread is in."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._gateway: Gateway | None = None

    def __enter__(self) -> "SyncGateway":
        """Open ledger and venues; raises as :func:`onefill.open` does."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="onefill-gateway", daemon=True)
        self._thread.start()
        try:
            self._gateway = self._run(self._opening.__aenter__)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything. Calls of other threads that still wait for an answer end with RouteClosed."""
        try:
            self._run(lambda: self._opening.__aexit__(kind, error, trace))
        finally:
            self._gateway = None
            self._end()

    def _end(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None  # no call begins after this
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._lock:
            if self._loop is None:
                raise RouteClosed(_NOT_OPEN)
            future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RouteClosed(_NOT_OPEN) from None

    @property
    def _open(self) -> Gateway:
        if self._gateway is None:
            raise RouteClosed(_NOT_OPEN)
        return self._gateway

    def submit(
        self,
        intent: Intent,
        *,
        key: str,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
        allow_similar: bool = False,
    ) -> Answer:
        """See :meth:`onefill.engine.gateway.Gateway.submit`."""
        gateway = self._open
        return self._run(
            lambda: gateway.submit(
                intent, key=key, time_to_live_s=time_to_live_s, wait_s=wait_s, allow_similar=allow_similar
            )
        )

    def cancel(
        self, key: str, *, account: str, strategy: str, operation_key: str | None = None, wait_s: float | None = None
    ) -> CancelAnswer:
        """See :meth:`onefill.engine.gateway.Gateway.cancel`."""
        gateway = self._open
        return self._run(
            lambda: gateway.cancel(key, account=account, strategy=strategy, operation_key=operation_key, wait_s=wait_s)
        )

    def replace(
        self,
        key: str,
        *,
        account: str,
        strategy: str,
        quantity: Decimal | int | str | None = None,
        price: Decimal | int | str | None = None,
        operation_key: str | None = None,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
    ) -> ReplaceAnswer:
        """See :meth:`onefill.engine.gateway.Gateway.replace`."""
        gateway = self._open
        return self._run(
            lambda: gateway.replace(
                key,
                account=account,
                strategy=strategy,
                quantity=quantity,
                price=price,
                operation_key=operation_key,
                time_to_live_s=time_to_live_s,
                wait_s=wait_s,
            )
        )

    def resolve(
        self,
        key: str,
        *,
        account: str,
        strategy: str,
        verdict: Verdict,
        by: str,
        reason: str,
        venue_order_id: str | None = None,
    ) -> Order:
        """See :meth:`onefill.engine.gateway.Gateway.resolve`."""
        gateway = self._open
        return self._run(
            lambda: gateway.resolve(
                key,
                account=account,
                strategy=strategy,
                verdict=verdict,
                by=by,
                reason=reason,
                venue_order_id=venue_order_id,
            )
        )

    def reconcile(self, route: str | None = None, *, full: bool = False) -> list[Report]:
        """See :meth:`onefill.engine.oversight.Oversight.reconcile`."""
        gateway = self._open
        return self._run(lambda: gateway.reconcile(route, full=full))

    def accept_position(self, route: str, account: str, instrument: str, *, by: str, reason: str) -> OpeningPosition:
        """See :meth:`onefill.engine.oversight.Oversight.accept_position`."""
        gateway = self._open
        return self._run(lambda: gateway.accept_position(route, account, instrument, by=by, reason=reason))

    def order(self, key: str, *, account: str, strategy: str) -> Order:
        """See :meth:`onefill.engine.gateway.Gateway.order`."""
        gateway = self._open
        return self._run(lambda: gateway.order(key, account=account, strategy=strategy))

    def positions(self) -> list[Position]:
        """See :meth:`onefill.engine.gateway.Gateway.positions`."""
        gateway = self._open

        async def read() -> list[Position]:
            return gateway.positions()

        return self._run(read)

    def reference_price(self, venue: str, instrument: str, price: Decimal | int | str | None) -> None:
        """See :meth:`onefill.engine.gateway.Gateway.reference_price`."""
        gateway = self._open

        async def tell() -> None:
            gateway.reference_price(venue, instrument, price)

        self._run(tell)

    def events(
        self,
        *,
        subscriber: str | None = None,
        after: int | None = None,
        route: str | None = None,
        kinds: Collection[str] = (),
        begin: Begin = Begin.FIRST,
        keep_every_s: float = 0.2,
    ) -> Iterator[Message]:
        """See :meth:`onefill.engine.oversight.Oversight.events`. Ends when it is left, or by RouteClosed with the gateway."""
        gateway = self._open

        async def begun() -> EventStream:
            return gateway.events(
                subscriber=subscriber, after=after, route=route, kinds=kinds, begin=begin, keep_every_s=keep_every_s
            )

        return self._follow(self._run(begun))

    def _follow(self, stream: EventStream) -> Iterator[Message]:
        try:
            while True:
                yield self._run(stream.__anext__)
        finally:
            with contextlib.suppress(RouteClosed):  # the gateway was closed first, and noted what was taken
                self._run(stream.aclose)

    def incidents(self, *, open_only: bool = True) -> list[Incident]:
        """See :meth:`onefill.engine.gateway.Gateway.incidents`."""
        gateway = self._open
        return self._run(lambda: gateway.incidents(open_only=open_only))

    def incident(self, name: str) -> Incident:
        """See :meth:`onefill.engine.gateway.Gateway.incident`."""
        gateway = self._open
        return self._run(lambda: gateway.incident(name))

    def step(
        self,
        name: str,
        step: Step | str,
        *,
        by: str,
        note: str = "",
        skip: bool = False,
        keys: Sequence[str] = (),
        venue_orders: Sequence[str] = (),
        out: str | None = None,
        times: int = 2,
    ) -> StepResult:
        """See :meth:`onefill.engine.gateway.Gateway.step`."""
        gateway = self._open
        return self._run(
            lambda: gateway.step(
                name,
                step,
                by=by,
                note=note,
                skip=skip,
                keys=keys,
                venue_orders=venue_orders,
                out=out,
                times=times,
            )
        )

    def resolve_incident(self, name: str, by: str, reason: str, *, force: bool = False) -> Incident:
        """See :meth:`onefill.engine.gateway.Gateway.resolve_incident`."""
        gateway = self._open
        return self._run(lambda: gateway.resolve_incident(name, by, reason, force=force))

    def status(self) -> GatewayStatus:
        """See :meth:`onefill.engine.gateway.Gateway.status`."""
        gateway = self._open

        async def read() -> GatewayStatus:
            return gateway.status()

        return self._run(read)

    def freeze(
        self, route: str | None = None, *, by: str, reason: str, state: State = State.SAFE
    ) -> dict[str, Control]:
        """See :meth:`onefill.engine.gateway.Gateway.freeze`."""
        gateway = self._open
        return self._run(lambda: gateway.freeze(route, by=by, reason=reason, state=state))

    def release(self, route: str | None = None, *, by: str, reason: str, force: bool = False) -> dict[str, Control]:
        """See :meth:`onefill.engine.gateway.Gateway.release`."""
        gateway = self._open
        return self._run(lambda: gateway.release(route, by=by, reason=reason, force=force))

    def expect_callbacks(self, route: str, verifier: Verifier) -> None:
        """See :meth:`onefill.engine.outside.Outside.expect_callbacks`."""
        gateway = self._open

        async def expect() -> None:
            gateway.expect_callbacks(route, verifier)

        self._run(expect)

    def take_callback(self, route: str, headers: Headers, body: bytes) -> Receipt:
        """See :meth:`onefill.engine.outside.Outside.take_callback`. Any thread may call, as those of a web framework do."""
        gateway = self._open
        return self._run(lambda: gateway.take_callback(route, headers, body))

    def once(
        self,
        key: str,
        step: str,
        fn: Callable[[Attempt], Any],
        *,
        arguments: Any = None,
        route: str | None = None,
        keep_errors: type[Exception] | Collection[type[Exception]] = (),
        repeat: bool = True,
        result_type: Any = Any,
    ) -> Any:
        """See :meth:`onefill.engine.outside.Outside.once`. ``fn`` is plain code, and runs on the thread that calls this."""
        gateway, jobs, place = self._open, _Jobs(), (route, key, step)
        running: set[tuple[str | None, str, str]] = self._here.__dict__.setdefault("running", set())
        if place in running:
            raise CallerError(f"step {step!r} of {key!r} calls itself, which would wait for ever")
        with self._lock:
            if self._loop is None:
                raise RouteClosed(_NOT_OPEN)
            work = gateway.once(
                key,
                step,
                jobs.run_there(fn),
                arguments=arguments,
                route=route,
                keep_errors=keep_errors,
                repeat=repeat,
                result_type=result_type,
            )
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.add_done_callback(jobs.end)
        running.add(place)
        try:
            jobs.run()
        finally:
            running.discard(place)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RouteClosed(_NOT_OPEN) from None

    def steps(self, key: str, *, route: str | None = None) -> list[StepRecord]:
        """See :meth:`onefill.engine.outside.Outside.steps`."""
        gateway = self._open
        return self._run(lambda: gateway.steps(key, route=route))

    def hand_over(self, route: str, to: str | None = None, *, by: str = "the gateway's user") -> None:
        """See :meth:`onefill.engine.gateway.Gateway.hand_over`."""
        gateway = self._open
        self._run(lambda: gateway.hand_over(route, to, by=by))

    def catch_up(self) -> None:
        """See :meth:`onefill.engine.gateway.Gateway.catch_up`."""
        gateway = self._open
        self._run(gateway.catch_up)


class _Jobs:
    """Work that the loop hands back to the thread that waits for it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def run_there(self, fn: Callable[[Attempt], T]) -> Callable[[Attempt], Coroutine[Any, Any, T]]:
        """Return what has ``fn`` run on the thread that is in :meth:`run`, and waits for its result."""

        async def hand_over(attempt: Attempt) -> T:
            made: concurrent.futures.Future[T] = concurrent.futures.Future()

            def job() -> None:
                try:
                    made.set_result(fn(attempt))
                except Exception as error:  # noqa: BLE001 - the step's own, told to whoever waits for it
                    made.set_exception(error)

            self._jobs.put(job)
            return await asyncio.shield(asyncio.wrap_future(made))

        return hand_over

    def run(self) -> None:
        """Do what is handed over, until :meth:`end`."""
        while (job := self._jobs.get()) is not None:
            job()

    def end(self, _done: object) -> None:
        """Have :meth:`run` return."""
        self._jobs.put(None)


async def _end_tasks() -> None:
    """Cancel what still runs on this loop, and see it end."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def open(  # noqa: A001 - reads as onefill.sync.open(...)
    ledger: str | os.PathLike[str],
    *,
    venues: Mapping[str, Venue],
    settings: GatewaySettings | None = None,
    risk: Risk | None = None,
    control: ControlPlan | None = None,
    node: NodeSettings | None = None,
    subscribers: Iterable[Subscriber] = (),
    callbacks: CallbackPlan | None = None,
) -> SyncGateway:
    """Return a gateway for plain code; enter it with ``with``. Arguments as for :func:`onefill.open`."""
    return SyncGateway(
        open_gateway(
            ledger,
            venues=venues,
            settings=settings,
            risk=risk,
            control=control,
            node=node,
            subscribers=subscribers,
            callbacks=callbacks,
        )
    )
