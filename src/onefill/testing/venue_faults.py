"""What the venue suite asks when the way to the venue fails: Unknown in doubt, and certain only of what is certain."""

import asyncio
from collections.abc import Awaitable

from onefill.core.errors import VenueError
from onefill.core.messages import (
    LIVE,
    Accepted,
    CancelReply,
    Found,
    NotSent,
    ReplaceReply,
    Unknown,
    VenueOrder,
)
from onefill.ports.venue import Venue
from onefill.testing.venue_bench import HASTY_S, Bench, VenueUnderTest, at_work, bounded, can_be_found, fact
from onefill.testing.venue_kit import Ability


class FaultFacts(VenueUnderTest):
    """Lost replies, refused connections, silence, and the end of the adapter."""

    @fact(Ability.TRUTH, Ability.COUNT, Ability.LOSE_REPLY)
    async def test_a_lost_reply_is_unknown(self, bench: Bench) -> None:
        """An order whose reply is lost was sent once, is Unknown and nothing else, and is there when it is asked about."""
        for _ in range(3):
            request = bench.order()
            before = await bench.kit.sent()
            await bench.kit.lose_reply()
            reply = await bench.submit(request)
            assert isinstance(reply, Unknown), reply
            assert (await bench.kit.sent()).submits == before.submits + 1, (
                "a request is sent once, whatever happens to it"
            )
            assert len(await bench.truths(request.client_order_id)) == 1
            if can_be_found(bench.capabilities):
                # A venue that decides later need not show before that what it took in.
                await bench.true(request.client_order_id, at_work)
                found = await bounded(bench.venue.lookup(request.client_order_id, request.account, request.instrument))
                assert isinstance(found, Found), found
        assert isinstance(await bench.submit(bench.order()), Accepted)

    @fact(Ability.TRUTH, Ability.COUNT, Ability.LOSE_REQUEST)
    async def test_a_lost_request_is_unknown(self, bench: Bench) -> None:
        """An order that left and never arrived is Unknown: nobody here can tell it from one whose reply was lost."""
        for _ in range(3):
            request = bench.order()
            before = await bench.kit.sent()
            await bench.kit.lose_request()
            reply = await bench.submit(request)
            assert isinstance(reply, Unknown), reply
            assert (await bench.kit.sent()).submits == before.submits, "what was lost was sent again unasked"
            assert await bench.truths(request.client_order_id) == []
        assert isinstance(await bench.submit(bench.order()), Accepted)

    @fact(Ability.TRUTH, Ability.COUNT, Ability.GARBLE_REPLY)
    async def test_a_reply_that_is_not_the_venues_is_unknown(self, bench: Bench) -> None:
        """A success that shows no order, or nonsense, decides nothing: the order is Unknown, and was sent once."""
        for _ in range(2):
            request = bench.order()
            before = await bench.kit.sent()
            await bench.kit.garble_reply()
            reply = await bench.submit(request)
            assert isinstance(reply, Unknown), reply
            assert (await bench.kit.sent()).submits == before.submits + 1
            assert len(await bench.truths(request.client_order_id)) == 1

    @fact(Ability.TRUTH, Ability.COUNT, Ability.LOSE_REPLY, Ability.LOSE_REQUEST)
    async def test_a_lost_cancel_is_unknown(self, bench: Bench) -> None:
        """A cancel whose request or reply is lost is Unknown, was sent once, and neither outcome is made up."""
        for lose, arrives in ((bench.kit.lose_reply, 1), (bench.kit.lose_request, 0)):
            order = await bench.resting()
            before = await bench.kit.sent()
            await lose()
            reply = await bench.cancel(bench.cancelling(order, by_number=True))
            cancels = (await bench.kit.sent()).cancels - before.cancels
            assert cancels <= arrives
            _undecided(reply, cancels)
            (now,) = await bench.truths(order.client_order_id)
            assert (now.status in LIVE) is (cancels == 0)

    @fact(Ability.TRUTH, Ability.COUNT, Ability.LOSE_REPLY, Ability.LOSE_REQUEST)
    async def test_a_lost_replace_is_unknown(self, bench: Bench) -> None:
        """A replace whose request or reply is lost is Unknown, and was sent once."""
        if bench.capabilities.replace == "none":
            await _refuses_to_replace(bench)
            return
        for lose, arrives in ((bench.kit.lose_reply, 1), (bench.kit.lose_request, 0)):
            order = await bench.resting()
            request = bench.replacing(order)
            before = await bench.kit.sent()
            await lose()
            reply = await bench.replace(request)
            replaces = (await bench.kit.sent()).replaces - before.replaces
            assert replaces <= arrives
            _undecided(reply, replaces)
            latest = (await bench.truths(request.client_order_id))[-1:] or [order]
            assert (latest[0].quantity == request.quantity) is (replaces == 1)

    @fact(Ability.COUNT, Ability.GO_AWAY)
    async def test_a_refused_connection_is_not_sent(self, bench: Bench) -> None:
        """While nobody listens, what changes something is NotSent, questions are Unknown, and the adapter goes on later."""
        order = await bench.resting()
        before = await bench.kit.sent()
        await bench.kit.go_away()
        await _learns_nothing(bench, bench.venue, order)  # by now the connections that were open are out of use
        for reply in (
            await bench.submit(bench.order()),
            await bench.cancel(bench.cancelling(order, by_number=True)),
        ):
            assert isinstance(reply, NotSent), reply
        await bench.kit.come_back()
        assert await bench.kit.sent() == before
        assert isinstance(await bench.submit(bench.order()), Accepted)
        await bench.cancelled(order)

    @fact(Ability.COUNT, Ability.FALL_SILENT)
    async def test_silence_ends_by_itself(self, bench: Bench) -> None:
        """While nothing is answered every call ends within its time: Unknown, or as a start that failed; the loop goes on."""
        order = await bench.resting()
        venue = await bench.open(HASTY_S)
        late = bench.unstarted(HASTY_S)
        before = await bench.kit.sent()
        await bench.kit.fall_silent()
        sending = asyncio.gather(
            bench.submit(bench.order(), venue),
            bounded(venue.cancel(bench.cancelling(order, by_number=True))),
            _learns_nothing(bench, venue, order),
            _cannot_start(late),
        )
        turns = 0
        while not sending.done():
            turns += 1
            await asyncio.wait({sending}, timeout=0.05)
        assert turns > 1, "the adapter kept the event loop from going on"
        for reply in sending.result()[:2]:
            assert isinstance(reply, Unknown), reply
        await bench.kit.come_back()
        assert await bench.kit.sent() == before

    @fact(Ability.GO_AWAY)
    async def test_it_cannot_start_while_nobody_listens(self, bench: Bench) -> None:
        """A start that fails ends by itself with VenueError, and the adapter closes; another starts when the venue is there."""
        await bench.kit.go_away()
        venue = bench.unstarted()
        await _cannot_start(venue)
        await bounded(venue.close())
        await bench.kit.come_back()
        assert isinstance(await bench.submit(bench.order(), await bench.open()), Accepted)

    @fact(Ability.COUNT)
    async def test_closed_it_sends_nothing(self, bench: Bench) -> None:
        """Closing twice is harmless, at any time; what is asked afterwards is NotSent or Unknown, and nothing leaves."""
        await bounded(bench.unstarted().close())
        order = await bench.resting()
        before = await bench.kit.sent()
        for _ in range(2):
            await bounded(bench.venue.close())
        assert isinstance(await bench.submit(bench.order()), NotSent | Unknown)
        assert isinstance(await bench.cancel(bench.cancelling(order, by_number=True)), NotSent | Unknown)
        if bench.capabilities.replace != "none":
            assert isinstance(await bench.replace(bench.replacing(order)), NotSent | Unknown)
        assert await bench.kit.sent() == before
        assert isinstance(await bench.submit(bench.order(), await bench.open()), Accepted)


