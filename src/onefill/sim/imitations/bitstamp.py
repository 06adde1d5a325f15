"""An imitation of Bitstamp's spot REST API, as far as the client library uses it for orders.

Coded to the venue's documentation: an id that exists is refused with 400.019, a signed request is good for 150 s and its nonce
for once, and the status of an order shows neither its price nor its quantity, but what is left of it and what was traded.
Whether an id counts after its order has ended is not documented; here it does not.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from onefill.core.capabilities import ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import (
    Accepted,
    Canceled,
    DuplicateId,
    Replaced,
    ReplaceRequest,
    SubmitRequest,
    Throttled,
    VenueStatus,
)
from onefill.core.values import EXACT, Instrument, OrderType, Side, TimeInForce, exact_decimal, plain
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import SECOND_US, Dialect
from onefill.sim.imitations.base import ACCOUNT, KEYS, Imitation, cancel_of, decimals_of
from onefill.sim.imitations.reading import Refused, whole
from onefill.sim.imitations.records import OrderRecord, Records, Traded, currencies_of, number_of
from onefill.sim.order_book import ExchangeOrder

GOOD_FOR_US: Final = 150 * SECOND_US
"""How long a signed request is taken after the time that it bears."""
MOST_AT_ONCE: Final = 1000
"""So many transactions come at once; 100 if nothing is asked for."""
ORDERS_FROM: Final = 1_453_282_316_500_000
TRADES_FROM: Final = 209_895_000
NOT_FOUND: Final = "Order not found."
_ZERO: Final = Decimal(0)
_TRADE: Final = "2"
_STATUSES: Final = {
    VenueStatus.PENDING_NEW: "In Queue",
    VenueStatus.NEW: "Open",
    VenueStatus.PARTIALLY_FILLED: "Open",
    VenueStatus.FILLED: "Finished",
    VenueStatus.EXPIRED: "Expired",
}
_REFUSALS: Final = {
    "below_minimum": ("400.020", "Minimum order size is 10.0 {quote}."),
    "off_grid_quantity": ("400.026", "Ensure that there are no more than {places} decimal places."),
    "off_grid_price": ("400.021", "Price is more than the market allows."),
    "price_too_large": ("400.021", "Price is more than the market allows."),
    "quantity_too_large": (
        "400.009",
        "You need more {quote} to open that order. Check your account balance for details.",
    ),
    "invalid_client_order_id": ("400.008", "POST parameter(s) is malformed: client_order_id."),
}
Form = dict[str, str]


class BitstampImitation(Imitation):
    """Bitstamp spot."""

    profile = "bitstamp"
    ccxt_id = "bitstamp"
    dialect = Dialect(
        unique_scope=UniqueScope.OPEN,
        replace=ReplaceStyle.NEW_ID,
        replaced_shows_as=VenueStatus.CANCELED,
        request_expiry=False,
        conclusive_after_s=160.0,
        fee_rate=Decimal("0.004"),
        fee_currency="USDT",
        lists_open_orders=True,
        id_format=IdFormat(alphabet=Alphabet.TEXT, max_length=64),
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records = Records(self.exchange, ACCOUNT, native)
        self._pairs = {market_id(one.symbol): one for one in self.exchange.instruments.values()}
        self._nonces: dict[str, int] = {}
        self._carried: dict[int, Decimal] = {}
        """By the number of an order that replaced another: what was executed before it began, which is no part of it."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the methods of the API that are there."""
        yield web.get("/api/v2/markets/", self._markets)
        for side in Side:
            for kind, path in ((OrderType.LIMIT, "{pair}/"), (OrderType.MARKET, "market/{pair}/")):
                yield web.post(f"/api/v2/{side}/{path}", self._new_orders(side, kind))
        private: dict[str, Callable[[Form], object]] = {
            "order_status/": self._status,
            "cancel_order/": self._cancel,
            "replace_order/": self._replace,
            "open_orders/all/": self._open_orders,
            "open_orders/{pair}/": self._open_orders,
            "user_transactions/": self._transactions,
            "user_transactions/{pair}/": self._transactions,
            "account_balances/": self._balances,
        }
        for path, carry_out in private.items():
            yield web.post(f"/api/v2/{path}", self._private(carry_out))

    # -------------------------------------------------------------- requests

    async def _markets(self, _: web.Request) -> web.Response:
        return answers.ok([self._market(one) for one in self._pairs.values()])

    def _market(self, instrument: Instrument) -> dict[str, Any]:
        base, quote = currencies_of(instrument.symbol)
        return {
            "name": f"{base}/{quote}",
            "market_symbol": market_id(instrument.symbol),
            "base_currency": base,
            "base_decimals": decimals_of(instrument.quantity_step),
            "counter_currency": quote,
            "counter_decimals": decimals_of(instrument.price_tick),
            "minimum_order_value": "10",
            "minimum_order_amount": plain(instrument.min_quantity),
            "trading": "Enabled",
            "instant_and_market_orders": "Enabled",
            "description": f"{base} / {quote}",
            "market_type": "SPOT",
        }

    def _new_orders(self, side: Side, kind: OrderType) -> Callable[[web.Request], Any]:
        async def handler(http: web.Request) -> web.StreamResponse:
            form = await _form(http)
            return await self.new_order(lambda: self._reply(http, form, lambda asked: self._new(asked, side, kind)))

        return handler

    def _private(self, carry_out: Callable[[Form], object]) -> Callable[[web.Request], Any]:
        async def handler(http: web.Request) -> web.Response:
            return self._reply(http, await _form(http), carry_out)

        return handler

    def _reply(self, http: web.Request, form: Form, carry_out: Callable[[Form], object]) -> web.Response:
        """Return what ``carry_out`` makes of a request that is signed in order, or the error."""
        try:
            self._check(http)
            self.exchange.advance(self.clock_us())
            result = carry_out(form)
        except Refused as error:
            body: dict[str, Any] = {"status": "error", "reason": error.reason}
            if str(error.code).startswith("API"):
                body["code"] = error.code
            elif error.code:
                body |= {"reason": {"__all__": [error.reason]}, "response_code": error.code}
            return answers.answer(error.status, body)
        return answers.ok(result)

    def _check(self, http: web.Request) -> None:
        now, headers = self.clock_us(), http.headers
        if headers.get("X-Auth") != f"BITSTAMP {KEYS['apiKey']}":
            raise Refused("API0001", "API key not found", 403)
        nonce, at_us = headers.get("X-Auth-Nonce", ""), (whole(headers.get("X-Auth-Timestamp", "")) or 0) * 1000
        self._nonces = {one: until for one, until in self._nonces.items() if until > now}
        if nonce in self._nonces or len(nonce) != 36 or abs(now - at_us) > GOOD_FOR_US:
            raise Refused("API0004", "Invalid nonce", 403)
        self._nonces[nonce] = now + GOOD_FOR_US

    # ---------------------------------------------------------------- orders

    def _new(self, form: Form, side: Side, kind: OrderType) -> object:
        now, client_id = self.clock_us(), form.get("client_order_id")
        instrument = self._instrument(form)
        for unknown in form.keys() - {*_ADD_ORDER, "pair"}:
            raise Refused("400.007", f"POST parameter(s) is malformed: {unknown}.", 400)
        forces = [force for name, force in _FORCES.items() if form.get(name, "").lower() == "true"]
        if len(forces) > 1:
            raise Refused("400.024", "Only one of optional parameters can be set.", 400)
        reply = self.exchange.submit(
            SubmitRequest(
                client_order_id=client_id or self.records.invented(),
                account=ACCOUNT,
                instrument=instrument.symbol,
                side=side,
                quantity=_number(form, "amount"),
                order_type=kind,
                price=_number(form, "price") if kind is OrderType.LIMIT else None,
                time_in_force=forces[0] if forces else TimeInForce.GTC,
                expires_at_us=None,
            ),
            now,
        )
        match reply:
            case Accepted(order):
                record = self.records.of(number_of(order.venue_order_id))
                return {
                    "id": record.native,
                    "market": order.instrument,
                    "datetime": moment(now),
                    "type": _kind(side),
                    "price": plain(order.price or _ZERO),
                    "amount": plain(order.quantity),
                    **_named(record),
                }
            case DuplicateId():
                raise Refused("400.019", "Provided client_order_id already exists.", 400)
            case Throttled():
                raise Refused("400.002", "Request rejected due to exceeded rate limit.", 400)
        code, text = _REFUSALS.get(getattr(reply, "code", None) or "", ("400.001", "Unknown validation error."))
        raise Refused(
            code,
            text.format(quote=currencies_of(instrument.symbol)[1], places=decimals_of(instrument.quantity_step)),
            400,
        )

    def _cancel(self, form: Form) -> object:
        record = self._named_by(form)
        order = record.order
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        if not isinstance(reply, Canceled):
            raise Refused("", NOT_FOUND)
        return {
            "id": int(record.native),
            "amount": plain(self._left(record)),
            "price": plain(order.price or _ZERO),
            "type": int(_kind(order.side)),
            "market": order.instrument,
        }

    def _replace(self, form: Form) -> object:
        """End an order and begin another, whose amount counts from zero."""
        named = {"id": form["id"]} if "id" in form else {"client_order_id": form.get("orig_client_order_id", "")}
        record, now = self._named_by(named), self.clock_us()
        order, client_id = record.order, form.get("client_order_id")
        reply = self.exchange.replace(
            ReplaceRequest(
                client_order_id=client_id or self.records.invented(),
                orig_client_order_id=order.client_order_id,
                account=ACCOUNT,
                instrument=order.instrument,
                venue_order_id=order.venue_order_id,
                side=order.side,
                quantity=EXACT.add(_number(form, "amount"), order.cum_quantity),
                order_type=order.order_type,
                price=_number(form, "price"),
                time_in_force=order.time_in_force,
                expires_at_us=None,
            ),
            now,
        )
        if not isinstance(reply, Replaced):
            raise Refused("", NOT_FOUND)
        made = self.records.of(number_of(reply.order.venue_order_id))
        self._carried[made.number] = order.cum_quantity
        return {
            "order_id": int(made.native),
            "order_type": _kind(order.side),
            "market": order.instrument,
            "amount": form["amount"],
            "price": form["price"],
            "datetime": moment(now),
            "orig_order_id": int(record.native),
            **({} if record.client_id is None else {"orig_client_order_id": record.client_id}),
            "status": "Open",
        }

    def _named_by(self, form: Form) -> OrderRecord:
        """Return the order that a request names; where it names a number, that one counts."""
        number, client_id = form.get("id"), form.get("client_order_id", "")
        if number is not None:
            record = self.records.by_native(number)
        else:
            record = next(reversed(self.records.by_client(client_id)), None)
        if record is None:
            raise Refused("", NOT_FOUND)
        return record

    # ------------------------------------------------------------- questions

    def _status(self, form: Form) -> object:
        record = self._named_by(form)
        order = record.order
        return {
            "id": int(record.native),
            "datetime": moment(record.created_at_us),
            "type": _kind(order.side),
            "status": _STATUSES.get(order.status, "Canceled"),
            "market": order.instrument,
            "transactions": [_within(traded) for traded in record.trades],
            "amount_remaining": plain(self._left(record)),
            **_named(record),
        }

    def _left(self, record: OrderRecord) -> Decimal:
        order = record.order
        return EXACT.subtract(order.quantity, order.cum_quantity)

    def _open_orders(self, form: Form) -> object:
        shown = []
        for record in reversed(self.records.live()):
            order = record.order
            if form.get("pair") not in (None, market_id(order.instrument)):
                continue
            before = self._carried.get(record.number, _ZERO)
            shown.append(
                {
                    "id": record.native,
                    "datetime": moment(record.created_at_us),
                    "type": _kind(order.side),
                    "price": plain(order.price or _ZERO),
                    "amount": plain(self._left(record)),
                    "amount_at_create": plain(EXACT.subtract(order.quantity, before)),
                    "currency_pair": order.instrument,
                    "market": order.instrument,
                    **_named(record),
                }
            )
        return shown

    def _transactions(self, form: Form) -> object:
        first, count = int(form.get("offset", "0")), int(form.get("limit", "100"))
        if not 0 < count <= MOST_AT_ONCE:
            raise Refused("400.011", "POST parameter(s) is malformed: limit.", 400)
        found = [one for one in self.records.trades() if form.get("pair") in (None, market_id(one.report.instrument))]
        ordered = found if form.get("sort") == "asc" else found[::-1]
        return [self._transaction(traded) for traded in ordered[first : first + count]]

    def _transaction(self, traded: Traded) -> dict[str, Any]:
        trade = traded.report
        base, quote = (coin.lower() for coin in currencies_of(trade.instrument))
        sign = Decimal(1 if trade.side is Side.BUY else -1)
        return {
            "id": trade_id(traded),
            "order_id": int(self.records.of(traded.number).native),
            "datetime": moment(trade.transacted_at_us),
            "type": _TRADE,
            "fee": plain(trade.fee or _ZERO),
            base: plain(EXACT.multiply(traded.quantity, sign)),
            quote: plain(EXACT.multiply(traded.value, -sign)),
            f"{base}_{quote}": plain(traded.price),
        }

    def _balances(self, _: Form) -> object:
        held = {coin: Decimal(1_000_000) for one in self._pairs.values() for coin in currencies_of(one.symbol)}
        shown = ((coin.lower(), plain(total)) for coin, total in sorted(held.items()))
        return [{"currency": coin, "total": total, "available": total, "reserved": "0"} for coin, total in shown]

    def _instrument(self, form: Form) -> Instrument:
        found = self._pairs.get(form.get("pair", ""))
        if found is None:
            raise Refused("400.003", "Trading for provided market is disabled.", 400)
        return found


