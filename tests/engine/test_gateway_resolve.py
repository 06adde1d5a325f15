"""A person's part: the word for an order whose fate no automatic step finds out (promises SAY-UNKNOWN, APPEND-ONLY)."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from gateway_world import WHO, World, intent, until
from scripted_venue import land, lose_reply, lose_request, reply
from virtual_loop import run

from onefill.core.capabilities import Lookup, UniqueScope
from onefill.core.errors import ContradictsEvidence, InvalidField, OrderUncertain, UnknownKey
from onefill.core.events import Verdict
from onefill.core.lifecycle import Status
from onefill.core.messages import CancelRequest, Unknown
from onefill.engine.gateway import Gateway

Make = Callable[..., World]
SAID = {"by": "ops", "reason": "called the desk"}
BLIND: dict[str, Any] = {"lookup": Lookup.NONE, "unique_scope": UniqueScope.NONE}


async def left_uncertain(world: World, gateway: Gateway, fate: Any, key: str = "k") -> None:
    """Send an order of which nothing is heard, and wait until it is parked and every copy of it must be dead."""
    world.venue.submits = [fate]
    world.venue.muted = True
    with pytest.raises(OrderUncertain):
        await gateway.submit(intent(), key=key, wait_s=30)
    await until(lambda: [order.parked for order in gateway.open_orders() if order.key == key] == [True])


def test_a_person_says_it_was_never_sent(make_world: Make) -> None:
    """The order ends, nothing more is sent although its time to live lasts, and the journal names who and why."""
    world = make_world(**BLIND)

    async def main() -> None:
        async with world.gateway(time_to_live_s=1000) as gateway:
            await left_uncertain(world, gateway, lose_request)
            order = await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, **SAID)
            assert order.status is Status.CANCELED_UNSENT
            assert (await gateway.submit(intent(), key="k")).reason == "not sent, by ops: called the desk"
            await asyncio.sleep(1000)
        payloads = [row[0] for row in world.rows("SELECT payload FROM journal WHERE kind = 'resolved'")]
        [said] = [msgspec.json.decode(payload)[0] for payload in payloads]
        assert (said["verdict"], said["by"], said["reason"]) == ("not_sent", "ops", "called the desk")
        assert world.venue.count("submit") == 1

    run(main)


@pytest.mark.parametrize("can_scan", [True, False])
def test_a_person_says_which_order_it_is(make_world: Make, can_scan: bool) -> None:
    """The venue's order is taken for ours, so that it can be cancelled, and its executions count."""
    world = make_world(**BLIND | {"lookup": Lookup.SCAN if can_scan else Lookup.NONE})
    if can_scan:
        world.venue.scans = [reply(Unknown("no answer"))] * 5

    async def main() -> None:
        async with world.gateway() as gateway:
            if can_scan:
                world.venue.capabilities = msgspec.structs.replace(world.venue.capabilities, lookup=Lookup.NONE)
                gateway._routes["X"].capabilities = world.venue.capabilities
            await left_uncertain(world, gateway, lose_reply)
            world.venue.scans = []
            number = world.venue.orders()[0].venue_order_id
            with pytest.raises(ContradictsEvidence if can_scan else InvalidField):
                await gateway.resolve(
                    "k", **WHO, verdict=Verdict.ADOPT, venue_order_id="X99" if can_scan else "", **SAID
                )
            order = await gateway.resolve("k", **WHO, verdict=Verdict.ADOPT, venue_order_id=number, **SAID)
            assert (order.status, order.venue_order_id, order.parked) == (Status.NEW, number, False)
            assert (await gateway.submit(intent(), key="k")).accepted
            world.offer(4, 100)
            world.venue.unmute()
            await gateway.catch_up()
            assert (await gateway.cancel("k", **WHO)).cum_quantity == "4"

    run(main)


