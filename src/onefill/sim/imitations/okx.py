"""OKX v5 as ccxt uses it: refusals with HTTP 200, ids that may be used again, and replies that show nothing of the order.

``clOrdId`` must be unique among pending orders only; a look-up shows the latest order under it. ``expTime`` counts in the
header of a request; in its body, where ccxt puts it, nobody looks. Orders cancelled without a fill are kept for two hours.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

import msgspec
from aiohttp import web

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, ReplaceStyle, UniqueScope
from onefill.core.identity import Alphabet, IdFormat
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    DuplicateId,
    Found,
    Rejected,
    Replaced,
    SubmitRequest,
    Throttled,
    TooLate,
    VenueStatus,
)
from onefill.core.values import Instrument, OrderType, Side
from onefill.sim.dialect import Dialect
from onefill.sim.imitations import okx_words as words
from onefill.sim.imitations.base import ACCOUNT, BTC_USDT, KEYS, Imitation, amend_of, cancel_of
from onefill.sim.imitations.okx_streams import Private
from onefill.sim.imitations.records import Records, Traded, number_of
from onefill.sim.imitations.streams import Streams
from onefill.sim.order_book import ExchangeOrder

HOUR_US = 3_600_000_000
UNFILLED_US = 2 * HOUR_US
"""How long an order is kept that was cancelled without a fill."""
FILLS_US = 72 * HOUR_US
HISTORY_US = 7 * 24 * HOUR_US
FUNDS = Decimal(1_000_000)
"""What an account has of every currency to begin with."""
_PAGE = 100

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fields = Mapping[str, Any]


class _Refused(Exception):
    """The request is refused as a whole."""

    def __init__(self, why: tuple[str, str], status: int = 200) -> None:
        super().__init__(*why)
        self.why = why
        self.status = status


class OkxImitation(Imitation):
    """One account at OKX: a spot pair, and a linear perpetual whose positions are told."""

    profile: ClassVar[str] = "okx"
    ccxt_id: ClassVar[str] = "okx"
    dialect: ClassVar[Dialect] = Dialect(
        unique_scope=UniqueScope.OPEN,
        duplicate_reply=DuplicateReply.ERROR,
        replace=ReplaceStyle.KEEP,
        request_expiry_s=3.0,
        conclusive_after_s=10.0,
        execution_id_scope=ExecutionIdScope.ORDER,
        id_format=IdFormat(alphabet=Alphabet.ALPHANUMERIC, max_length=32),
        lists_open_orders=True,
        tells_positions=True,
    )
    instruments: ClassVar[tuple[Instrument, ...]] = (BTC_USDT, words.SWAP)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.records = Records(self.exchange, ACCOUNT)
        self._symbols = {words.inst_id(symbol): symbol for symbol in self.exchange.instruments}
        self.streams = Streams(self.exchange, ACCOUNT)
        self._private = Private(self.records, self.streams)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what the venue serves."""
        public = {"public/instruments": self._instruments, "public/time": self._time}
        questions: dict[str, Handler] = {
            "asset/currencies": self._currencies,
            "trade/order": self._order,
            "trade/orders-pending": self._pending,
            "trade/orders-history": self._history,
            "trade/orders-history-archive": self._history,
            "trade/fills": self._fills,
            "trade/fills-history": self._fills,
            "account/balance": self._balance,
            "account/positions": self._positions,
        }
        requests: dict[str, Handler] = {
            "trade/order": self._place,
            "trade/batch-orders": self._place,
            "trade/amend-order": self._amend,
            "trade/cancel-order": self._cancel,
        }
        yield from (web.get(f"{words.API}/{name}", handler) for name, handler in public.items())
        yield from (web.get(f"{words.API}/{name}", _known(handler)) for name, handler in questions.items())
        yield from (web.post(f"{words.API}/{name}", _known(handler)) for name, handler in requests.items())
        yield web.get("/ws/v5/private", self._private.serve)

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open."""
        await self.streams.cut()

    # ------------------------------------------------------------------ public

    async def _time(self, _: web.Request) -> web.Response:
        return words.answer([{"ts": str(self.clock_us() // 1000)}])

    async def _instruments(self, http: web.Request) -> web.Response:
        kind = http.query.get("instType")
        listed = self.exchange.instruments.values()
        return words.answer([words.listing(one) for one in listed if words.inst_type(one.symbol) == kind])

    async def _currencies(self, _: web.Request) -> web.Response:
        return words.answer(
            [
                {"ccy": name, "name": name, "chain": f"{name}-{name}", "canDep": True, "canWd": True}
                for name in self.records.balances(FUNDS)
            ]
        )

    # ------------------------------------------------------------------ orders

    async def _place(self, http: web.Request) -> web.StreamResponse:
        """Place one order, or each of a batch; the header's expTime is that of all."""
        body = await _body(http)
        expires_at_us = _expires_at_us(http)
        requests = [self._request(one, expires_at_us) for one in (body if isinstance(body, list) else [body])]

        def carry_out() -> web.Response:
            try:
                return words.results([self._placed(request, named) for request, named in requests])
            except _Refused as refused:
                return words.refusal(refused.why, refused.status)

        return await self.new_order(carry_out)

    def _request(self, given: Fields, expires_at_us: int | None) -> tuple[SubmitRequest | tuple[str, str], str]:
        """Return a new order, or why it is none, and the id that the client gave it. An order without one gets one of ours."""
        named = str(given.get("clOrdId", ""))
        kind = words.ORDER_TYPES.get(str(given.get("ordType", "")))
        symbol = self._symbols.get(str(given.get("instId", "")))
        quantity, side = _decimal(given.get("sz")), given.get("side")
        if symbol is None:
            return words.REFUSALS["unknown_instrument"], named
        if kind is None or quantity is None or side not in ("buy", "sell"):
            return ("51000", "Parameter ordType, sz or side error"), named
        if given.get("tdMode") not in ("cash", "cross", "isolated"):
            return ("51000", "Parameter tdMode error"), named
        order_type, time_in_force = kind
        market = order_type is OrderType.MARKET
        if market and side == "buy" and ":" not in symbol and given.get("tgtCcy") != "base_ccy":
            # The venue takes such a size for an amount of money; the exchange behind this cannot be asked for that.
            return ("51000", "Parameter tgtCcy error"), named
        request = SubmitRequest(
            client_order_id=named or self.records.invented(),
            account=ACCOUNT,
            instrument=symbol,
            side=Side(side),
            quantity=quantity,
            order_type=order_type,
            price=None if market else _decimal(given.get("px")),
            time_in_force=time_in_force,
            expires_at_us=expires_at_us,
        )
        return request, named

    def _placed(self, request: SubmitRequest | tuple[str, str], named: str) -> dict[str, str]:
        if isinstance(request, tuple):
            return words.did_not(request, "", named)
        now_us = self.clock_us()
        reply = self.exchange.submit(request, now_us)
        match reply:
            case Accepted(order):
                return words.did(number_of(order.venue_order_id), named, now_us)
            case DuplicateId():
                return words.did_not(words.TAKEN, "", named)
            case Rejected(reason, code):
                return words.did_not(words.REFUSALS.get(code or "", ("51000", reason)), "", named)
        raise _refused(reply)

    async def _amend(self, http: web.Request) -> web.Response:
        """Amend an order: the reply says that the request was taken, and shows nothing of what became of it."""
        given = await _body(http)
        order = self._named(given)
        if order is None:
            return self._not_done(("51503", "Order modification failed as the order does not exist."), given)
        if order.status not in LIVE:
            canceled = order.status is not VenueStatus.FILLED
            return self._not_done(
                ("51509", "Modification failed as the order has been canceled.")
                if canceled
                else ("51510", "Modification failed as the order has been completed."),
                given,
            )
        quantity = _decimal(given.get("newSz")) or order.quantity
        reply = self.exchange.replace(
            amend_of(
                order,
                # No more than was filled means: as much as was filled.
                max(quantity, order.cum_quantity),
                _decimal(given.get("newPx")) or order.price,
                _expires_at_us(http),
            ),
            self.clock_us(),
        )
        if isinstance(reply, Replaced):
            return words.results(
                [words.did(order.number, self.records.of(order.number).client_id or "", self.clock_us())]
            )
        if isinstance(reply, Throttled | TooLate):
            raise _refused(reply)
        return self._not_done(("51000", f"Parameter newSz or newPx error: {reply.reason}"), given)

    async def _cancel(self, http: web.Request) -> web.Response:
        given = await _body(http)
        order = self._named(given)
        if order is None:
            return self._not_done(("51400", "Cancellation failed as the order does not exist."), given)
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        if isinstance(reply, Canceled):
            return words.results(
                [words.did(order.number, self.records.of(order.number).client_id or "", self.clock_us())]
            )
        if isinstance(reply, Throttled):
            raise _refused(reply)
        if order.status is VenueStatus.FILLED:
            return self._not_done(("51402", "Cancellation failed as the order is already completed."), given)
        return self._not_done(("51401", "Cancellation failed as the order is already canceled."), given)

    def _not_done(self, why: tuple[str, str], given: Fields) -> web.Response:
        return words.results([words.did_not(why, str(given.get("ordId", "")), str(given.get("clOrdId", "")))])

    # --------------------------------------------------------------- questions

    async def _order(self, http: web.Request) -> web.Response:
        order = self._named(http.query)
        if order is None or not self._kept(order):
            raise _Refused(words.NO_SUCH)
        return words.answer([self._shown(order)])

    async def _pending(self, http: web.Request) -> web.Response:
        self.exchange.advance(self.clock_us())
        live = (record.order for record in self.records.live())
        found = [order for order in live if _fits(http, order.instrument)]
        return words.answer([self._shown(order) for order in _page(http, found, lambda one: words.ord_id(one.number))])

    async def _history(self, http: web.Request) -> web.Response:
        """List orders that ended: those of seven days, or in the archive all; times are those at which they came."""
        self.exchange.advance(self.clock_us())
        if http.query.get("instType") is None:
            raise _Refused(("50014", "Parameter instType can not be empty"))
        since_us = 0 if http.path.endswith("archive") else self.clock_us() - HISTORY_US
        begin, end = _times(http)
        state = http.query.get("state")
        found = []
        for order in self.exchange.all_orders():
            if order.account != ACCOUNT or order.status in LIVE or not _fits(http, order.instrument):
                continue
            in_time = begin <= order.created_at_us // 1000 <= end and self._ended_at_us(order) >= since_us
            if in_time and self._kept(order) and state in (None, words.state_word(order.status)):
                found.append(order)
        return words.answer([self._shown(order) for order in _page(http, found, lambda one: words.ord_id(one.number))])

    async def _fills(self, http: web.Request) -> web.Response:
        """List fills: those of three days, or in the history all, the latest first."""
        self.exchange.advance(self.clock_us())
        whole = http.path.endswith("history")
        if whole and http.query.get("instType") is None:
            raise _Refused(("50014", "Parameter instType can not be empty"))
        since_us = 0 if whole else self.clock_us() - FILLS_US
        begin, end = _times(http)
        wanted = words.number_in(http.query.get("ordId", ""))
        found = [
            traded
            for traded in self.records.trades()
            if begin <= traded.at_ms <= end
            and traded.report.transacted_at_us >= since_us
            and _fits(http, traded.report.instrument)
            and wanted in (0, traded.number)
        ]
        page = _page(http, found, lambda one: str(words.bill_id(one)))
        return words.answer([self._shown_fill(traded) for traded in page])

    async def _balance(self, _: web.Request) -> web.Response:
        self.exchange.advance(self.clock_us())
        details = [
            {"ccy": name, "eq": f"{held:f}", "cashBal": f"{held:f}", "availEq": f"{held:f}", "frozenBal": "0"}
            for name, (held, _) in self.records.balances(FUNDS).items()
        ]
        return words.answer([{"uTime": str(self.clock_us() // 1000), "details": details}])

    async def _positions(self, http: web.Request) -> web.Response:
        self.exchange.advance(self.clock_us())
        held = self.exchange.positions(ACCOUNT).items()
        return words.answer([words.position(name, one) for name, one in held if ":" in name and _fits(http, name)])

    # ------------------------------------------------------------------- words

    def _named(self, given: Fields) -> ExchangeOrder | None:
        """Return the order that a request names; of both ids the venue's own counts, of several orders the latest."""
        self.exchange.advance(self.clock_us())
        number = words.number_in(str(given.get("ordId", "")))
        if not number and given.get("clOrdId"):
            found = self.exchange.lookup(str(given["clOrdId"]), ACCOUNT, self.clock_us())
            number = number_of(found.order.venue_order_id) if isinstance(found, Found) else 0
        order = self.records.order(number)
        return order if order is not None and words.inst_id(order.instrument) == given.get("instId") else None

    def _kept(self, order: ExchangeOrder) -> bool:
        """Tell whether the venue still has an order: it forgets those cancelled without a fill."""
        recent = self.clock_us() - self._ended_at_us(order) <= UNFILLED_US
        return order.status in LIVE or bool(order.cum_quantity) or recent

    def _ended_at_us(self, order: ExchangeOrder) -> int:
        return self.records.of(order.number).changed_at_us

    def _shown(self, order: ExchangeOrder) -> dict[str, str]:
        return words.shown_order(self.records.of(order.number))

    def _shown_fill(self, traded: Traded) -> dict[str, str]:
        return words.shown_fill(traded, self.records.of(traded.number).client_id or "")


def _known(handler: Handler) -> Handler:
    """Refuse requests without the account's key; answer what the handler refuses."""

    async def answered(http: web.Request) -> web.StreamResponse:
        if http.headers.get("OK-ACCESS-KEY") != KEYS["apiKey"]:
            return words.refusal(("50111", "Invalid OK-ACCESS-KEY"), 401)
        if http.headers.get("OK-ACCESS-PASSPHRASE") != KEYS["password"]:
            return words.refusal(("50105", "Request header OK-ACCESS-PASSPHRASE incorrect."), 401)
        try:
            return await handler(http)
        except _Refused as refused:
            return words.refusal(refused.why, refused.status)

    return answered


def _refused(reply: object) -> _Refused:
    match reply:
        case Throttled():
            return _Refused(words.TOO_MANY, 429)
        case TooLate():
            return _Refused(words.EXPIRED)
    raise NotImplementedError(f"OKX has no word for {reply}")


async def _body(http: web.Request) -> Any:
    try:
        return msgspec.json.decode(await http.read())
    except msgspec.DecodeError:
        raise _Refused(("50002", "JSON syntax error")) from None


def _decimal(given: object) -> Decimal | None:
    try:
        return Decimal(str(given)) if given is not None else None
    except InvalidOperation:
        return None


def _expires_at_us(http: web.Request) -> int | None:
    """Return when the request expires: its header says so, and nothing in its body."""
    given = http.headers.get("expTime")
    return int(given) * 1000 if given else None


def _fits(http: web.Request, symbol: str) -> bool:
    name, kind = http.query.get("instId"), http.query.get("instType")
    return name in (None, words.inst_id(symbol)) and kind in (None, words.inst_type(symbol))


def _times(http: web.Request) -> tuple[int, int]:
    return int(http.query.get("begin", "0")), int(http.query.get("end", 1 << 62))


def _page(http: web.Request, oldest_first: list[Any], name: Callable[[Any], str]) -> list[Any]:
    """Return one page, the latest first: what is earlier than the id ``after`` and later than the id ``before``."""
    after, before = http.query.get("after"), http.query.get("before")
    found = [
        one
        for one in reversed(oldest_first)
        if (after is None or int(name(one)) < int(after)) and (before is None or int(name(one)) > int(before))
    ]
    count = min(int(http.query.get("limit", _PAGE)), _PAGE)
    return found[:count]
