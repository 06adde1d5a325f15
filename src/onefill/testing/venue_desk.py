"""What the venue suite asks of cancels and replaces: said to be done only where they are, and nothing raised."""

from onefill.core.capabilities import ReplaceStyle
from onefill.core.messages import (
    LIVE,
    Canceled,
    CancelRejected,
    CancelReply,
    CancelRequest,
    NotSent,
    Replaced,
    ReplaceRejected,
    ReplaceRequest,
    TooLate,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.testing.venue_bench import Bench, VenueUnderTest, fact, unraised
from onefill.testing.venue_kit import Ability

_PAST_US = 5_000_000


class DeskFacts(VenueUnderTest):
    """Cancels and replaces."""

    # Cancels.

    @fact(Ability.TRUTH, Ability.COUNT)
    async def test_a_cancel_by_number_cancels_that_order(self, bench: Bench) -> None:
        """One request cancels the order it names, and leaves the others alone; what is shown is that order."""
        other, order = await bench.resting(), await bench.resting()
        before = await bench.kit.sent()
        reply = await bench.cancelled(order)
        if isinstance(reply, Canceled):
            assert reply.order.client_order_id == order.client_order_id
            assert reply.order.venue_order_id == order.venue_order_id
        assert (await bench.kit.sent()).cancels == before.cancels + 1
        await bench.true(other.client_order_id, lambda now: now.status is VenueStatus.NEW)

    @fact(Ability.TRUTH)
    async def test_a_cancel_by_client_order_id_does_as_declared(self, bench: Bench) -> None:
        """Where a cancel may name the client order id alone, it cancels; elsewhere it is never said to have, unless it did."""
        other, order = await bench.resting(), await bench.resting()
        if bench.capabilities.cancel_by_client_order_id:
            reply = await bench.cancelled(order, by_number=False)
            assert not isinstance(reply, Canceled) or reply.order.client_order_id == order.client_order_id
        else:
            reply = await unraised(bench.venue.cancel(bench.cancelling(order, by_number=False)))
            (now,) = await bench.truths(order.client_order_id)
            assert isinstance(reply, CancelReply), reply
            if isinstance(reply, Canceled):
                assert now.status is VenueStatus.CANCELED, "Canceled was said of an order that is live"
        await bench.true(other.client_order_id, lambda now: now.status is VenueStatus.NEW)

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_a_cancel_shows_what_had_traded(self, bench: Bench) -> None:
        """An order that traded in part is cancelled, and what is shown of its executed quantity is right."""
        order = await bench.filled(await bench.resting(), bench.part())
        reply = await bench.cancelled(order)
        if isinstance(reply, Canceled):
            assert reply.order.status is VenueStatus.CANCELED
            assert reply.order.cum_quantity == order.cum_quantity
        (now,) = await bench.truths(order.client_order_id)
        assert (now.status, now.cum_quantity) == (VenueStatus.CANCELED, order.cum_quantity)

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_a_filled_order_is_not_cancelled(self, bench: Bench) -> None:
        """A cancel of a filled order is CancelRejected, or to be looked up: nothing is raised, and Canceled is not said."""
        order = await bench.resting()
        await bench.filled(order, order.quantity)
        for by_number in _ways(bench):
            reply = await unraised(bench.venue.cancel(bench.cancelling(order, by_number=by_number)))
            assert isinstance(reply, CancelRejected) or _to_be_looked_up(reply), reply
            assert isinstance(reply, CancelRejected | Unknown)
            assert reply.reason.strip()
            if isinstance(reply, CancelRejected) and reply.order is not None:
                assert (reply.order.status, reply.order.cum_quantity) == (VenueStatus.FILLED, order.quantity)

    @fact(Ability.TRUTH)
    async def test_a_cancelled_order_stays_cancelled(self, bench: Bench) -> None:
        """A cancel of a cancelled order is CancelRejected, Canceled once more, or to be looked up; nothing is raised."""
        order = await bench.resting()
        await bench.cancelled(order)
        for by_number in _ways(bench):
            reply = await unraised(bench.venue.cancel(bench.cancelling(order, by_number=by_number)))
            if _to_be_looked_up(reply):
                continue
            assert isinstance(reply, CancelRejected | Canceled), reply
            if reply.order is not None:
                assert reply.order.status is VenueStatus.CANCELED
        (now,) = await bench.truths(order.client_order_id)
        assert now.status is VenueStatus.CANCELED

    @fact(Ability.COUNT)
    async def test_an_unknown_order_is_not_cancelled(self, bench: Bench) -> None:
        """A cancel by an id of no order is CancelRejected or to be looked up, or, where it needs a number, never sent."""
        request = CancelRequest(
            client_order_id=bench.new_id(),
            account=bench.kit.account,
            instrument=bench.kit.instrument,
            venue_order_id=None,
        )
        before = await bench.kit.sent()
        reply = await unraised(bench.venue.cancel(request))
        assert isinstance(reply, CancelRejected | NotSent) or _to_be_looked_up(reply), reply
        if isinstance(reply, NotSent):
            assert not bench.capabilities.cancel_by_client_order_id
            assert await bench.kit.sent() == before

    # Replaces.

    @fact(Ability.TRUTH, Ability.COUNT)
    async def test_a_replace_does_as_declared(self, bench: Bench) -> None:
        """One request gives the order quantity and price, under the id that is declared; where there is none, it stays."""
        other, order = await bench.resting(), await bench.resting()
        request, before = bench.replacing(order), await bench.kit.sent()
        reply = await bench.replace(request)
        if bench.capabilities.replace is ReplaceStyle.NONE:
            assert not isinstance(reply, Replaced | TooLate), reply
            (now,) = await bench.truths(order.client_order_id)
            assert (now.quantity, now.price, now.status) == (order.quantity, order.price, VenueStatus.NEW)
            return
        assert isinstance(reply, Replaced), reply
        assert (await bench.kit.sent()).replaces == before.replaces + 1
        await _as_wanted(bench, reply.order, request)
        if request.client_order_id != order.client_order_id:
            await bench.true(order.client_order_id, lambda now: now.status not in LIVE)
        await bench.true(other.client_order_id, lambda now: (now.quantity, now.price) == (other.quantity, other.price))

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_a_replace_counts_what_has_traded(self, bench: Bench) -> None:
        """The quantity of a replace is the whole: of an order that traded in part, what it leaves is the rest of it.

        Where such an order cannot be replaced, it stays as it is.
        """
        order = await bench.filled(await bench.resting(), bench.part())
        request = bench.replacing(order)
        reply = await bench.replace(request)
        if bench.capabilities.replace is ReplaceStyle.NONE or not bench.kit.replaces_traded:
            assert not isinstance(reply, Replaced), reply
            (now,) = await bench.truths(order.client_order_id)
            assert (now.quantity, now.cum_quantity) == (order.quantity, order.cum_quantity)
            assert now.status in LIVE
            return
        assert isinstance(reply, Replaced), reply
        assert reply.order.cum_quantity == order.cum_quantity
        now = await _as_wanted(bench, reply.order, request)
        rest = await bench.filled(now, now.quantity - now.cum_quantity)
        assert rest.status is VenueStatus.FILLED

    @fact(Ability.TRUTH)
    async def test_a_dead_order_is_not_replaced(self, bench: Bench) -> None:
        """A replace of a cancelled order is refused, nothing is raised, and no new order comes of it."""
        order = await bench.resting()
        await bench.cancelled(order)
        count = len(await bench.truth())
        request = bench.replacing(order)
        if bench.capabilities.replace is ReplaceStyle.NONE:
            assert not isinstance(await bench.replace(request), Replaced)
        else:
            bench.asked[request.client_order_id] += 1
            reply = await unraised(bench.venue.replace(request))
            assert isinstance(reply, ReplaceRejected), reply
            assert reply.reason.strip()
        assert len(await bench.truth()) == count
        assert not any(now.status in LIVE for now in await bench.truth())

    @fact(Ability.TRUTH)
    async def test_an_expired_replace_has_no_effect(self, bench: Bench) -> None:
        """Where an expiry is honoured, a replace whose time is over is TooLate, or never sent, and changes nothing."""
        order = await bench.resting()
        request = bench.replacing(order, expires_at_us=bench.kit.now_us() - _PAST_US)
        reply = await bench.replace(request)
        now = (await bench.truths(request.client_order_id) or [order])[-1]
        changed = now.quantity == request.quantity
        if isinstance(reply, Unknown):
            return
        assert changed is isinstance(reply, Replaced), f"{reply} was said of an order that is {now}"
        if bench.capabilities.request_expiry_s is not None and bench.capabilities.replace is not ReplaceStyle.NONE:
            assert isinstance(reply, TooLate | NotSent), reply


def _to_be_looked_up(reply: CancelReply) -> bool:
    return isinstance(reply, Unknown) and reply.answered


def _ways(bench: Bench) -> tuple[bool, ...]:
    return (True, False) if bench.capabilities.cancel_by_client_order_id else (True,)


async def _as_wanted(bench: Bench, shown: VenueOrder, request: ReplaceRequest) -> VenueOrder:
    """Assert that an order is what a replace wants, as it is shown and as the venue has it. Return the latter."""
    now = await bench.true(request.client_order_id, lambda now: now.quantity == request.quantity)
    for order in (shown, now):
        assert order.client_order_id == request.client_order_id
        assert (order.side, order.quantity, order.price) == (request.side, request.quantity, request.price)
        assert order.status in LIVE
    assert shown.venue_order_id == now.venue_order_id
    return now
