"""An imitation of Kraken's spot API, as far as the client library uses it for orders.

Coded to the venue's documentation: ``cl_ord_id`` is unique among *open* orders only, ``deadline`` is honoured, nonces must
rise, errors come with HTTP 200. What the venue answers to an id that is in use is not documented; the text here is a guess.
"""

import base64
import datetime as dt
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from onefill.core.capabilities import UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    DuplicateId,
    Replaced,
    SubmitRequest,
    Throttled,
    TooLate,
)
from onefill.core.values import OrderType, Side, TimeInForce, exact_decimal
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import SECOND_US, Dialect
from onefill.sim.imitations.base import ACCOUNT, KEYS, Imitation, amend_of, cancel_of
from onefill.sim.imitations.kraken_stream import ExecutionChannel
from onefill.sim.imitations.kraken_words import (
    Pair,
    amount,
    order_body,
    seconds,
    spread_out,
    trade_body,
    trade_id,
    txid,
)
from onefill.sim.imitations.records import OrderRecord, Records, Traded, number_of

PAGE: Final = 50
"""So many trades or closed orders come at once."""
LONGEST_DEADLINE_US: Final = 60 * SECOND_US
OPENING: Final = Decimal(1_000_000)
"""What the account has of each quote currency to begin with."""

_CLIENT_ID = re.compile(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[A-Za-z0-9-]{1,18}", re.ASCII
)
_TIMES_IN_FORCE = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_TOKEN = "imitation/token"  # noqa: S105 - it protects nothing
Form = dict[str, str]


class Refused(Exception):
    """The request is answered by this error text."""


