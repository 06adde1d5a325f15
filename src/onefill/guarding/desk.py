"""What stands behind a guarded object: a gateway over the user's own client, and the calls in its terms.

All of it runs on one event loop: the user's own, or, for a synchronous client, one on a thread of its own.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from onefill.core import guard_rules as rules
from onefill.core.answers import CancelResult
from onefill.core.errors import (
    CannotReplace,
    InvalidField,
    NotGuarded,
    OrderUncertain,
    RouteClosed,
    UnknownKey,
    VenueError,
)
from onefill.core.guard_rules import Keys
from onefill.core.identity import derived_id
from onefill.core.intent import Intent
from onefill.core.lifecycle import UNANSWERED
from onefill.core.order import Order
from onefill.core.values import OrderType, Side, exact_decimal
from onefill.engine.gateway import Gateway
from onefill.guarding.hearing import HearingVenue, Waiting
from onefill.guarding.outcomes import Results, Uncertain, Unfit, Unreachable, failure_of, failure_of_edit, rejection
from onefill.guarding.settings import GuardSettings, call_timeout_s
from onefill.guarding.site import Site
from onefill.guarding.waiter import Waiter
from onefill.service import ledgers
from onefill.service.wiring import open_gateway
from onefill.venues.ccxt.feed import Unanswered

NOT_OURS: Final = object()
"""The order is none of this guard's: the call is passed on as it is."""


