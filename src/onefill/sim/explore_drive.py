"""What a gateway process does next in a world of the search: the steps that the core names, as the engine performs them.

Claim, send and taking in the reply are moves of their own, and a crash fits between any two. A query is one move, its reply
another: what the venue says is of the moment when the query was begun, the worst that can be.
"""

from typing import Final

import msgspec

from onefill.core import claims, evidence, lease, steps
from onefill.core import events as ev
from onefill.core import messages as msg
from onefill.core.events import CopyOutcome, Event
from onefill.core.lifecycle import Status
from onefill.core.order import Order
from onefill.core.steps import Step
from onefill.sim import explore_checks as checks
from onefill.sim.explore_core import STATUSES, Core, copies_of
from onefill.sim.explore_state import (
    CALL_US,
    CALLING,
    CANCEL,
    EXPIRY_S,
    IDLE,
    NEVER,
    PENDING,
    QUERY,
    REPLACE,
    SECOND_US,
    SUBMIT,
    UNSENT,
    Booked,
    Driver,
    Process,
    Request,
    Scenario,
    View,
    Violation,
    World,
)

Label = tuple[object, ...]
Successor = tuple[Label, World, Violation | None]
_with = msgspec.structs.replace
_EVENTS: Final[dict[type[Step], type[ev.ExpiredUnsent | ev.Withdrawn | ev.Parked | ev.CancelRefused]]] = {
    steps.ExpireUnsent: ev.ExpiredUnsent,
    steps.Withdraw: ev.Withdrawn,
    steps.Park: ev.Parked,
    steps.TellRefused: ev.CancelRefused,
}


