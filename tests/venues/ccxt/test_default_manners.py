"""An exchange of which nothing is known: never a resend without a person, lists only where they are whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from adapter_kit import order, run
from conformance_kit import CcxtKit

from onefill.core.capabilities import DuplicateReply, Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import ContradictsEvidence, OrderUncertain, VenueError
from onefill.core.events import Verdict
from onefill.core.identity import Alphabet
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import Accepted, DuplicateId
from onefill.core.values import Side, TimeInForce
from onefill.engine.gateway import Gateway
from onefill.service.wiring import open_gateway
from onefill.sim.imitations.base import Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.bitstamp import BitstampImitation
from onefill.sim.imitations.gemini import GeminiImitation
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.testing.venue import WireFault
from onefill.venues.ccxt import known
from onefill.venues.ccxt.manners import Manners, ended_lists, manners_of

SYMBOL = "BTC/USDT"
FIRST = "1" * 32
NEW_ORDER = {
    BinanceSpot: b"POST /api/v3/order",
    GeminiImitation: b"POST /v1/order/new",
    BitstampImitation: b"POST /api/v2/buy/",
}
NAMED = {"account": "main", "strategy": "s"}


@pytest.fixture(autouse=True)
def _no_venue_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MANNERS", {})


@contextlib.asynccontextmanager
async def unknown(kind: type[Imitation]) -> AsyncIterator[CcxtKit]:
    """Serve an imitation, with a wire before it, whose manners and profile are not known."""
    kit = await CcxtKit(kind(), Decimal("60000.13"), Decimal("0.12345678"), {"poll_s": 10.0}).begin()
    try:
        yield kit
    finally:
        await kit.close()


@contextlib.asynccontextmanager
async def gateway_to(kit: CcxtKit, ledger: Path) -> AsyncIterator[Gateway]:
    """Run a gateway over the adapter."""
    read = _lists_read(kit)
    async with open_gateway(ledger, venues={"x": kit.venue(5.0)}) as gateway:
        # Two requests at once may overtake each other, and a venue whose nonces must rise then refuses one.
        async with asyncio.timeout(30):
            while _lists_read(kit) == read:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.02)
        yield gateway


def _lists_read(kit: CcxtKit) -> int:
    """Return how often trades were asked for: a gateway does so when it starts, and then not for a while."""
    named = kit.imitation.requests.items()
    return sum(
        count for name, count in named if name.lower().rstrip("/").endswith(("trades", "transactions", "btcusdt"))
    )


def strike(kit: CcxtKit, fault: WireFault) -> None:
    """Have a fault strike the next order; the questions that go out beside it are spared."""
    kit.wire.hurts = lambda chunk: chunk.startswith(NEW_ORDER[type(kit.imitation)])
    kit.wire.arm(fault)


def wanted() -> Intent:
    """Return an order that rests."""
    return Intent(
        **NAMED,
        instrument=SYMBOL,
        side=Side.BUY,
        quantity=Decimal("0.5"),
        price=Decimal("60000.13"),
        time_in_force=TimeInForce.GTC,
    )


async def parked(gateway: Gateway) -> None:
    """Wait until the order is parked: asking goes on, and nothing else does without a person."""
    async with asyncio.timeout(30):
        while not (await gateway.order("k", **NAMED)).parked:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.05)


async def a_person_speaks(kit: CcxtKit, gateway: Gateway) -> None:
    """Have somebody say what the venue's own page shows: the order's number, or that there is none."""
    said = {"by": "ann", "reason": "looked at the venue's own page"}
    found = [one for one in await kit.truth() if one.client_order_id == (await gateway.order("k", **NAMED)).live_id]
    if not found:
        # Even a person is not believed while the request may still be on its way.
        with pytest.raises(ContradictsEvidence, match="may still be under way"):
            await gateway.resolve("k", **NAMED, verdict=Verdict.NOT_SENT, **said)
        return
    imitation: Any = kit.imitation
    number = next(imitation.records.newest_first()).native
    order = await gateway.resolve("k", **NAMED, verdict=Verdict.ADOPT, venue_order_id=number, **said)
    assert (order.status, order.venue_order_id) == (Status.NEW, number)


@pytest.mark.parametrize("kind", [BinanceSpot, GeminiImitation, KrakenImitation])
def test_next_to_nothing_is_believed(kind: type[Imitation]) -> None:
    """No id is taken to be refused, nothing not found to be absent, no replace to be safe; ids fit any venue."""

    async def scenario() -> None:
        async with unknown(kind) as kit:
            believed = kit.venue(5.0).capabilities
            assert manners_of(kind.ccxt_id) is Manners
            assert (believed.unique_scope, believed.duplicate_reply) == (UniqueScope.NONE, DuplicateReply.ACCEPTS)
            assert (believed.request_expiry_s, believed.conclusive_after_s) == (None, None)
            assert (believed.replace, believed.cancel_by_client_order_id) == (ReplaceStyle.NONE, False)
            assert (believed.id_format.alphabet, believed.id_format.max_length) == (Alphabet.HEX, 32)
            assert believed.lookup is (Lookup.SCAN if kind is BinanceSpot else Lookup.NONE)

    run(scenario)


@pytest.mark.parametrize("fault", [WireFault.LOSE_REPLY, WireFault.GARBLE_REPLY])
def test_an_order_whose_reply_is_lost_is_found_in_the_lists(fault: WireFault, tmp_path: Path) -> None:
    """Where all that is open and all that ended can be listed it is found there by its id, and sent once."""

    async def scenario() -> None:
        async with unknown(BinanceSpot) as kit, gateway_to(kit, tmp_path / "orders.db") as gateway:
            strike(kit, fault)
            answer = await gateway.submit(wanted(), key="k")
            assert answer.accepted
            assert kit.imitation.exchange.counts().submits == 1

    run(scenario)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *((kind, fault) for kind in (GeminiImitation, BitstampImitation) for fault in WireFault),
        (BinanceSpot, WireFault.LOSE_REQUEST),
    ],
)
def test_what_is_not_found_is_never_sent_again_without_a_person(
    kind: type[Imitation], fault: WireFault, tmp_path: Path
) -> None:
    """Whether the order is there or not: where it is not found it waits for a person, through a restart too."""
    ledger, made = tmp_path / "orders.db", 0 if fault is WireFault.LOSE_REQUEST else 1

    async def scenario() -> None:
        async with unknown(kind) as kit:
            async with gateway_to(kit, ledger) as gateway:
                strike(kit, fault)
                with pytest.raises(OrderUncertain):
                    await gateway.submit(wanted(), key="k", wait_s=0.5)
                await parked(gateway)
            async with gateway_to(kit, ledger) as gateway:
                with pytest.raises(OrderUncertain):
                    await gateway.submit(wanted(), key="k", wait_s=0.5)
                await a_person_speaks(kit, gateway)
                assert kit.imitation.exchange.counts().submits == made
                assert (await gateway.submit(wanted(), key="another")).accepted
                assert kit.imitation.exchange.counts().submits == made + 1

    run(scenario)


def test_a_refusal_that_speaks_of_a_duplicate_is_not_taken_for_a_rejection() -> None:
    """ccxt files it under invalid orders at most venues; but an order that is there is not a refused one."""

    async def scenario() -> None:
        async with unknown(BinanceSpot) as kit:
            venue = kit.venue(5.0)
            await venue.start()
            try:
                request = order(FIRST, quantity="0.5", price="60000.13")
                assert isinstance(await venue.submit(request), Accepted)
                assert isinstance(await venue.submit(request), DuplicateId)
            finally:
                await venue.close()

    run(scenario)


# ------------------------------------------------------------------------- lists


class _Shown:
    """A client that shows what it is told to. ``most``: how many at once, whatever is asked for."""

    def __init__(self, has: dict[str, Any], rows: dict[str, list[dict[str, Any]]], most: int) -> None:
        self.exchange = self
        self.has = has
        self.rows = rows
        self.most = most
        self.asked: list[str] = []

    def feature_value(self, _: str, __: str, ___: str) -> int | None:
        return None

    async def __call__(self, method: str, instrument: str, since_ms: int, limit: int) -> list[dict[str, Any]]:
        self.asked.append(method)
        since = [one for one in self.rows[method] if one["timestamp"] >= since_ms]
        return since[: min(limit, self.most)]


def test_ended_orders_are_listed_by_what_shows_all_of_them() -> None:
    """Closed orders alone do not count: at some venues these are the filled ones."""
    every = {"fetchOrders": True, "fetchClosedOrders": True, "fetchCanceledOrders": True}
    assert ended_lists(every) == ("fetchOrders",)
    assert ended_lists({**every, "fetchOrders": "emulated"}) == ("fetchClosedOrders", "fetchCanceledOrders")
    assert ended_lists({"fetchCanceledAndClosedOrders": True}) == ("fetchCanceledAndClosedOrders",)
    assert ended_lists({"fetchClosedOrders": True, "fetchOrder": True}) == ()


def test_a_list_that_may_be_cut_off_is_no_list() -> None:
    """Of two lists both are read; none at all, or a full page, is an error and not an absence."""
    rows = [{"id": str(number), "timestamp": number} for number in range(99)]
    both = {"fetchClosedOrders": True, "fetchCanceledOrders": True}

    async def scenario() -> None:
        call: Any = _Shown(both, {"fetchClosedOrders": rows[:60], "fetchCanceledOrders": rows[40:]}, 1000)
        found = await Manners().ended_orders(call, SYMBOL, 0)
        assert sorted(int(one["id"]) for one in found) == list(range(99))
        full: Any = _Shown({"fetchOrders": True}, {"fetchOrders": [*rows, {"id": "99", "timestamp": 99}]}, 1000)
        with pytest.raises(VenueError, match="may be more"):
            await Manners().ended_orders(full, SYMBOL, 0)
        none: Any = _Shown({"fetchClosedOrders": True}, {}, 1000)
        with pytest.raises(VenueError, match="cancelled are missing"):
            await Manners().ended_orders(none, SYMBOL, 0)
        assert none.asked == []

    run(scenario)


@pytest.mark.parametrize("most", [3, 7, 50, 100, 1000])
def test_every_trade_is_read_however_few_come_at_once(most: int) -> None:
    """How many a venue shows at most is not known: one reads on until nothing new is shown."""
    rows = [{"order": "1", "id": str(number), "timestamp": 1000 + number // 2} for number in range(230)]
    call: Any = _Shown({}, {"fetch_my_trades": rows}, most)

    async def scenario() -> None:
        assert [one["id"] for one in await Manners().trades(call, SYMBOL, 0)] == [one["id"] for one in rows]

    run(scenario)


@pytest.mark.parametrize("most", [2, 50, 100])
def test_a_moment_that_cannot_be_read_whole_is_an_error(most: int) -> None:
    """Where one page shows a single moment, and there is more after it, trades may be missing: that is not passed over."""
    rows = [{"order": "1", "id": str(number), "timestamp": 1000 + number // 120} for number in range(150)]
    call: Any = _Shown({}, {"fetch_my_trades": rows}, most)

    async def scenario() -> None:
        with pytest.raises(VenueError, match="at one moment"):
            await Manners().trades(call, SYMBOL, 0)

    run(scenario)
