"""The thread that waits for a guarded call makes the call's request itself, and gives it up to nobody's harm."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ccxt
import pytest
from guard_kit import BTC, Venue, hang

import onefill
from onefill.guarding.hands import Hands, Interrupted
from onefill.sim.imitations import spoils
from onefill.venues.ccxt.client import Client
from onefill.venues.ccxt.making import NotTaken

Happens = Callable[[Callable[[], Any]], Any]


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


def test_the_waiting_thread_makes_the_request(venue: Venue, ledger: Path, on_request: Any) -> None:
    """An order's request is made in the thread that called; one whose reply is lost is asked about in another."""
    made_in: list[threading.Thread] = []

    def note(send: Callable[[], Any]) -> Any:
        made_in.append(threading.current_thread())
        return send()

    on_request(note)
    with venue.guarded(ledger) as exchange:
        order(exchange)
        venue.spoil(spoils.drop)
        assert order(exchange, "other")["status"] == "open"
    assert made_in == [threading.main_thread()] * 2
    assert len(venue.orders()) == 2


def test_ctrl_c_ends_the_call_at_once_and_its_key_goes_on(venue: Venue, ledger: Path, on_request: Any) -> None:
    """Ctrl-C after the request has arrived is raised as it is; the key then returns the order that is there."""
    broken: list[bool] = []

    def interrupted(send: Callable[[], Any]) -> Any:
        reply = send()
        if not broken:
            broken.append(True)
            raise KeyboardInterrupt
        return reply

    on_request(interrupted)
    with venue.guarded(ledger) as exchange:
        with pytest.raises(KeyboardInterrupt):
            order(exchange)
        found = order(exchange)
        assert order(exchange) == found
    (only,) = venue.orders()
    assert found["clientOrderId"] == only.client_order_id


def test_ctrl_c_before_anything_left_is_no_doubt(venue: Venue, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the request is signed nothing can have left: the order goes out afterwards, without a wait, and once."""
    sign, broken = ccxt.binance.sign, []

    def interrupted(self: Any, path: str, api: Any = "public", method: str = "GET", *rest: Any) -> Any:
        if method == "POST" and not broken:
            broken.append(True)
            raise KeyboardInterrupt
        return sign(self, path, api, method, *rest)

    monkeypatch.setattr(ccxt.binance, "sign", interrupted)
    with venue.guarded(ledger) as exchange:
        with pytest.raises(KeyboardInterrupt):
            order(exchange)
        assert order(exchange, wait_s=5)["status"] == "open"
    assert len(venue.orders()) == 1


@pytest.fixture
def alarm() -> Iterator[type[Exception]]:
    """What a script's own alarm clock raises, as scripts set one to bound what takes too long."""

    class Alarm(Exception):
        pass

    def rings(*_: Any) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, rings)
    yield Alarm
    signal.signal(signal.SIGALRM, before)


def test_a_scripts_own_alarm_comes_through(venue: Venue, ledger: Path, alarm: type[Exception]) -> None:
    """What a signal's handler raises while the venue hangs is the script's to see; the key then returns the one order."""

    async def ring(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGALRM)
        await hang(_)

    venue.spoil(ring)
    with venue.guarded(ledger) as exchange:
        with pytest.raises(alarm):
            order(exchange)
        assert order(exchange)["status"] == "open"
    assert len(venue.orders()) == 1


def test_a_call_that_may_not_wait_so_long_is_not_kept(venue: Venue, ledger: Path, on_request: Any) -> None:
    """Where a request could outlast ``wait_s``, another thread makes it, and the caller is told in time."""
    made_in: list[threading.Thread] = []

    def note(send: Callable[[], Any]) -> Any:
        made_in.append(threading.current_thread())
        return send()

    on_request(note)
    venue.spoil(hang)
    with venue.guarded(ledger) as exchange:
        began = time.monotonic()
        with pytest.raises(onefill.OrderUncertain):
            order(exchange, wait_s=0.2)
        assert time.monotonic() - began < exchange.timeout / 1000
        exchange.timeout = 60_000  # changed on the way: what holds is what holds now
        assert order(exchange, "other")["status"] == "open"
    assert threading.main_thread() not in made_in
    assert len(made_in) == 2


