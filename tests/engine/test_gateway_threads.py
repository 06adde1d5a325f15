"""The gateway over the real ledger thread and the real clock, and behind the plain calls of :mod:`onefill.sync`."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_world import ACME, WHO, intent
from scripted_venue import ScriptedVenue, hang, lose_reply, lose_request

import onefill.sync
from onefill.core.errors import KeyReused, LedgerInUse, OrderUncertain, RouteClosed, UnknownKey, VenueError
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings
from onefill.ledger.sqlite import SqliteLedger
from onefill.service.wiring import SystemClock
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange

BOUND_S = 20
"""No call here takes this long unless it hangs."""


@pytest.fixture
def venue() -> ScriptedVenue:
    """A venue on the real clock."""
    return ScriptedVenue(Exchange(Dialect(), [ACME]), SystemClock().now_us)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the ledger is."""
    return str(tmp_path / "orders.db")


@contextlib.contextmanager
def crowd(count: int) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Some threads."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        yield pool


def test_many_tasks_over_the_ledger_thread(venue: ScriptedVenue, path: str) -> None:
    """A thousand submits of a hundred keys at once, some given up: one order each, the same bytes, and a clean close."""

    async def main() -> None:
        clock = SystemClock()
        store = await SqliteLedger.open(path, seed=bytes(16), holder="test", at_us=clock.now_us())
        async with Gateway(store, {"X": venue}, clock=clock, holder="test") as gateway:
            venue.submits = [lose_reply] * 20
            hasty = [asyncio.wait_for(gateway.submit_raw(intent(), key=f"k{n}"), 0.002) for n in range(100)]
            patient = [gateway.submit_raw(intent(), key=f"k{n % 100}") for n in range(1000)]
            answers = (await asyncio.gather(*hasty, *patient, return_exceptions=True))[100:]
            for n in range(100):
                assert len({answers[m] for m in range(n, 1000, 100)}) == 1
            cancels = [gateway.cancel(f"k{n % 100}", **WHO, operation_key=f"op{n % 2}") for n in range(400)]
            assert {answer.result for answer in await asyncio.gather(*cancels)} == {"canceled"}
            await gateway.catch_up()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left

    asyncio.run(main())
    assert len(venue.orders()) == len(venue.ids()) == 100
    assert venue.count("cancel") == 100


def test_plain_calls_from_several_threads(venue: ScriptedVenue, path: str) -> None:
    """Submits, cancels and reads from many threads get what the async gateway gives; the next opening gives the same."""
    with onefill.sync.open(path, venues={"X": venue}) as gateway, crowd(8) as pool:
        answers = list(pool.map(lambda n: gateway.submit(intent(), key=f"k{n % 5}"), range(40), timeout=BOUND_S))
        assert len({answer.client_order_id for answer in answers}) == 5
        results = pool.map(lambda n: gateway.cancel(f"k{n % 5}", **WHO).result, range(40), timeout=BOUND_S)
        assert set(results) == {"canceled"}
        gateway.catch_up()
        assert gateway.order("k0", **WHO).status == "canceled"
        assert all(position.quantity == Decimal(0) for position in gateway.positions())
        with pytest.raises(KeyReused):
            gateway.submit(intent(quantity=1), key="k0")
        with pytest.raises(UnknownKey):
            gateway.cancel("none", **WHO)
    with onefill.sync.open(path, venues={"X": venue}) as gateway:
        assert gateway.submit(intent(), key="k1") == answers[1]
    assert len(venue.orders()) == 5


def test_a_thread_that_waits_is_told_when_the_gateway_closes(venue: ScriptedVenue, path: str) -> None:
    """Closing in one thread ends the waits of the others with RouteClosed, and no call begins afterwards."""
    came = threading.Event()

    async def silent(_venue: Any, _request: Any) -> Any:
        came.set()
        return await hang(_venue, _request)

    venue.submits = [silent] * 4
    with crowd(4) as pool:
        with onefill.sync.open(path, venues={"X": venue}) as gateway:
            waiting = [pool.submit(gateway.submit, intent(), key=f"k{n}") for n in range(4)]
            assert came.wait(BOUND_S)
        for one in waiting:
            with pytest.raises(RouteClosed):
                one.result(BOUND_S)
    for call in (lambda: gateway.submit(intent(), key="k"), lambda: gateway.cancel("k", **WHO), gateway.positions):
        with pytest.raises(RouteClosed):
            call()


def test_plain_calls_end_as_the_async_ones_do(venue: ScriptedVenue, path: str) -> None:
    """OrderUncertain passes through, and the next call with the same key gets the answer."""
    settings = GatewaySettings(reply_timeout_s=0.2)
    venue.submits = [hang]
    with onefill.sync.open(path, venues={"X": venue}, settings=settings) as gateway:
        with pytest.raises(OrderUncertain):
            gateway.submit(intent(), key="k", wait_s=0.05)
        venue.submits = [lose_request]
        assert gateway.submit(intent(), key="k").accepted


def test_an_opening_that_fails_leaves_nothing(venue: ScriptedVenue, path: str) -> None:
    """A venue that cannot start, a bad venue name and a ledger in use are raised; the ledger is free afterwards."""
    honest, before = venue.start, threading.active_count()

    async def start() -> None:
        raise VenueError("closed for the day")

    venue.start = start  # type: ignore[method-assign]
    with pytest.raises(VenueError), onefill.sync.open(path, venues={"X": venue}):
        pass
    venue.start = honest  # type: ignore[method-assign]
    with pytest.raises(onefill.InvalidField), onefill.sync.open(path, venues={"no name!": venue}):
        pass
    with (
        onefill.sync.open(path, venues={"X": venue}),
        pytest.raises(LedgerInUse),
        onefill.sync.open(path, venues={"X": venue}),
    ):
        pass
    assert threading.active_count() == before
    onefill.sync.open(path, venues={"X": venue})  # never entered: nothing to close
