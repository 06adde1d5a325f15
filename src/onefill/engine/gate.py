"""What a route's control state does to its orders: which are taken, which copies may be claimed, and how slowly.

The retry contract says what is safe for one order; this says what the route lets through of it now. What is held waits and
goes on when the route is opened, if its time to live allows.
"""

import asyncio
import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING

from onefill.core import steps
from onefill.core.control import Control, State, Thresholds, refusal, takes_orders, takes_replace
from onefill.core.errors import RouteClosed
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.core.query import query, query_again
from onefill.core.steps import LastLookup, Step
from onefill.engine.entry import Entry

if TYPE_CHECKING:
    from onefill.engine.route import Route

_CAN_BE_SENT = frozenset({Status.RECORDED, Status.SENDING, Status.UNCERTAIN})


class RouteShut(RouteClosed):
    """The route's control state does not let this through. Nothing was recorded or sent."""

    def __init__(self, route: str, control: Control) -> None:
        self.route = route
        self.control = control
        super().__init__(refusal(route, control, moment(control.since_us)))


def moment(at_us: int) -> str:
    """Return a time as people write it, in UTC."""
    return dt.datetime.fromtimestamp(at_us / 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class Pace:
    """Lets so many orders pass in a second, in the order in which they came (a token bucket with a queue)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: dict[Entry, None] = {}
        self._turns: set[Entry] = set()
        self._tokens = 0.0
        self._at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._apart_s = 0.0
        self._called: Entry | None = None
        """Whose turn it was at the last tick, and who has not come yet."""

    def begin(self) -> None:
        """Begin anew: the first order passes at once."""
        self.close()
        self._tokens, self._at_s = 1.0, self._loop.time()

    def passes(self, entry: Entry, per_s: float, burst: int) -> bool:
        """Tell whether it is the order's turn, and take it. Otherwise its driver is roused when it comes."""
        now_s = self._loop.time()
        since_s = 0.0 if self._at_s is None else max(now_s - self._at_s, 0.0)
        self._tokens = min(self._tokens + since_s * per_s, float(burst))
        self._at_s = now_s
        self._queue.setdefault(entry)
        self._drop_gone()
        if self._called is entry:
            self._called = None
        mine = self._tokens > 1 - 1e-9 and next(iter(self._queue), None) is entry
        if mine:
            del self._queue[entry]
            self._tokens -= 1
        self._apart_s = 1 / per_s
        if self._queue and self._timer is None:
            self._timer = self._loop.call_at(now_s + max((1 - self._tokens) / per_s, 0.0), self._next)
        return mine

    def keep_turn(self, entry: Entry) -> None:
        """The order's copy is claimed now, and leaves in this turn."""
        self._turns.add(entry)

    def took_turn(self, entry: Entry) -> bool:
        """Tell whether the copy that is about to leave was claimed in its turn, and not before there were turns."""
        kept = entry in self._turns
        self._turns.discard(entry)
        return kept

    def _drop_gone(self) -> None:
        while self._queue:
            entry = next(iter(self._queue))
            order = entry.order
            if order.status in _CAN_BE_SENT and not order.cancel_wanted and entry.driver is not None:
                return
            del self._queue[entry]

    def _next(self) -> None:
        self._timer = None
        while True:
            self._drop_gone()
            entry = next(iter(self._queue), None)
            if entry is None:
                self._called = None
                return
            if entry.wake is not None and entry is not self._called:
                break
            del self._queue[entry]  # busy with something else, or called in vain: it queues again when it wants to send
        self._called = entry
        entry.rouse()
        # Should it not come after all, the next one's turn is not lost.
        self._timer = self._loop.call_at(self._loop.time() + self._apart_s, self._next)

    def close(self) -> None:
        """Rouse nobody any more."""
        self._queue.clear()
        self._turns.clear()
        self._called = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Gate:
    """A route's thresholds and pace, and what its control state means for single orders."""

    def __init__(self, route: "Route") -> None:
        self._route = route
        self.thresholds = Thresholds(automatic=False)
        self.pace = Pace(route.loop)

    @property
    def degraded(self) -> bool:
        """Whether orders go slower now, and are asked for before they are repeated."""
        return self._route.control.state is State.DEGRADED

    # ---------------------------------------------------------------- taking

    def admit(self, intent: Intent) -> None:
        """Raise RouteShut unless the route takes this as a new order."""
        route = self._route
        if route.control.state.rank < State.DUP_RISK.rank:
            return
        if not takes_orders(route.control.state, reduces=route.risk.can_only_reduce(intent)):
            raise RouteShut(route.name, route.control)

    def admit_replace(self, order: Order, quantity: Decimal, price: Decimal | None) -> None:
        """Raise RouteShut unless the route lets an order be given these terms."""
        route = self._route
        if not takes_replace(route.control.state, (order.quantity, order.price), (quantity, price)):
            raise RouteShut(route.name, route.control)

    # --------------------------------------------------------------- sending

    def stopped(self, entry: Entry) -> str | None:
        """Return why a copy that was claimed must not leave: the route was shut between claim and send."""
        control = self._route.control
        if control.state is State.NORMAL:
            return None
        if not self._lets_through(entry.order):
            return f"the route became {control.state.name} between claim and send"
        if control.state is State.DEGRADED and not self.pace.took_turn(entry):
            passes = self.pace.passes(entry, *self._pace())
            return None if passes else "the route became DEGRADED between claim and send"
        return None

    def stopped_replace(self, order: Order) -> str | None:
        """Likewise for a replace."""
        control, wanted = self._route.control, order.replacement
        terms = (order.quantity, order.price)
        if wanted is None or takes_replace(control.state, terms, (wanted.quantity, wanted.price)):
            return None
        return f"the route became {control.state.name} between claim and send"

    def step(self, entry: Entry, step: Step, lookup: LastLookup | None, now_us: int) -> Step:
        """Return what to do about an order in place of what the retry contract says, as far as the state asks for it."""
        state, order = self._route.control.state, entry.order
        if state is State.NORMAL:
            return step
        if isinstance(step, steps.Send):
            if not self._lets_through(order):
                return self._held(order, lookup, now_us)
            return self._slowly(entry, step, lookup, now_us) if state is State.DEGRADED else step
        if isinstance(step, steps.SendReplace) and self.stopped_replace(order) is not None:
            return self._held_replace(order, step, lookup, now_us)
        if isinstance(step, steps.WaitUntil) and state is State.DEGRADED:
            return self._longer(order, step, now_us)
        return step

    def _lets_through(self, order: Order) -> bool:
        route = self._route
        state = route.control.state
        if state.rank < State.DUP_RISK.rank:
            return True
        return takes_orders(state, reduces=route.risk.still_only_reduces(order))

    def _held(self, order: Order, lookup: LastLookup | None, now_us: int) -> Step:
        capabilities, reason = self._route.capabilities, f"held: the route is {self._route.control.state.name}"
        if order.status is Status.UNCERTAIN and lookup is not None and capabilities.can_be_asked:
            return query_again(order, capabilities, order.client_order_id, lookup, now_us, reason)
        return steps.WaitUntil(order.valid_until_us, reason)

    def _held_replace(self, order: Order, step: steps.SendReplace, lookup: LastLookup | None, now_us: int) -> Step:
        capabilities, reason = self._route.capabilities, f"held: the route is {self._route.control.state.name}"
        wanted = order.replacement
        if wanted is None:
            return step
        if wanted.under_way and lookup is not None and capabilities.can_be_asked:
            return query_again(order, capabilities, wanted.client_order_id, lookup, now_us, reason)
        return steps.WaitUntil(wanted.valid_until_us, reason)

    def _slowly(self, entry: Entry, step: steps.Send, lookup: LastLookup | None, now_us: int) -> Step:
        """Ask before any further copy, and send no more than so many orders in a second."""
        order, capabilities = entry.order, self._route.capabilities
        if order.copies and capabilities.can_be_asked:
            if lookup is None or lookup.copies < len(order.copies):
                return query(order, capabilities, order.client_order_id)
            if not lookup.not_found:
                again = query_again(
                    order, capabilities, order.client_order_id, lookup, now_us, "asking before it is sent again"
                )
                return self._longer(order, again, now_us) if isinstance(again, steps.WaitUntil) else again
        if self.pace.passes(entry, *self._pace()):
            self.pace.keep_turn(entry)
            return step
        return steps.WaitUntil(order.valid_until_us, "the route is DEGRADED: waiting for its turn")

    def _pace(self) -> tuple[float, int]:
        return self.thresholds.degraded_orders_per_s, self.thresholds.degraded_burst

    def _longer(self, order: Order, step: steps.WaitUntil, now_us: int) -> Step:
        longer_us = now_us + round((step.at_us - now_us) * self.thresholds.degraded_patience)
        if step.at_us <= order.valid_until_us:
            longer_us = min(longer_us, order.valid_until_us)
        return steps.WaitUntil(max(longer_us, step.at_us), step.reason)

    # -------------------------------------------------------------- opening

    def rouse(self, entries: Iterable[Entry]) -> None:
        """Make every waiting driver look again: the route lets other things through now."""
        for entry in entries:
            entry.rouse()
