"""Everything that can happen next in a world of the search.

What is assumed of the network: a request that bears an expiry may arrive however late. One without an expiry arrives, or is
lost, before the venue's *conclusive* time (T) has passed since it could last leave; where the venue declares no T, it may
arrive at any time. A lost request is one that never arrives: no move of its own is needed. The network may make a second
request out of one (a fault). A refusal of the second that says nothing of the first (too late, throttled, rejected) does not
come back in the place of the first one's reply; :attr:`Scenario.answers_doubled` lifts this. Reports of the execution stream
come in the venue's order, at any time: every reader checks their places.
"""

import functools
from collections.abc import Callable, Iterator

import msgspec

from onefill.core import events as ev
from onefill.core import lease, retry
from onefill.core.capabilities import Capabilities, ReplaceStyle
from onefill.core.errors import OnefillError
from onefill.core.lifecycle import ENDED
from onefill.core.steps import Rest
from onefill.sim.explore_core import Core
from onefill.sim.explore_drive import Drive, Label, Successor, told
from onefill.sim.explore_state import (
    BASE_QUANTITY,
    CALLING,
    CANCEL,
    IDLE,
    NEVER,
    PENDING,
    QUERY,
    REPLACE,
    RESTING,
    SECOND_US,
    SUBMIT,
    UNSENT,
    Driver,
    Process,
    Request,
    Scenario,
    Violation,
    World,
    instants,
)
from onefill.sim.explore_venue import Outcome, Venue, fill, put, withdraw

STEP_BACK_US = 3 * SECOND_US
"""How far a process's time of day is set back, where that happens."""
_OF_ONE_REQUEST = frozenset({"too_late", "throttled", "rejected"})
_with = msgspec.structs.replace


