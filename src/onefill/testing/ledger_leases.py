"""The facts about lending a route for a time that every ledger must hold to."""

import asyncio

from onefill.core.errors import Fenced, LeaseHeld
from onefill.core.spread import HandOverAsked
from onefill.ports.ledger import Committed, Lease
from onefill.testing.ledger_kit import ALL, AT_US, OTHER_ROUTE, ROUTE, Bench, LedgerUnderTest, Owner, fact, kinds

LEASE_US = 10_000_000


async def take(bench: Bench, holder: str, after_us: int, lease_us: int | None = LEASE_US) -> Lease | BaseException:
    """Try to become the owner of the route, so long after the start, and return what came of it."""
    trying = bench.ledger.acquire(ROUTE, holder, AT_US + after_us, lease_us=lease_us)
    (result,) = await asyncio.gather(trying, return_exceptions=True)
    return result


async def lent(bench: Bench, after_us: int = 0) -> Lease:
    """Have the route lent to the first holder."""
    lease = await take(bench, "first", after_us)
    assert isinstance(lease, Lease), lease
    return lease


async def ends_after_us(bench: Bench) -> int | None:
    """Return how long after the start the route's lease ends, by the ledger's word."""
    (route,) = await bench.ledger.routes()
    return None if route.lease_until_us is None else route.lease_until_us - AT_US


