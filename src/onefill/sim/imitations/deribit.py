"""Deribit as ccxt uses it: JSON-RPC over HTTP, where every request is a GET, new orders and cancels too.

A label is a remark: nothing is ever refused for having been seen. Orders that ended stay among the recent ones for half an
hour and trades for a day; older ones are told with ``historical`` only, as the venue's own text has it.
"""

from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from aiohttp import web

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.identity import IdFormat
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    ExecutionReport,
    Rejected,
    Replaced,
    SubmitRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side
from onefill.sim.dialect import Dialect
from onefill.sim.imitations import deribit_words as words
from onefill.sim.imitations.base import ACCOUNT, BTC_USDT, KEYS, Imitation, amend_of, cancel_of
from onefill.sim.imitations.deribit_streams import Socket
from onefill.sim.imitations.records import OrderRecord, Records, Traded, number_of
from onefill.sim.imitations.streams import Streams

MAX_LABEL = 64
RECENT_ORDERS_US = 1_800_000_000
RECENT_TRADES_US = 86_400_000_000
FUNDS = Decimal(1_000_000)
"""What an account has of every currency to begin with."""
_ORDERS_PAGE, _TRADES_PAGE, _MOST = 20, 10, 1000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Refused(Exception):
    """The request cannot be carried out; the error's code and message."""

    def __init__(self, code: int, message: str, **data: str) -> None:
        super().__init__(code, message)
        self.reply = words.error(code, message, data=data)