class Drive:
    """The moves of gateway processes that drive orders."""

    def __init__(self, core: Core, scenario: Scenario) -> None:
        self._core = core
        self._scenario = scenario
        self._copies = scenario.copies
        self._conclusive_us = NEVER
        if core.capabilities.conclusive_after_s is not None:
            self._conclusive_us = int(core.capabilities.conclusive_after_s * SECOND_US)

    # ------------------------------------------------------------------- ledger

    def wall(self, world: World, process: Process) -> int:
        """Return a process's time of day."""
        return self._core.start_us + world.now + process.offset

    def known(self, world: World, place: int, intent: int) -> int:
        """Return a process's idea of an order: the ledger's, unless it is the owner no more."""
        process = world.procs[place]
        return process.memory[intent] if process.memory else world.orders[intent]

    def driven(self, world: World, place: int, intent: int, driver: Driver) -> World:
        """Return the world with another state of one driver."""
        process = world.procs[place]
        drivers = (*process.drivers[:intent], driver, *process.drivers[intent + 1 :])
        moved = _with(process, drivers=drivers)
        return _with(world, procs=(*world.procs[:place], moved, *world.procs[place + 1 :]))

    def commit(self, world: World, place: int, intent: int, order: int, driver: Driver) -> World:
        """Return the world after one change of an order in the ledger. A process that was fenced ends instead."""
        if world.procs[place].epoch != world.epoch:
            return _with(world, procs=(*world.procs[:place], *world.procs[place + 1 :]))
        before = world.orders[intent]
        if driver is not world.procs[place].drivers[intent]:
            world = self.driven(world, place, intent, driver)
        if order == before:
            return world
        orders = (*world.orders[:intent], order, *world.orders[intent + 1 :])
        if self._core.unknown[order] > self._core.unknown[before]:
            unasked = (*world.unasked[:intent], True, *world.unasked[intent + 1 :])
            return _with(world, orders=orders, unasked=unasked)
        return _with(world, orders=orders)

    # -------------------------------------------------------------------- steps

    def next_of(self, world: World, place: int, intent: int) -> Step:
        """Return the step that a driver which is between two steps takes next."""
        process = world.procs[place]
        order = self.known(world, place, intent)
        return self._core.step(order, process.drivers[intent].lookup, self.wall(world, process))

    def act(self, world: World, place: int, intent: int) -> list[Successor]:
        """Return what a process can do next about an order."""
        driver = world.procs[place].drivers[intent]
        if driver.phase == IDLE:
            return self._step(world, place, intent)
        if driver.phase == UNSENT:
            return self._send(world, place, intent)
        return self._hear(world, place, intent)

    def _step(self, world: World, place: int, intent: int) -> list[Successor]:
        step = self.next_of(world, place, intent)
        if isinstance(step, steps.Rest | steps.WaitUntil):
            return []
        if isinstance(step, steps.Send | steps.SendCancel | steps.SendReplace):
            return self._claim(world, place, intent, step)
        if isinstance(step, steps.Ask | steps.Scan):
            return self._query(world, place, intent, step)
        process = world.procs[place]
        driver = process.drivers[intent]
        order, wall = self.known(world, place, intent), self.wall(world, process)
        if isinstance(step, steps.Adopt):
            return [(("adopt", process.epoch, intent, step.order), self._adopt(world, place, intent, step), None)]
        moved = self._core.commit(order, self._decided(self._core.orders[order], step), wall)
        after = self.commit(world, place, intent, moved, driver)
        return [(("decide", process.epoch, intent, step), after, None)]

    def _adopt(self, world: World, place: int, intent: int, step: steps.Adopt) -> World:
        process = world.procs[place]
        driver, order = process.drivers[intent], self.known(world, place, intent)
        moved = self._core.adopt(order, step.order, self.wall(world, process))
        adopted = _with(driver, lookup=self._core.adopted(driver.lookup))
        return self.commit(told(world, _view(step.order)), place, intent, moved, adopted)

    def _decided(self, order: Order, step: Step) -> tuple[Event, ...]:
        if isinstance(step, steps.ConcludeAbsent):
            return (ev.ProvenAbsent(step.asked_at_us),)
        if isinstance(step, steps.ConcludeNotReplaced | steps.DropReplace):
            return evidence.not_replaced(order, step.reason)
        return (_EVENTS[type(step)](getattr(step, "reason", "")),)

    def _claim(
        self, world: World, place: int, intent: int, step: steps.Send | steps.SendCancel | steps.SendReplace
    ) -> list[Successor]:
        process = world.procs[place]
        order, wall = self.known(world, place, intent), self.wall(world, process)
        if step.number > self._copies:
            return []  # the search's bound, not the contract's
        leaves_by_us = self._core.leaves_by_us(wall)
        wrong = None
        event: Event
        if isinstance(step, steps.Send):
            what, event = SUBMIT, ev.Claimed(step.number, step.expires_at_us, leaves_by_us)
            wrong = checks.claim(world, self._core, intent, step.number)
        elif isinstance(step, steps.SendCancel):
            what, event = CANCEL, ev.CancelClaimed(step.number)
        else:
            what, event = REPLACE, ev.ReplaceClaimed(step.number, step.expires_at_us, leaves_by_us)
        moved = self._core.commit(order, (event,), wall)
        driver = Driver(UNSENT, what, step.number, claimed=world.now)
        after = self.commit(world, place, intent, moved, driver)
        return [(("claim", process.epoch, intent, what, step.number), after, wrong)]

    def _query(self, world: World, place: int, intent: int, step: steps.Ask | steps.Scan) -> list[Successor]:
        process = world.procs[place]
        driver = process.drivers[intent]
        order, wall = self.known(world, place, intent), self.wall(world, process)
        waited_us = -1 if driver.claimed < 0 else world.now - driver.claimed
        asked = world
        if process.epoch == world.epoch and world.unasked[intent]:
            asked = _with(world, unasked=(*world.unasked[:intent], False, *world.unasked[intent + 1 :]))
        calling = _with(driver, phase=CALLING, what=QUERY, number=0, since=world.now)
        replies = [(asked, said) for said in self._core.query(order, step, world.book, driver.lookup, wall, waited_us)]
        if self.faulty(world, "silence"):
            unknown = msg.Unknown("no reply")
            said = self._core.looked(order, step.client_order_id, unknown, driver.lookup, wall, waited_us)
            replies.append((_with(asked, faults=world.faults - 1), said))
        return [
            (
                ("query", process.epoch, intent, step, said),
                self.driven(before, place, intent, _with(calling, reply=said)),
                None,
            )
            for before, said in replies
        ]

    def faulty(self, world: World, kind: str) -> bool:
        """Tell whether a fault of this kind may happen (yet)."""
        return world.faults > 0 and kind in self._scenario.kinds

    # --------------------------------------------------------------------- wire

    def _send(self, world: World, place: int, intent: int) -> list[Successor]:
        """Hand a claimed request over to the network, if it may still leave."""
        process = world.procs[place]
        driver, order = process.drivers[intent], self._core.orders[self.known(world, place, intent)]
        reason = self._not_to_be_sent(world, process, driver, order)
        rested = _with(driver, phase=IDLE, what=0, number=0)
        name = (process.epoch, intent, driver.what, driver.number)
        number, wall = self.known(world, place, intent), self.wall(world, process)
        moved = self._core.unsent(number, driver.what, driver.number, wall)
        unsent = self.commit(world, place, intent, moved, rested)
        if reason is not None:
            return [(("unsent", *name, reason), unsent, None)]
        request = self._request(world, order, intent, driver)
        wrong = checks.send(world, self._core, process, request)
        calling = _with(driver, phase=CALLING, since=world.now, reply=0)
        after = _with(self.driven(world, place, intent, calling), net=(*world.net, request))
        found: list[Successor] = [(("send", *name, request), after, wrong)]
        if self.faulty(world, "not_sent"):
            found.append((("unsent", *name, "no connection"), _with(unsent, faults=world.faults - 1), None))
        return found

    def _not_to_be_sent(self, world: World, process: Process, driver: Driver, order: Order) -> str | None:
        """Return why a claimed request must not leave after all, as the engine's sender judges it."""
        if driver.what == SUBMIT and order.status not in {Status.SENDING, Status.UNCERTAIN}:
            return f"the venue showed the order as {order.status} between claim and send"
        if driver.what == SUBMIT and any(copy.outcome is CopyOutcome.REJECTED for copy in order.copies):
            return "the venue rejected another copy between claim and send"
        if not lease.may_send(world.now / SECOND_US, process.until / SECOND_US):
            return "the lease on the route ended between claim and send"
        wall, waited_us = self.wall(world, process), world.now - driver.claimed
        if driver.what == SUBMIT:
            return claims.too_late_to_send(order.copies[driver.number - 1], order.valid_until_us, wall, waited_us)
        wanted = order.replacement
        if driver.what == REPLACE:
            if wanted is None or driver.number <= wanted.copies_before:
                return "the replace came to an end between claim and send"
            return claims.too_late_to_send(wanted.copies[-1], wanted.valid_until_us, wall, waited_us)
        return None

    def _request(self, world: World, order: Order, intent: int, driver: Driver) -> Request:
        core = self._core
        venue_number = int(order.venue_order_id[1:]) if order.venue_order_id else 0
        live_id = core.client_id_of(order, order.live_id)
        bound = min(world.now + CALL_US + self._conclusive_us, NEVER)  # it may leave as late as the call lasts
        if driver.what == CANCEL:
            return Request(CANCEL, intent, driver.number, NEVER, bound, live_id, venue_number=venue_number)
        copy = next(one for one in copies_of(order, driver.what) if one.number == driver.number)
        expires = NEVER
        if copy.expires_at_us is not None:
            expires = copy.expires_at_us - core.start_us
            bound = min(expires + self._conclusive_us - int(EXPIRY_S * SECOND_US), NEVER)
        if driver.what == SUBMIT:
            return Request(SUBMIT, intent, driver.number, expires, bound)
        wanted = order.replacement
        new_id = core.client_id_of(order, wanted.client_order_id) if wanted is not None else -1
        quantity = int(wanted.quantity) if wanted is not None else 0
        return Request(REPLACE, intent, driver.number, expires, bound, live_id, new_id, venue_number, quantity)

    def _hear(self, world: World, place: int, intent: int) -> list[Successor]:
        """Take in the reply to a call, or give the call up."""
        process = world.procs[place]
        driver = process.drivers[intent]
        rested = _with(driver, phase=IDLE, what=0, number=0, since=0, reply=0)
        if driver.what == QUERY:
            after = self.driven(world, place, intent, _with(rested, lookup=driver.reply))
            step = self.next_of(after, place, intent)
            if isinstance(step, steps.Adopt):  # nothing can come between hearing of it and taking it in
                after = self._adopt(after, place, intent, step)
            return [(("answer", process.epoch, intent, driver.reply), after, None)]
        order, wall = self.known(world, place, intent), self.wall(world, process)
        name = (process.epoch, intent, driver.what, driver.number)
        found: list[Successor] = []
        if driver.reply:
            moved = self._core.settle(order, driver.what, driver.number, driver.reply, wall)
            view = self._core.reply_views[driver.reply]
            heard = told(world, view)
            after = self.commit(heard, place, intent, moved, rested)
            found.append((("reply", *name, driver.reply), after, None))
        late = world.now >= driver.since + CALL_US
        if late or self.faulty(world, "cut"):
            moved = self._core.settle(order, driver.what, driver.number, 0, wall)
            after = self.commit(world, place, intent, moved, rested)
            if not late:
                after = _with(after, faults=world.faults - 1)
            found.append((("no_reply", *name, late), after, None))
        return found


def told(world: World, view: View | None) -> World:
    """Return the world in which the gateway was told of an order that the venue had accepted."""
    if view is None or view[5] == PENDING:
        return world  # the number may be provisional
    place = view[2] - 1
    if not 0 <= place < len(world.book) or world.book[place].told:
        return world
    one: Booked = _with(world.book[place], told=True)
    return _with(world, book=(*world.book[:place], one, *world.book[place + 1 :]))


def _view(found: msg.VenueOrder) -> View:
    return (0, 0, int(found.venue_order_id[1:]), 0, 0, STATUSES.index(found.status))
