"""What the venue suite asks of look-ups, lists and positions: an order that is there is found, and one that is not, is not."""

import functools
from decimal import Decimal

from onefill.core.capabilities import Lookup
from onefill.core.messages import (
    LIVE,
    Found,
    Holdings,
    Listed,
    NotFound,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.testing.venue_bench import BACK_US, Bench, VenueUnderTest, fact, unraised, until
from onefill.testing.venue_kit import Ability


def same_state(shown: VenueOrder, true: VenueOrder) -> bool:
    """Tell whether an order is shown as it is."""
    return (
        shown.client_order_id == true.client_order_id
        and shown.venue_order_id == true.venue_order_id
        and shown.side is true.side
        and (shown.quantity, shown.price, shown.cum_quantity) == (true.quantity, true.price, true.cum_quantity)
        and (shown.status in LIVE) is (true.status in LIVE)
        and (shown.status is VenueStatus.FILLED) is (true.status is VenueStatus.FILLED)
    )


class QuestionFacts(VenueUnderTest):
    """Look-up, scan, open orders and positions."""

    @fact()
    async def test_every_connection_tells_the_same_of_the_venue(self, bench: Bench) -> None:
        """Capabilities, the venue's own name and the steps of its instruments do not depend on the connection."""
        other = await bench.open()
        assert other.capabilities == bench.capabilities
        assert other.identity == bench.venue.identity
        listed = await unraised(other.instruments())
        assert listed[bench.kit.instrument] == bench.instrument
        for symbol, one in listed.items():
            assert one.symbol == symbol
            assert min(one.price_tick, one.quantity_step, one.min_quantity) > 0, one

    @fact()
    async def test_an_id_that_was_never_used_is_not_found(self, bench: Bench) -> None:
        """Asked about an id of no order, a direct look-up says NotFound, and a scan lists no such order."""
        await bench.resting()
        unused, account, instrument = bench.new_id(), bench.kit.account, bench.kit.instrument
        reply = await unraised(bench.venue.lookup(unused, account, instrument))
        if bench.capabilities.lookup is Lookup.DIRECT:
            assert isinstance(reply, NotFound), reply
        assert not isinstance(reply, Found), reply
        listed = await unraised(bench.venue.scan(account, instrument, bench.kit.now_us() - BACK_US))
        if isinstance(listed, Listed):
            assert unused not in {order.client_order_id for order in listed.orders}
        else:
            assert isinstance(listed, Unknown)
            assert bench.capabilities.lookup is not Lookup.SCAN

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_an_order_is_found_as_it_is(self, bench: Bench) -> None:
        """New, partly filled, filled and cancelled orders are found by client order id as they are, also after a reconnect."""
        orders = await _one_of_each(bench)
        for again in (False, True):
            if again:
                await bench.reconnect()
            for name in orders:
                await until(functools.partial(_found, bench, name), f"{name} is not found as the venue has it")

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_open_orders_are_all_and_only_those(self, bench: Bench) -> None:
        """Where they are listed: every live order once, as it is, and no dead one. Elsewhere: Unknown, or that list."""
        names = await _one_of_each(bench)
        true = [order for order in await bench.truth() if order.status in LIVE]
        assert {order.client_order_id for order in true} < set(names)
        reply = await unraised(bench.venue.open_orders(bench.kit.account))
        assert isinstance(reply, Listed | Unknown)
        if isinstance(reply, Unknown):
            assert not bench.capabilities.lists_open_orders, reply
            return
        shown = {order.venue_order_id: order for order in reply.orders}
        assert len(shown) == len(reply.orders)
        assert shown.keys() == {order.venue_order_id for order in true}
        for order in true:
            assert same_state(shown[order.venue_order_id], order), (shown[order.venue_order_id], order)

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_positions_move_by_what_traded(self, bench: Bench) -> None:
        """Where positions are told, one moves by exactly what traded. Elsewhere: Unknown, or that."""
        before = await _held(bench)
        order = await bench.resting()
        first = await bench.filled(order, bench.part(4))
        await bench.filled(first, bench.part(3))
        after = await _held(bench)
        assert (before is None) is (after is None)
        if after is None or before is None:
            assert not bench.capabilities.tells_positions
            return
        assert after - before == bench.part(4) + bench.part(3)


async def _one_of_each(bench: Bench) -> list[str]:
    """Make orders that are new, partly filled, filled, and cancelled before and after a fill. Return their ids."""
    new = await bench.resting()
    partly = await bench.resting()
    await bench.filled(partly, bench.part())
    full = await bench.resting()
    await bench.filled(full, full.quantity)
    dead = await bench.resting()
    stopped = await bench.filled(await bench.resting(), bench.part())
    for order in (dead, stopped):
        await bench.cancelled(order)
    return [order.client_order_id for order in (new, partly, full, dead, stopped)]


async def _found(bench: Bench, name: str) -> bool:
    """Tell whether an order is found as the venue has it, by the way that is declared; whatever is said must be true."""
    account, instrument = bench.kit.account, bench.kit.instrument
    (true,) = await bench.truths(name)
    reply = await unraised(bench.venue.lookup(name, account, instrument))
    listed = await unraised(bench.venue.scan(account, instrument, bench.kit.now_us() - BACK_US))
    shown: list[VenueOrder] = []
    if isinstance(reply, Found):
        shown.append(reply.order)
    else:
        assert bench.capabilities.lookup is not Lookup.DIRECT or isinstance(reply, Unknown), reply
        assert not isinstance(reply, NotFound), "an order that the venue has was said not to be found"
    if isinstance(listed, Listed):
        under = [order for order in listed.orders if order.client_order_id == name]
        assert len(under) == 1, f"a scan lists {len(under)} orders under the id of one"
        shown += under
    else:
        assert bench.capabilities.lookup is not Lookup.SCAN, listed
    hidden = not bench.kit.shows_ended and true.status not in LIVE
    if (bench.capabilities.lookup is Lookup.NONE or hidden) and not shown:
        return True
    return bool(shown) and all(same_state(order, true) for order in shown)


async def _held(bench: Bench) -> Decimal | None:
    reply = await unraised(bench.venue.positions(bench.kit.account))
    if isinstance(reply, Unknown):
        return None
    assert isinstance(reply, Holdings)
    held = {one.instrument: one.quantity for one in reply.positions}
    assert len(held) == len(reply.positions)
    return held.get(bench.kit.instrument, Decimal(0))
