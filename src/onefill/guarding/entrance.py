"""The entrance: a guarded object from a ccxt object."""

import asyncio
import atexit
import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar, cast

from onefill.core.errors import CallerError, InvalidField, OrderUncertain, RouteClosed
from onefill.core.risk_limits import Risk
from onefill.engine.controller import ControlPlan
from onefill.guarding.classes import STATE, guarded_class, is_guarded
from onefill.guarding.desk import Call, GuardDesk
from onefill.guarding.outcomes import Uncertain, Unreachable
from onefill.guarding.settings import GuardSettings
from onefill.guarding.waiter import Late, Waiter, lent
from onefill.service.ledgers import LedgerName
from onefill.venues.ccxt.client import is_async

Exchange = TypeVar("Exchange")
T = TypeVar("T")
_log: Final = logging.getLogger("onefill")
_AT_EXIT_S: Final = 10.0
_GRACE_S: Final = 1.0
"""How much longer than it was told a thread waits for the loop, which counts the time itself, and may be held up."""
_HELD_UP: Final = "the connection is held up by a request that is not answered"


def guard(
    exchange: Exchange,
    ledger: LedgerName = "orders.db",
    *,
    account: str = "main",
    strategy: str = "script",
    keys: str = "required",
    bucket_s: float = 60.0,
    wait_s: float = 30.0,
    time_to_live_s: float = 30.0,
    poll_s: float = 5.0,
    risk: Risk | None = None,
    control: ControlPlan | None = None,
    allow: Iterable[str] = (),
) -> Exchange:
    """Return an object like ``exchange`` (one of ccxt's, synchronous or not) whose orders are safe to repeat.

    ``create_order``, ``cancel_order`` and ``edit_order``, and ccxt's short forms of them, keep their arguments and results.
    An order's ``key`` (a keyword, or ``params={"key": ...}``) stands for the decision to trade: however often it is called
    with it, also by another process after a crash, it trades once. Everything else passes through.

    * ``ledger``: the file, or PostgreSQL URL, that orders are recorded in before they are sent.
    * ``account``, ``strategy``: what orders are recorded under. Keys are unique within them.
    * ``keys``: ``"required"``: a call without a key is refused; ``"derived"``: it gets one, with a warning: the same call
      from the same line within ``bucket_s`` counts as a repeat.
    * ``wait_s``: how long a call waits until the order's fate is known; ``time_to_live_s``: how long after the first call the
      order may still be sent; ``poll_s``: how often executions are asked for, in instruments with orders of the guard.
    * ``risk``, ``control``: as for :func:`onefill.open`.
    * ``allow``: names of methods that go past the guard, and of parameters that it does not know, to be let through.

    A synchronous object opens the ledger now, on a thread of its own, and closes it with ``close()`` or when the program ends;
    an asynchronous one at its first guarded call, and closes it with ``await exchange.close()``.

    Calls raise what ccxt raises, and: :class:`~onefill.core.errors.OrderUncertain` (also a ``ccxt.RequestTimeout``) if the fate
    is not known in time: call again with its key; :class:`~onefill.core.errors.OrderRefused`,
    :class:`~onefill.core.errors.OrderNotSent`, :class:`~onefill.core.errors.RouteClosed`, and
    :class:`~onefill.core.errors.CallerError` for what was called wrongly.
    """
    settings = GuardSettings.checked(
        ledger=ledger,
        account=account,
        strategy=strategy,
        keys=keys,
        bucket_s=bucket_s,
        wait_s=wait_s,
        time_to_live_s=time_to_live_s,
        poll_s=poll_s,
        allow=allow,
        risk=risk,
        control=control,
    )
    state = getattr(exchange, "__dict__", {})
    if not hasattr(exchange, "create_order") or "id" not in state:
        raise InvalidField("exchange", f"expected an object of ccxt's, got {type(exchange).__name__}")
    if is_guarded(exchange) or (STATE in state and not state[STATE].desk.closed):
        raise CallerError(
            f"{state['id']}: this object is guarded already; use the one that guard() returned, or close that and guard the "
            "plain object anew"
        )
    asynchronous = is_async(exchange)
    kind = guarded_class(type(exchange), state["id"], settings.allow, asynchronous=asynchronous)
    made: Any = object.__new__(kind)
    made.__dict__ = state
    desk = GuardDesk(exchange, settings)
    if asynchronous:
        state[STATE] = AsyncGuard(desk)
    else:
        state[STATE] = sync = SyncGuard(desk)
        try:
            sync.start()
        except BaseException:
            del state[STATE]
            raise
    if (state.get("options") or {}).get("maxRetriesOnFailure"):
        _log.warning(
            "%s: options['maxRetriesOnFailure'] is not applied to orders: ccxt repeats just those whose fate is not known",
            state["id"],
        )
    guarded: Exchange = made
    return guarded


class AsyncGuard:
    """The guard of an asynchronous object."""

    def __init__(self, desk: GuardDesk) -> None:
        self.desk = desk

    async def close(self) -> None:
        """Close ledger and venue."""
        await self.desk.close()


