"""The seeded network between gateways and exchange: loses, delays, doubles and reorders what the plan's weather lets it.

What it may not do is in :mod:`onefill.sim.world_plan`: no request arrives later than the venue's declaration says. A request is
doubled only where the venue refuses the repeat at the moment when it comes, except in the few worlds whose weather is
``wild``: there two orders can come of one message, which no sender can prevent. Both are then made by the *same* message, and
that is how the checkers tell them from two orders made by two messages, for which there is never an excuse.
"""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from onefill.core.capabilities import UniqueScope
from onefill.core.messages import (
    CancelRequest,
    DuplicateId,
    Found,
    Listed,
    NotFound,
    Rejected,
    ReplaceRequest,
    SubmitRequest,
    Unknown,
    VenueOrder,
)
from onefill.core.position import DROP_COPY, STREAM
from onefill.sim.dialect import DAY_US
from onefill.sim.history import Arrived, Fault, Lost, Query, Request, Sent
from onefill.sim.world_feed import Feed
from onefill.sim.world_plan import Weather

if TYPE_CHECKING:
    from onefill.sim.world import World
    from onefill.sim.world_life import Life

_CALM = Weather()
_AT_ONCE_S = 0.0003
"""A doubled replace follows the first so closely that no other request can come between."""


class _Message(msgspec.Struct, gc=False):
    number: int
    life: "Life"
    request: Request
    since_us: int
    heard: "asyncio.Future[object]"
    reply_fate: str
    under_way: dict[int, asyncio.TimerHandle]
    arrived: int = 0


def step_of(request: Request) -> str:
    """Return what kind of step a request is."""
    if isinstance(request, SubmitRequest):
        return "submit"
    if isinstance(request, CancelRequest):
        return "cancel"
    return "replace" if isinstance(request, ReplaceRequest) else "query"


