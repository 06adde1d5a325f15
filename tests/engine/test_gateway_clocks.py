"""What a node's clocks say of its lease, and a hand-over that two see at once (promise ONE-WRITER)."""

import asyncio

from gateway_world import World, intent, until
from nodes_kit import LEASE_S, nodes
from virtual_loop import run

from onefill.core.errors import LeaseLost


def test_a_node_whose_host_was_suspended_sends_nothing_on_its_old_lease(world: World) -> None:
    """Its steady clock stood still and says that the lease lasts; the time of day went on. It takes nothing and sends nothing
    until the ledger has lent it the route anew.
    """

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            route = a.gateway._routes["X"]
            await asyncio.sleep(0.5)
            a.clock.off_us += int(2 * LEASE_S * 1e6)
            assert route.lease_until_s > asyncio.get_running_loop().time()
            assert not route.may_send()
            assert route.lease_left_us() == 0
            assert route.not_open() is not None
            try:
                route.admit()
            except LeaseLost:
                pass
            else:
                raise AssertionError("it takes orders on a lease that is over")
            asking = asyncio.ensure_future(a.gateway.submit(intent(), key="k"))
            await asyncio.sleep(0.2)
            assert a.sent() == 0
            assert (await asking).accepted, "renewed, it goes on"
            assert a.sent() == 1

    run(main)


def test_a_time_of_day_that_is_set_back_does_not_lengthen_a_lease(world: World) -> None:
    """The steady clock is the one that cannot be set: by that the lease is over when it is over."""

    async def main() -> None:
        async with nodes(world) as made:
            a = await made.start("a")
            route = a.gateway._routes["X"]
            a.ledger.cut = True
            a.clock.off_us -= int(100 * LEASE_S * 1e6)
            await asyncio.sleep(LEASE_S)
            assert not route.may_send()

    run(main)


def test_a_hand_over_that_the_node_has_seen_by_itself_is_no_error(world: World) -> None:
    """The wish stands in the ledger, and the node may act on it before who asked for it goes on: then it is done."""

    async def main() -> None:
        async with nodes(world) as made:
            a, b = await made.start("a"), await made.start("b")
            asked = a.gateway._ledger.ask_hand_over

            async def slowly(*arguments: object) -> None:
                await asked(*arguments)
                await until(lambda: not a.held)

            a.gateway._ledger.ask_hand_over = slowly  # type: ignore[method-assign]
            await a.gateway.hand_over("X")
            await until(lambda: b.held == {"X"})

    run(main)
