"""How the suite of venue adapters works: the adapter asked as a gateway asks, and how a fact becomes a test."""

import asyncio
import unittest
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from onefill.core.capabilities import Capabilities, Lookup, ReplaceStyle
from onefill.core.errors import VenueError
from onefill.core.identity import derived_id
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    CancelReply,
    CancelRequest,
    ExecutionReport,
    Found,
    Listed,
    Replaced,
    ReplaceReply,
    ReplaceRequest,
    SubmitReply,
    SubmitRequest,
    Unknown,
    VenueOrder,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.ports.venue import TimedStream, Venue
from onefill.testing.venue_kit import Ability, VenueKit

PATIENT_S: Final = 20.0
"""How long an adapter waits for an answer that comes, in seconds: a busy machine is no fault of the adapter."""
HASTY_S: Final = 1.0
"""For one that does not come."""
TIGHT_S: Final = 60.0
"""Longer than any call may take here, in seconds: a bound for what must end by itself."""
TRIES: Final = 5
"""How often a start is tried that should work."""
GOOD_FOR_US: Final = 30_000_000
"""How long the suite's requests are good, where the venue honours an expiry."""
BACK_US: Final = 3_600_000_000
"""How far back lists are asked for."""
BEFORE_US: Final = 1_000_000
"""How far before a test its stream begins, where places are times."""
Result = TypeVar("Result")


