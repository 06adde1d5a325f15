"""A synchronous call waits in its thread for the guard's loop: what interrupts it, how long it waits, who makes the request."""

import asyncio
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ccxt
import pytest
import requests
from guard_kit import BTC, Venue, hang

import onefill
from onefill.guarding import entrance
from onefill.guarding.waiter import Late, Waiter
from onefill.venues.ccxt.client import Client

Happens = Callable[[Callable[[], Any]], Any]
GUARD_LOOP, OWN_THREAD = "onefill-guard", "onefill-ccxt_0"


def order(exchange: Any, key: str = "k", amount: float = 0.5, **beside: Any) -> Any:
    """Place a limit order."""
    return exchange.create_order(BTC, "limit", "buy", amount, 100, params={"key": key}, **beside)


@pytest.fixture
def on_request(monkeypatch: pytest.MonkeyPatch) -> Callable[[Happens], None]:
    """Return what has something else happen in place of each order's request; it is given the request."""

    def install(happens: Happens) -> None:
        original = ccxt.Exchange.fetch

        def fetch(self: Any, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            def send() -> Any:
                return original(self, url, method, headers, body)

            return happens(send) if method == "POST" else send()

        monkeypatch.setattr(ccxt.binance, "fetch", fetch, raising=False)

    return install


@pytest.fixture
def made_in(on_request: Any) -> list[str]:
    """Return the names of the threads that orders' requests are made in, as they are made."""
    names: list[str] = []

    def note(send: Callable[[], Any]) -> Any:
        names.append(threading.current_thread().name)
        return send()

    on_request(note)
    return names


def test_a_lone_calls_request_is_made_on_the_guards_own_loop(venue: Venue, ledger: Path, made_in: list[str]) -> None:
    """It is handed to no other thread, and its record follows behind the reply: a repeat, which waits for it, is the same."""
    with venue.guarded(ledger) as exchange:
        first = order(exchange)
        assert order(exchange) == first
    assert made_in == [GUARD_LOOP]


def test_a_call_that_may_not_wait_so_long_does_not_hold_the_loop(
    venue: Venue, ledger: Path, made_in: list[str]
) -> None:
    """Where a request could outlast ``wait_s``, it is made in a thread of its own, and the caller is told in time."""
    venue.spoil(hang)
    with venue.guarded(ledger) as exchange:
        began = time.monotonic()
        with pytest.raises(onefill.OrderUncertain):
            order(exchange, wait_s=0.2)
        assert time.monotonic() - began < exchange.timeout / 1000
        exchange.timeout = 60_000  # changed on the way: what holds is what holds now
        assert order(exchange, "other")["status"] == "open"
    assert made_in == [OWN_THREAD] * 2


def test_calls_beside_each_other_do_not_hold_the_loop(venue: Venue, ledger: Path, made_in: list[str]) -> None:
    """While another call is under way, requests are made in a thread of their own: the loop goes on for both."""
    begun, ended = threading.Event(), threading.Event()
    with venue.guarded(ledger) as exchange:

        async def another() -> None:
            begun.set()
            while not ended.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.001)

        guard = exchange._onefill_guard
        thread = threading.Thread(target=guard.run, args=(another,))
        thread.start()
        begun.wait(10)
        assert order(exchange)["status"] == "open"
        ended.set()
        thread.join()
    assert made_in == [OWN_THREAD]