class KrakenImitation(Imitation):
    """Kraken spot."""

    profile = "kraken"
    ccxt_id = "kraken"
    dialect = Dialect(
        unique_scope=UniqueScope.OPEN,
        request_expiry_s=5.0,
        conclusive_after_s=15.0,
        lists_open_orders=True,
    )
    nonce_window: int | None = 0
    """How far a nonce may lie below the highest seen, if it was not seen itself: the setting of a Kraken key, 0 at first.

    ``None``: nonces are not looked at.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records = Records(self.exchange, ACCOUNT, txid)
        self._pairs = {pair.name: pair for pair in map(Pair, self.exchange.instruments.values())}
        self._by_symbol = {pair.instrument.symbol: pair for pair in self._pairs.values()}
        self._channel = ExecutionChannel(self.exchange, ACCOUNT, self.records, _TOKEN)
        self._nonces: set[int] = set()
        self._highest_nonce = 0

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return keys, and a rate limit that does not slow down tests: the library allows one question in three seconds."""
        return KEYS | {"secret": base64.b64encode(KEYS["secret"].encode()).decode(), "rateLimit": 1}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the methods of the API that are there."""
        public: dict[str, Callable[[], object]] = {
            "AssetPairs": lambda: {pair.name: pair.body() for pair in self._pairs.values()},
            "Assets": lambda: {name: body for pair in self._pairs.values() for name, body in pair.assets()},
            "Time": lambda: {"unixtime": self.clock_us() // SECOND_US},
            "SystemStatus": lambda: {"status": "online"},
        }
        for name, shown in public.items():
            yield web.get(f"/0/public/{name}", self._public(shown))
        private: dict[str, Callable[[Form], object]] = {
            "CancelOrder": self._cancel,
            "AmendOrder": self._amend,
            "OpenOrders": self._open_orders,
            "ClosedOrders": self._closed_orders,
            "QueryOrders": self._query_orders,
            "TradesHistory": self._trades_history,
            "Balance": lambda _: dict(self._holdings()),
            "GetWebSocketsToken": lambda _: {"token": _TOKEN, "expires": 900},
            "BalanceEx": lambda _: {name: {"balance": held, "hold_trade": "0"} for name, held in self._holdings()},
        }
        for name, carry_out in private.items():
            yield web.post(f"/0/private/{name}", self._private(carry_out))
        yield web.post("/0/private/AddOrder", self._add_order)
        yield web.get("/v2", self._channel.serve)

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open, as a venue does that restarts."""
        await self._channel.streams.cut()

    # -------------------------------------------------------------- requests

    def _public(self, shown: Callable[[], object]) -> Callable[[web.Request], Any]:
        async def handler(_: web.Request) -> web.Response:
            return answers.ok({"error": [], "result": shown()})

        return handler

    def _private(self, carry_out: Callable[[Form], object]) -> Callable[[web.Request], Any]:
        async def handler(http: web.Request) -> web.Response:
            return self._reply(http, await _form(http), carry_out)

        return handler

    async def _add_order(self, http: web.Request) -> web.StreamResponse:
        form = await _form(http)
        return await self.new_order(lambda: self._reply(http, form, self._submit))

    def _reply(self, http: web.Request, form: Form, carry_out: Callable[[Form], object]) -> web.Response:
        """Return what ``carry_out`` makes of a request that is signed in order, or the error."""
        try:
            self._check(http, form)
            self.exchange.advance(self.clock_us())
            result = carry_out(form)
        except Refused as error:
            return answers.ok({"error": [str(error)]})
        return answers.ok({"error": [], "result": result})

    def _check(self, http: web.Request, form: Form) -> None:
        if http.headers.get("API-Key") != KEYS["apiKey"]:
            raise Refused("EAPI:Invalid key")
        if self.nonce_window is None:
            return
        text = form.get("nonce", "")
        nonce = int(text) if text.isascii() and text.isdecimal() and len(text) < 21 else 0
        if nonce in self._nonces or nonce <= self._highest_nonce - self.nonce_window:
            raise Refused("EAPI:Invalid nonce")
        self._highest_nonce = max(self._highest_nonce, nonce)
        if self.nonce_window:
            self._nonces.add(nonce)

    # ----------------------------------------------------------- new orders

    def _submit(self, form: Form) -> object:
        now, client_id = self.clock_us(), form.get("cl_ord_id")
        pair = self._pair(form)
        if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
            raise Refused("EGeneral:Invalid arguments:cl_ord_id")
        for unknown in form.keys() - _ADD_ORDER:
            raise Refused(f"EGeneral:Invalid arguments:{unknown}")
        kind = _choice(form, "ordertype", {"limit": OrderType.LIMIT, "market": OrderType.MARKET})
        limit = kind is OrderType.LIMIT
        reply = self.exchange.submit(
            SubmitRequest(
                client_order_id=client_id or self.records.invented(),
                account=ACCOUNT,
                instrument=pair.instrument.symbol,
                side=_choice(form, "type", {"buy": Side.BUY, "sell": Side.SELL}),
                quantity=_number(form, "volume"),
                order_type=kind,
                price=_number(form, "price") if limit else None,
                time_in_force=_choice(form, "timeinforce", _TIMES_IN_FORCE, "GTC"),
                expires_at_us=self._deadline(form, now),
            ),
            now,
        )
        match reply:
            case Accepted(order):
                record = self.records.of(number_of(order.venue_order_id))
                words = order_body(record, pair)["descr"]["order"]
                return {"descr": {"order": words}, "txid": [record.native]}
            case DuplicateId():
                raise Refused("EOrder:Duplicate order")
            case TooLate():
                raise Refused("EService:Deadline elapsed")
            case Throttled():
                raise Refused("EOrder:Rate limit exceeded")
        raise Refused(_REFUSALS.get(reply.code or "", f"EGeneral:Invalid arguments:{reply.code}"))

    def _deadline(self, form: Form, now: int) -> int | None:
        text = form.get("deadline")
        if text is None:
            return None
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            raise Refused("EGeneral:Invalid arguments:deadline") from None
        if moment.tzinfo is None:
            raise Refused("EGeneral:Invalid arguments:deadline")
        at_us = (moment - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1)
        if at_us > now + LONGEST_DEADLINE_US:
            raise Refused("EGeneral:Invalid arguments:deadline")
        return at_us

    # ------------------------------------------------------ cancel and amend

    def _cancel(self, form: Form) -> object:
        order = self._live(form).order
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        match reply:
            case Canceled():
                return {"count": 1}
            case Throttled():
                raise Refused("EOrder:Rate limit exceeded")
        raise Refused("EOrder:Unknown order")

    def _amend(self, form: Form) -> object:
        now = self.clock_us()
        order = self._live(form).order
        reply = self.exchange.replace(
            amend_of(
                order,
                _number(form, "order_qty") if "order_qty" in form else order.quantity,
                _number(form, "limit_price") if "limit_price" in form else order.price,
                self._deadline(form, now),
            ),
            now,
        )
        match reply:
            case Replaced():
                return {"amend_id": spread_out("T", f"amend {self.exchange.counts().replaces}")}
            case TooLate():
                raise Refused("EService:Deadline elapsed")
            case Throttled():
                raise Refused("EOrder:Rate limit exceeded")
        raise Refused("EGeneral:Invalid arguments:order_qty")

    def _live(self, form: Form) -> OrderRecord:
        """Return the order that a request names, by either of its ids; a dead one is unknown to the venue."""
        client_id, number = form.get("cl_ord_id"), form.get("txid")
        if client_id is not None:
            record = next(reversed(self.records.by_client(client_id)), None)
        else:
            record = self.records.by_native(number or "")
        if record is None or record.order.status not in LIVE:
            raise Refused("EOrder:Unknown order")
        return record

    # ------------------------------------------------------------- questions

    def _open_orders(self, form: Form) -> object:
        live = [record for record in self.records.live() if _fits(record, form)]
        return {"open": {record.native: self._shown(record, form) for record in live}}

    def _closed_orders(self, form: Form) -> object:
        by_client = form.get("cl_ord_id")
        asked = self.records.newest_first() if by_client is None else reversed(self.records.by_client(by_client))
        ended = [record for record in asked if record.ended_at_us is not None and self._in_time(record, form)]
        ended.sort(key=lambda record: record.ended_at_us or 0, reverse=True)
        first = int(form.get("ofs", "0"))
        page = ended[first : first + PAGE]
        return {"closed": {record.native: self._shown(record, form) for record in page}, "count": len(ended)}

    def _query_orders(self, form: Form) -> object:
        found = {number: self.records.by_native(number) for number in form.get("txid", "").split(",")}
        # A userref narrows the search here; orders of this imitation have none.
        if "userref" in form or None in found.values():
            raise Refused("EOrder:Unknown order")
        return {number: self._shown(record, form) for number, record in found.items() if record is not None}

    def _trades_history(self, form: Form) -> object:
        start, end = _moment(form, "start", -1), _moment(form, "end", 1 << 60)
        found = [one for one in self.records.trades()[::-1] if start < one.report.transacted_at_us <= end]
        first = int(form.get("ofs", "0"))
        page = {}
        for traded in found[first : first + PAGE]:
            page[trade_id(traded)] = trade_body(traded, self.records.of(traded.number), self._pair_of(traded))
        return {"trades": page, "count": len(found)}

    def _shown(self, record: OrderRecord, form: Form) -> dict[str, Any]:
        with_trades = form.get("trades", "").lower() == "true"
        return order_body(record, self._by_symbol[record.order.instrument], with_trades=with_trades)

    def _in_time(self, record: OrderRecord, form: Form) -> bool:
        start, end = _moment(form, "start", -1), _moment(form, "end", 1 << 60)
        # By default a time is held against the order's opening and its end, and either will do.
        moments = {"open": record.created_at_us, "close": record.ended_at_us or 0}
        wanted = form.get("closetime", "both")
        return any(start < at_us <= end for kind, at_us in moments.items() if wanted in (kind, "both"))

    def _holdings(self) -> list[tuple[str, str]]:
        held = {pair.quote: OPENING for pair in self._pairs.values()}
        for traded in self.records.trades():
            pair, sign = self._pair_of(traded), 1 if traded.report.side is Side.BUY else -1
            held[pair.base] = held.get(pair.base, Decimal(0)) + sign * traded.quantity
            held[pair.quote] -= sign * traded.value
        return [(name, amount(value, 10)) for name, value in sorted(held.items())]

    def _pair(self, form: Form) -> Pair:
        name = form.get("pair", "")
        for pair in self._pairs.values():
            if name in (pair.name, pair.altname):
                return pair
        raise Refused("EQuery:Unknown asset pair")

    def _pair_of(self, traded: Traded) -> Pair:
        return self._by_symbol[traded.report.instrument]