_ADD_ORDER: Final = frozenset({"amount", "price", "client_order_id", "ioc_order", "fok_order", "daily_order"})
"""What the imitation knows of a new order's parameters; it refuses the rest, rather than pass over it."""
_FORCES: Final = {"ioc_order": TimeInForce.IOC, "fok_order": TimeInForce.FOK, "daily_order": TimeInForce.DAY}


async def _form(http: web.Request) -> Form:
    posted = await http.post()
    return {**{name: str(value) for name, value in posted.items() if name != "foo"}, **dict(http.match_info)}


def _number(form: Form, field: str) -> Decimal:
    if field not in form:
        raise Refused("400.005", f"POST parameter(s) is missing from request: {field}.", 400)
    try:
        return exact_decimal(form[field], field)
    except InvalidField:
        raise Refused("400.026", f"POST parameter(s) is malformed: {field}.", 400) from None


def _within(traded: Traded) -> dict[str, Any]:
    """Return a trade as the status of its order shows it: without the side."""
    trade = traded.report
    base, quote = (coin.lower() for coin in currencies_of(trade.instrument))
    return {
        "tid": trade_id(traded),
        "price": plain(traded.price),
        base: plain(traded.quantity),
        quote: plain(traded.value),
        "fee": plain(trade.fee or _ZERO),
        "datetime": moment(trade.transacted_at_us),
        "type": int(_TRADE),
    }


def _named(record: OrderRecord) -> dict[str, str]:
    return {} if record.client_id is None else {"client_order_id": record.client_id}


def _kind(side: Side) -> str:
    return "0" if side is Side.BUY else "1"


def native(order: ExchangeOrder) -> str:
    """Return the venue's number of an order."""
    return str(ORDERS_FROM + order.number)


def trade_id(traded: Traded) -> int:
    """Return the venue's number of a trade."""
    return TRADES_FROM + traded.report.position


def market_id(symbol: str) -> str:
    """Return what the venue calls an instrument in paths."""
    return "".join(currencies_of(symbol)).lower()


def moment(at_us: int) -> str:
    """Return a moment as the venue writes it, in UTC."""
    return f"{dt.datetime.fromtimestamp(at_us / 1_000_000, dt.UTC):%Y-%m-%d %H:%M:%S.%f}"
