"""Opening a route. Start-up and crash are one code path: whatever is open in the ledger is taken up where it stands."""

import functools

from onefill.core import evidence, retry
from onefill.core.retry import Rest
from onefill.engine.route import Route
from onefill.engine.sender import start_driver


async def take_up(route: Route) -> int:
    """Load the route's open orders, mark what was under way as *maybe sent*, and set every order going again.

    Returns how many orders were open. Cost depends on them, not on history.
    """
    route.instruments = dict(await route.venue.instruments())
    route.drive = functools.partial(start_driver, route)
    loaded = await route.ledger.open_orders(route.name)
    entries = [route.adopt(one) for one in loaded]
    pending = [route.record(entry, events) for entry in entries if (events := evidence.recovered(entry.order))]
    for future in pending:
        await future
    for entry in entries:
        step = retry.next_step(entry.order, route.capabilities, None, route.clock.now_us())
        if not isinstance(step, Rest):
            start_driver(route, entry)
    return len(entries)
