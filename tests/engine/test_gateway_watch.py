"""Control states, risk and reconciliation together: what must not slip between them."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from control_kit import ANN, D, R, claimed, started
from gateway_world import World, intent, quantity
from scripted_venue import ScriptedVenue, lose_request, reply
from virtual_loop import run

from onefill.core.capabilities import ExecutionIdScope
from onefill.core.errors import RouteClosed
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import Status
from onefill.core.messages import Listed, SubmitRequest, Unknown, VenueStatus
from onefill.core.risk_limits import Limits, Risk
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.gate import RouteShut
from onefill.ports.ledger import Stale

Make = Callable[..., World]
TELLS = {"lists_open_orders": True, "tells_positions": True, "execution_id_scope": ExecutionIdScope.ACCOUNT}


def by_hand(world: World, name: str, amount: int, side: Side, price: int, account: str = "A") -> None:
    """Somebody sends an order past the gateway in one of its accounts."""
    world.exchange.submit(
        SubmitRequest(
            client_order_id=name,
            account=account,
            instrument="ACME",
            side=side,
            quantity=Decimal(amount),
            order_type=OrderType.LIMIT,
            price=Decimal(price),
            time_in_force=TimeInForce.GTC,
            expires_at_us=None,
        ),
        world.clock.now_us(),
    )


def test_what_strangers_trade_counts_in_what_an_account_holds(make_world: Make) -> None:
    """FAIL-CLOSED: after a person flattened the account by hand, a sell reduces nothing any more, also after a restart."""
    world = make_world(**TELLS)
    world.risk = Risk(limits=Limits(max_position=Decimal(10), similar_window_s=0))

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            world.offer(10, 100)
            await gateway.catch_up()
            world.offer(10, 100, "buy")
            by_hand(world, "hand", 10, Side.SELL, 100)
            await gateway.catch_up()
            assert quantity(gateway) == 10  # the strategy's own
            await gateway.freeze(state=R, **ANN)
            with pytest.raises(RouteShut):
                await gateway.submit(intent(side="sell", quantity=10, price=100), key="sell")
        async with world.gateway() as gateway:
            with pytest.raises(RouteShut):
                await gateway.submit(intent(side="sell", quantity=10, price=100), key="sell")

    run(main)


def test_what_strangers_hold_counts_for_the_limit_until_it_is_busted(make_world: Make) -> None:
    """A position limit counts executions that are kept apart; a bust of one gives the room back."""
    world = make_world(**TELLS)
    world.risk = Risk(limits=Limits(max_position=Decimal(10), similar_window_s=0))

    async def main() -> None:
        async with world.gateway() as gateway:
            by_hand(world, "hand", 10, Side.BUY, 100)
            world.offer(10, 100)
            await gateway.catch_up()
            assert (await gateway.submit(intent(), key="too much")).status is Status.REFUSED
            (trade,) = world.exchange.trades("A")
            world.exchange.bust("A", trade.execution_id, world.clock.now_us())
            await gateway.catch_up()
            await asyncio.sleep(0.1)
            assert (await gateway.submit(intent(), key="fits now")).status is Status.NEW

    run(main)


def test_an_account_that_was_looked_at_is_looked_at_again(make_world: Make) -> None:
    """NO-SILENT-HEAL: a stranger's order does not seem to be gone because our own last order in that account is."""
    world = make_world(**TELLS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(account="B", price=80), key="b")
            by_hand(world, "hand", 7, Side.BUY, 70, "B")
            await gateway.reconcile()
            (found,) = await gateway.incidents()
            assert found.kind is IncidentKind.UNKNOWN_HERE
            await gateway.cancel("b", account="B", strategy="s")
            (report,) = await gateway.reconcile()
            assert "B" in report.accounts
            (found,) = await gateway.incidents()
            assert found.converged_at_us is None

    run(main)


def test_a_break_does_not_converge_because_the_venue_is_silent(make_world: Make) -> None:
    """A missing execution that the list of orders showed is still missing when the list cannot be had."""
    world = make_world(**TELLS)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            await asyncio.sleep(30)
            (live,) = world.exchange.open_orders("A")
            half = msgspec.structs.replace(live, cum_quantity=Decimal(4), status=VenueStatus.PARTIALLY_FILLED)
            world.venue.listings = [reply(Listed((half,)))] * 4
            await gateway.reconcile()
            (found,) = await gateway.incidents()
            assert found.kind is IncidentKind.MISSING_EXECUTION
            world.venue.listings = [lose_request] * 4
            await gateway.reconcile()
            (found,) = await gateway.incidents()
            assert found.converged_at_us is None

    run(main)


async def _unsure(_venue: ScriptedVenue, _request: Any) -> Any:
    return Unknown("503")


def test_one_order_that_asks_in_vain_does_not_hold_up_the_others(make_world: Make) -> None:
    """DEGRADED: whoever is called and does not come loses its turn; orders behind it leave at their pace."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world)
        waiting = asyncio.ensure_future(gateway.submit(intent(quantity=3), key="turned back", time_to_live_s=20))
        await asyncio.sleep(0)
        freezing = asyncio.ensure_future(gateway.freeze(state=D, **ANN))
        await asyncio.sleep(0.01)
        await freezing
        world.venue.lookups = [_unsure] * 10_000
        began = asyncio.get_running_loop().time()
        fresh = [
            asyncio.ensure_future(gateway.submit(intent(quantity=n), key=f"fresh {n}", time_to_live_s=10, wait_s=60))
            for n in (4, 5)
        ]
        assert [answer.status for answer in await asyncio.gather(*fresh)] == [Status.NEW, Status.NEW]
        assert len(claimed(world, began)) >= 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await gateway.close()

    run(main)


def test_a_freeze_that_the_ledger_refuses_is_told(make_world: Make) -> None:
    """Whoever freezes or releases a route is told if nothing of it became durable; the route is shut in memory all the same."""
    world = make_world()

    async def main() -> None:
        gateway = await started(world)
        world.ledger.spoil = lambda change: Stale("spoilt") if change.control is not None else None
        with pytest.raises(RouteClosed):
            await gateway.freeze(state=R, **ANN)
        assert gateway.failure() is not None
        await gateway.close()

    run(main)
