"""Opening a route. Start-up and crash are one code path: whatever is open in the ledger is taken up where it stands."""

import asyncio
import contextlib
import functools
from collections.abc import Callable

from onefill.core import evidence, retry
from onefill.core import lease as leases
from onefill.core.errors import Fenced, LedgerError, LedgerFailed
from onefill.core.position import Execution
from onefill.core.steps import Rest
from onefill.engine.route import Route
from onefill.engine.sender import start_driver
from onefill.engine.settings import GatewaySettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger
from onefill.ports.venue import LastLook, TimedStream, Venue


async def open_route(
    name: str,
    ledger: Ledger,
    venue: Venue,
    clock: Clock,
    settings: GatewaySettings,
    *,
    holder: str,
    fold: Callable[[Route, Execution, int | None, bool], None],
) -> Route:
    """Become the owner of a route, and stay it: where it is lent for a time, the lease is renewed until the route stops.

    Raises LeaseHeld while another holder's lease lasts, OtherVenue, or another LedgerError.
    """
    asked_at_s, asked_at_us = asyncio.get_running_loop().time(), clock.now_us()  # from before the ledger was asked
    lease_us = None if settings.lease_s is None else _us(settings.lease_s)
    lease = await ledger.acquire(name, holder, asked_at_us, venue=venue.identity, lease_us=lease_us)
    route = Route(name, ledger, venue, clock, settings, lease, fold, holder)
    route.lend(asked_at_s, asked_at_us, settings.lease_s)
    if isinstance(venue, LastLook):
        venue.last_look = route.not_open
    if settings.lease_s is not None:
        route.spawn(route.loop.create_task(_keep_lease(route, asked_at_s, settings.lease_s)))
    return route


async def _keep_lease(route: Route, asked_at_s: float, lease_s: float) -> None:
    """Renew the lease until the route stops. A renewal that fails, or does not come back, is tried again.

    So it goes on when the lease is over, too: while nobody else took the route, it is still this one's by its epoch.
    """
    due_s = leases.renew_at_s(asked_at_s, lease_s)
    while route.failure is None and not route.closing:
        await asyncio.sleep(max(due_s - route.loop.time(), 0))
        if route.leaving:
            return
        asked_at_s, asked_at_us = route.loop.time(), route.clock.now_us()
        try:
            async with asyncio.timeout(leases.renewal_limit_s(lease_s)):
                await route.ledger.renew(route.name, route.lease.epoch, asked_at_us, _us(lease_s))
        except (Fenced, LedgerFailed):
            raise
        except (LedgerError, TimeoutError):
            due_s = route.loop.time() + leases.retry_renewal_s(lease_s)
        else:
            due_s = leases.renew_at_s(asked_at_s, lease_s)
            if not route.leaving:
                route.lend(asked_at_s, asked_at_us, lease_s)


def _us(lease_s: float) -> int:
    return round(lease_s * 1_000_000)


async def take_up(route: Route) -> int:
    """Load the route's open orders, mark what was under way as *maybe sent*, and set every order going again.

    Returns how many orders were open. Cost depends on them, not on history.
    """
    route.instruments = dict(await route.venue.instruments())
    route.drive = functools.partial(start_driver, route)
    kept = [one for one in await route.ledger.incidents() if one.route == route.name]
    route.incidents.load(kept, await route.ledger.last_incident(route.name))
    route.measures.breaks.load(kept)
    route.control = await route.ledger.control(route.name) or route.control
    loaded = await route.ledger.open_orders(route.name)
    entries = [route.adopt(one) for one in loaded]
    if isinstance(route.venue, TimedStream):
        for one in entries:
            route.venue.follow(one.order.live_id, one.order.venue_order_id, one.order.intent.instrument)
    pending = [route.record(entry, events) for entry in entries if (events := evidence.recovered(entry.order))]
    for future in pending:
        await future
    for entry in entries:
        step = retry.next_step(entry.order, route.capabilities, None, route.clock.now_us())
        if not isinstance(step, Rest):
            start_driver(route, entry)
    return len(entries)


async def give_back(route: Route) -> None:
    """End the lease on a route that is closed, so that the next owner need not wait for its end.

    Nothing may be sent from here any more. Where the ledger cannot be reached, or another owner is there, it does nothing.
    """
    if route.settings.lease_s is not None and not isinstance(route.failure, Fenced):
        route.lease_until_s = min(route.lease_until_s, route.loop.time())
        with contextlib.suppress(LedgerError, TimeoutError):  # then it ends by itself
            async with asyncio.timeout(leases.renewal_limit_s(route.settings.lease_s)):
                await route.ledger.renew(route.name, route.lease.epoch, route.clock.now_us(), 0)