def test_a_busy_connection_is_waited_for_in_its_own_thread(
    venue: Venue, ledger: Path, made_in: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another thread reads over the client's one connection, the loop does not wait for it."""
    reading, read, waits = threading.Event(), threading.Event(), Client._locked

    def in_its_own(self: Client, function: Any, arguments: Any) -> Any:
        if function.__name__ == "create_order":
            read.set()
        return waits(self, function, arguments)

    monkeypatch.setattr(Client, "_locked", in_its_own)
    with venue.guarded(ledger) as exchange:
        lock = exchange._onefill_guard.lock

        def reader() -> None:
            with lock:
                reading.set()
                read.wait(10)

        thread = threading.Thread(target=reader)
        thread.start()
        reading.wait(10)
        assert order(exchange)["status"] == "open"
        thread.join()
    assert made_in == [OWN_THREAD]


def test_a_shared_ledgers_loop_is_never_held(
    venue: Venue, ledger: Path, made_in: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a lease has to be renewed in time, whatever a venue's reply takes."""
    with venue.guarded(ledger) as exchange:
        monkeypatch.setattr("onefill.guarding.desk.ledgers.is_shared", lambda _: True)
        order(exchange)
    assert made_in == [OWN_THREAD]


def test_a_reply_that_is_not_the_order_asked_for_is_judged_first(venue: Venue, ledger: Path, on_request: Any) -> None:
    """A reply with another amount is not returned as it is: the venue is asked, and shows what is true."""
    on_request(lambda send: {**send(), "origQty": "0.7"})
    with venue.guarded(ledger) as exchange:
        assert order(exchange)["amount"] == 0.5


# ----------------------------------------------------------------------- interrupted


class Rings(Exception):
    """What a script's own alarm raises."""


class _Bell:
    def __init__(self, raises: type[BaseException]) -> None:
        self.raises = raises

    def __call__(self, *_: Any) -> None:
        raise self.raises


def _ring(raises: type[BaseException], *_: Any) -> None:
    raise raises


def _ring_once(raises: type[BaseException], *_: Any) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    raise raises


@pytest.fixture
def at_the_bell() -> Iterator[Callable[[Any], None]]:
    """Return what sets the handler of the alarm signal."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGALRM, before)


async def ring_and_hang(_: Any) -> None:
    """Have the alarm ring while the venue, which has taken the order, does not answer."""
    os.kill(os.getpid(), signal.SIGALRM)
    await hang(_)


@pytest.mark.parametrize(
    ("raises", "handler"),
    [
        *((raises, _Bell) for raises in (Rings, TimeoutError, OSError, KeyboardInterrupt, SystemExit)),
        (TimeoutError, functools.partial(functools.partial, _ring)),
        (TimeoutError, functools.partial(functools.partial, _ring_once)),
    ],
)
def test_what_a_signals_handler_raises_comes_through(
    venue: Venue, ledger: Path, at_the_bell: Any, raises: type[BaseException], handler: Any
) -> None:
    """Ctrl-C, or a script's own alarm, in the middle of a request ends the call at once; its key then returns the one order."""
    at_the_bell(handler(raises))
    venue.spoil(ring_and_hang)
    with venue.guarded(ledger) as exchange:
        exchange.timeout = 1000
        began = time.monotonic()
        with pytest.raises(raises):
            order(exchange)
        assert time.monotonic() - began < exchange.timeout / 1000
        found = order(exchange)
    (only,) = venue.orders()
    assert found["clientOrderId"] == only.client_order_id


def test_a_handler_may_cancel_through_the_guard(venue: Venue, ledger: Path, at_the_bell: Any) -> None:
    """As a script's emergency stop does, in the middle of a request: the cancel goes out once that has its reply."""
    canceled: list[Any] = []

    async def ring(answered: Any) -> Any:
        os.kill(os.getpid(), signal.SIGALRM)
        return answered

    with venue.guarded(ledger) as exchange:
        first = order(exchange, "first")
        at_the_bell(lambda *_: canceled.append(exchange.cancel_order(first["id"], BTC)))
        venue.spoil(ring)
        assert order(exchange, "second")["status"] == "open"
    assert [one["status"] for one in canceled] == ["canceled"]


def test_a_handler_may_cancel_in_the_middle_of_a_read(
    venue: Venue, ledger: Path, at_the_bell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that reads holds the connection, and lends it: the cancel goes out at once, and the read goes on after it."""
    canceled: list[Any] = []
    request, rang = requests.Session.request, []

    def ring(self: Any, method: str, *arguments: Any, **given: Any) -> Any:
        if threading.current_thread() is threading.main_thread() and not rang:
            rang.append(True)
            os.kill(os.getpid(), signal.SIGALRM)
        return request(self, method, *arguments, **given)

    with venue.guarded(ledger) as exchange:
        first = order(exchange)
        at_the_bell(lambda *_: canceled.append(exchange.cancel_order(first["id"], BTC, wait_s=5)))
        monkeypatch.setattr(requests.Session, "request", ring)
        assert exchange.fetch_order(first["id"], BTC)["status"] == "canceled"
        assert exchange._onefill_guard.lock.acquire(blocking=False)
        exchange._onefill_guard.lock.release()
    assert [one["status"] for one in canceled] == ["canceled"]


# ---------------------------------------------------------------------- held up


@pytest.fixture
def held_up(on_request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return what ends a request that is never over, as one whose answer drips in byte by byte is not."""
    monkeypatch.setattr(entrance, "_GRACE_S", 0.1)
    monkeypatch.setattr("onefill.guarding.hearing.call_timeout_s", lambda _: 0.05)
    over = threading.Event()

    def drip(send: Callable[[], Any]) -> Any:
        reply = send()
        over.wait(30)
        return reply

    on_request(drip)
    yield over
    over.set()


def test_a_loop_that_is_held_up_does_not_hold_up_its_callers(
    venue: Venue, ledger: Path, held_up: threading.Event
) -> None:
    """Who waits for that request is told in time that its fate is open; who comes meanwhile, that nothing came of it."""
    with venue.guarded(ledger) as exchange:
        with pytest.raises(onefill.OrderUncertain, match="held up by a request") as caught:
            order(exchange, wait_s=0.3)
        assert caught.value.key == "k"
        assert isinstance(caught.value, ccxt.RequestTimeout)
        with pytest.raises(ccxt.NetworkError, match="Nothing of this order was recorded or sent; call again"):
            order(exchange, "second", wait_s=0.1)
        with pytest.raises(ccxt.NetworkError, match="Nothing was changed; call again"):
            exchange.cancel_order("1", BTC, wait_s=0.1)
        held_up.set()
        found = order(exchange)
        assert found["clientOrderId"] == caught.value.client_order_id
        assert order(exchange, "second")["status"] == "open"
    assert len(venue.orders()) == 2


def test_the_first_outcome_counts_and_time_is_up_in_time() -> None:
    """What the loop tells is what the waiting thread gets, raised or returned."""
    waiter = Waiter()
    waiter.end({"id": 1})
    waiter.fail(onefill.RouteClosed("closed"))
    assert waiter.wait() == {"id": 1}
    with pytest.raises(onefill.RouteClosed):
        waiter.wait()
    with pytest.raises(Late):
        waiter.wait(0.001)
    assert waiter.left_s == 0
    assert 9 < Waiter(10).left_s <= 10


def test_a_call_is_either_taken_up_or_given_up() -> None:
    """Whichever comes first: the other is told so."""
    taken, given_up = Waiter(), Waiter()
    assert taken.begin()
    assert not taken.withdraw()
    assert given_up.withdraw()
    assert not given_up.begin()


def test_a_call_that_comes_as_the_guard_closes_is_told_so(venue: Venue, ledger: Path) -> None:
    """A task that is cancelled before it begins tells its thread all the same."""
    waiter = Waiter()
    with venue.guarded(ledger) as exchange:
        guard = exchange._onefill_guard

        async def never() -> None:
            raise AssertionError

        def begin_and_cancel() -> None:
            guard._begin(waiter, never, ())
            for task in list(guard._tasks):
                task.cancel()

        guard._loop.call_soon_threadsafe(begin_and_cancel)
        with pytest.raises(onefill.RouteClosed):
            waiter.wait(10)
