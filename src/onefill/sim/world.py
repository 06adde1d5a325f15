"""A simulated world: the real engine over a real SQLite ledger in virtual time, with a seeded network, exchange and crashes.

One seed decides all of it (:mod:`onefill.sim.world_plan`), and the same seed gives the same history bit for bit. A world has
two parts. First there are faults. Then they stop, every order that is still open is cancelled, a person resolves what waits
for one, and everything must come to rest. What happened is a :class:`Run`, to be judged by :mod:`onefill.sim.checkers`.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from decimal import Decimal
from random import Random
from typing import Any, cast

import msgspec

from onefill.core.lifecycle import ENDED
from onefill.core.messages import VenueOrder
from onefill.core.order import Order
from onefill.core.values import Instrument
from onefill.engine.replay import replay_route
from onefill.ledger.sqlite import SqliteLedger
from onefill.ports.ledger import Change
from onefill.sim.exchange import Exchange
from onefill.sim.history import Called, Fault, History, Phase
from onefill.sim.virtual_loop import NothingLeft
from onefill.sim.world_callers import Callers
from onefill.sim.world_hosts import Hosts
from onefill.sim.world_ledger import open_database
from onefill.sim.world_life import Life
from onefill.sim.world_loop import Endless, SkewedLoop, WorldLoop, current
from onefill.sim.world_network import Network
from onefill.sim.world_nodes import ROUTE
from onefill.sim.world_office import Office
from onefill.sim.world_operator import Operator
from onefill.sim.world_plan import ACCOUNT, STRATEGY, SYMBOL, Cancel, Plan, Replace, Submit
from onefill.sim.world_run import Birth, Run
from onefill.sim.world_subscriber import Listener
from onefill.sim.world_supervisor import Supervisors

__all__ = ["BOUND_S", "Birth", "Run", "World", "run_world"]
ACME = Instrument(symbol=SYMBOL, price_tick=Decimal("0.01"), quantity_step=Decimal(1), min_quantity=Decimal(1))
BOUND_S = 600.0
"""Virtual seconds after the last fault within which every order has to be over or wait for a person, and after the person's
word has to be over: a patient pause of the retry contract is a minute."""


TOLD_WITHIN_S = 60.0
"""Virtual seconds within which a subscriber that takes everything has to be told of all that happened before."""


class World:
    """See the module's text. Make one inside a running :class:`~onefill.sim.world_loop.WorldLoop`."""

    def __init__(self, plan: Plan, loop: WorldLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.draw = Random(f"world {plan.seed}")  # noqa: S311 - repeatable on purpose
        self.context = contextvars.copy_context()
        self.history = History()
        self.account, self.symbol = ACCOUNT, SYMBOL
        self.born: dict[str, Birth] = {}
        self.complaints: list[str] = []
        self.leaked: list[str] = []
        self.clock_off_us = [0] * plan.hosts
        self._furthest_us = 0
        self._drifts = plan.nodes.drifts
        holding = {SYMBOL: Decimal(plan.books.holding)} if plan.books.holding else {}
        self.exchange = Exchange(plan.dialect, [ACME], {ACCOUNT: holding})
        self.database = open_database()
        self.ledger = SqliteLedger(self.database, inline=True)
        """The database as it is by itself: what every process's writes come to."""
        self.network = Network(self)
        self.callers = Callers(self)
        self.operator = Operator(self)
        self.office = Office(self)
        self.listener = Listener(self)
        self._chain: dict[str, list[str]] = {}
        self._steps: dict[str, int] = {}
        self._crashes = {(crash.step, crash.nth) for crash in plan.crashes if crash.step}
        self._failures = dict(plan.ledger_failures)
        self._stalls = {int(stall.at_s): stall.amount for stall in plan.stalls}
        self._groups = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._jittery = self.draw.random() < 0.7
        self._exchange_timer: asyncio.TimerHandle | None = None
        self.faulty = True
        self.owner = 0
        """The number of the life that owns the route by the ledger."""
        self.hosts = Hosts(self)
        self.supervisors = Supervisors(self)

    # ------------------------------------------------------------------- time

    def at_us(self) -> int:
        """Return µs since the world began."""
        return round(self.loop.now_s * 1e6)

    def true_us(self) -> int:
        """Return true time, µs since 1970: the exchange's and the database's clock."""
        return self.plan.start_us + self.at_us()

    def wall_us(self, host: int) -> int:
        """Return what a host takes for the time, µs since 1970."""
        off_us = self.clock_off_us[host]
        if self._drifts:
            off_us += int(self._drifts[host] * self.at_us())
        return self.true_us() + off_us

    def _set_clocks_alike(self) -> None:
        """Set every host's clock to the furthest that any ever showed.

        A claim that lies in a clock's future keeps a person from being believed until that clock is there.
        """
        off_us = [self.wall_us(host) - self.true_us() for host in range(self.plan.hosts)]
        self._furthest_us = max(self._furthest_us, *off_us)
        if self._drifts:
            self._drifts, self.clock_off_us = (), off_us
        for host, one in enumerate(off_us):
            if one < self._furthest_us:
                self._step_clock(host, self._furthest_us - one)

    def keep_exchange_going(self) -> None:
        """Set a timer for what the exchange decides later by itself."""
        due_us = self.exchange.next_due_us()
        if due_us is not None and self._exchange_timer is None:
            delay_s = max(due_us - self.true_us(), 0) / 1e6
            self._exchange_timer = self.loop.after(delay_s, self._exchange_due, context=self.context)

    def _exchange_due(self) -> None:
        self._exchange_timer = None
        self.exchange.advance(self.true_us())
        self.keep_exchange_going()

    # ------------------------------------------------------------ what befalls

    def crashes_at(self, step: str, life: int) -> bool:
        """Tell whether the process that comes to this step now dies there."""
        count = self._steps[step] = self._steps.get(step, 0) + 1
        if not self.faulty or (step, count) not in self._crashes:
            return False
        self.history.add(Fault(self.at_us(), "crash", step, life=life))
        return True

    def hold_up_s(self) -> float | None:
        """Return for how long a call lasts longer than it must (zero: others come first), or ``None``."""
        if not self._jittery or self.draw.random() > 0.2:
            return None
        return self.draw.choice((0.0, 0.0, self.draw.uniform(0, 0.01)))

    def disk_delay_s(self) -> float:
        """Return how long a commit takes."""
        if not self._jittery or self.draw.random() > 0.3:
            return 0.0
        return self.draw.uniform(0, 0.006)

    def stall_s(self, life: int) -> float:
        """Return for how long the process that has just committed sleeps before it learns of it."""
        self._groups += 1
        stall_s = self._stalls.get(self._groups, 0.0) if self.faulty else 0.0
        if stall_s:
            self.history.add(Fault(self.at_us(), "stall", "commit", f"{stall_s} s", life))
        return stall_s

    def ledger_failure(self, life: int) -> bool | None:
        """Return ``None`` if the next group of commits is written, or that it fails, though durable (True) or not."""
        durable = self._failures.get(self._groups + 1) if self.faulty else None
        if durable is not None:
            del self._failures[self._groups + 1]
            said = "durable" if durable else "not durable"
            self.history.add(Fault(self.at_us(), "ledger fails", "commit", said, life))
        return durable

    def _step_clock(self, host: int, by_us: int) -> None:
        before_us = self.wall_us(host) - self.true_us()
        self.clock_off_us[host] += by_us
        self._furthest_us = max(self._furthest_us, before_us, before_us + by_us)
        self.history.add(Fault(self.at_us(), "clock step", "clock", f"host{host} by {by_us / 1e6:+.6f} s"))

    # ---------------------------------------------------------- what is known

    def note_birth(self, order: VenueOrder, message: int) -> None:
        """Note which message made an order."""
        self.born[order.venue_order_id] = Birth(order.client_order_id, self.true_us(), message)

    def note_ids(self, change: Change) -> None:
        """Note under which ids an order goes on."""
        if change.order is not None and change.replacement is not None and change.replacement.new_id:
            chain = self._chain.setdefault(change.order.client_order_id, [])
            if change.replacement.replacement.client_order_id not in chain:
                chain.append(change.replacement.replacement.client_order_id)

    def ids_of(self, order: Order) -> frozenset[str]:
        """Return every client order id that an order has or may go on under."""
        return frozenset((order.client_order_id, *self._chain.get(order.client_order_id, ())))

    def live_at_venue(self, order: Order | None) -> tuple[str, ...]:
        """Return what is live at the exchange under an order's ids, for an order that is over."""
        if order is None or order.status not in ENDED:
            return ()
        ids = self.ids_of(order)
        open_now = self.exchange.open_orders(self.account)
        return tuple(one.venue_order_id for one in open_now if one.client_order_id in ids)

    def seen_by_readers(self, number: str) -> bool:
        """Tell whether queries show an order by now."""
        born = self.born.get(number)
        return born is not None and self.true_us() - born.true_us > self.plan.weather.lag_s * 1e6

    async def some_gateway(self, *, holding: bool = False) -> Life | None:
        """Return a gateway that takes orders, once there is one. ``holding``: it has the route itself."""
        return await self.supervisors.some_gateway(holding=holding)

    # --------------------------------------------------------------- the course

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run ``work`` in the world, outside every process."""
        task = self.loop.create_task(work, context=self.context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.complaints.append(f"the simulation itself failed: {task.exception()!r}")

    async def run(self) -> Run:
        """Let the world take its course."""
        plan = self.plan
        made = Run(plan=plan, history=self.history, born=self.born)
        hosts = [self.spawn(self.supervisors.keep_running(host)) for host in range(plan.hosts)]
        self._schedule()
        await asyncio.sleep(plan.faults_end_s)
        self.faulty = False
        self.network.calm()
        self.hosts.calm()
        self.listener.calm()
        self._set_clocks_alike()
        self.history.add(Phase(self.at_us(), "faults end"))
        life = await self.supervisors.steady_gateway()
        if life is not None:
            await self._come_to_rest(made, life)
        else:
            made.unrested.append("no gateway would start")
        self.supervisors.wanted.clear()
        await asyncio.wait(hosts)
        await self._read(made)
        for task in [task for task in self._tasks if not task.done()]:
            task.cancel()
            made.leaked.append(f"of the world: {task.get_coro()!r}")
        made.complaints, made.lasted_s = self.complaints, self.loop.now_s
        made.leaked += self.leaked
        return made

    def _schedule(self) -> None:
        plan, loop = self.plan, self.loop
        self.hosts.schedule()
        for one in plan.callers:
            loop.after(one.at_s, self._begin, one, context=self.context)
        for trade in plan.trades:
            loop.after(trade.at_s, self.callers.trade, trade, context=self.context)
        for step in plan.clock_steps:
            loop.after(step.at_s, self._step_clock, step.host, int(step.amount), context=self.context)
        for outage in plan.restarts:
            loop.after(outage.at_s, self.network.restart, outage.amount, context=self.context)
        for outage in plan.partitions:
            loop.after(outage.at_s, self.network.part, outage.host, outage.amount, context=self.context)
        for halt in plan.halts:
            loop.after(halt.at_s, self.network.halt, halt.amount, context=self.context)
        for amendment in plan.books.amendments:
            loop.after(amendment.at_s, self.office.amend, amendment, context=self.context)
        for frozen in plan.books.frozen:
            loop.after(frozen.at_s, self.office.freeze, frozen, context=self.context)
        for crash in plan.crashes:
            if not crash.step:
                loop.after(crash.at_s, self._crash_some, context=self.context)

    def _begin(self, one: Submit | Cancel | Replace) -> None:
        callers = self.callers
        if isinstance(one, Submit):
            self.spawn(callers.submit(one))
        elif isinstance(one, Cancel):
            self.spawn(callers.cancel(one))
        else:
            self.spawn(callers.replace(one))

    def _crash_some(self) -> None:
        alive = [life for life in self.supervisors.lives if not (life.dead or life.closed)]
        if alive:
            life = self.draw.choice(alive)
            self.history.add(Fault(self.at_us(), "crash", "any time", life=life.number))
            life.die("at some time")

    async def _come_to_rest(self, made: Run, life: Life) -> None:
        """Cancel what is open, let a person resolve what is parked, and wait until all is over."""
        await self._until(lambda: not self._callers_at_work(), 0.5)
        firsts = {one.key: one for one in reversed(self.plan.callers) if isinstance(one, Submit)}
        await self.office.release()
        firsts |= {one.key: one for one in self.office.submits}
        for phase in ("end", "again"):
            life = await self.some_gateway() or life
            await self._catch_up(life)  # what was busted meanwhile may be live again
            self.history.add(Phase(self.at_us(), f"everything is to end ({phase})"))
            if phase == "end" and self.plan.operator_lies:
                await self.operator.deny_live(life)
            ending = [self._end_key(life, one, phase) for one in firsts.values()]
            await asyncio.gather(*ending)
            waiting = await self._rest(life)
            if waiting and await self.operator.end_forgotten(life):
                waiting = await self._rest(life)
            made.unrested = waiting
            if waiting:
                return
            parked = [order for order in life.gateway.open_orders() if order.parked]
            if phase == "end" and self.plan.operator_lies:
                orders = await life.ledger.orders(0, 3)
                for order in orders:
                    await self.operator.deny(life, order)
            if not parked:
                break
            self.history.add(Phase(self.at_us(), f"the operator resolves {len(parked)}"))
            for order in parked:
                await self.operator.resolve(life, order)
        await self.office.reconcile()
        # An execution that the stream hid may be taken back in secret too: its order is live again, and ends now.
        revived = {order.key for order in life.gateway.open_orders()}
        await asyncio.gather(*(self._end_key(life, one, "last") for one in firsts.values() if one.key in revived))
        made.unrested = await self._rest(life, parked_rests=False)
        if made.unrested and await self.operator.end_forgotten(life):
            made.unrested = await self._rest(life, parked_rests=False)
        self.history.add(Phase(self.at_us(), "at rest" if not made.unrested else "never at rest"))
        await self._final_answers(made, life, list(firsts.values()))
        if self.plan.nodes.hosts > 1:
            await self._all_told(made)

    async def _all_told(self, made: Run) -> None:
        """Wait until the subscriber was told of all that there is, and the ledger knows."""
        until_s = self.loop.now_s + TOLD_WITHIN_S
        while self.loop.now_s < until_s:
            route = next(one for one in await self.ledger.routes() if one.name == ROUTE)
            places = await self.ledger.subscriptions(ROUTE)
            if any(one.position == route.journal_entries for one in places):
                made.told = True
                return
            await asyncio.sleep(0.5)

    async def _until(self, what: Callable[[], bool], pause_s: float) -> None:
        while not what():  # noqa: ASYNC110 - in virtual time, where looking often costs nothing
            await asyncio.sleep(pause_s)

    def _callers_at_work(self) -> bool:
        return self.at_us() < 1e6 * (self.plan.faults_end_s + 30) and len(self._tasks) > len(self.supervisors.wanted)

    async def _end_key(self, life: Life, one: Submit, phase: str) -> None:
        await self.callers.submit_once(life, msgspec.structs.replace(one, gives_up_after_s=None), 1.5)
        await self.callers.cancel_once(life, one.key, f"{phase}-{one.key}", 1.5)

    async def _rest(self, life: Life, *, parked_rests: bool = True) -> list[str]:
        """Wait until every order is over (or parked); return those that are not within the bound."""
        pause_s, until_s = 0.25, self.loop.now_s + BOUND_S
        while True:
            waiting = [o for o in life.gateway.open_orders() if not (o.parked and parked_rests)]
            if not waiting or self.loop.now_s >= until_s:
                return [f"{order.key} is {order.status}{' and parked' if order.parked else ''}" for order in waiting]
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 5.0)

    async def _final_answers(self, made: Run, life: Life, firsts: list[Submit]) -> None:
        """Repeat every submit once more, catch up with the executions, and read the positions."""
        for one in firsts:
            await self.callers.submit_once(life, msgspec.structs.replace(one, gives_up_after_s=None), 1.0)
        await self._catch_up(life)
        made.positions = life.gateway.positions()
        made.rested = not made.unrested

    async def _catch_up(self, life: Life) -> None:
        for _ in range(10):  # the stream may wait before it connects again, the lease may not be renewed yet
            catching_up = life.spawn(life.gateway.catch_up())
            await asyncio.wait({catching_up})
            error = None if catching_up.cancelled() else catching_up.exception()
            if error is None:
                return
            await asyncio.sleep(0.2)
        self.complaints.append(f"catching up failed: {error!r}")

    def forget(self) -> None:
        """Untie what holds each other, so that it goes away at once: thousands of worlds are run in a row."""
        self.supervisors.forget()
        self._tasks.clear()

    async def _read(self, made: Run) -> None:
        """Read the ledger as it is now, and the truth of the exchange."""
        life = Life(self, 0, 0)
        ledger = life.ledger
        made.orders = await ledger.orders(0, 10_000)
        made.executions = [execution for _, execution in await ledger.executions(ROUTE, 0, 10_000)]
        made.journal = await ledger.journal(ROUTE, 0, 100_000)
        for record in self.history:
            if isinstance(record, Called) and record.operation_key is not None:
                name = (record.key, record.operation_key)
                if name not in made.operations:
                    known = await ledger.operation(ACCOUNT, STRATEGY, *name)
                    made.operations[name] = None if known is None else known.answer
        made.route = next((route for route in await ledger.routes() if route.name == ROUTE), None)
        made.incidents = await ledger.incidents(open_only=False)
        if made.route is not None:
            made.replayed, _ = await replay_route(ledger, ROUTE)
        made.suspicions = await ledger.suspicions(ROUTE, 0)
        made.at_venue = [order for order in self.exchange.all_orders() if order.account == self.account]
        made.reports = self.exchange.executions(self.account, 0, 100_000)
        made.trades = self.exchange.trades(self.account)
        made.held = self.exchange.positions(self.account).get(SYMBOL, Decimal(0))
        self.database.close()


def run_world(plan: Plan) -> Run:
    """Run one world from beginning to end, in virtual time."""
    loop = SkewedLoop() if plan.nodes.rates else WorldLoop()
    loop.set_task_factory(cast("Any", _make_task))
    asyncio.set_event_loop(loop)
    world: World | None = None
    complaints: list[str] = []

    async def main() -> Run:
        nonlocal world
        world = World(plan, loop)
        return await world.run()

    try:
        made = loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
    except (NothingLeft, Endless) as error:
        complaints.append(f"a wake-up was lost: {error}" if isinstance(error, NothingLeft) else f"no end: {error}")
        made = Run(plan=plan, history=History() if world is None else world.history, born={}, finished=False)
        _sweep(loop)
    finally:
        if world is not None:
            world.forget()
        asyncio.set_event_loop(None)
        loop.close()
    made.complaints += complaints + loop.complaints
    return made


def _sweep(loop: WorldLoop) -> None:
    """End what a world that was given up left at work."""
    loop.turns = 0
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    with contextlib.suppress(NothingLeft, Endless):
        loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())


def _make_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **named)
    context = named.get("context")
    life = current.get() if context is None else context.get(current)
    if life is not None:
        life.tasks.append(task)
    return task