class DeribitImitation(Imitation):
    """One account at Deribit: a spot pair, and a linear perpetual whose positions are told."""

    profile: ClassVar[str] = "deribit"
    ccxt_id: ClassVar[str] = "deribit"
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.NONE,
        duplicate_reply=DuplicateReply.ACCEPTS,
        replace=ReplaceStyle.KEEP,
        cancel_by_client_order_id=False,
        request_expiry_s=3.0,
        conclusive_after_s=10.0,
        execution_id_scope=ExecutionIdScope.ORDER,
        id_format=IdFormat(max_length=MAX_LABEL),
        lists_open_orders=True,
        tells_positions=True,
    )
    instruments: ClassVar[tuple[Instrument, ...]] = (BTC_USDT, words.PERPETUAL)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._symbols = {words.instrument_name(symbol): symbol for symbol in self.exchange.instruments}
        self._records = Records(self.exchange, ACCOUNT, words.order_id)
        self.streams = Streams(self.exchange, ACCOUNT)
        self._socket = Socket(self._records, self.streams, self._order_by_then, self._shown_trade)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves: public and private methods, all by GET."""
        public = {
            "get_time": self._time,
            "get_currencies": self._currencies,
            "get_instruments": self._instruments,
        }
        private: dict[str, Handler] = {
            "buy": self._buy,
            "sell": self._sell,
            "edit": self._edit,
            "cancel": self._cancel,
            "cancel_by_label": self._cancel_by_label,
            "get_order_state": self._order_state,
            "get_order_state_by_label": self._order_state_by_label,
            "get_open_orders": self._open_orders,
            "get_open_orders_by_currency": self._open_orders,
            "get_open_orders_by_instrument": self._open_orders,
            "get_open_orders_by_label": self._open_orders,
            "get_order_history_by_currency": self._history,
            "get_order_history_by_instrument": self._history,
            "get_user_trades_by_currency": self._user_trades,
            "get_user_trades_by_currency_and_time": self._user_trades,
            "get_user_trades_by_instrument": self._user_trades,
            "get_user_trades_by_instrument_and_time": self._user_trades,
            "get_user_trades_by_order": self._order_trades,
            "get_positions": self._positions,
            "get_account_summary": self._summary,
            "get_account_summaries": self._summaries,
        }
        yield from (web.get(f"{words.API}/public/{name}", handler) for name, handler in public.items())
        yield from (web.get(f"{words.API}/private/{name}", _known(handler)) for name, handler in private.items())
        yield web.get(f"/ws{words.API}", self._socket.serve)

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open."""
        await self.streams.cut()

    # ------------------------------------------------------------------ public

    async def _time(self, _: web.Request) -> web.Response:
        return self._ok(self.clock_us() // 1000)

    async def _currencies(self, _: web.Request) -> web.Response:
        shown = [{"currency": name, "currency_long": name, "coin_type": name} for name in self._records.balances(FUNDS)]
        return self._ok(shown)

    async def _instruments(self, http: web.Request) -> web.Response:
        wanted = http.query.get("currency")
        listed = self.exchange.instruments.values()
        return self._ok([words.listing(one) for one in listed if wanted in (None, words.currency_of(one.symbol))])

    # --------------------------------------------------------------- new orders

    async def _buy(self, http: web.Request) -> web.StreamResponse:
        return await self._submit(http, Side.BUY)

    async def _sell(self, http: web.Request) -> web.StreamResponse:
        return await self._submit(http, Side.SELL)

    async def _submit(self, http: web.Request, side: Side) -> web.StreamResponse:
        request = self._request(http, side)

        def carry_out() -> web.Response:
            reply = self.exchange.submit(request, self.clock_us())
            if not isinstance(reply, Accepted):
                return _refusal(reply)
            return self._with_trades(self._records.of(number_of(reply.order.venue_order_id)))

        return await self.new_order(carry_out)

    def _request(self, http: web.Request, side: Side) -> SubmitRequest:
        """Return a new order. One without a label has a name of ours inside."""
        query = http.query
        label = query.get("label", "")
        if len(label) > MAX_LABEL:
            raise _Refused(-32602, "Invalid params", reason="too long", param="label")
        order_type = OrderType(_among(query.get("type", "limit"), ("limit", "market"), "type"))
        time_in_force = _among(query.get("time_in_force", "good_til_cancelled"), words.TIMES_IN_FORCE, "time_in_force")
        return SubmitRequest(
            client_order_id=label or self._records.invented(),
            account=ACCOUNT,
            instrument=self._symbol(query.get("instrument_name", "")),
            side=side,
            quantity=_decimal(http, "amount"),
            order_type=order_type,
            price=None if order_type is OrderType.MARKET else _decimal(http, "price"),
            time_in_force=words.TIMES_IN_FORCE[time_in_force],
            expires_at_us=_valid_until_us(http),
        )

    async def _edit(self, http: web.Request) -> web.Response:
        record = self._named(http)
        order = record.order
        reply = self.exchange.replace(
            amend_of(
                order,
                _decimal(http, "amount") if "amount" in http.query else order.quantity,
                _decimal(http, "price") if "price" in http.query else order.price,
                _valid_until_us(http),
            ),
            self.clock_us(),
        )
        if isinstance(reply, Replaced):
            return self._with_trades(record)
        if isinstance(reply, Throttled | TooLate):
            return _refusal(reply)
        if reply.order is not None and reply.order.status not in LIVE:
            return _over(reply.order.status)
        return words.error(11030, f"other_reject {reply.reason}")

    # ----------------------------------------------------------------- cancels

    async def _cancel(self, http: web.Request) -> web.Response:
        return self._canceled(self._named(http))

    async def _cancel_by_label(self, http: web.Request) -> web.Response:
        label = http.query.get("label") or None
        labelled = [record for record in self._live() if record.client_id == label]
        return self._ok(sum(self._canceled(record).status == 200 for record in labelled))

    def _canceled(self, record: OrderRecord) -> web.Response:
        order = record.order
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        if isinstance(reply, Canceled):
            return self._ok(words.shown_order(record))
        return _refusal(reply) if isinstance(reply, Throttled) else _over(order.status)

    # --------------------------------------------------------------- questions

    async def _order_state(self, http: web.Request) -> web.Response:
        record = self._named(http)
        if not self._recent(record):
            raise _Refused(10004, "order_not_found")
        return self._ok(words.shown_order(record))

    async def _order_state_by_label(self, http: web.Request) -> web.Response:
        self.exchange.advance(self.clock_us())
        labelled = self._records.by_client(http.query.get("label", ""))
        return self._ok([words.shown_order(one) for one in labelled if self._fits(http, one) and self._recent(one)])

    async def _open_orders(self, http: web.Request) -> web.Response:
        label = http.query.get("label")
        live = [record for record in self._live() if self._fits(http, record)]
        return self._ok([words.shown_order(record) for record in live if label in (None, record.client_id or "")])

    async def _history(self, http: web.Request) -> web.Response:
        self.exchange.advance(self.clock_us())
        unfilled, historical = _yes(http, "include_unfilled"), _yes(http, "historical")
        found = [
            record
            for record in self._records.newest_first()
            if record.ended_at_us is not None
            and (unfilled or record.trades)
            and self._recent(record) is not historical
            and self._fits(http, record)
        ]
        first = int(http.query.get("offset", "0"))
        page = found[first : first + _count(http, _ORDERS_PAGE)]
        return self._ok([words.shown_order(record) for record in page])

    async def _user_trades(self, http: web.Request) -> web.Response:
        query = http.query
        (since, until), (first, last) = _bounds(http, "timestamp"), _bounds(http, "seq")
        found = []
        for traded in self._told(historical=_yes(http, "historical")):
            in_time = since <= traded.at_ms <= until
            if in_time and first <= traded.match <= last and _fits(http, traded.report.instrument):
                found.append(traded)
        ascending = query.get("sorting", "default") == "asc" or "start_timestamp" in query or "start_seq" in query
        if not ascending or query.get("sorting") == "desc":
            found.reverse()
        count = _count(http, _TRADES_PAGE)
        shown = [self._shown_trade(traded) for traded in found[:count]]
        return self._ok({"trades": shown, "has_more": len(found) > count})

    def _told(self, *, historical: bool) -> list[Traded]:
        """Return the trades that are told as recent, or as historical ones."""
        self.exchange.advance(self.clock_us())
        limit_us = self.clock_us() - RECENT_TRADES_US
        return [one for one in self._records.trades() if (one.report.transacted_at_us < limit_us) is historical]

    async def _order_trades(self, http: web.Request) -> web.Response:
        return self._ok(_trades_of(self._named(http)))

    async def _positions(self, http: web.Request) -> web.Response:
        held = self.exchange.positions(ACCOUNT).items()
        wanted = http.query.get("currency", "any")
        return self._ok(
            [
                words.position(symbol, quantity)
                for symbol, quantity in held
                if ":" in symbol and wanted in ("any", words.currency_of(symbol))
            ]
        )

    async def _summary(self, http: web.Request) -> web.Response:
        return self._ok(self._funds().get(http.query.get("currency", ""), {}))

    async def _summaries(self, _: web.Request) -> web.Response:
        return self._ok({"summaries": list(self._funds().values())})

    def _funds(self) -> dict[str, dict[str, Any]]:
        self.exchange.advance(self.clock_us())
        none = words.plain(Decimal(0))
        return {
            name: {
                "currency": name,
                "equity": words.plain(held),
                "balance": words.plain(held),
                "available_funds": words.plain(held),
                "maintenance_margin": none,
                "initial_margin": none,
            }
            for name, (held, _) in self._records.balances(FUNDS).items()
        }

    # ------------------------------------------------------------------- words

    def _ok(self, value: object) -> web.Response:
        return words.result(value, self.clock_us())

    def _symbol(self, name: str) -> str:
        symbol = self._symbols.get(name)
        if symbol is None:
            raise _Refused(13020, "not_found")
        return symbol

    def _named(self, http: web.Request) -> OrderRecord:
        """Return the order that a request names by its id."""
        self.exchange.advance(self.clock_us())
        record = self._records.by_native(http.query.get("order_id", ""))
        if record is None:
            raise _Refused(10004, "order_not_found")
        return record

    def _live(self) -> list[OrderRecord]:
        """Return the orders that can still trade, oldest first."""
        self.exchange.advance(self.clock_us())
        return self._records.live()

    def _fits(self, http: web.Request, record: OrderRecord) -> bool:
        return _fits(http, record.order.instrument)

    def _recent(self, record: OrderRecord) -> bool:
        return record.ended_at_us is None or self.clock_us() - record.ended_at_us <= RECENT_ORDERS_US

    def _order_by_then(self, report: ExecutionReport) -> dict[str, Any]:
        return words.order_by_then(self._records.of(number_of(report.venue_order_id)), report)

    def _shown_trade(self, traded: Traded) -> dict[str, Any]:
        return words.shown_trade(traded, self._records.of(traded.number))

    def _with_trades(self, record: OrderRecord) -> web.Response:
        """Return an order with its trades, as new and edited orders are answered."""
        return self._ok({"order": words.shown_order(record), "trades": _trades_of(record)})


def _trades_of(record: OrderRecord) -> list[dict[str, Any]]:
    return [words.shown_trade(one, record) for one in record.trades]


def _known(handler: Handler) -> Handler:
    """Refuse requests without the account's key; answer what the handler refuses."""

    async def answered(http: web.Request) -> web.StreamResponse:
        if f"id={KEYS['apiKey']}," not in http.headers.get("Authorization", ""):
            return words.error(13004, "invalid_credentials")
        try:
            return await handler(http)
        except _Refused as refused:
            return refused.reply

    return answered


def _refusal(reply: object) -> web.Response:
    match reply:
        case Throttled():
            return words.error(10028, "too_many_requests", 429)
        case TooLate():
            return words.error(13888, "timed_out")
        case Rejected(reason, code):
            return words.error(*words.REFUSALS.get(code or "", (11030, f"other_reject {reason}")))
    raise NotImplementedError(f"Deribit has no word for {reply}")


def _over(status: VenueStatus) -> web.Response:
    """Return what is answered to a cancel or an edit of an order that ended: which code when is our guess."""
    return (
        words.error(10010, "already_closed") if status is VenueStatus.FILLED else words.error(11044, "not_open_order")
    )


def _fits(http: web.Request, symbol: str) -> bool:
    """Tell whether a request asks for this instrument, by its name or by its currency."""
    name, currency = http.query.get("instrument_name"), http.query.get("currency")
    return name in (None, words.instrument_name(symbol)) and currency in (None, "any", words.currency_of(symbol))


def _decimal(http: web.Request, field: str) -> Decimal:
    try:
        return Decimal(http.query[field])
    except (KeyError, InvalidOperation):
        raise _Refused(-32602, "Invalid params", reason="must be a number", param=field) from None


def _among(word: str, known: Iterable[str], field: str) -> str:
    if word not in known:
        raise _Refused(-32602, "Invalid params", reason="not supported", param=field)
    return word


def _valid_until_us(http: web.Request) -> int | None:
    return int(http.query["valid_until"]) * 1000 if "valid_until" in http.query else None


def _yes(http: web.Request, field: str) -> bool:
    return http.query.get(field, "false").lower() == "true"


def _count(http: web.Request, usual: int) -> int:
    return min(int(http.query.get("count", usual)), _MOST)


def _bounds(http: web.Request, of: str) -> tuple[int, int]:
    """Return the first and the last that is asked for, of times or of sequence numbers."""
    return int(http.query.get(f"start_{of}", "0")), int(http.query.get(f"end_{of}", 1 << 62))