def test_a_word_that_contradicts_the_evidence_changes_nothing(make_world: Make) -> None:
    """Not-sent of what the venue lists, of what may be under way, of what is known; adopting another order's number."""
    world = make_world(**BLIND)

    async def main() -> None:
        async with world.gateway() as gateway:
            with pytest.raises(UnknownKey):
                await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, **SAID)
            await gateway.submit(intent(), key="known")
            with pytest.raises(ContradictsEvidence, match="its fate is known: it is new"):
                await gateway.resolve("known", **WHO, verdict=Verdict.NOT_SENT, **SAID)
            world.venue.submits, world.venue.muted = [lose_request], True
            submitting = asyncio.ensure_future(gateway.submit(intent(), key="k", wait_s=100))
            await until(lambda: any(order.parked for order in gateway.open_orders()))
            with pytest.raises(ContradictsEvidence, match="may still be under way"):
                await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, **SAID)
            await asyncio.sleep(60)
            taken = next(order.venue_order_id for order in gateway.open_orders() if order.key == "known")
            with pytest.raises(ContradictsEvidence, match="is s-"):
                await gateway.resolve("k", **WHO, verdict=Verdict.ADOPT, venue_order_id=taken, **SAID)
            for said in ({"by": "", "reason": "x"}, {"by": "x", "reason": "  "}, {"by": "x", "reason": "a\nb"}):
                with pytest.raises(InvalidField):
                    await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, **said)
            order = await gateway.order("k", **WHO)
            assert (order.status, order.parked) == (Status.UNCERTAIN, True)
            submitting.cancel()
        assert world.rows("SELECT count(*) FROM journal WHERE kind = 'resolved'") == [(0,)]

    run(main)


def test_not_sent_of_an_order_that_is_listed_is_refused(make_world: Make) -> None:
    """The venue is asked when the word is given: what it lists outweighs the word."""
    world = make_world(**BLIND | {"lookup": Lookup.SCAN})
    world.venue.scans = [reply(Unknown("no answer"))] * 3

    async def main() -> None:
        async with world.gateway() as gateway:
            world.venue.submits, world.venue.muted = [lose_reply], True
            submitting = asyncio.ensure_future(gateway.submit(intent(), key="k", wait_s=100))
            await until(lambda: world.venue.count("scan") == 1)
            world.venue.scans = [reply(Unknown("no answer"))] * 20
            await asyncio.sleep(20)
            world.venue.scans = []
            with pytest.raises(ContradictsEvidence):
                await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, **SAID)
            assert (await submitting).accepted

    run(main)


def test_an_order_that_turns_up_after_all_outweighs_the_word(make_world: Make) -> None:
    """Said to be never sent, and then its executions come: they count, and the contradiction is kept as an anomaly."""
    world = make_world(**BLIND, request_expiry=False)
    kept: list[Any] = []

    async def ghost(_venue: Any, request: Any) -> Any:
        kept.append(request)
        raise TimeoutError

    async def main() -> None:
        async with world.gateway() as gateway:
            await left_uncertain(world, gateway, ghost)
            await asyncio.sleep(60)
            await gateway.resolve("k", **WHO, verdict=Verdict.NOT_SENT, **SAID)
            await land(world.venue, kept[0])
            world.offer(10, 100)
            world.venue.unmute()
            await gateway.catch_up()
            order = await gateway.order("k", **WHO)
            assert (order.status, order.cum_quantity) == (Status.FILLED, 10)
            assert order.anomaly is not None

    run(main)


def test_a_person_says_that_an_order_ended_which_the_venue_forgot(make_world: Make) -> None:
    """While it shows, or could not be asked, it is refused. Then it is over here too, counts no more, and can be named so."""
    world = make_world(lookup_forgets_after_s=60.0)

    async def main() -> None:
        async with world.gateway() as gateway:
            await gateway.submit(intent(), key="k")
            word: dict[str, Any] = {**WHO, "verdict": Verdict.ENDED, **SAID}
            await asyncio.sleep(60)
            with pytest.raises(ContradictsEvidence, match="the venue shows it now, as X1, new"):
                await gateway.resolve("k", **word)
            # Its end is told by nobody: as where a venue has no stream of such reports.
            (there,) = world.venue.orders()
            request = CancelRequest(
                client_order_id=there.client_order_id,
                account="A",
                instrument=there.instrument,
                venue_order_id=there.venue_order_id,
            )
            world.exchange.cancel(request, world.clock.now_us())
            world.exchange._accounts["A"].reports.pop()
            await asyncio.sleep(61)
            assert (await gateway.order("k", **WHO)).status is Status.NEW
            world.venue.lookups = [reply(Unknown("no answer"))]
            with pytest.raises(ContradictsEvidence, match="could not be asked just now"):
                await gateway.resolve("k", **word)
            order = await gateway.resolve("k", **word)
            assert (order.status, order.closed) == (Status.CANCELED, True)
            assert gateway.open_orders() == []
            assert (await gateway.cancel("k", **WHO)).changed is False
        assert world.venue.count("submit") == 1

    run(main)
