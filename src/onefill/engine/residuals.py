"""What should not be at the venue: finding it, and cancelling it at a person's word (the runbook's fourth step).

Live at the venue and wanted by nobody here is what no order of the ledger knows, what the ledger holds for over, and what is
to be cancelled. Whether any other live order is intended, only people know: it is listed, and cancelled if they name it.
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from onefill.core.errors import OnefillError
from onefill.core.messages import Canceled, CancelRejected, CancelRequest, Listed, ScanReply, VenueOrder
from onefill.core.order import Order
from onefill.core.values import plain
from onefill.engine.entry import Entry
from onefill.engine.offline import NoVenue
from onefill.engine.route import Route

Cancel = Callable[[Order], Awaitable[str]]
"""Cancels an order of the ledger and says what is true of it then."""


class AtVenue(msgspec.Struct, frozen=True):
    """The live orders of a route's accounts at the venue, each with its account. ``missing``: why they are not all there."""

    orders: tuple[tuple[str, VenueOrder], ...] = ()
    missing: str = ""


class Residuals(msgspec.Struct, frozen=True, kw_only=True):
    """What is live. ``unintended``: wanted by nobody here, each with why; ``intended``: by an order of the ledger."""

    unintended: tuple[tuple[str, VenueOrder, str], ...] = ()
    to_cancel: tuple[Order, ...] = ()
    """Orders of the ledger that somebody wants gone and that are not gone yet."""
    intended: tuple[Order, ...] = ()
    missing: str = ""


def order_line(order: Order) -> str:
    """Return an order of the ledger as one line."""
    price = "at the market" if order.price is None else f"at {plain(order.price)}"
    parked = ", left to a person" if order.parked else ""
    number = f", the venue's number {order.venue_order_id}" if order.venue_order_id else ""
    return (
        f"key {order.key} ({order.live_id}): {order.intent.side} {plain(order.quantity)} {order.intent.instrument} {price}, "
        f"{order.status}{parked}, {plain(order.cum_quantity)} executed{number}"
    )


def venue_line(order: VenueOrder) -> str:
    """Return a venue's order as one line."""
    price = "at the market" if order.price is None else f"at {plain(order.price)}"
    return (
        f"{order.venue_order_id} ({order.client_order_id or 'no client order id'}): {order.side} {plain(order.quantity)} "
        f"{order.instrument} {price}, {order.status}, {plain(order.cum_quantity)} executed"
    )


async def at_venue(route: Route, accounts: Sequence[str]) -> AtVenue:
    """Return what is live at the venue, of each account within the time that one reply may take."""
    if isinstance(route.venue, NoVenue):
        return AtVenue((), "unknown, because the venue was not asked: name it with --venue")
    if not route.capabilities.lists_open_orders:
        return AtVenue((), "unknown, because the venue does not list open orders")
    found: list[tuple[str, VenueOrder]] = []
    for account in accounts:
        try:
            reply: ScanReply = await route.deadlines.bound(
                route.venue.open_orders(account), route.settings.reply_timeout_s
            )
        except Exception as error:  # noqa: BLE001 - whatever an adapter's client raises: it is not known
            return AtVenue(tuple(found), f"unknown, because {str(error) or type(error).__name__}")
        if not isinstance(reply, Listed):
            return AtVenue(tuple(found), f"unknown, because {reply.reason}")
        found += [(account, order) for order in reply.orders]
    if not accounts:
        return AtVenue((), "unknown, because no account is known that the route has traded in")
    return AtVenue(tuple(found))


async def find(route: Route, accounts: Sequence[str]) -> Residuals:
    """Return what is live and what of it is unintended."""
    seen = await at_venue(route, accounts)
    unintended = []
    for account, order in seen.orders:
        why = await _unintended(route, order)
        if why is not None:
            unintended.append((account, order, why))
    live = [entry.order for entry in route.entries.values() if not entry.order.closed]
    return Residuals(
        unintended=tuple(unintended),
        to_cancel=tuple(order for order in live if order.cancel_wanted),
        intended=tuple(order for order in live if not order.cancel_wanted),
        missing=seen.missing,
    )


def _owner(route: Route, order: VenueOrder) -> Entry | None:
    """Return the order in memory that a venue's order is."""
    found = route.by_client_order_id.get(order.client_order_id) if order.client_order_id else None
    if found is not None:
        return found
    return next((entry for entry in route.entries.values() if entry.order.venue_order_id == order.venue_order_id), None)


async def _unintended(route: Route, order: VenueOrder) -> str | None:
    """Return why nobody here wants a live order of the venue, or ``None``."""
    entry = _owner(route, order)
    known = None if entry is None else entry.order
    if known is None and order.client_order_id:
        loaded = await route.ledger.by_client_order_id(route.name, order.client_order_id)
        known = None if loaded is None else loaded.order
    if known is None:
        return "nobody here sent it"
    if known.venue_order_id not in (None, order.venue_order_id) and known.in_force is None and not known.replacing:
        return f"key {known.key} is the venue's order {known.venue_order_id}: this is a second one under its id"
    return f"key {known.key} is over here: {known.status}" if known.closed else None


async def cancel_keys(route: Route, keys: Sequence[str], cancel: Cancel) -> list[tuple[bool, str]]:
    """Cancel orders of the ledger by their keys. Return of each whether it is gone, and what is true of it."""
    told = []
    for key in keys:
        found = [entry.order for entry in route.entries.values() if entry.order.key == key]
        live = [order for order in found if not order.closed]
        if not live:
            told.append((True, f"key {key}: {'is over: ' + found[0].status if found else 'is no open order here'}"))
        for order in live:
            told.append(await _cancel_known(order, cancel))
    return told


async def _cancel_known(order: Order, cancel: Cancel) -> tuple[bool, str]:
    try:
        return True, f"key {order.key}: {await cancel(order)}"
    except OnefillError as error:
        return False, f"key {order.key}: {error}"


async def cancel_at_venue(route: Route, account: str, order: VenueOrder) -> tuple[bool, str]:
    """Cancel an order by the venue's number. Return whether it is gone, and what is true of it."""
    number = order.venue_order_id
    request = CancelRequest(
        client_order_id=order.client_order_id, account=account, instrument=order.instrument, venue_order_id=number
    )
    try:
        reply = await route.deadlines.bound(route.venue.cancel(request), route.settings.reply_timeout_s)
    except Exception as error:  # noqa: BLE001 - an exception out of a cancel is *unknown*, says the port
        return False, f"the venue's order {number}: not known: {str(error) or type(error).__name__}"
    if isinstance(reply, Canceled):
        return True, f"the venue's order {number}: cancelled, {plain(reply.order.cum_quantity)} executed"
    shown = reply.order if isinstance(reply, CancelRejected) else None
    now = f"; it is {shown.status}" if shown is not None else ""
    return False, f"the venue's order {number}: {type(reply).__name__.lower()}: {reply.reason}{now}"
