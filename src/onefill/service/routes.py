"""Who holds which route of a ledger, and a person's wish that one is handed over."""

import asyncio

import msgspec

from onefill.core import lease as leases
from onefill.core.errors import CallerError
from onefill.core.spread import HandOverAsked
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger, RouteInfo
from onefill.service import ledgers
from onefill.service.ledgers import LedgerName

_LOOK_EVERY_S = 0.05


class RouteHeld(msgspec.Struct, frozen=True, kw_only=True):
    """A route and who has it. Times in µs since 1970, by the ledger's clock.

    ``holder``: who acquired it last; ``node``: that one's name, if it is a node. ``held``: whether somebody has it now, as far
    as its lease tells; ``None`` where it is not lent for a time. ``left_s``: for how long, by this machine's clock.
    ``asked``: somebody's wish that it is handed over. ``suspicions``: how often a second holder was suspected, ever.
    """

    route: str
    holder: str
    node: str | None
    epoch: int
    acquired_at_us: int
    lease_until_us: int | None
    held: bool | None
    left_s: float | None
    asked: HandOverAsked | None
    suspicions: int


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A route that was handed over: from whom, to whom, under which epoch, and how long it took until it was acquired."""

    route: str
    before: str
    holder: str
    epoch: int
    took_s: float


class NotMoved(CallerError):
    """Nobody took the route in time. The wish stays beside it."""


async def routes(store: Ledger, clock: Clock) -> list[RouteHeld]:
    """Return every route of a ledger, with who has it."""
    return [_held(info, clock.now_us()) for info in await store.routes()]


def _held(info: RouteInfo, now_us: int) -> RouteHeld:
    until_us = info.lease_until_us
    left_s = None if until_us is None else (until_us - now_us) / 1_000_000
    node = leases.node_of(info.holder)
    # Who gave a lent route back, or let it run out, holds it no more. A node's route is always lent.
    held = left_s > 0 if left_s is not None else (None if node is None else False)
    return RouteHeld(
        route=info.name,
        holder=info.holder,
        node=node,
        epoch=info.epoch,
        acquired_at_us=info.acquired_at_us,
        lease_until_us=until_us,
        held=held,
        left_s=None if left_s is None else max(left_s, 0.0),
        asked=info.asked,
        suspicions=info.suspicions,
    )


async def hand_over(
    ledger: LedgerName, route: str, to: str | None, *, by: str, holder: str, clock: Clock, within_s: float
) -> Moved:
    """Ask the holder of a route to hand it over, and return once another one has it, or, where ``to`` says so, that node.

    Raises CallerError where the ledger is no shared one or has no such route, :class:`NotMoved` after ``within_s``.
    """
    if not ledgers.is_shared(ledger):
        raise CallerError(
            f"{ledgers.shown(ledger)} is a file, which one process has for itself: there is nobody to hand a route over to"
        )
    store = await ledgers.open_for_writing(ledger, holder=holder, clock=clock)
    try:
        loop = asyncio.get_running_loop()
        before = await _of(store, route)
        if to is not None and leases.node_of(before.holder) == to and before.lease_until_us is not None:
            return Moved(route=route, before=before.holder, holder=before.holder, epoch=before.epoch, took_s=0.0)
        began_s = loop.time()
        await store.ask_hand_over(route, HandOverAsked(by=by, to=to, at_us=clock.now_us()))
        while (now := await _of(store, route)).epoch == before.epoch:
            if loop.time() - began_s > within_s:
                raise NotMoved(
                    f"route {route!r} was not taken by {'anybody else' if to is None else repr(to)} within {within_s:g} s; "
                    f"{before.holder} was the last to hold it. The wish stays beside the route until somebody acquires it: "
                    "look at `onefill routes`"
                )
            await asyncio.sleep(_LOOK_EVERY_S)
        return Moved(
            route=route,
            before=before.holder,
            holder=now.holder,
            epoch=now.epoch,
            took_s=round(loop.time() - began_s, 3),
        )
    finally:
        await store.close()


async def _of(store: Ledger, route: str) -> RouteInfo:
    infos = {info.name: info for info in await store.routes()}
    if route not in infos:
        known = ", ".join(sorted(infos)) or "none"
        raise CallerError(f"the ledger has no route {route!r}; it has: {known}. Nothing was changed")
    return infos[route]
