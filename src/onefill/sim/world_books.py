"""What is decided about a world's executions, positions and those who watch over them, from its seed alone."""

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

from onefill.core.control import State, Thresholds
from onefill.engine.controller import BY_HAND, ControlPlan
from onefill.engine.settings import ReconcileSettings
from onefill.sim.dialect import Dialect, ExecutionIds


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange busts or corrects one of the account's executions, or changes an order's terms by itself.

    ``which``: a fraction that says which of those there are then. ``live``: a filled order may trade on.
    """

    at_s: float
    what: str
    which: float
    live: bool


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """A person puts the route into a control state, and releases it so long after."""

    at_s: float
    state: State
    for_s: float


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What befalls executions, positions and those who watch over them."""

    shuffled: float = 0.0
    """How likely the drop copy holds a report back; above zero it also tells in another order."""
    amendments: tuple[Amendment, ...] = ()
    frozen: tuple[Frozen, ...] = ()
    holding: int = 0
    """What the account holds before the first order."""
    hidden: float = 0.0
    """How likely the venue's own stream tells a trade without its execution: only who asks for it learns of it."""
    mislabels: bool = False
    """The venue tells executions of orders that no gateway sent under the id of one that faces them."""


def habits(draw: Random) -> dict[str, Any]:
    """Return how a venue tells of executions, as settings of its dialect."""
    telling = draw.choice(("ids", "ids", "ids", "revisions", "none", "totals"))
    return {
        "execution_revisions": telling == "revisions",
        "execution_ids": ExecutionIds.NONE if telling == "none" else ExecutionIds.GIVEN,
        "cumulative_fills_only": telling == "totals",
        "drop_copy": draw.random() < 0.6,
        "fee_rate": draw.choice((None, Decimal("0.001"), Decimal("-0.0002"))),
        "lists_open_orders": draw.random() < 0.7,
        "tells_positions": draw.random() < 0.7,
    }


def books(draw: Random, dialect: Dialect, end_s: float, submits_s: Sequence[float]) -> Books:
    """Return what befalls the books of a world whose faults end then. Executions without a name cannot be amended.

    ``submits_s``: when callers submit.
    """
    named = not (dialect.cumulative_fills_only or dialect.execution_ids is ExecutionIds.NONE)
    amendments = [
        Amendment(
            at_s=draw.uniform(0.3, max(end_s - 0.05, 0.3)),
            what=draw.choice(("bust", "correct")),
            which=draw.random(),
            live=draw.random() < 0.6,
        )
        for _ in range(draw.choice((0, 0, 1, 2, 3)) if named else 0)
    ]
    if draw.random() < 0.1:
        amendments.append(Amendment(at_s=draw.uniform(0.3, end_s), what="restate", which=draw.random(), live=True))
    frozen = [
        Frozen(at_s=draw.uniform(0, end_s), state=draw.choice((State.DUP_RISK, State.SAFE)), for_s=draw.uniform(0.1, 4))
        for _ in range(int(draw.random() < 0.25))
    ]
    made = Books(
        shuffled=draw.choice((0.0, 0.2, 0.5)),
        amendments=tuple(amendments),
        frozen=tuple(frozen),
        holding=draw.choice((0, 0, 5, -7)),
        hidden=draw.choice((0.0,) * 7 + (0.4,)),
        mislabels=named and draw.random() < 0.5,
    )
    if draw.random() < 0.5:  # just when an order is claimed
        frozen = [msgspec.structs.replace(one, at_s=draw.choice(submits_s)) for one in frozen]
    return msgspec.structs.replace(made, frozen=tuple(frozen))


def looks(draw: Random) -> ReconcileSettings:
    """Return how often a gateway compares both sides: in most worlds hardly more than once."""
    if draw.random() < 0.7:
        return ReconcileSettings()
    return ReconcileSettings(every_s=draw.choice((0.5, 2.0, 10.0)), grace_s=draw.choice((0.3, 1.0, 3.0)))


def controls(draw: Random) -> ControlPlan:
    """Return by what a gateway shuts its route: in most worlds only people do."""
    if draw.random() < 0.85:
        return BY_HAND
    return ControlPlan(
        common=Thresholds(
            sample_s=0.1,
            window_s=2.0,
            calm_s=0.5,
            least_sent=3,
            least_duplicates=1,
            uncertain_after_s=draw.choice((0.3, 1.0)),
            uncertain_risk=draw.choice((1, 2)),
            uncertain_safe=3,
        )
    )