class Call(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A guarded call as it came: ccxt's arguments, and what was given beside them."""

    id: str | None = None
    symbol: str | None = None
    type: Any = None
    side: Any = None
    amount: Any = None
    price: Any = None
    params: Mapping[str, Any] | None = None
    key: str | None = None
    wait_s: float | None = None
    allow_similar: bool = False
    site: Site | None = None


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A call for a new order, read."""

    call: Call
    key: str | None
    intent: Intent


class GuardDesk:
    """Carries out the guarded calls of one client. ``exchange`` is the user's own object."""

    def __init__(self, exchange: Any, settings: GuardSettings) -> None:
        self.exchange = exchange
        self.settings = settings
        self._results = Results(exchange)
        self._gateway: Gateway | None = None
        self._venue: HearingVenue | None = None
        self._context: AbstractAsyncContextManager[Gateway] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.alone: Callable[[], bool] = _never
        """Whether a single call needs the event loop, which is the guard's own."""
        self._recording: set[asyncio.Task[Any]] = set()

    def _may_be_held(self) -> bool:
        """Tell whether the loop may be held up by one request: nobody else waits, and no lease has to be renewed."""
        return self.alone() and not ledgers.is_shared(self.settings.ledger)

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    # -------------------------------------------------------------- open, close

    async def open(self) -> Gateway:
        """Open ledger and venue, once. Raises as :func:`onefill.open` does, and RouteClosed after :meth:`close`."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RouteClosed(f"the guard of {self.exchange.id} was closed; make a new one")
        if self._loop is not None and self._loop is not loop and self._gateway is not None:
            raise RouteClosed(
                f"the guard of {self.exchange.id} was opened on another event loop, and was not closed there: "
                "`await exchange.close()` ends it"
            )
        if self._gateway is not None:
            return self._gateway
        if self._opening is None or self._opening.done():
            self._loop, self._opening = loop, loop.create_task(self._open())
        await asyncio.shield(self._opening)
        if self._gateway is None:
            raise RouteClosed(f"the guard of {self.exchange.id} was closed while it opened")
        return self._gateway

    async def _open(self) -> None:
        timeout_s = call_timeout_s(self.exchange.timeout or 10_000)
        venue = HearingVenue(
            self.exchange,
            self.settings.account,
            reads=self._results.read,
            alone=self._may_be_held,
            timeout_s=timeout_s,
            poll_s=self.settings.poll_s,
            streams=False,
        )
        context = open_gateway(
            self.settings.ledger,
            venues={self.exchange.id: venue},
            settings=self.settings.gateway(timeout_s),
            risk=self.settings.risk,
            control=self.settings.control,
        )
        try:
            self._gateway = await context.__aenter__()
        except Unanswered as error:
            raise (Unreachable(str(error)) if "NetworkError" in error.classes else error) from None
        self._venue, self._context = venue, context

    async def close(self) -> None:
        """Close ledger and venue. Orders that were taken go on where the guard is opened again."""
        self._closed = True
        if self._loop is not asyncio.get_running_loop():
            return  # its loop is gone, or was never there
        if self._opening is not None:
            await asyncio.wait({self._opening})
        context, self._context, self._gateway = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)

    # ------------------------------------------------------------------- create

    async def create(self, call: Call) -> dict[str, Any]:
        """Place an order, once for its key, and return it as ccxt shows it."""
        await self.open()
        return await self.place(self.read(call))

    def read(self, call: Call) -> Wanted:
        """Return what a call for a new order wants, in any thread. Raises CallerError, and what ccxt has against it."""
        key, params = rules.take_key(call.params, call.key)
        return Wanted(call, key, self._intent(call, params))

    async def place(self, wanted: Wanted, waiter: Waiter | None = None) -> dict[str, Any]:
        """As :meth:`create`, for what was read. ``waiter``: the thread that waits for it."""
        gateway = await self.open()
        call, key, intent = wanted.call, wanted.key, wanted.intent
        if key is None:
            key = await self._derived_key(gateway, intent, call.site)
        # The id is made from the key: a reply can be heard, and told, before it is recorded behind it.
        venue = self._at_venue
        name = derived_id(intent.account, intent.strategy, key, venue.capabilities.id_format)
        if waiter is not None:
            waiter.key, waiter.client_order_id = key, name
        waiting = Waiting(intent, asyncio.get_running_loop().create_future(), waiter)
        work = asyncio.ensure_future(
            gateway.submit(intent, key=key, wait_s=call.wait_s, allow_similar=call.allow_similar)
        )

        def ended(_: object) -> None:
            if not waiting.told.done():
                waiting.told.set_result(False)

        work.add_done_callback(ended)
        venue.hear(name, waiting)
        try:
            if await waiting.told and not work.done():
                self._behind(work)
                return self._results.keep(name, venue.shown[name])
            answer = await work
        except asyncio.CancelledError:
            work.cancel()  # the order goes on; only nobody waits for it here
            raise
        except OrderUncertain as error:
            raise Uncertain(error) from None
        except InvalidField as error:
            raise Unfit(error) from None
        finally:
            venue.unhear(name, waiting)
        failure = failure_of(answer)
        if failure is not None:
            raise failure
        return await self._shown(gateway, key, intent.account, intent.strategy, answer.client_order_id)

    def _behind(self, work: "asyncio.Task[Any]") -> None:
        """Let the record of a reply that was told be made. If it cannot be, the route is shut, and the next call says so."""

        def recorded(done: "asyncio.Task[Any]") -> None:
            self._recording.discard(done)
            if not done.cancelled():
                done.exception()  # looked at, so that asyncio does not complain of it

        self._recording.add(work)
        work.add_done_callback(recorded)

    def _intent(self, call: Call, params: dict[str, Any]) -> Intent:
        exchange = self.exchange
        market = exchange.market(call.symbol)
        at_market = isinstance(call.type, str) and call.type.lower() == OrderType.MARKET
        price = None if call.price is None or at_market else exchange.price_to_precision(call.symbol, call.price)
        wanted = rules.Wanted(
            exchange=exchange.id,
            market_type=str(market.get("type")),
            symbol=market["symbol"],
            type=call.type,
            side=call.side,
            amount=exchange.amount_to_precision(call.symbol, call.amount),
            price=price,
            market_price=call.price if at_market else None,
            params=params,
        )
        given = self.settings
        return rules.intent_of(
            wanted, account=given.account, strategy=given.strategy, venue=exchange.id, allowed=given.allow
        )

    async def _derived_key(self, gateway: Gateway, intent: Intent, site: Site | None) -> str:
        if self.settings.keys is not Keys.DERIVED or site is None:
            raise rules.missing_key("create_order")
        bucket_s, now_s = self.settings.bucket_s, time.time()
        bucket = int(now_s // bucket_s)
        # A repeat a moment after the bucket ended, and one of what is still not known, are repeats too.
        before = rules.derived_key(intent, site.name, bucket - 1)
        known = await _known(gateway, before, intent)
        if known is not None and (now_s - known.recorded_at_us / 1e6 < bucket_s or known.status in UNANSWERED):
            return before
        return rules.derived_key(intent, site.name, bucket)

    async def _shown(
        self, gateway: Gateway, key: str, account: str, strategy: str, client_order_id: str
    ) -> dict[str, Any]:
        """Return an order as it was returned before, as the venue showed it, or as the ledger knows it."""
        kept = self._results.get(client_order_id)
        if kept is not None:
            return kept
        shown = self._at_venue.shown.get(client_order_id)
        if shown is not None:
            return self._results.keep(client_order_id, shown)
        order = await gateway.order(key, account=account, strategy=strategy)
        return await self._asked_about(order)

    async def _asked_about(self, order: Order) -> dict[str, Any]:
        """Return an order as the venue shows it now, asked once, or as the ledger knows it."""
        if order.venue_order_id is not None:
            await self._at_venue.lookup(order.live_id, order.intent.account, order.intent.instrument)
            shown = self._at_venue.shown.get(order.live_id)
            if shown is not None:
                return self._results.keep(order.client_order_id, shown)
        return self._results.from_ledger(order)

    # ------------------------------------------------------------- cancel, edit

    async def cancel(self, call: Call) -> Any:
        """Cancel an order of ours, quietly, and return it; :data:`NOT_OURS` for any other."""
        gateway = await self.open()
        key, params = rules.take_key(call.params, call.key)
        order = await self._ours(gateway, call, params)
        return NOT_OURS if order is None else await self._cancel(gateway, order, key, params, call.wait_s)

    async def cancel_of_ended(self, call: Call) -> Any:
        """The venue knows no live order of this number: return it if it is one of ours that ended, else :data:`NOT_OURS`."""
        gateway = await self.open()
        key, params = rules.take_key(call.params, call.key)
        order = await self._ours_by_asking(gateway, call)
        return NOT_OURS if order is None else await self._cancel(gateway, order, key, params, call.wait_s)

    async def _cancel(
        self, gateway: Gateway, order: Order, key: str | None, params: Mapping[str, Any], wait_s: float | None
    ) -> dict[str, Any]:
        _only_names(params, "cancel_order")
        intent = order.intent
        who = {"account": intent.account, "strategy": intent.strategy}
        try:
            answer = await gateway.cancel(order.key, **who, operation_key=key, wait_s=wait_s)
        except OrderUncertain as error:
            raise Uncertain(error) from None
        if answer.result is CancelResult.REFUSED:
            raise rejection(answer.reason)
        order = await gateway.order(order.key, **who)
        shown = self._at_venue.shown.get(order.live_id)
        if shown is not None and shown.get("status") not in (None, "open"):
            return self._results.read(shown)
        return self._results.from_ledger(order)

    async def edit(self, call: Call) -> dict[str, Any]:
        """Give an order of ours other quantity or price, once, and return it as ccxt shows it."""
        gateway = await self.open()
        key, params = rules.take_key(call.params, call.key)
        order = await self._ours(gateway, call, params)
        if order is None:
            raise NotGuarded(
                "edit_order",
                f"edit_order({str(call.id)[:40]!r}): no open order that was placed through this guard has this id; nothing "
                "was sent. Cancel it, and place another with a key of its own",
            )
        _only_names(params, "edit_order")
        self._check_same(order, call)
        symbol, intent = order.intent.instrument, order.intent
        amount = None if call.amount is None else self.exchange.amount_to_precision(symbol, call.amount)
        price = None if call.price is None else self.exchange.price_to_precision(symbol, call.price)
        try:
            answer = await gateway.replace(
                order.key,
                account=intent.account,
                strategy=intent.strategy,
                quantity=None if amount is None else exact_decimal(amount, "amount"),
                price=None if price is None else exact_decimal(price, "price"),
                operation_key=key,
                wait_s=call.wait_s,
            )
        except OrderUncertain as error:
            raise Uncertain(error) from None
        failure = failure_of_edit(answer)
        if failure is not None:
            raise failure
        shown = self._at_venue.shown.get(answer.client_order_id or "")
        if shown is not None:
            return self._results.read(shown)
        return await self._asked_about(await gateway.order(order.key, account=intent.account, strategy=intent.strategy))

    def _check_same(self, order: Order, call: Call) -> None:
        intent = order.intent
        if call.type is not None and str(call.type).lower() != intent.order_type:
            raise CannotReplace(order.key, f"its type is {intent.order_type}, and stays so")
        if call.side is not None and str(call.side).lower() not in (intent.side, ""):
            raise CannotReplace(order.key, f"its side is {Side(intent.side).value}, and stays so")
        if call.symbol is not None and self.exchange.market(call.symbol)["symbol"] != intent.instrument:
            raise CannotReplace(order.key, f"it is in {intent.instrument}")

    async def _ours(self, gateway: Gateway, call: Call, params: Mapping[str, Any]) -> Order | None:
        """Return the order of ours that a call names, by the venue's number or by a client order id."""
        named = next((str(params[name]) for name in rules.CLIENT_IDS if params.get(name)), None)
        number = str(call.id) if call.id else None
        if number is None and named is None:
            raise InvalidField("id", "names no order: give its id, or params={'clientOrderId': ...}")
        open_orders = gateway.open_orders()
        for order in open_orders:
            if number is not None and order.venue_order_id == number:
                return order
            if named is not None and named in (order.live_id, order.client_order_id):
                return order
        if named is not None:
            found = await gateway.order_by_client_id(self.exchange.id, named)
            if found is not None or number is None:
                return found
        if any(order.venue_order_id is None or order.replacement is not None for order in open_orders):
            return await self._ours_by_asking(gateway, call)  # its number is not known here yet
        return None

    async def _ours_by_asking(self, gateway: Gateway, call: Call) -> Order | None:
        if not call.id or call.symbol is None:
            return None
        try:
            symbol = self.exchange.market(call.symbol)["symbol"]
            client_order_id = await self._at_venue.owner(str(call.id), symbol)
        except VenueError:
            return None
        return await gateway.order_by_client_id(self.exchange.id, client_order_id) if client_order_id else None

    @property
    def lock(self) -> threading.RLock:
        """Held by the adapter while it uses a synchronous client."""
        return self._at_venue.lock

    @property
    def _at_venue(self) -> HearingVenue:
        if self._venue is None:
            raise RouteClosed(f"the guard of {self.exchange.id} is not open")
        return self._venue


def _never() -> bool:
    return False


async def _known(gateway: Gateway, key: str, intent: Intent) -> Order | None:
    try:
        return await gateway.order(key, account=intent.account, strategy=intent.strategy)
    except UnknownKey:
        return None


def _only_names(params: Mapping[str, Any], method: str) -> None:
    """Raise unless the parameters do no more than name an order."""
    for name in params:
        if name not in rules.CLIENT_IDS:
            raise NotGuarded(
                name,
                f"{method}(): params[{name!r}] cannot be passed on for an order of the guard; nothing was sent. "
                "It knows the order: leave it out",
            )