_ADD_ORDER = frozenset(
    {"nonce", "pair", "type", "ordertype", "volume", "price", "timeinforce", "cl_ord_id", "deadline", "userref"}
)
"""What the imitation knows of AddOrder's parameters; it refuses the rest, rather than pass over it."""
_REFUSALS = {
    "below_minimum": "EGeneral:Invalid arguments:volume minimum not met",
    "off_grid_quantity": "EGeneral:Invalid arguments:volume",
    "quantity_too_large": "EGeneral:Invalid arguments:volume",
    "invalid_quantity": "EGeneral:Invalid arguments:volume",
    "off_grid_price": "EOrder:Invalid price:Invalid price argument",
    "price_too_large": "EOrder:Invalid price:Invalid price argument",
    "invalid_price": "EOrder:Invalid price:Invalid price argument",
    "price_required": "EGeneral:Invalid arguments:price",
}


async def _form(http: web.Request) -> Form:
    return {name: str(value) for name, value in (await http.post()).items()}


def _fits(record: OrderRecord, form: Form) -> bool:
    if "userref" in form:
        return False
    return form.get("cl_ord_id") in (None, record.client_id)


def _choice(form: Form, name: str, choices: dict[str, Any], default: str = "") -> Any:
    given = form.get(name, default)
    if given not in choices:
        raise Refused(f"EGeneral:Invalid arguments:{name}")
    return choices[given]


def _number(form: Form, name: str) -> Decimal:
    try:
        return exact_decimal(form.get(name, ""), name)
    except InvalidField:
        raise Refused(f"EGeneral:Invalid arguments:{name}") from None


def _moment(form: Form, name: str, default: int) -> int:
    text = form.get(name)
    return default if text is None else seconds(text)
