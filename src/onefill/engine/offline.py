"""Holding a route while nobody trades on it: for what people do to the record where no venue is at hand.

Nothing is sent, nothing is asked, and no order moves: what is under way stays as the ledger has it.
"""

from typing import cast

from onefill.core.capabilities import Capabilities
from onefill.engine.route import Route
from onefill.engine.settings import GatewaySettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger
from onefill.ports.venue import Venue


class NoVenue:
    """In a venue's place, where none was named. Nothing of it may be called."""

    capabilities = Capabilities()
    identity = ""


async def hold_route(name: str, ledger: Ledger, clock: Clock, settings: GatewaySettings, holder: str) -> Route:
    """Become the owner of a route without its venue, and know its open orders and incidents.

    Raises LeaseHeld while another holder's lease lasts, or another LedgerError.
    """
    lease = await ledger.acquire(name, holder, clock.now_us())
    route = Route(name, ledger, cast(Venue, NoVenue()), clock, settings, lease, lambda *_: None)
    kept = [one for one in await ledger.incidents() if one.route == name]
    route.incidents.load(kept, await ledger.last_incident(name))
    route.control = await ledger.control(name) or route.control
    for loaded in await ledger.open_orders(name):
        route.adopt(loaded)
    return route