def test_a_busy_connection_is_waited_for_elsewhere(
    venue: Venue, ledger: Path, on_request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another thread reads over the client's one connection, the request waits for it in the client's own thread."""
    made_in: list[str] = []
    on_request(lambda send: (made_in.append(threading.current_thread().name), send())[1])
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
    assert [name.startswith("onefill-ccxt") for name in made_in] == [True]


def test_a_reply_that_is_not_the_order_asked_for_is_judged_first(venue: Venue, ledger: Path, on_request: Any) -> None:
    """A reply with another amount is not returned as it is: the venue is asked, and shows what is true."""

    def wrong(send: Callable[[], Any]) -> Any:
        return {**send(), "origQty": "0.7"}

    on_request(wrong)
    with venue.guarded(ledger) as exchange:
        assert order(exchange)["amount"] == 0.5


# ------------------------------------------------------------------- the thing itself


def test_an_outcome_is_returned_or_raised_and_time_is_up_in_time() -> None:
    """What the loop tells is what the waiting thread gets."""
    hands = Hands()
    hands.end({"id": 1})
    assert hands.wait() == {"id": 1}
    hands.fail(onefill.RouteClosed("closed"))
    with pytest.raises(onefill.RouteClosed):
        hands.wait()
    with pytest.raises(TimeoutError):
        hands.wait(0.001)


def test_a_request_is_taken_once_in_time_and_by_a_thread_that_waits() -> None:
    """A second request, one that could take too long, and one for a thread that has left, are made elsewhere."""

    async def run() -> None:
        assert Hands(free_s=1).maker(2, lambda result: result) is None
        assert Hands().maker(0, lambda result: result) is None
        hands = Hands(free_s=10)
        first, second = hands.maker(2, lambda _: None), hands.maker(2, lambda _: None)
        assert first is not None
        assert second is not None
        waiting = asyncio.create_task(asyncio.to_thread(hands.wait))
        assert await first(lambda: "made") == "made"
        with pytest.raises(NotTaken):
            await second(lambda: "made")
        hands.end(3)
        assert await waiting == 3
        left = Hands(free_s=10)
        maker = left.maker(2, lambda _: None)
        assert maker is not None
        left.end(4)
        request = asyncio.ensure_future(maker(lambda: "made"))
        await asyncio.sleep(0)  # it lies behind the outcome, with which the thread goes away
        assert await asyncio.to_thread(left.wait) == 4
        with pytest.raises(NotTaken):
            await request
        with pytest.raises(NotTaken):
            await maker(lambda: "made")

    asyncio.run(run())


def test_a_thread_that_was_interrupted_leaves_an_answer_behind() -> None:
    """Whatever breaks a request off, the loop hears of it: as something that may have arrived."""

    async def run() -> None:
        hands = Hands(free_s=10)
        maker = hands.maker(2, lambda _: None)
        assert maker is not None

        def work() -> Any:
            raise KeyboardInterrupt

        def thread() -> None:
            with pytest.raises(KeyboardInterrupt):
                hands.wait()

        waiting = asyncio.create_task(asyncio.to_thread(thread))
        with pytest.raises(Interrupted, match="may have arrived"):
            await maker(work)
        await waiting

    asyncio.run(run())


def test_an_answer_for_a_loop_that_is_gone_harms_nobody() -> None:
    """The guard was closed while the request was under way: its thread still gets the reply that came."""
    hands, begun, closed = Hands(free_s=10), threading.Event(), threading.Event()
    got: list[Any] = []

    def work() -> Any:
        begun.set()
        closed.wait(10)
        return "reply"

    async def run() -> None:
        maker = hands.maker(2, lambda reply: reply)
        assert maker is not None
        request = asyncio.ensure_future(maker(work))
        await asyncio.to_thread(begun.wait, 10)
        request.cancel()

    thread = threading.Thread(target=lambda: got.append(hands.wait()))
    thread.start()
    asyncio.run(run())
    closed.set()
    thread.join()
    gc.collect()
    assert got == ["reply"]
