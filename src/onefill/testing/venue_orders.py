"""What the venue suite asks of new orders: sent once, taken as they are, and refused on evidence only."""

import functools
from decimal import Decimal

import msgspec

from onefill.core.capabilities import DuplicateReply, UniqueScope
from onefill.core.identity import sequence_id
from onefill.core.messages import (
    LIVE,
    Accepted,
    DuplicateId,
    NotSent,
    Rejected,
    ReplaceRejected,
    SubmitReply,
    SubmitRequest,
    Throttled,
    TooLate,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.testing.venue_bench import Bench, VenueUnderTest, fact, until
from onefill.testing.venue_kit import Ability

_EVIDENCE_OF_ABSENCE = Rejected | TooLate | NotSent | Throttled
_PAST_US = 5_000_000


def same_order(shown: VenueOrder, request: SubmitRequest) -> None:
    """Assert that an order is what was asked for, to the digit."""
    assert (shown.client_order_id, shown.instrument) == (request.client_order_id, request.instrument)
    assert (shown.side, shown.order_type) == (request.side, request.order_type)
    assert (shown.quantity, shown.price) == (request.quantity, request.price)


async def true_reply(bench: Bench, reply: SubmitReply, request: SubmitRequest, before: list[VenueOrder]) -> None:
    """Assert that a reply to a submit says nothing untrue of what the venue has, and had ``before``, under its id."""
    now = await bench.truths(request.client_order_id)
    made = len(now) - len(before)
    assert made in (0, 1), f"one request made {made} orders"
    if isinstance(reply, Accepted):
        numbers = [order.venue_order_id for order in now]
        assert reply.order.venue_order_id in numbers, "an order was shown that the venue does not have"
        assert made == 0 or reply.order.venue_order_id == numbers[-1], "the repeat made an order, and another was shown"
    elif isinstance(reply, _EVIDENCE_OF_ABSENCE):
        assert not made, f"{reply} was said of an order that the venue took"
    elif isinstance(reply, DuplicateId):
        assert before, "an id was called a duplicate that the venue had never seen"
        assert not made, "an id was called a duplicate, and the order was made"
    if isinstance(reply, Rejected):
        assert not any(order.status in LIVE for order in now), "Rejected was said of an id under which an order is live"


class OrderFacts(VenueUnderTest):
    """New orders."""

    @fact(Ability.TRUTH, Ability.COUNT)
    async def test_an_order_is_taken_as_it_is(self, bench: Bench) -> None:
        """One request makes one order: id, instrument, side, type, quantity and price are those asked for, to the digit."""
        for side, price in ((Side.BUY, bench.kit.price), (Side.SELL, bench.kit.price * 2)):
            request = bench.order(side=side, price=price)
            before = await bench.kit.sent()
            reply = await bench.submit(request)
            assert isinstance(reply, Accepted), reply
            same_order(reply.order, request)
            assert reply.order.status in LIVE
            assert reply.order.cum_quantity == 0
            assert reply.order.venue_order_id
            (order,) = await bench.truths(request.client_order_id)
            same_order(order, request)
            assert order.venue_order_id == reply.order.venue_order_id
            assert (await bench.kit.sent()).submits == before.submits + 1

    @fact(Ability.TRUTH)
    async def test_numbers_are_exact(self, bench: Bench) -> None:
        """Quantities and prices arrive to the last step, for every number of steps, however they are written."""
        step, tick = bench.instrument.quantity_step, bench.instrument.price_tick
        for number in (1, 3, 7, 9):
            quantity, price = bench.kit.quantity + number * step, bench.kit.price + number * tick
            places = 1 - min(0, int(price.as_tuple().exponent))
            for written in (price.normalize(), price.quantize(Decimal(1).scaleb(-places))):
                order = await bench.resting(quantity=quantity.normalize(), price=written)
                assert (order.quantity, order.price) == (quantity, price)

    @fact(Ability.TRUTH)
    async def test_every_spelling_of_an_id_round_trips(self, bench: Bench) -> None:
        """Whatever Onefill makes in the declared format, readable or hashed, arrives and comes back as it is."""
        form = bench.capabilities.id_format
        made = [sequence_id("suite", "20240229", f"ab{n}", 10**n, form) for n in (1, 5, 9)]
        for client_order_id in [*made, bench.new_id()]:
            request = bench.order(client_order_id=client_order_id)
            reply = await bench.submit(request)
            assert isinstance(reply, Accepted), reply
            assert reply.order.client_order_id == client_order_id
            assert len(await bench.truths(client_order_id)) == 1

    @fact(Ability.TRUTH)
    async def test_what_passes_does_not_rest(self, bench: Bench) -> None:
        """An order that is to trade at once or not at all is never left resting; where it is taken, its type is kept."""
        wanted = (
            (OrderType.LIMIT, TimeInForce.IOC),
            (OrderType.LIMIT, TimeInForce.FOK),
            (OrderType.MARKET, TimeInForce.IOC),
        )
        for order_type, time_in_force in wanted:
            request = bench.order(order_type=order_type, time_in_force=time_in_force)
            if order_type is OrderType.MARKET:
                request = msgspec.structs.replace(request, price=None)
            reply = await bench.submit(request)
            await until(functools.partial(_none_live, bench, request), f"a {time_in_force} order rests")
            await true_reply(bench, reply, request, [])
            for order in await bench.truths(request.client_order_id):
                assert (order.order_type, order.quantity) == (order_type, request.quantity)

    @fact(Ability.TRUTH, Ability.COUNT, Ability.REFUSE)
    async def test_a_refusal_is_told_in_the_venues_words(self, bench: Bench) -> None:
        """What the venue refuses for what it is, is Rejected with the venue's words, and nothing of it is live."""
        request = bench.kit.refused(bench.order())
        before = await bench.kit.sent()
        reply = await bench.submit(request)
        assert (await bench.kit.sent()).submits == before.submits + 1, "the order was to reach the venue"
        if bench.capabilities.acknowledges_asynchronously and isinstance(reply, Accepted):
            await bench.true(request.client_order_id, lambda order: order.status is VenueStatus.REJECTED)
            return
        assert isinstance(reply, Rejected), reply
        assert reply.reason.strip()
        assert await bench.truths(request.client_order_id) == []

    @fact(Ability.COUNT)
    async def test_another_account_is_refused(self, bench: Bench) -> None:
        """An order or replace for another account than the connection's is refused here: its fills would go unseen."""
        order = await bench.resting()
        before = await bench.kit.sent()
        foreign = bench.order(account=bench.kit.other_account)
        assert isinstance(await bench.submit(foreign), Rejected | NotSent)
        changed = bench.replacing(order, account=bench.kit.other_account)
        assert isinstance(await bench.replace(changed), ReplaceRejected | NotSent)
        after = await bench.kit.sent()
        assert (after.submits, after.replaces) == (before.submits, before.replaces)

    # What is too late.

    @fact(Ability.TRUTH, Ability.COUNT)
    async def test_an_expired_order_is_never_made(self, bench: Bench) -> None:
        """Where an expiry is honoured, an order whose time is over is TooLate, or never sent; one in time is taken."""
        request = bench.order(expires_at_us=bench.kit.now_us() - _PAST_US)
        before = await bench.kit.sent()
        reply = await bench.submit(request)
        if bench.capabilities.request_expiry_s is not None:
            assert isinstance(reply, TooLate | NotSent), reply
            assert await bench.truths(request.client_order_id) == []
        if isinstance(reply, NotSent):
            assert (await bench.kit.sent()).submits == before.submits
        await true_reply(bench, reply, request, [])
        await bench.resting()

    # What comes twice.

    @fact(Ability.TRUTH)
    async def test_a_repeat_of_an_open_order_gets_what_is_declared(self, bench: Bench) -> None:
        """The id of a live order is refused, or answered with the original, as declared; Rejected is never said of it."""
        request = bench.order()
        first = await bench.submit(request)
        assert isinstance(first, Accepted), first
        await bench.true(request.client_order_id, lambda order: order.status is not VenueStatus.PENDING_NEW)
        await _repeat(bench, request, first.order, refuses=bench.capabilities.unique_scope is not UniqueScope.NONE)

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_a_repeat_of_a_filled_order_gets_what_is_declared(self, bench: Bench) -> None:
        """The id of a filled order is refused where ids count for ever; elsewhere, what is said of the repeat is true."""
        request = bench.order()
        first = await bench.submit(request)
        assert isinstance(first, Accepted), first
        await bench.true(request.client_order_id, lambda order: order.status is VenueStatus.NEW)
        await bench.filled(first.order, request.quantity)
        await _repeat(bench, request, first.order, refuses=_outlives(bench))

    @fact(Ability.TRUTH)
    async def test_a_repeat_of_a_cancelled_order_gets_what_is_declared(self, bench: Bench) -> None:
        """The id of a cancelled order is refused where ids count for ever; elsewhere, what is said of the repeat is true."""
        request = bench.order()
        order = await bench.resting(**{name: getattr(request, name) for name in request.__struct_fields__})
        await bench.cancelled(order)
        await _repeat(bench, request, order, refuses=_outlives(bench))


async def _none_live(bench: Bench, request: SubmitRequest) -> bool:
    return not any(order.status in LIVE for order in await bench.truths(request.client_order_id))


def _outlives(bench: Bench) -> bool:
    return bench.capabilities.unique_scope in (UniqueScope.EVER, UniqueScope.DAY)


async def _repeat(bench: Bench, request: SubmitRequest, first: VenueOrder, *, refuses: bool) -> None:
    """Send an order again. ``refuses``: by its declaration the venue does not make a second one."""
    before = await bench.truths(request.client_order_id)
    again = msgspec.structs.replace(request, expires_at_us=bench.expiry())
    reply = await bench.submit(again)
    await true_reply(bench, reply, request, before)
    if not refuses or bench.capabilities.duplicate_reply is DuplicateReply.ACCEPTS:
        return
    assert len(await bench.truths(request.client_order_id)) == len(before), (
        "a repeat that is refused by declaration was taken"
    )
    if bench.capabilities.duplicate_reply is DuplicateReply.ERROR:
        assert isinstance(reply, DuplicateId), reply
        assert reply.reason.strip()
    else:
        assert isinstance(reply, Accepted), reply
        assert reply.order.venue_order_id == first.venue_order_id
    assert not isinstance(reply, Unknown)
