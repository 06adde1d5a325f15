"""What tests of executions and positions share: channels that can be held back, and checks that the books agree."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import msgspec
from gateway_world import World, quantity, turns
from scripted_venue import ScriptedVenue, follow

from onefill.core.executions import totals
from onefill.core.messages import ExecutionReport, SubmitRequest
from onefill.core.order import Order
from onefill.core.position import DROP_COPY, STREAM, Position
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.book import rebuild
from onefill.engine.gateway import Gateway
from onefill.engine.receiver import Receiver

Make = Callable[..., World]
Page = Callable[[str, int], list[ExecutionReport]]
Change = Callable[[ExecutionReport], ExecutionReport | None]


def receiver(gateway: Gateway, channel: str) -> Receiver:
    """Return the receiver of one channel."""
    return next(one for one in gateway._receivers["X"] if one.stream == channel)


def hold(world: World, channel: str) -> asyncio.Event:
    """Have a channel tell nothing until the event that is returned is set."""
    gate = asyncio.Event()

    async def stream(venue: ScriptedVenue, after: int) -> AsyncIterator[ExecutionReport]:
        await gate.wait()
        async for report in follow(venue, after, _page(venue, channel)):
            yield report

    _streams(world, channel).extend([stream] * 50)
    return gate


def reword(world: World, channel: str, change: Change) -> None:
    """Have a channel tell its reports as ``change`` makes them; where it returns ``None`` the report is as it was."""

    async def stream(venue: ScriptedVenue, after: int) -> AsyncIterator[ExecutionReport]:
        async for report in follow(venue, after, _page(venue, channel)):
            yield change(report) or report

    _streams(world, channel).extend([stream] * 50)


def _page(venue: ScriptedVenue, channel: str) -> Page:
    return venue.exchange.drop_copies if channel == DROP_COPY else venue.exchange.executions


def _streams(world: World, channel: str) -> list[Any]:
    return world.venue.drop_copy_streams if channel == DROP_COPY else world.venue.streams


def trades(world: World) -> list[str]:
    """Return the ids of the account's executions, as the exchange knows them."""
    return [trade.execution_id for trade in world.exchange.trades("A")]


def bust(world: World, execution_id: str | None = None, **how: Any) -> None:
    """Have an execution count no more: the last one, if none is named."""
    world.exchange.bust("A", execution_id or trades(world)[-1], world.clock.now_us(), **how)


def correct(world: World, to: int, price: Any = 100, execution_id: str | None = None, **how: Any) -> None:
    """Give an execution another quantity and price: the last one, if none is named."""
    named = execution_id or trades(world)[-1]
    world.exchange.correct("A", named, Decimal(to), Decimal(price), world.clock.now_us(), **how)


def by_hand(world: World, size: int, price: int = 100) -> None:
    """Somebody trades in our account past the gateway."""
    world.exchange.submit(
        SubmitRequest(
            client_order_id="byhand",
            account="A",
            instrument="ACME",
            side=Side.BUY,
            quantity=Decimal(size),
            order_type=OrderType.LIMIT,
            price=Decimal(price),
            time_in_force=TimeInForce.GTC,
            expires_at_us=None,
        ),
        world.clock.now_us(),
    )


def log(world: World) -> list[tuple[str, str]]:
    """Return (kind, channel) of what the execution log holds, in its order."""
    return [(kind, stream) for kind, stream in world.rows("SELECT kind, stream FROM execution ORDER BY id")]


def kinds(gateway: Gateway) -> list[str]:
    """Return the kinds of the open incidents, oldest first."""
    return [str(one.kind) for one in gateway._routes["X"].incidents.open()]


def truth(world: World) -> Decimal:
    """Return what the exchange's executions of the account come to, those of strangers left out."""
    ours = world.venue.ids() | {call.request.client_order_id for call in world.venue.calls if call.kind == "replace"}
    counting = [one for one in world.exchange.trades("A") if one.counts and one.client_order_id in ours]
    return sum((one.quantity if one.side is Side.BUY else -one.quantity for one in counting), Decimal(0))


async def even(world: World, gateway: Gateway, *, true: bool = True) -> Decimal:
    """Have everything taken in, check that all the books agree, and return the net position.

    Positions are the fold of the log, each order's total is that of its rows and, if ``true``, all of it is as at the exchange.
    """
    await gateway.catch_up()
    await turns()
    assert gateway.failure() is None
    await agree(world.ledger, gateway.positions())
    if true:
        assert quantity(gateway) == truth(world)
    return quantity(gateway)


async def agree(ledger: Any, positions: list[Position]) -> None:
    """Check that these positions are the log's fold, and every order's totals those of its rows."""
    assert positions == await rebuild(ledger, "X")
    rows = [row for _, row in await ledger.executions("X", 0, 100_000)]
    for order in await ledger.orders(0, 1000):
        its = [row for row in rows if row.intent_id == order.intent_id]
        assert (order.cum_quantity, order.reversed_quantity) == totals(its)


async def stored_is_the_fold(world: World) -> None:
    """Check that the projection that was stored, and nothing but it, is the fold of the whole log."""
    store = await world.store()
    positions, through = await store.positions("X")
    assert sorted(positions, key=_name) == await rebuild(store, "X")
    assert await rebuild(store, "X", through) == await rebuild(store, "X")
    await store.close()


def _name(position: Position) -> tuple[str, str, str, str]:
    return position.account, position.strategy, position.venue, position.instrument


def state(order: Order) -> tuple[str, int, int, bool]:
    """Return what a story is told by: status, executed and reversed quantity, and whether the order is closed."""
    return str(order.status), int(order.cum_quantity), int(order.reversed_quantity), order.closed


def payloads(world: World, *words: str) -> list[list[dict[str, Any]]]:
    """Return the journal's entries that hold an event of each of these kinds."""
    entries = [msgspec.json.decode(row[0]) for row in world.rows("SELECT payload FROM journal ORDER BY id")]
    return [entry for entry in entries if set(words) <= {event["type"] for event in entry}]


CHANNELS = (STREAM, DROP_COPY)
