"""Two gateways and one route: by its lease one of them sends, by its epoch one of them writes (promise ONE-WRITER)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_world import WHO, World, intent, until
from scripted_venue import held
from virtual_loop import run

from onefill.core.errors import LeaseHeld, OnefillError, RouteClosed
from onefill.engine.gateway import Gateway
from onefill.engine.settings import GatewaySettings

Make = Callable[..., World]


class _Shared:
    """One ledger for two gateways: closing it is left to the test."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.renewals_fail = False

    async def renew(self, *arguments: Any) -> None:
        if self.renewals_fail:
            await asyncio.get_running_loop().create_future()
        await self._ledger.renew(*arguments)

    async def close(self) -> None:
        """Stay open."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def gateway(world: World, ledger: Any, holder: str, venue: Any = None) -> Gateway:
    """Return a gateway that is lent its route for 10 s at a time."""
    settings = GatewaySettings(lease_s=10)
    return Gateway(ledger, {"X": venue or world.venue}, clock=world.clock, holder=holder, settings=settings)


def test_a_route_is_lent_to_one_and_then_to_the_next(world: World) -> None:
    """While the first renews its lease a second is told who holds it and for how long; once given back it is free."""

    async def main() -> None:
        ledger = _Shared(await world.store())
        async with gateway(world, ledger, "first"):
            await asyncio.sleep(60)
            with pytest.raises(LeaseHeld, match="lent to first") as told:
                await gateway(world, ledger, "second").start()
            assert 0 < told.value.left_s <= 10
        async with gateway(world, ledger, "second") as second:
            assert (await second.submit(intent(), key="k")).accepted
        await ledger._ledger.close()

    run(main)


def test_whose_lease_is_over_sends_nothing_and_writes_nothing(make_world: Make) -> None:
    """A gateway that cannot renew stops by its own clock before another may begin, and is fenced after that."""
    world = make_world()

    async def main() -> None:
        store = await world.store()
        slow = _Shared(store)
        first = gateway(world, slow, "first")
        await first.start()
        slow.renewals_fail = True
        await asyncio.sleep(9.6)
        with pytest.raises(RouteClosed, match="lease"):
            await first.submit(intent(), key="late")
        with pytest.raises(LeaseHeld):
            await gateway(world, _Shared(store), "second", world.connection()).start()
        await asyncio.sleep(5)
        second = gateway(world, _Shared(store), "second", world.connection())
        await second.start()
        with pytest.raises(OnefillError):
            await first.submit(intent(), key="late")
        answer = await second.submit(intent(), key="late")
        assert answer.accepted
        slow.renewals_fail = False
        await first.close()
        await second.close()
        await store.close()
        assert len(world.venue.orders()) == 1

    run(main)


def test_a_copy_whose_claim_outlived_the_lease_does_not_leave(make_world: Make) -> None:
    """The claim's commit took longer than the lease: the copy stays here, and the next owner sends the order."""
    world = make_world()
    gate = asyncio.Event()

    async def main() -> None:
        store = await world.store()
        slow = _Shared(store)
        first = gateway(world, slow, "first")
        await first.start()
        world.venue.submits = [held(gate)]
        slow.renewals_fail = True
        blocked = asyncio.ensure_future(first.submit(intent(), key="a"))
        await until(lambda: world.venue.count("submit") == 1)
        route = first._routes["X"]
        route.lease_until_s = 0.0
        entry = next(iter(route.entries.values()))
        await asyncio.sleep(0)
        gate.set()
        await blocked
        sent = world.venue.count("cancel")
        with pytest.raises(OnefillError):
            await first.cancel("a", **WHO, wait_s=5)
        assert world.venue.count("cancel") == sent
        assert entry.order.cancels == () or {copy.outcome for copy in entry.order.cancels} == {"not_sent"}
        slow.renewals_fail = False
        await first.close()
        await store.close()

    run(main)