def _undecided(reply: CancelReply | ReplaceReply, arrived: int) -> None:
    """Assert that a reply decides nothing, unless it says of a request that never arrived that it was not sent."""
    if arrived or not isinstance(reply, NotSent):
        assert isinstance(reply, Unknown), reply


async def _refuses_to_replace(bench: Bench) -> None:
    order = await bench.resting()
    reply = await bench.replace(bench.replacing(order))
    assert isinstance(reply, ReplaceReply), reply
    (now,) = await bench.truths(order.client_order_id)
    assert (now.quantity, now.price) == (order.quantity, order.price)


async def _cannot_start(venue: Venue) -> None:
    (problem,) = await asyncio.gather(bounded(venue.start()), return_exceptions=True)
    assert isinstance(problem, VenueError), problem
    assert str(problem).strip()


async def _learns_nothing(bench: Bench, venue: Venue, order: VenueOrder) -> None:
    """Assert that every question is answered Unknown, or, for executions, raises, and is over in its time."""
    account, instrument = bench.kit.account, bench.kit.instrument
    questions: list[Awaitable[object]] = [
        venue.lookup(order.client_order_id, account, instrument),
        venue.scan(account, instrument, bench.kit.now_us() - 60_000_000),
        venue.open_orders(account),
        venue.positions(account),
        venue.executions(bench.beginning),
    ]
    for number, answer in enumerate(await bounded(asyncio.gather(*questions, return_exceptions=True))):
        if isinstance(answer, Exception) and number == len(questions) - 1:
            continue  # a page of executions has no other way to say so
        assert isinstance(answer, Unknown), f"{answer} was answered while nothing could be known"