class Bench:
    """The adapter under test at work: it asks as a gateway does, and keeps count of what it asked."""

    def __init__(self, kit: VenueKit) -> None:
        self.kit = kit
        self.venue: Venue = kit.venue(PATIENT_S)
        self.asked: Counter[str] = Counter()
        """How often an order was asked for under each client order id, replaces included."""
        self._opened = [self.venue]
        self._numbers: dict[str, str] = {}
        """The venue's numbers by the kit's, where they differ."""
        self._number = 0
        self._instrument: Instrument | None = None
        self._begun_us = kit.now_us() - BEFORE_US

    # ------------------------------------------------------------------- venue

    async def start(self) -> None:
        """Start the adapter and learn the instrument."""
        async with asyncio.timeout(TIGHT_S):
            await self.venue.start()
            self._instrument = (await self.venue.instruments())[self.kit.instrument]

    async def open(self, answer_s: float = PATIENT_S) -> Venue:
        """Return one more adapter, started; another one if a start fails: on a busy machine a hasty one may be too late."""
        for _ in range(TRIES):
            venue = self.unstarted(answer_s)
            try:
                async with asyncio.timeout(TIGHT_S):
                    await venue.start()
            except VenueError as problem:
                failed = problem
            else:
                return venue
        raise failed

    def unstarted(self, answer_s: float = HASTY_S) -> Venue:
        """Return one more adapter."""
        venue = self.kit.venue(answer_s)
        self._opened.append(venue)
        return venue

    async def reconnect(self) -> None:
        """Go on with a new adapter in place of the present one."""
        await self.venue.close()
        self.venue = await self.open()

    async def close(self) -> None:
        """Close every adapter."""
        async with asyncio.timeout(TIGHT_S):
            for venue in self._opened:
                await venue.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter declares."""
        return self.venue.capabilities

    @property
    def timed(self) -> bool:
        """Whether places of the stream are times."""
        return isinstance(self.venue, TimedStream)

    @property
    def beginning(self) -> int:
        """The place before everything that happens in the test."""
        return self._begun_us if self.timed else 0

    @property
    def instrument(self) -> Instrument:
        """What is traded here."""
        assert self._instrument is not None
        return self._instrument

    # ---------------------------------------------------------------- requests

    def new_id(self) -> str:
        """Return a client order id of the venue's format that was never used."""
        self._number += 1
        return derived_id(self.kit.account, "suite", f"order {self._number}", self.capabilities.id_format)

    def order(self, **other: Any) -> SubmitRequest:
        """Return a new buy that rests: each is a step above those before, and so the best bid."""
        client_order_id = other.pop("client_order_id", None) or self.new_id()
        fields: dict[str, Any] = {
            "account": self.kit.account,
            "instrument": self.kit.instrument,
            "side": Side.BUY,
            "quantity": self.kit.quantity,
            "order_type": OrderType.LIMIT,
            "price": self.kit.price + self._number * self.instrument.price_tick,
            "time_in_force": TimeInForce.GTC,
            "expires_at_us": self.expiry(),
        } | other
        return SubmitRequest(client_order_id=client_order_id, **fields)

    def expiry(self, good_for_us: int = GOOD_FOR_US) -> int | None:
        """Return when a request that is made now expires; ``None`` where the venue honours no expiry."""
        return None if self.capabilities.request_expiry_s is None else self.kit.now_us() + good_for_us

    def part(self, parts: int = 4) -> Decimal:
        """Return a part of the kit's quantity, in whole steps."""
        step = self.instrument.quantity_step
        return (self.kit.quantity / parts // step) * step

    def cancelling(self, order: VenueOrder, *, by_number: bool) -> CancelRequest:
        """Return a cancel of an order, by the venue's number or by the client order id alone."""
        return CancelRequest(
            client_order_id=order.client_order_id,
            account=self.kit.account,
            instrument=self.kit.instrument,
            venue_order_id=order.venue_order_id if by_number else None,
        )

    def replacing(self, order: VenueOrder, **other: Any) -> ReplaceRequest:
        """Return a replace of an order by half as much again, a step above all before; under the id that the style wants."""
        fields: dict[str, Any] = {
            "account": self.kit.account,
            "instrument": self.kit.instrument,
            "venue_order_id": order.venue_order_id,
            "side": order.side,
            "quantity": order.quantity + self.part(2),
            "order_type": order.order_type,
            "time_in_force": TimeInForce.GTC,
            "expires_at_us": self.expiry(),
        } | other
        fresh = self.new_id()
        keeps = self.capabilities.replace is not ReplaceStyle.NEW_ID
        fields.setdefault("client_order_id", order.client_order_id if keeps else fresh)
        fields.setdefault("price", self.kit.price + self._number * self.instrument.price_tick)
        return ReplaceRequest(orig_client_order_id=order.client_order_id, **fields)

    async def submit(self, request: SubmitRequest, venue: Venue | None = None) -> SubmitReply:
        """Send an order as a gateway does: what is raised counts as unknown."""
        self.asked[request.client_order_id] += 1
        reply = await _told((venue or self.venue).submit(request))
        if isinstance(reply, Accepted):
            await self._learn(reply.order)
        return reply

    async def cancel(self, request: CancelRequest) -> CancelReply:
        """Ask for a cancel, likewise."""
        return await _told(self.venue.cancel(request))

    async def cancelled(self, order: VenueOrder, *, by_number: bool = True) -> CancelReply:
        """Have a live order cancelled, and return what was said of it when it is.

        Many venues confirm a cancel and show no order: Unknown, with ``answered`` set, is then all that may be said.
        """
        reply = await self.cancel(self.cancelling(order, by_number=by_number))
        assert isinstance(reply, Canceled) or (isinstance(reply, Unknown) and reply.answered), reply
        if Ability.TRUTH not in self.kit.cannot:
            await self.true(order.client_order_id, lambda now: now.status is VenueStatus.CANCELED)
        return reply

    async def replace(self, request: ReplaceRequest) -> ReplaceReply:
        """Ask for a replace, likewise."""
        self.asked[request.client_order_id] += 1
        reply = await _told(self.venue.replace(request))
        if isinstance(reply, Replaced):
            await self._learn(reply.order, anew=True)
        return reply

    async def resting(self, **other: Any) -> VenueOrder:
        """Send a new order that must be taken, and return it when it is live."""
        request = self.order(**other)
        reply = await self.submit(request)
        assert isinstance(reply, Accepted), f"an order that rests was not taken: {reply}"
        if Ability.TRUTH in self.kit.cannot:
            return reply.order
        return await self.true(request.client_order_id, at_work)

    async def filled(self, order: VenueOrder, quantity: Decimal) -> VenueOrder:
        """Have an order trade, and return it as it is then."""
        await self.kit.fill(order, quantity)
        wanted = order.cum_quantity + quantity
        return await self.true(order.client_order_id, lambda now: now.cum_quantity == wanted)

    # ------------------------------------------------------------------- truth

    async def truths(self, client_order_id: str) -> list[VenueOrder]:
        """Return every order that the venue has under a client order id."""
        return [order for order in await self.truth() if order.client_order_id == client_order_id]

    async def truth(self) -> list[VenueOrder]:
        """Return every order that the venue has, oldest first, under the numbers that it shows, as far as it showed them."""
        orders, numbers = await self.kit.truth(), self._numbers
        return [
            msgspec.structs.replace(order, venue_order_id=numbers[order.venue_order_id])
            if order.venue_order_id in numbers
            else order
            for order in orders
        ]

    async def shown(self, client_order_id: str) -> VenueOrder:
        """Return the latest order under an id as the venue has it, under the number that the venue shows."""
        account, instrument = self.kit.account, self.kit.instrument
        if self.kit.own_numbers:
            found = await bounded(self.venue.lookup(client_order_id, account, instrument))
            listed = await bounded(self.venue.scan(account, instrument, self.kit.now_us() - BACK_US))
            orders = [found.order] if isinstance(found, Found) else []
            live = await bounded(self.venue.open_orders(account))
            for listing in (listed, live):
                orders += listing.orders if isinstance(listing, Listed) else ()
            for order in [one for one in orders if one.client_order_id == client_order_id][:1]:
                await self._learn(order, anew=True)
        return (await self.truths(client_order_id))[-1]

    async def _learn(self, shown: VenueOrder, *, anew: bool = False) -> None:
        """Note under which number the venue shows the latest order of its id. ``anew``: it may have got another one."""
        if not self.kit.own_numbers or shown.venue_order_id in self._numbers.values():
            return
        true = [order for order in await self.kit.truth() if order.client_order_id == shown.client_order_id]
        if true and (anew or true[-1].venue_order_id not in self._numbers):
            self._numbers[true[-1].venue_order_id] = shown.venue_order_id

    async def true(self, client_order_id: str, when: Callable[[VenueOrder], bool]) -> VenueOrder:
        """Return the latest order under an id as the venue has it, as soon as ``when`` holds of it."""
        found: list[VenueOrder] = []

        async def seen() -> bool:
            found[:] = await self.truths(client_order_id)
            return bool(found) and when(found[-1])

        await until(seen, f"order {client_order_id} did not become what it should be")
        return found[-1]

    async def check(self) -> None:
        """Hold of every test: the venue has no order more often than it was asked for."""
        if Ability.TRUTH in self.kit.cannot:
            return
        for name, count in Counter(order.client_order_id for order in await self.kit.truth()).items():
            assert count <= self.asked[name], f"{name}: {count} orders were made of {self.asked[name]} requests"

    # ------------------------------------------------------------------ reading

    async def reports(self, after: int | None = None, venue: Venue | None = None) -> list[ExecutionReport]:
        """Return every report after a place, by default all, page by page; places are judged on the way."""
        found: list[ExecutionReport] = []
        after = self.beginning if after is None else after
        async with asyncio.timeout(TIGHT_S):
            while page := await (venue or self.venue).executions(after):
                for report in page:
                    self.judge_place(report, after)
                    after = report.position
                told = [self.news(report) for report in found]
                fresh = [report for report in page if self.news(report) not in told] if self.timed else page
                found += fresh
                if not fresh:
                    break
        return found

    def news(self, report: ExecutionReport) -> ExecutionReport:
        """Return what a report tells: where places are times it may be told again, under a higher place."""
        return msgspec.structs.replace(report, position=0) if self.timed else report

    def judge_place(self, report: ExecutionReport, before: int) -> None:
        """Assert that a report's place follows: by one, or, where places are times, that it rises."""
        if self.timed:
            assert report.position > before, f"place {report.position} came after {before}"
        else:
            assert report.position == before + 1, f"place {report.position} came where {before + 1} was due"


def at_work(order: VenueOrder) -> bool:
    """Tell whether the venue has decided on an order, and it is live."""
    return order.status in LIVE and order.status is not VenueStatus.PENDING_NEW


async def until(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait until ``condition`` holds; fail with ``otherwise`` if it never does."""
    bound = asyncio.timeout(PATIENT_S)
    try:
        async with bound:
            while not await condition():  # noqa: ASYNC110 - the venue tells nobody when it is so
                await asyncio.sleep(0.01)
    except TimeoutError:
        assert not bound.expired(), otherwise
        raise


async def bounded(call: Awaitable[Result]) -> Result:
    """Return what a call returns; one that does not end by itself fails."""
    bound = asyncio.timeout(TIGHT_S)
    try:
        async with bound:
            return await call
    except TimeoutError:
        assert not bound.expired(), f"a call did not end within {TIGHT_S:g} s"
        raise


async def unraised(call: Awaitable[Result]) -> Result:
    """Return what a call returns; one that raises fails, as one does that does not end."""
    try:
        return await bounded(call)
    except Exception as error:
        raise AssertionError(f"the call raised {error!r}") from error


async def _told(call: Awaitable[Result]) -> Result | Unknown:
    try:
        return await bounded(call)
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises
        return Unknown(f"raised {error!r}")


def can_be_found(capabilities: Capabilities) -> bool:
    """Tell whether the adapter declares that an order is found by a direct look-up."""
    return capabilities.lookup is Lookup.DIRECT


class VenueUnderTest:
    """What a suite needs of a venue. Each test gets an instance of its own."""

    async def kit(self) -> VenueKit:
        """Return a new venue that nobody ever traded at."""
        raise NotImplementedError

    def not_shown(self, name: str, why: str) -> None:
        """Report that the test ``name`` could not be run, and why. By default pytest shows it as skipped, with the reason."""
        raise unittest.SkipTest(f"{name} is not shown: {why}")


Scenario = Callable[[Any, Bench], Coroutine[Any, Any, None]]


def fact(*needs: Ability) -> Callable[[Scenario], Callable[[Any], None]]:
    """Make a test that pytest can call: make the kit, run the scenario, look at what the venue has, close.

    ``needs``: what the kit must be able to do for it.
    """

    def made(scenario: Scenario) -> Callable[[Any], None]:
        def test(self: VenueUnderTest) -> None:
            asyncio.run(_run(self, scenario, needs))

        # Not functools.wraps: pytest would follow it, and take the bench for a fixture.
        test.__name__, test.__qualname__, test.__doc__ = scenario.__name__, scenario.__qualname__, scenario.__doc__
        return test

    return made


async def _run(case: VenueUnderTest, scenario: Scenario, needs: Sequence[Ability]) -> None:
    kit = await case.kit()
    try:
        missing = [f"the kit cannot {need}: {kit.cannot[need]}" for need in needs if need in kit.cannot]
        if missing:
            case.not_shown(scenario.__name__, "; ".join(missing))
            return
        bench = Bench(kit)
        try:
            await bench.start()
            await scenario(case, bench)
            await bench.check()
        finally:
            await bench.close()
    finally:
        await kit.close()
