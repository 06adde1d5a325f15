"""What a ledger file shows of the figures by itself, against numbers counted by hand."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from run_kit import make_exchange, run

import onefill
from onefill.core.errors import OrderUncertain
from onefill.core.incident import Finding, IncidentKind
from onefill.core.intent import Intent
from onefill.core.messages import DuplicateId, SubmitReply, SubmitRequest, Unknown
from onefill.service.metrics_rest import RestFigures, read
from onefill.service.wiring import open_for_reading
from onefill.sim.venue import SimulatedVenue

SECOND = 1_000_000


class Lossy(SimulatedVenue):
    """A venue whose replies to some orders are others than they were, by key."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.replies: list[SubmitReply | None] = []
        self.silent = False

    async def submit(self, request: SubmitRequest) -> SubmitReply:
        """Take the order in, and say what is next in the list."""
        real = await super().submit(request)
        return (self.replies.pop(0) if self.replies else None) or real

    async def lookup(self, client_order_id: str, account: str, instrument: str) -> Any:
        """Answer nothing while it is silent."""
        return Unknown("no answer") if self.silent else await super().lookup(client_order_id, account, instrument)

    async def _nothing(self) -> AsyncIterator[Any]:
        for nothing in ():
            yield nothing

    def stream(self, after: int) -> Any:
        """Tell nothing while it is silent."""
        return self._nothing() if self.silent else super().stream(after)


def an_order() -> Intent:
    """Return an order that rests."""
    return Intent(
        account="main", strategy="s", instrument="BTC-USD", side="buy", quantity=1, price=100, time_in_force="gtc"
    )


async def figures(path: Path, now_us: int = 0) -> list[RestFigures]:
    """Return what the file shows."""
    async with open_for_reading(path) as store:
        return await read(store, now_us)


def test_a_ledger_shows_rates_and_counts(tmp_path: Path) -> None:
    """Three orders, one refused as duplicate, one without any answer: DRR 1/3, one uncertain; the same after the close."""
    path = tmp_path / "o.db"

    async def scenario() -> None:
        venue = Lossy(make_exchange(), "main")
        venue.replies, venue.silent = [None, DuplicateId("taken"), Unknown("no reply")], True
        async with onefill.open(path, venues={"sim:main": venue}) as gateway:
            await gateway.submit(an_order(), key="a")
            for key in ("b", "c"):
                with contextlib.suppress(OrderUncertain):
                    await gateway.submit(an_order(), key=key, wait_s=0.2)
            (beside,) = await figures(path)
        (after,) = await figures(path)
        assert beside.orders == after.orders
        assert (after.route, after.label) == ("sim:main", "sim:1")
        assert (after.new_orders, after.duplicate_rejects, after.drr) == (3, 1, 1 / 3)
        assert after.uncertain + after.orders.get("recorded", 0) + after.sending == 2
        assert after.copies["accepted"] == 1
        assert sum(copies * count for copies, count in after.attempts.items()) == sum(after.copies.values())
        assert sum(after.attempts.values()) == 3

    run(scenario)


def test_breaks_and_collisions_are_read_from_the_incidents(tmp_path: Path) -> None:
    """A break of 3 s that converged, one that has lasted 10 s, one foreign order: RBD 3 s, oldest 10 s, ICC 1."""
    path = tmp_path / "o.db"

    async def scenario() -> None:
        async with onefill.open(path, venues={"sim": SimulatedVenue(make_exchange(), "main")}) as gateway:
            route = gateway._routes["sim"]
            now_us = route.clock.now_us()
            gone = Finding(kind=IncidentKind.PRICE, subject="o", summary="-", first_seen_at_us=now_us)
            lasts = Finding(kind=IncidentKind.STATE, subject="p", summary="-", first_seen_at_us=now_us)
            foreign = Finding(kind=IncidentKind.FOREIGN_ORDER, subject="o", summary="-")
            await route.record_route_event(findings=(gone, lasts, foreign))
            changed, told = route.incidents.converge(IncidentKind.PRICE, "o", now_us + 3 * SECOND)
            await route.record_route_event(*told, incidents=changed)
        (found,) = await figures(path, now_us + 10 * SECOND)
        assert (found.breaks_converged, found.break_mean_s, found.break_longest_s) == (1, 3, 3)
        assert (found.break_oldest_open_s, found.id_collisions) == (10, 1)
        assert found.open_incidents == {"foreign_order": 1, "price": 1, "state": 1}

    run(scenario)


def test_an_empty_ledger_has_no_rate(tmp_path: Path) -> None:
    """A route without orders has no DRR, and everything else is zero or none."""
    path = tmp_path / "o.db"

    async def scenario() -> None:
        async with onefill.open(path, venues={"sim": SimulatedVenue(make_exchange(), "main")}):
            pass
        (found,) = await figures(path)
        assert (found.drr, found.break_mean_s, found.new_orders, found.resends, found.orders) == (None, None, 0, 0, {})

    run(scenario)