class Moves:
    """The moves of one scenario at a venue with these capabilities."""

    def __init__(self, capabilities: Capabilities, scenario: Scenario, *, core: Core | None = None) -> None:
        self.core = core or Core(capabilities, scenario)
        self.scenario = scenario
        self.venue = Venue(capabilities, scenario, self.core.start_us)
        self.drive = Drive(self.core, scenario)
        self._capabilities = capabilities
        self._instants = instants(capabilities, scenario)
        self._replaces = capabilities.replace is not ReplaceStyle.NONE
        self._keeps_day = scenario.midnight_s is None

    @functools.cached_property
    def calm(self) -> "Moves":
        """The moves of the same world with nothing left out of a search's bounds, for following one way to its end."""
        calm = msgspec.structs.replace(self.scenario, copies=1000, kinds=frozenset(), fills=True)
        return Moves(self._capabilities, calm, core=self.core)

    def first(self) -> World:
        """Return the world in which everything begins: one process has the route, nothing is recorded."""
        intents, scenario = self.scenario.intents, self.scenario
        world = World(
            now=0,
            epoch=0,
            until=0,
            orders=(0,) * intents,
            procs=(),
            net=(),
            book=(),
            stream=(),
            unasked=(False,) * intents,
            most=(BASE_QUANTITY,) * intents,
            faults=scenario.faults,
            cancels=scenario.cancels,
            replaces=scenario.replaces,
            doubled=False,
        )
        return self.start(world)

    def successors(self, world: World) -> list[Successor]:
        """Return everything that can happen next: what it is called, the world after it, and a promise it breaks."""
        found: list[Successor] = []
        for label, move, arguments in self._offered(world):
            try:
                found += move(world, *arguments)
            except OnefillError as error:  # the core meets what it holds for impossible
                found.append((label, world, Violation("INVARIANT", str(error))))
        return [(label, self.canonical(after), wrong) for label, after, wrong in found if after is not world or wrong]

    def _offered(self, world: World) -> Iterator[tuple[Label, Callable[..., list[Successor]], tuple[int, ...]]]:
        for place, process in enumerate(world.procs):
            if process.paused:
                yield ("wake", process.epoch), self._wake, (place,)
                continue
            for intent, driver in enumerate(process.drivers):
                if self.drive.known(world, place, intent) and (process.epoch == world.epoch or driver.phase == UNSENT):
                    yield ("act", process.epoch, intent), self.drive.act, (place, intent)
            if process.epoch == world.epoch:
                yield ("owner", process.epoch), self._callers, (place,)
                yield ("stream", process.epoch), self.stream, (place,)
                yield ("fault", process.epoch), self._fail, (place,)
        for place in range(len(world.net)):
            yield ("arrive", world.net[place]), self.arrive, (place,)
        yield ("venue",), self.venue_moves, ()
        yield ("start",), self._start, ()
        yield ("tick",), self._tick, ()

    # ------------------------------------------------------------------ callers

    def _callers(self, world: World, place: int) -> list[Successor]:
        found: list[Successor] = []
        process = world.procs[place]
        for intent, number in enumerate(world.orders):
            if not number:
                if (intent == 0 and world.now == 0) or (intent and world.orders[intent - 1]):
                    found.append((("submit", intent), self._submit(world, place, intent), None))
                break
            order = self.core.orders[number]
            if order.status in ENDED:
                continue  # every cancel of it is judged where the state is
            driver, wall = process.drivers[intent], self.drive.wall(world, process)
            if world.cancels and not order.cancel_wanted:
                moved = self.core.commit(number, (ev.CancelRecorded(None),), wall)
                wanted = self.drive.commit(world, place, intent, moved, driver)
                found.append((("cancel", intent), _with(wanted, cancels=world.cancels - 1), None))
            if not (world.replaces and self._replaces) or order.cancel_wanted or order.replacement is not None:
                continue
            for quantity in self.scenario.quantities:
                if quantity != order.quantity:
                    after = self._wish(world, place, intent, quantity)
                    found.append((("replace", intent, quantity), after, None))
        return found

    def _submit(self, world: World, place: int, intent: int) -> World:
        """Intent and first claim go into the ledger together."""
        wall = self.drive.wall(world, world.procs[place])
        number = self.core.new(intent, wall)
        claim = retry.send(self.core.orders[number], self._capabilities, wall)
        event = ev.Claimed(claim.number, claim.expires_at_us, self.core.leaves_by_us(wall))
        number = self.core.commit(number, (event,), wall)
        driver = Driver(UNSENT, SUBMIT, claim.number, claimed=world.now)
        return self.drive.commit(world, place, intent, number, driver)

    def _wish(self, world: World, place: int, intent: int, quantity: int) -> World:
        process = world.procs[place]
        moved = self.core.wish(world.orders[intent], quantity, self.drive.wall(world, process))
        after = self.drive.commit(world, place, intent, moved, process.drivers[intent])
        most = max(world.most[intent], quantity)
        return _with(after, replaces=world.replaces - 1, most=(*world.most[:intent], most, *world.most[intent + 1 :]))

    def stream(self, world: World, place: int) -> list[Successor]:
        """Let the owner read the next report of the execution stream."""
        if not world.stream:
            return []
        process, report = world.procs[place], world.stream[0]
        intent = report.view[0]
        moved = self.core.told(world.orders[intent], report, self.drive.wall(world, process))
        heard = told(_with(world, stream=world.stream[1:]), report.view)
        after = self.drive.commit(heard, place, intent, moved, process.drivers[intent])
        return [(("report", process.epoch, report), after, None)]

    # ---------------------------------------------------------------- processes

    def _fail(self, world: World, place: int) -> list[Successor]:
        process = world.procs[place]
        others = (*world.procs[:place], *world.procs[place + 1 :])
        found: list[Successor] = []
        if self.drive.faulty(world, "crash"):
            found.append((("crash", process.epoch), _with(world, procs=others, faults=world.faults - 1), None))
        if self.drive.faulty(world, "pause"):
            found.append((("pause", process.epoch), self._put(world, place, _with(process, paused=True)), None))
        if self.drive.faulty(world, "clock") and not process.offset:
            back = _with(process, offset=-STEP_BACK_US)
            found.append((("clock", process.epoch), self._put(world, place, back), None))
        return found

    def _put(self, world: World, place: int, process: Process) -> World:
        procs = (*world.procs[:place], process, *world.procs[place + 1 :])
        return _with(world, procs=procs, faults=world.faults - 1)

    def _wake(self, world: World, place: int) -> list[Successor]:
        process = _with(world.procs[place], paused=False)
        procs = (*world.procs[:place], process, *world.procs[place + 1 :])
        return [(("wake", process.epoch), _with(world, procs=procs), None)]

    def _start(self, world: World) -> list[Successor]:
        if self.may_start(world):
            return [(("start", world.epoch + 1), self.start(world), None)]
        return []

    def may_start(self, world: World) -> bool:
        """Tell whether another process may take the route: by the lease, or because the file's lock is free."""
        if len(world.procs) >= self.scenario.processes or any(
            process.epoch == world.epoch and not process.paused for process in world.procs
        ):
            return False
        until_us = None if self.scenario.lease_s is None else world.until
        held = lease.Held("holder", world.epoch, until_us) if world.epoch else None
        return lease.may_take(held, world.now) and not (self.scenario.lease_s is None and world.procs)

    def start(self, world: World) -> World:
        """Let a process take the route and take up what is open."""
        offset = 0
        procs = tuple(
            _with(process, memory=world.orders) if process.epoch == world.epoch else process for process in world.procs
        )
        drivers = (RESTING,) * self.scenario.intents
        process = Process(world.epoch + 1, self._send_until(world.now), drivers, offset=offset)
        wall = self.core.start_us + world.now + offset
        before = world.orders
        orders = tuple(self.core.recovered(number, wall) if number else 0 for number in before)
        unasked = tuple(
            flag or self.core.unknown[now] > self.core.unknown[was]
            for flag, now, was in zip(world.unasked, orders, before, strict=True)
        )
        return _with(
            world,
            epoch=world.epoch + 1,
            until=self._until(world.now),
            orders=orders,
            unasked=unasked,
            procs=(*procs, process),
        )

    def _until(self, now: int) -> int:
        return NEVER if self.scenario.lease_s is None else now + int(self.scenario.lease_s * SECOND_US)

    def _send_until(self, now: int) -> int:
        until_s = lease.send_until_s(now / SECOND_US, self.scenario.lease_s)
        return NEVER if until_s > NEVER / SECOND_US else int(until_s * SECOND_US)

    # ------------------------------------------------------------ network, venue

    def arrive(self, world: World, place: int) -> list[Successor]:
        """Let a request arrive at the venue."""
        request = world.net[place]
        rest = (*world.net[:place], *world.net[place + 1 :])
        found: list[Successor] = []
        for outcome in self.venue.receive(world.book, request, world.now):
            if outcome.fault and not self.drive.faulty(world, outcome.fault):
                continue
            spent = 1 if outcome.fault else 0
            found += self._arrived(world, request, rest, outcome, spent, doubled=False)
            if world.faults > spent and "duplicate" in self.scenario.kinds and not request.again:
                again = (*rest, _with(request, again=True))
                found += self._arrived(world, request, again, outcome, spent + 1, doubled=True)
        return found

    def _arrived(
        self, world: World, request: Request, net: tuple[Request, ...], outcome: Outcome, spent: int, *, doubled: bool
    ) -> list[Successor]:
        label = ("arrive", request, outcome.reply, outcome.view, outcome.fault, doubled)
        after = _with(
            world,
            net=net,
            book=outcome.book,
            stream=(*world.stream, *outcome.reports),
            faults=world.faults - spent,
            doubled=world.doubled or doubled,
        )
        for place, process in enumerate(world.procs):
            driver = process.drivers[request.intent]
            if request.again and outcome.reply in _OF_ONE_REQUEST and not self.scenario.answers_doubled:
                break
            if driver.phase != CALLING or (driver.what, driver.number) != (request.what, request.number):
                continue
            reply = self.core.reply(outcome.reply, outcome.view)
            heard = self.drive.driven(after, place, request.intent, _with(driver, reply=reply))
            if driver.reply and driver.reply != reply:  # of two replies to one call, either may be the one that is read
                return [(label, heard, None), (label, after, None)]
            return [(label, heard, None)]
        return [(label, after, None)]

    def venue_moves(self, world: World) -> list[Successor]:
        """Return what the venue may do of itself: show an order to queries, decide on it, execute, end or forget it."""
        found: list[Successor] = []
        for place, one in enumerate(world.book):
            if one.hidden:
                book = (*world.book[:place], _with(one, hidden=0), *world.book[place + 1 :])
                found.append((("appear", one.number), _with(world, book=book), None))
            if 0 < one.kept_until <= world.now:
                lost = _with(one, kept_until=0, forgotten=True)
                found.append((("forget", one.number), _with(world, book=put(world.book, place, lost)), None))
            if one.status == PENDING:
                for outcome in self.venue.decide(world.book, place, world.now):
                    if outcome.fault and not self.drive.faulty(world, outcome.fault):
                        continue
                    faults = world.faults - (1 if outcome.fault else 0)
                    stream = (*world.stream, *outcome.reports)
                    after = _with(world, book=outcome.book, stream=stream, faults=faults)
                    found.append((("decide", one.number, outcome.reports[0].kind), after, None))
                continue
            if one.live and self.drive.faulty(world, "withdrawn"):
                book, report = withdraw(world.book, place)
                after = _with(world, book=book, stream=(*world.stream, report), faults=world.faults - 1)
                found.append((("withdrawn", one.number), after, None))
            if one.live and self.scenario.fills:
                left = one.quantity - one.cum
                for quantity in (left, 1) if self.scenario.partial and left > 1 else (left,):
                    book, report = fill(world.book, place, quantity)
                    after = _with(world, book=book, stream=(*world.stream, report))
                    found.append((("fill", one.number, quantity), after, None))
        return found

    # -------------------------------------------------------------------- clock

    def _tick(self, world: World) -> list[Successor]:
        later = next((at for at in self._instants if at > world.now), None)
        if later is None:
            return []
        return [(("tick", later), self.pass_to(world, later), None)]

    def pass_to(self, world: World, now: int) -> World:
        """Let time pass: leases are renewed by those who are awake, and what is bound to have come or gone has."""
        procs, until = world.procs, world.until
        if self.scenario.lease_s is not None:
            moved = []
            for process in procs:
                renewed = process
                if process.epoch == world.epoch and not process.paused:
                    renewed, until = _with(process, until=self._send_until(now)), self._until(now)
                moved.append(renewed)
            procs = tuple(moved)
        book = world.book
        if any(0 < one.hidden <= now for one in book):
            book = tuple(_with(one, hidden=0) if 0 < one.hidden <= now else one for one in book)
        net = tuple(one for one in world.net if one.expires < NEVER or now < one.bound)
        return _with(world, now=now, until=until, procs=procs, book=book, net=net)

    # ---------------------------------------------------------------- canonical

    def canonical(self, world: World) -> World:
        """Return the world without what cannot matter any more."""
        procs = self._canonical_processes(world)
        net = world.net
        book = self.venue.kept(world.book, world.now)
        if book is not world.book:
            world = _with(world, book=book)
        if world.stream:
            world = self._old_news(world)
        if net:
            waiting = {
                (driver.what, intent, driver.number)
                for process in procs
                for intent, driver in enumerate(process.drivers)
                if driver.phase == CALLING and driver.what != QUERY
            }
            kept = [one for one in net if (one.what, one.intent, one.number) in waiting or self._can_act(world, one)]
            net = tuple(sorted(kept)) if len(kept) > 1 else tuple(kept)
        if procs == world.procs and net == world.net:
            return world
        return _with(world, procs=procs, net=net)

    def _old_news(self, world: World) -> World:
        """Reports that say nothing new to an owner that is awake are taken in at once: nothing new stays nothing new."""
        place = next((place for place, one in enumerate(world.procs) if one.epoch == world.epoch), -1)
        while world.stream and place >= 0 and not world.procs[place].paused:
            report = world.stream[0]
            number = world.orders[report.view[0]]
            if self.core.told(number, report, self.drive.wall(world, world.procs[place])) != number:
                break
            world = told(_with(world, stream=world.stream[1:]), report.view)
        return world

    def _canonical_processes(self, world: World) -> tuple[Process, ...]:
        kept = []
        for process in world.procs:
            if process.epoch != world.epoch:
                # Whatever it wants to write is refused, and what it hears it cannot write: only what it may yet send counts.
                if any(driver.phase == UNSENT for driver in process.drivers):
                    drivers = tuple(driver if driver.phase == UNSENT else RESTING for driver in process.drivers)
                    kept.append(_with(process, drivers=drivers) if drivers != process.drivers else process)
                continue
            if not process.paused:
                process = self._at_rest(world, process)  # noqa: PLW2901
            kept.append(process)
        return tuple(kept)

    def _at_rest(self, world: World, process: Process) -> Process:
        """A driver that has nothing to do ends, and forgets its last query."""
        drivers = process.drivers
        for intent, driver in enumerate(drivers):
            if driver.phase == IDLE and (driver.lookup or driver.claimed >= 0) and world.orders[intent]:
                step = self.core.step(world.orders[intent], driver.lookup, self.drive.wall(world, process))
                if isinstance(step, Rest):
                    over = self.core.orders[world.orders[intent]].status in ENDED
                    ended = RESTING if over else _with(driver, lookup=0)
                    drivers = (*drivers[:intent], ended, *drivers[intent + 1 :])
        return process if drivers is process.drivers else _with(process, drivers=drivers)

    def _can_act(self, world: World, request: Request) -> bool:
        """Tell whether a request for whose reply nobody waits can still change anything at the venue."""
        if world.now > request.expires:
            return False
        if request.what == SUBMIT:
            if self.scenario.late_duplicates or not self._capabilities.refuses_repeats:
                return True
            refused = self.venue.in_use(world.book, request.intent, request.client_id, world.now)
            lasting = self._capabilities.unique_scope.value
            return refused is None or not (lasting == "ever" or (lasting == "day" and self._keeps_day))
        place = self.venue.find(world.book, request)
        if request.what == CANCEL:
            return place < 0 or world.book[place].live
        return request.what == REPLACE and (place < 0 or world.book[place].live)
