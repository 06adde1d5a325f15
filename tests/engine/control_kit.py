"""What tests of control states share: thresholds, gateways that have them, and what the ledger has of it."""

from typing import Any

import msgspec
from gateway_world import NOON_US, World

from onefill.core.control import State, Thresholds
from onefill.engine.controller import ControlPlan
from onefill.engine.gateway import Gateway

ANN = {"by": "ann@desk", "reason": "looks odd"}
SLOW = ControlPlan(common=Thresholds(automatic=False, degraded_orders_per_s=2.0))
"""Only people move a route, which sends two orders in a second while it is DEGRADED."""
N, D, R, S = State.NORMAL, State.DEGRADED, State.DUP_RISK, State.SAFE


def plan(**thresholds: Any) -> ControlPlan:
    """Return thresholds that few orders reach."""
    fields = {"window_s": 20.0, "calm_s": 30.0, "least_sent": 5, "uncertain_after_s": 5.0, "uncertain_risk": 3}
    return ControlPlan(common=Thresholds(**(fields | thresholds)))


async def started(world: World, control: ControlPlan = SLOW, **settings: Any) -> Gateway:
    """Start a gateway with these thresholds."""
    world.ledger = await world.store()
    chosen = type(world.settings)(
        **{f: getattr(world.settings, f) for f in world.settings.__struct_fields__} | settings
    )
    gateway = Gateway(
        world.ledger, {"X": world.venue}, clock=world.clock, holder="test", settings=chosen, control=control
    )
    await gateway.start()
    return gateway


def state(gateway: Gateway) -> State:
    """Return the gateway's state."""
    return gateway.status().state


def kept(world: World) -> list[tuple[str, int]]:
    """Return (state, version) as the ledger file has it."""
    return [tuple(row) for row in world.rows("SELECT state, version FROM control")]


def moves(world: World) -> list[str]:
    """Return the journal's entries about control states."""
    return [row[0] for row in world.rows("SELECT payload FROM journal WHERE kind = 'control_moved' ORDER BY id")]


def claimed(world: World, moment_s: float = 0.0) -> list[float]:
    """Return when each copy of an order reached the venue, in s of the loop."""
    return [(call.at_us - NOON_US) / 1e6 - moment_s for call in world.venue.calls if call.kind == "submit"]


def events_of(change: Any) -> Any:
    """Return the events of a change."""
    return msgspec.json.decode(change.payload)