class Network:
    """All connections of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = world.draw
        self._weather = world.plan.weather
        self._numbers = 0
        self._messages: dict[int, _Message] = {}
        self._down_until_us = 0
        self._parted_until_us = [0] * world.plan.hosts
        self._halted_until_us = 0
        self.session = 0
        """Rises with every restart of the exchange: connections of an earlier one are cut."""
        self.feed = Feed(world, STREAM)
        """The venue's own stream, as it is told."""
        self.copies = Feed(world, DROP_COPY)
        self.streams: list[asyncio.Event] = []
        """Set to make the open streams look around."""

    # ------------------------------------------------------------ what is cut

    def calm(self) -> None:
        """End all faults. What is under way may still be late."""
        self._weather = _CALM
        self.feed.calm()
        self.copies.calm()
        self._down_until_us = 0
        self._parted_until_us = [0] * len(self._parted_until_us)
        self._halted_until_us = 0
        self.session += 1  # streams come anew: what one of them had skipped for good is not the venue's last word
        self._stir()

    def halt(self, for_s: float) -> None:
        """Halt trading: every new order is rejected at the door, the repeat of an accepted one too."""
        self._fault("halt", "venue", f"for {for_s:.3f} s")
        self._halted_until_us = self._world.at_us() + int(for_s * 1e6)

    def part(self, host: int, for_s: float) -> None:
        """Cut a host off: what it sends is lost, and what is sent to it."""
        self._fault("partition", "network", f"of host{host} for {for_s:.3f} s")
        self._parted_until_us[host] = self._world.at_us() + int(for_s * 1e6)
        self._stir()

    def restart(self, down_s: float) -> None:
        """Restart the exchange: its orders stay, requests in flight are gone, connections are cut."""
        self._fault("exchange restart", "network", f"down for {down_s:.3f} s")
        self._down_until_us = self._world.at_us() + int(down_s * 1e6)
        self.session += 1
        for message in list(self._messages.values()):
            for copy, timer in list(message.under_way.items()):
                timer.cancel()
                self._world.history.add(Lost(self._world.at_us(), message.number, f"request (copy {copy})", "restart"))
            message.under_way.clear()
            self._fail(message, "connection reset: the exchange restarts")
        self._stir()

    def cut_off(self, life: "Life") -> bool:
        """Tell whether a process cannot reach the exchange now."""
        now = self._world.at_us()
        return now < self._down_until_us or now < self._parted_until_us[life.host]

    def under_way(self, client_order_ids: frozenset[str]) -> bool:
        """Tell whether a request that makes or moves an order under one of these ids may still arrive."""
        return any(
            message.under_way and getattr(message.request, "client_order_id", "") in client_order_ids
            for message in self._messages.values()
        )

    def _stir(self) -> None:
        for changed in self.streams:
            changed.set()

    def _fault(self, name: str, step: str, detail: str = "", life: int = 0) -> None:
        self._world.history.add(Fault(self._world.at_us(), name, step, detail, life))

    def _happens(self, probability: float, step: str = "") -> bool:
        if step and step == self._weather.focus:
            probability *= 3
        return probability > 0 and self._draw.random() < probability

    # ---------------------------------------------------------------- sending

    def refuses(self, life: "Life", request: Request) -> bool:
        """Tell whether the connection is refused, so that surely nothing leaves."""
        down = self._world.at_us() < self._down_until_us
        if down or self._happens(self._weather.refused, step_of(request)):
            self._fault("connection refused", step_of(request), life=life.number)
            return True
        return False

    def holds_back_s(self, request: Request) -> float:
        """Return how long the bytes of a request lie in the sender before they leave."""
        if not self._happens(self._weather.held_back, step_of(request)):
            return 0.0
        held_s = self._draw.uniform(0, self._world.plan.settings.reply_timeout_s * 1.1)
        self._fault("held back", step_of(request), f"{held_s:.3f} s")
        return held_s

    def send(
        self, life: "Life", request: Request, since_us: int, begun: tuple[int, int]
    ) -> "tuple[int, asyncio.Future[object]]":
        """Put a request on the wire. Returns its number and a future for the reply, which may never come.

        ``begun``: when the gateway called its adapter, and the epoch in which it held the route then.
        """
        world, weather, draw = self._world, self._weather, self._draw
        self._numbers += 1
        number, step = self._numbers, step_of(request)
        world.history.add(Sent(world.at_us(), life.number, number, begun[1], begun[0], request))
        heard: asyncio.Future[object] = world.loop.create_future()
        message = _Message(number, life, request, since_us, heard, self._reply_fate(step, number), {})
        self._messages[number] = message
        if self.cut_off(life) or self._happens(weather.request_lost, step):
            self._fault("request lost", step, f"#{number}")
            world.history.add(Lost(world.at_us(), number, "request", "cut off" if self.cut_off(life) else "lost"))
            return number, heard
        delay_s = draw.uniform(0.0005, 0.008)
        if self._happens(weather.request_late, step):
            delay_s = self._lateness_s(step)
            self._fault("request late", step, f"#{number} by {delay_s:.3f} s")
        self._launch(message, 1, delay_s)
        if self._happens(weather.doubled, step):
            again_s = delay_s + _AT_ONCE_S
            if step != "replace" and draw.random() < 0.5:
                again_s = max(again_s, self._lateness_s(step))
            self._fault("doubled", step, f"#{number}")
            self._launch(message, 2, again_s)
        return number, heard

    def _lateness_s(self, step: str) -> float:
        latest_s = self._weather.latest_s if step in ("submit", "replace") else 5.0
        patience_s = self._world.plan.settings.reply_timeout_s
        if self._draw.random() < 0.5:
            return min(self._draw.uniform(patience_s * 0.9, patience_s + 1.0), latest_s)
        return self._draw.uniform(0.0, latest_s)

    def _reply_fate(self, step: str, number: int) -> str:
        weather = self._weather
        for fate, probability in (
            ("reply lost", weather.reply_lost),
            ("reply late", weather.reply_late),
            ("connection cut", weather.cut),
        ):
            if self._happens(probability, step):
                self._fault(fate, step, f"#{number}")
                return fate
        return ""

    def _launch(self, message: _Message, copy: int, delay_s: float) -> None:
        message.under_way[copy] = self._world.loop.after(
            delay_s, self._arrive, message, copy, context=self._world.context
        )

    # --------------------------------------------------------------- arriving

    def _arrive(self, message: _Message, copy: int) -> None:
        world = self._world
        del message.under_way[copy]
        request = message.request
        if message.arrived and isinstance(request, SubmitRequest) and not self._may_repeat(message, request):
            world.history.add(Lost(world.at_us(), message.number, f"request (copy {copy})", "not doubled after all"))
            return
        message.arrived += 1
        reply, born = self._decide(message)
        world.history.add(Arrived(world.at_us(), message.number, copy, reply, born))
        world.keep_exchange_going()
        if message.arrived == 1:
            self._answer(message, reply)
        elif message.reply_fate == "reply lost" and isinstance(reply, DuplicateId):
            # Whatever doubled the request hands on the second answer, having lost the first.
            world.loop.after(0.001, self._hear, message, reply, context=world.context)

    def _answer(self, message: _Message, reply: object) -> None:
        world, draw = self._world, self._draw
        fate = message.reply_fate
        if not fate and self.cut_off(message.life):
            fate = "reply lost"
        if fate == "reply lost":
            world.history.add(Lost(world.at_us(), message.number, "reply", "lost"))
            return
        delay_s = draw.uniform(0.0005, 0.008)
        if fate == "connection cut":
            world.loop.after(delay_s, self._fail, message, "connection reset by peer", context=world.context)
            return
        if fate == "reply late":
            delay_s = draw.uniform(0.5, 1.0) * world.plan.settings.reply_timeout_s + draw.uniform(0, 0.8)
        world.loop.after(delay_s, self._hear, message, reply, context=world.context)

    def _hear(self, message: _Message, reply: object) -> None:
        if not message.under_way:
            self._messages.pop(message.number, None)
        if not message.heard.done() and not message.life.dead:
            message.heard.set_result(reply)

    def _fail(self, message: _Message, why: str) -> None:
        if not message.heard.done() and not message.life.dead:
            message.heard.set_exception(ConnectionResetError(why))

    def _may_repeat(self, message: _Message, request: SubmitRequest) -> bool:
        """Tell whether a doubled request may come now: the venue refuses it, or this world is wild."""
        world = self._world
        born = [one for one in world.born.values() if one.client_order_id == request.client_order_id]
        if world.plan.weather.wild and any(one.message == message.number for one in born):
            return True
        if not born or not world.plan.dialect.refuses_repeats:
            return False
        scope = world.plan.dialect.unique_scope
        if scope is UniqueScope.DAY:
            return any(one.true_us // DAY_US == world.true_us() // DAY_US for one in born)
        if scope is UniqueScope.OPEN:
            open_now = world.exchange.open_orders(world.account)
            return any(one.client_order_id == request.client_order_id for one in open_now)
        return True

    def _decide(self, message: _Message) -> tuple[object, str | None]:
        """Let the exchange decide a request. Returns its reply and the number of the order it made, if it made one."""
        world, request = self._world, message.request
        exchange, now_us = world.exchange, world.true_us()
        if isinstance(request, Query):
            return self._show(request, message.since_us), None
        if isinstance(request, CancelRequest):
            return exchange.cancel(request, now_us), None
        if isinstance(request, SubmitRequest):
            if world.at_us() < self._halted_until_us:
                return Rejected("trading is halted", "halted"), None
            return self._with_birth(message, exchange.submit(request, now_us))
        return self._with_birth(message, exchange.replace(request, now_us))

    def _with_birth(self, message: _Message, reply: object) -> tuple[object, str | None]:
        order: VenueOrder | None = getattr(reply, "order", None)
        if order is None or order.venue_order_id in self._world.born:
            return reply, None
        self._world.note_birth(order, message.number)
        return reply, order.venue_order_id

    def _show(self, request: Query, since_us: int) -> object:
        """Answer a query. What was made a moment ago is not seen yet where the readers lag."""
        world = self._world
        now_us = world.true_us()
        if request.client_order_id:
            found = world.exchange.lookup(request.client_order_id, world.account, now_us)
            if isinstance(found, Found) and self._too_new(found.order):
                return NotFound("no order under this client order id (yet)")
            if isinstance(found, NotFound) and self._was_there(request.client_order_id):
                world.history.add(Fault(world.at_us(), "forgotten", "query"))
            return found
        listed = world.exchange.scan(world.account, world.symbol, since_us, now_us)
        if isinstance(listed, Unknown):
            return listed
        return Listed(tuple(order for order in listed.orders if not self._too_new(order)))

    def _was_there(self, client_order_id: str) -> bool:
        if self._world.plan.dialect.lookup_forgets_after_s is None:
            return False
        return any(one.client_order_id == client_order_id for one in self._world.exchange.all_orders())

    def _too_new(self, order: VenueOrder) -> bool:
        lag_us = int(self._world.plan.weather.lag_s * 1e6)
        born = self._world.born.get(order.venue_order_id)
        return born is not None and self._world.true_us() - born.true_us < lag_us

    # ------------------------------------------------------------- the stream

    def stream_delay_s(self) -> float:
        """Return how long reports are on their way."""
        return self._draw.choice((0.0, self._draw.uniform(0, 0.004), self._draw.uniform(0, 0.05)))

    def drops_question(self) -> bool:
        """Tell whether a question that is not about one order comes to nothing."""
        return self._happens(self._weather.reply_lost, "query")
