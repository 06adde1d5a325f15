"""The promises, as the exhaustive search checks them: in every world, at every claim, at every send.

* **ONE-ORDER**: the orders that copies of one intent's submit made (one and what replaced it count as one) are at most one. An
  order from a request which the network itself doubled does not count: no sender can prevent it where the venue takes the
  repeat. Then the order must bear an anomaly once the gateway was told of both (**TWO-TOLD**).
* **SAY-UNKNOWN**: a state that the ledger claims is true. *Ended* means that nothing of the order is live at the venue, and
  that its last state there is the one that is told; *recorded*, *expired unsent* and *canceled unsent* mean that there is not
  and never was an order. Since what is over at a venue stays over, the ledger can only ever be behind, never ahead.
* **ASK-FIRST**: a further copy of a submit is claimed only after a query that was begun after the last unknown outcome, where
  the venue can be asked; and only if no earlier copy can still make an order beside it.
* **OVERFILL**: not more was executed than the most that was wanted at any time.
* **LEDGER-FIRST**, **SAME-ID**, **ONE-WRITER**: what is sent was claimed under its number, bears the id that was recorded, and
  comes from the process that owns the route and whose lease has not ended.
* **CANCEL-QUIET**: a cancel of an order that ended changes nothing.
* **FALSE-ALARM**: an order has an anomaly only if the network doubled a request, or the venue made an order of two copies
  (one of which it rejected).
"""

from typing import Final

import msgspec

from onefill.core import apply
from onefill.core import events as ev
from onefill.core.capabilities import UniqueScope
from onefill.core.events import CopyOutcome
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status
from onefill.core.order import Order
from onefill.sim.explore_core import Core, copies_of
from onefill.sim.explore_state import (
    CANCELED,
    FILLED,
    NEVER,
    PENDING,
    REJECTED,
    SUBMIT,
    WORDS,
    Booked,
    Process,
    Request,
    Violation,
    World,
)
from onefill.sim.explore_venue import executed

PROMISES: Final = (
    "ONE-ORDER",
    "TWO-TOLD",
    "SAY-UNKNOWN",
    "ASK-FIRST",
    "OVERFILL",
    "LEDGER-FIRST",
    "SAME-ID",
    "ONE-WRITER",
    "CANCEL-QUIET",
    "FALSE-ALARM",
    "INVARIANT",
    "CONVERGES",
)
_LAST_AT_VENUE: Final = {Status.CANCELED: CANCELED, Status.FILLED: FILLED, Status.REJECTED: REJECTED}


def claim(world: World, core: Core, intent: int, number: int) -> Violation | None:
    """Judge the claim of a further copy of a submit."""
    if number == 1:
        return None
    if world.unasked[intent] and core.asks:
        reason = (
            f"copy {number} of order {intent + 1} is claimed, and no query was begun since the last unknown outcome"
        )
        return Violation("ASK-FIRST", reason)
    capabilities, order = core.capabilities, core.orders[world.orders[intent]]
    scope = capabilities.unique_scope if capabilities.refuses_repeats else UniqueScope.NONE
    if scope is UniqueScope.EVER:
        return None
    if scope is not UniqueScope.DAY and order.copies_under_way:
        return Violation("ASK-FIRST", f"copy {number} of order {intent + 1} is claimed while another is under way")
    for request in world.net:
        if request.what != SUBMIT or request.intent != intent or request.again or world.now > request.expires:
            continue
        if order.copies[request.number - 1].outcome is CopyOutcome.ABSENT:
            reason = f"copy {request.number} of order {intent + 1} counts as absent and can still make an order"
            return Violation("ASK-FIRST", reason)
    return None