class SyncGuard:
    """The guard of a synchronous object: its desk runs on an event loop on a thread of its own."""

    def __init__(self, desk: GuardDesk) -> None:
        self.desk = desk
        self.lock = threading.RLock()
        """Held while the object makes a request: whoever else uses its connection holds it too."""
        self._guarding = threading.RLock()  # a signal's handler may come in between, and call as well
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._process = os.getpid()

    def start(self) -> None:
        """Open ledger and venue. Raises as :func:`onefill.open` does."""
        self._loop = _new_event_loop()
        self.desk.alone = self._is_alone
        self._thread = threading.Thread(target=self._loop.run_forever, name="onefill-guard", daemon=True)
        self._thread.start()
        try:
            self.run(self.desk.open)
        except BaseException:
            self.close()
            raise
        self.lock = self.desk.lock
        _open.add(self)

    def create(self, call: Call) -> dict[str, Any]:
        """Place an order, once for its key, and return it as ccxt shows it."""
        wanted = self.desk.read(call)
        wait_s = self._wait_s(call)
        waiter = Waiter(wait_s)
        try:
            return self._run(waiter, self.desk.place, (wanted, waiter), wait_s + _GRACE_S)
        except Late:
            if waiter.withdraw():
                raise self._busy("Nothing of this order was recorded or sent") from None
            key = waiter.key or wanted.key or ""
            raise Uncertain(OrderUncertain(key, waiter.client_order_id, _HELD_UP)) from None

    def change(self, work: Callable[[Call], Coroutine[Any, Any, T]], call: Call) -> T:
        """Return what a call of the desk about an order returns. If the wait for it is broken off, it goes on."""
        waiter = Waiter()
        try:
            return self._run(waiter, work, (call,), self._wait_s(call) + _GRACE_S)
        except Late:
            done = "Nothing was changed" if waiter.withdraw() else "What comes of this call is not known yet"
            raise self._busy(done) from None

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, timeout_s: float | None = None) -> T:
        """Return what a call of the desk returns. If the wait for it is broken off, it goes on. Raises TimeoutError."""
        try:
            return self._run(Waiter(), work, arguments, timeout_s)
        except Late:
            raise TimeoutError from None

    def _wait_s(self, call: Call) -> float:
        return self.desk.settings.wait_s if call.wait_s is None else call.wait_s

    def _busy(self, done: str) -> Exception:
        return Unreachable(f"{self.desk.exchange.id}: {_HELD_UP}. {done}; call again")

    def _run(
        self,
        waiter: Waiter,
        work: Callable[..., Coroutine[Any, Any, T]],
        arguments: tuple[Any, ...],
        timeout_s: float | None,
    ) -> T:
        with self._guarding:
            loop = self._loop
            if loop is None:
                raise RouteClosed(f"the guard of {self.desk.exchange.id} was closed; make a new one")
            if os.getpid() != self._process:
                raise RouteClosed(
                    f"the guard of {self.desk.exchange.id} was made in another process, which this one was forked from; guard "
                    "an object of this process's own, over a ledger of its own"
                )
            loop.call_soon_threadsafe(self._begin, waiter, work, arguments)
        with lent(self.lock):
            return cast("T", waiter.wait(timeout_s))

    def _begin(self, waiter: Waiter, work: Callable[..., Coroutine[Any, Any, T]], arguments: tuple[Any, ...]) -> None:
        if not waiter.begin():
            return
        task = asyncio.get_running_loop().create_task(_told_to(waiter, work, arguments))
        self._tasks.add(task)

        def ended(_: object) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                waiter.fail(RouteClosed(f"the guard of {self.desk.exchange.id} was closed"))

        task.add_done_callback(ended)

    def _is_alone(self) -> bool:
        return len(self._tasks) == 1

    def close(self, timeout_s: float | None = None) -> None:
        """Close ledger and venue. Calls of other threads that still wait end with RouteClosed."""
        _open.discard(self)
        if self._loop is None or os.getpid() != self._process:
            return
        try:
            self.run(self.desk.close, timeout_s=timeout_s)
        finally:
            with self._guarding:
                loop, self._loop = self._loop, None
            if loop is not None and self._thread is not None:
                with contextlib.suppress(TimeoutError):
                    asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(timeout_s)
                loop.call_soon_threadsafe(loop.stop)
                self._thread.join(timeout_s)
                if not self._thread.is_alive():
                    loop.close()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - not installed on Windows

    return cast("asyncio.AbstractEventLoop", uvloop.new_event_loop())


async def _told_to(waiter: Waiter, work: Callable[..., Coroutine[Any, Any, T]], arguments: tuple[Any, ...]) -> None:
    """Do the work, and tell the thread that waits right then: not a turn of the loop later, behind what is written next."""
    try:
        result = await work(*arguments)
    except asyncio.CancelledError:
        raise  # told once the task has ended: it may be cancelled before it begins
    except BaseException as error:  # noqa: BLE001 - the caller's
        waiter.fail(error)
    else:
        waiter.end(result)


async def _end_tasks() -> None:
    """Cancel what is left on the loop, and let it end."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


_open: "weakref.WeakSet[SyncGuard]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what a program left open. Whatever cannot be closed is as after a crash: nothing is lost."""
    for one in list(_open):
        with contextlib.suppress(Exception):
            one.close(_AT_EXIT_S)
