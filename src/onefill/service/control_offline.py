"""Control states while no gateway runs: read and moved in the ledger alone, without a venue."""

import os
from collections.abc import Sequence

import msgspec

from onefill.core.control import Control, State, worst
from onefill.core.errors import CallerError
from onefill.core.lifecycle import Status
from onefill.core.position import DROP_COPY, STREAM
from onefill.engine.controller import Controller, ControlPlan, GatewayStatus, NotHeld, RouteStatus, StreamStatus
from onefill.engine.offline import hold_route
from onefill.engine.settings import GatewaySettings
from onefill.ports.ledger import RouteInfo
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.service.wiring import SystemClock, holder, open_for_reading, open_to_sign


async def status(ledger: str | os.PathLike[str]) -> GatewayStatus:
    """Return how a ledger's routes are by the record. What only a running gateway knows is ``None``."""
    now_us = SystemClock().now_us()
    async with open_for_reading(ledger) as store:
        routes = tuple([await _route(store, info, now_us) for info in await store.routes()])
    return GatewayStatus(at_us=now_us, state=worst([one.state for one in routes]), routes=routes)


async def _route(store: BrowsableLedger, info: RouteInfo, now_us: int) -> RouteStatus:
    control = await store.control(info.name) or Control()
    orders = [loaded.order for loaded in await store.open_orders(info.name)]
    found = [one for one in await store.incidents() if one.route == info.name]
    positions = [(stream, await store.cursor(info.name, stream)) for stream in (STREAM, DROP_COPY)]
    until_us = info.lease_until_us
    return RouteStatus(
        route=info.name,
        state=control.state,
        since_us=control.since_us,
        reason=control.reason,
        by=control.by,
        held=control.held,
        automatic=None,
        failure=None,
        readings=None,
        excused=control.excused,
        uncertain=sum(order.status is Status.UNCERTAIN for order in orders),
        open_orders=len(orders),
        open_incidents=len(found),
        streams=tuple(
            StreamStatus(stream=stream, position=position, waiting=False)
            for stream, position in positions
            if position or stream == STREAM
        ),
        lag_p99_s=None,
        epoch=info.epoch,
        lease_left_s=None if until_us is None else max(until_us - now_us, 0) / 1_000_000,
    )


async def freeze(
    ledger: str | os.PathLike[str], route: str | None, *, by: str, reason: str, state: State
) -> dict[str, Control]:
    """Shut a route, or all of them; see :meth:`onefill.engine.oversight.Oversight.freeze`.

    The route is taken for that, so LedgerInUse or LeaseHeld while somebody else has it.
    """
    async with open_to_sign(ledger) as store:
        names = await _named(store, route)
        found = {}
        for name in names:
            held = await hold_route(name, store, SystemClock(), GatewaySettings(), holder())
            controller = Controller(held)
            try:
                if route is not None or controller.may_freeze(state):
                    found[name] = await controller.freeze(state, by, reason)
            finally:
                await held.stop()
        return found


async def release(
    ledger: str | os.PathLike[str], route: str | None, plan: ControlPlan, *, by: str, reason: str, force: bool
) -> dict[str, Control]:
    """Open a route, or all of them; see :meth:`onefill.engine.oversight.Oversight.release`.

    What the ledger shows counts: uncertain orders, breaks and other open incidents. ``plan``: by which thresholds.
    """
    async with open_to_sign(ledger) as store:
        held = []
        try:
            for name in await _named(store, route):
                held.append(await hold_route(name, store, SystemClock(), GatewaySettings(), holder()))
                held[-1].gate.thresholds = plan.of(name)
            controllers = {one.name: Controller(one) for one in held}
            for controller in controllers.values():
                controller.may_release(by, reason, force=force)
            return {name: await controller.release(by, reason, force=force) for name, controller in controllers.items()}
        finally:
            for one in held:
                await one.stop()


async def _named(store: BrowsableLedger, route: str | None) -> Sequence[str]:
    known = [info.name for info in await store.routes()]
    if route is None:
        return known
    if route not in known:
        raise CallerError(
            f"{route!r} is no route of this ledger (there: {', '.join(known) or 'none'}). Nothing was changed"
        )
    return [route]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How a ledger's routes are, and whether a gateway runs that says so itself."""

    running: bool
    at_us: int
    state: State
    routes: tuple[RouteStatus, ...]
    elsewhere: tuple[NotHeld, ...] = ()
    standby: str | None = None
    """Of the ledger's database, as the gateway sees it; see :class:`~onefill.engine.controller.GatewayStatus`."""

    @classmethod
    def of(cls, status: GatewayStatus, *, running: bool) -> "Overview":
        """Return the overview that a status gives."""
        return cls(running=running, **msgspec.structs.asdict(status))