def send(world: World, core: Core, process: Process, request: Request) -> Violation | None:
    """Judge a request that leaves for the venue."""
    order = core.orders[world.orders[request.intent]]
    what = f"{WORDS[request.what]} {request.number} of order {request.intent + 1}"
    if process.epoch != world.epoch:
        return Violation("ONE-WRITER", f"{what} leaves from a process that lost the route")
    if world.until < NEVER and world.now >= world.until:
        return Violation("ONE-WRITER", f"{what} leaves after the lease has ended")
    if all(copy.number != request.number for copy in copies_of(order, request.what)):
        return Violation("LEDGER-FIRST", f"{what} leaves and was not claimed")
    if request.what == SUBMIT and request.client_id != 0:
        return Violation("SAME-ID", f"{what} bears another id than the first copy")
    if request.new_id < 0 or request.client_id < 0:
        return Violation("SAME-ID", f"{what} bears an id that was not made for it")
    return None


class Judge:
    """Judges worlds, leaving out the promises that are to be ignored."""

    def __init__(self, core: Core, ignore: frozenset[str] = frozenset()) -> None:
        self._core = core
        self._ignore = ignore
        self._quiet: dict[int, Violation | None] = {}

    def world(self, world: World) -> Violation | None:
        """Return a promise that does not hold in this world, or ``None``."""
        for intent, number in enumerate(world.orders):
            if number:
                wrong = self._order(world, intent, number)
                if wrong is not None and wrong.promise not in self._ignore:
                    return wrong
        return None

    def _order(self, world: World, intent: int, number: int) -> Violation | None:
        order = self._core.orders[number]
        if number not in self._quiet:
            self._quiet[number] = _quiet(order)
        if self._quiet[number] is not None:
            return self._quiet[number]
        book = [one for one in world.book if one.intent == intent]
        made = [one for one in book if one.root == one.number and one.status not in {REJECTED, PENDING}]
        if any(one.again for one in book):
            return _two_told(order, book, made)
        if len(made) > 1:
            copies = " and ".join(str(one.copy) for one in made)
            return Violation("ONE-ORDER", f"copies {copies} of order {intent + 1} made an order each")
        if executed(world.book, intent) > world.most[intent]:
            return Violation("OVERFILL", f"more of order {intent + 1} was executed than was ever wanted")
        twice = sum(one.root == one.number for one in book) > 1
        if order.anomaly is not None and not (world.doubled or twice):
            return Violation("FALSE-ALARM", f"order {intent + 1} bears an anomaly without a cause: {order.anomaly}")
        return _say_unknown(order, book, intent)


def doubled(world: World) -> bool:
    """Tell whether the network made a second order out of one request in this world."""
    return any(one.again and one.status != REJECTED and one.root == one.number for one in world.book)


def _two_told(order: Order, book: list[Booked], made: list[Booked]) -> Violation | None:
    roots = {one.root for one in book if one.told}
    if order.anomaly is None and sum(one.root in roots for one in made) > 1:
        reason = f"the gateway was told of two orders under {order.client_order_id}, and the order bears no anomaly"
        return Violation("TWO-TOLD", reason)
    return None


def _say_unknown(order: Order, book: list[Booked], intent: int) -> Violation | None:
    status, there = order.status, [one for one in book if one.status != REJECTED]
    if status is Status.RECORDED or status in NEVER_SENT:
        if there:
            return Violation("SAY-UNKNOWN", f"order {intent + 1} is {status}, and the venue has it")
        return None
    if status not in ENDED:
        return None
    if any(one.live for one in there):
        return Violation("SAY-UNKNOWN", f"order {intent + 1} is {status}, and it is live at the venue")
    last = there[-1].status if there else REJECTED
    if _LAST_AT_VENUE.get(status, last) != last:
        return Violation("SAY-UNKNOWN", f"order {intent + 1} is {status}, and that is not how it ended at the venue")
    return None


def _quiet(order: Order) -> Violation | None:
    if order.status not in ENDED:
        return None
    after = apply.advance(order, (ev.CancelRecorded(None),), 0)
    if msgspec.structs.replace(after, version=order.version, answer=order.answer) != order:
        return Violation("CANCEL-QUIET", f"a cancel of an order that is {order.status} changes it")
    return None