class LeaseFacts(LedgerUnderTest):
    """Who may have a route, and until when."""

    @fact
    async def test_a_lent_route_is_taken_when_its_lease_is_over(self, bench: Bench) -> None:
        """ONE-WRITER: until a lease ends nobody else gets the route, with or without a lease; afterwards the first who asks."""
        first = await lent(bench)
        assert await ends_after_us(bench) == LEASE_US
        before = await bench.all()
        for after_us, lease_us in ((0, LEASE_US), (1, None), (LEASE_US - 1, LEASE_US), (LEASE_US - 1, None)):
            assert isinstance(await take(bench, "second", after_us, lease_us), LeaseHeld)
            assert await bench.all() == before
        second = await take(bench, "second", LEASE_US)
        assert isinstance(second, Lease)
        assert second.epoch > first.epoch
        assert await ends_after_us(bench) == 2 * LEASE_US
        assert isinstance(await take(bench, "third", LEASE_US), LeaseHeld)

    @fact
    async def test_who_holds_a_lease_is_told(self, bench: Bench) -> None:
        """A refusal names the route, its holder and how long the lease still lasts."""
        await lent(bench)
        refused = await take(bench, "second", LEASE_US - 2_500_000)
        assert isinstance(refused, LeaseHeld)
        assert (refused.route, refused.holder, refused.left_s) == (ROUTE, "first", 2.5)
        for part in (repr(ROUTE), "first", "2.5 s", "Nothing was changed"):
            assert part in str(refused)

    @fact
    async def test_a_holders_name_is_no_proof(self, bench: Bench) -> None:
        """ONE-WRITER: a name may be given twice, so whoever comes under the holder's own name waits like everybody else."""
        await lent(bench)
        assert isinstance(await take(bench, "first", 1), LeaseHeld)

    @fact
    async def test_a_route_not_lent_for_a_time_is_free(self, bench: Bench) -> None:
        """An owner without a lease is followed by whoever asks, and its route shows no end."""
        leases = [await take(bench, "first", n, None) for n in (0, 1, 0)]
        assert all(isinstance(lease, Lease) for lease in leases)
        assert await ends_after_us(bench) is None
        await lent(bench)
        assert await ends_after_us(bench) == LEASE_US

    @fact
    async def test_a_lease_is_renewed(self, bench: Bench) -> None:
        """Renewing moves the end on and writes no entry; the owner goes on under its epoch, and others wait for the new end."""
        lease = await lent(bench)
        owner = Owner(bench.ledger, lease)
        entries = await bench.ledger.journal(ROUTE, 0, ALL)
        await bench.ledger.renew(ROUTE, lease.epoch, AT_US + 4_000_000, LEASE_US)
        assert await ends_after_us(bench) == LEASE_US + 4_000_000
        assert isinstance(await take(bench, "second", LEASE_US), LeaseHeld)
        assert await bench.ledger.journal(ROUTE, 0, ALL) == entries
        assert kinds(await owner.commit(owner.record("k"))) == [Committed]
        assert isinstance(await take(bench, "second", LEASE_US + 4_000_000), Lease)

    @fact
    async def test_a_lease_outlives_its_holder(self, bench: Bench) -> None:
        """NO-LOSS: a lease, given or renewed, is durable: after a crash the route is still lent until its end."""
        lease = await lent(bench)
        await bench.crash()
        assert isinstance(await take(bench, "second", LEASE_US - 1), LeaseHeld)
        await bench.ledger.renew(ROUTE, lease.epoch, AT_US + LEASE_US, LEASE_US)
        await bench.crash()
        assert await ends_after_us(bench) == 2 * LEASE_US
        assert isinstance(await take(bench, "second", LEASE_US), LeaseHeld)

    @fact
    async def test_a_lease_is_given_back(self, bench: Bench) -> None:
        """Renewing for no time gives the route back: the next owner need not wait, and fences the one before."""
        lease = await lent(bench)
        await bench.ledger.renew(ROUTE, lease.epoch, AT_US + 5, 0)
        second = await take(bench, "second", 5)
        assert isinstance(second, Lease)
        owner = Owner(bench.ledger, lease)
        assert kinds(await owner.commit(owner.record("k"))) == [Fenced]

    @fact
    async def test_who_lost_a_lease_cannot_renew_it(self, bench: Bench) -> None:
        """ONE-WRITER: once somebody else has the route, its earlier holder renews nothing and is told who is there now."""
        first = await lent(bench)
        second = await take(bench, "second", LEASE_US)
        assert isinstance(second, Lease)
        before = await bench.all()
        wrong = [(ROUTE, first.epoch, second.epoch), (ROUTE, second.epoch + 1, second.epoch), (OTHER_ROUTE, 1, None)]
        for route, epoch, current in wrong:
            for lease_us in (LEASE_US, 0):
                renewing = bench.ledger.renew(route, epoch, AT_US + LEASE_US, lease_us)
                (error,) = await asyncio.gather(renewing, return_exceptions=True)
                assert isinstance(error, Fenced)
                assert (error.route, error.epoch, error.current) == (route, epoch, current)
        assert await bench.all() == before

    @fact
    async def test_a_hand_over_is_asked_for_and_ends_with_the_next_owner(self, bench: Bench) -> None:
        """A wish is durable beside the route, the last one counts, and whoever takes the route is not asked for it again."""

        async def wish() -> HandOverAsked | None:
            (route,) = await bench.ledger.routes()
            return route.asked

        await bench.ledger.ask_hand_over(ROUTE, HandOverAsked(by="ann"))  # there is no such route yet
        await lent(bench)
        assert await wish() is None
        entries = await bench.ledger.journal(ROUTE, 0, ALL)
        await bench.ledger.ask_hand_over(ROUTE, HandOverAsked(by="ann", at_us=AT_US))
        last = HandOverAsked(by="b", to="b", at_us=AT_US + 1)
        await bench.ledger.ask_hand_over(ROUTE, last)
        await bench.crash()
        assert await wish() == last
        assert await bench.ledger.journal(ROUTE, 0, ALL) == entries
        assert isinstance(await take(bench, "second", 1), LeaseHeld)
        assert await wish() == last
        assert isinstance(await take(bench, "second", LEASE_US), Lease)
        assert await wish() is None

    @fact
    async def test_the_epoch_decides_who_writes(self, bench: Bench) -> None:
        """A lease that ended fences nobody by itself: its holder writes, and may renew, until somebody else has the route."""
        lease = await lent(bench)
        owner = Owner(bench.ledger, lease)
        owner.at_us = AT_US + 5 * LEASE_US
        order = await owner.put(owner.record("k"))
        await bench.ledger.renew(ROUTE, lease.epoch, AT_US + 5 * LEASE_US, LEASE_US)
        assert isinstance(await take(bench, "second", 6 * LEASE_US - 1), LeaseHeld)
        assert isinstance(await take(bench, "second", 6 * LEASE_US), Lease)
        assert kinds(await owner.commit(owner.fill(order, "e1"))) == [Fenced]

    @fact
    async def test_leases_of_routes_are_separate(self, bench: Bench) -> None:
        """A route that is lent keeps nobody from another one."""
        await lent(bench)
        other = await bench.owner(OTHER_ROUTE, "second")
        await bench.ledger.renew(OTHER_ROUTE, other.lease.epoch, AT_US, 1)
        infos = {route.name: route for route in await bench.ledger.routes()}
        assert infos[ROUTE].lease_until_us == AT_US + LEASE_US
        assert infos[OTHER_ROUTE].lease_until_us == AT_US + 1
