"""An imitation of Coinbase Advanced Trade's API, as far as the client library uses it for orders.

Coded to the profile: a client order id counts for ever, and a repeat is answered with the first order. There is no query by
client id and no expiry of a request; a new order that is refused comes with HTTP 200 and ``success: false``.
"""

import base64
import functools
import itertools
from collections.abc import Callable, Iterable
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from onefill.core.capabilities import DuplicateReply, Lookup, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import IdFormat
from onefill.core.messages import (
    LIVE,
    Accepted,
    Canceled,
    Rejected,
    Replaced,
    ReplaceRejected,
    SubmitRequest,
    Throttled,
)
from onefill.core.values import OrderType, Side, TimeInForce, exact_decimal, plain
from onefill.sim import exchange_http as answers
from onefill.sim.dialect import SECOND_US, Dialect
from onefill.sim.imitations.base import ACCOUNT, Imitation, amend_of, cancel_of
from onefill.sim.imitations.coinbase_stream import UserChannel
from onefill.sim.imitations.coinbase_words import (
    STATES,
    Product,
    client_id_of,
    fill_body,
    moment_us,
    order_body,
    order_number,
    uuid_of,
)
from onefill.sim.imitations.records import OrderRecord, Records, Traded, number_of

KEY_NAME: Final = "organizations/imitation/apiKeys/imitation-key"
PAGE: Final = 100
"""So many orders or fills come at once where the client names no limit."""
MOST: Final = 1_000
"""So many come at most, whatever it names."""
OPENING: Final = Decimal(1_000_000)
"""What the account has of each quote currency to begin with."""
BROKERAGE: Final = "/api/v3/brokerage"

_KINDS: Final = {
    "limit_limit_gtc": (OrderType.LIMIT, TimeInForce.GTC),
    "sor_limit_ioc": (OrderType.LIMIT, TimeInForce.IOC),
    "limit_limit_fok": (OrderType.LIMIT, TimeInForce.FOK),
    "market_market_ioc": (OrderType.MARKET, TimeInForce.IOC),
    "market_market_fok": (OrderType.MARKET, TimeInForce.FOK),
}
_NO_CANCEL: Final = "UNKNOWN_CANCEL_FAILURE_REASON"
_REFUSALS: Final = {
    "below_minimum": "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL",
    "off_grid_quantity": "INVALID_SIZE_PRECISION",
    "off_grid_price": "INVALID_PRICE_PRECISION",
}
Body = dict[str, Any]
Found = TypeVar("Found")


class Refused(Exception):
    """The request is answered by HTTP 400 and this."""

    def __init__(self, code: str, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.code = code
        self.status = status


class CoinbaseImitation(Imitation):
    """Coinbase Advanced Trade, spot."""

    profile = "coinbase"
    ccxt_id = "coinbase"
    dialect = Dialect(
        unique_scope=UniqueScope.EVER,
        duplicate_reply=DuplicateReply.ORIGINAL,
        lookup=Lookup.SCAN,
        request_expiry=False,
        conclusive_after_s=None,
        cancel_by_client_order_id=False,
        id_format=IdFormat(max_length=128),
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records = Records(self.exchange, ACCOUNT, order_number)
        self._products = {one.name: one for one in map(Product, self.exchange.instruments.values())}
        self._by_symbol = {one.instrument.symbol: one for one in self._products.values()}
        self._channel = UserChannel(self.exchange, ACCOUNT, self.records, lambda token: self._claims(token) is not None)
        self._written: dict[int, tuple[str, Body]] = {}
        """By the core's number: the order's configuration as it came."""

    @classmethod
    def config(cls) -> dict[str, Any]:
        """Return a key made for the occasion, and a rate limit that does not slow down tests."""
        return {"apiKey": KEY_NAME, "secret": _private_key(), "rateLimit": 1}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the paths that are there."""
        public: dict[str, Callable[[web.Request], object]] = {
            f"{BROKERAGE}/market/products": self._list_products,
            f"{BROKERAGE}/time": lambda _: {"epochSeconds": str(self.clock_us() // SECOND_US)},
            "/v2/time": lambda _: {"data": {"epoch": self.clock_us() // SECOND_US}},
            "/v2/currencies": lambda _: {"data": []},
            "/v2/currencies/crypto": lambda _: {"data": []},
            "/v2/exchange-rates": lambda _: {"data": {"currency": "USD", "rates": {}}},
        }
        private: dict[str, Callable[[web.Request], object]] = {
            f"{BROKERAGE}/products": self._list_products,
            f"{BROKERAGE}/transaction_summary": lambda _: {"fee_tier": {"taker_fee_rate": "0", "maker_fee_rate": "0"}},
            f"{BROKERAGE}/accounts": lambda _: {"accounts": self._accounts(), "has_next": False, "cursor": ""},
            "/v2/accounts": lambda _: {"data": self._wallets(), "pagination": {}},
            f"{BROKERAGE}/orders/historical/batch": self._list_orders,
            f"{BROKERAGE}/orders/historical/fills": self._list_fills,
            f"{BROKERAGE}/orders/historical/{{order_id}}": self._one_order,
        }
        changes: dict[str, Callable[[Body], object]] = {
            f"{BROKERAGE}/orders/batch_cancel": self._batch_cancel,
            f"{BROKERAGE}/orders/edit": self._edit,
        }
        for path, shown in public.items():
            yield web.get(path, self._reading(shown, signed=False))
        for path, shown in private.items():
            yield web.get(path, self._reading(shown, signed=True))
        for path, carry_out in changes.items():
            yield web.post(path, self._changing(carry_out))
        yield web.post(f"{BROKERAGE}/orders", self._create)
        yield web.get("/", self._channel.serve)

    async def end_streams(self) -> None:
        """Cut every WebSocket that is open, as a venue does that restarts."""
        await self._channel.streams.cut()

    # -------------------------------------------------------------- requests

    def _reading(self, shown: Callable[[web.Request], object], *, signed: bool) -> Callable[[web.Request], Any]:
        async def handler(http: web.Request) -> web.Response:
            return self._reply(http, lambda: shown(http), signed=signed)

        return handler

    def _changing(self, carry_out: Callable[[Body], object]) -> Callable[[web.Request], Any]:
        async def handler(http: web.Request) -> web.Response:
            text = await http.read()
            return self._reply(http, lambda: carry_out(_decoded(text)))

        return handler

    async def _create(self, http: web.Request) -> web.StreamResponse:
        text = await http.read()
        return await self.new_order(lambda: self._reply(http, lambda: self._submit(_decoded(text))))

    def _reply(self, http: web.Request, answer: Callable[[], object], *, signed: bool = True) -> web.Response:
        """Return what ``answer`` makes of a request that is signed in order, or the error."""
        if signed and not self._may(http):
            return web.Response(status=401, text="Unauthorized")
        try:
            self.exchange.advance(self.clock_us())
            body = answer()
        except Refused as error:
            body = {"error": error.code, "error_details": str(error), "message": str(error)}
            return answers.answer(error.status, body)
        return answers.ok(body)

    def _may(self, http: web.Request) -> bool:
        """Tell whether a request bears a token that is good for it."""
        kind, _, token = http.headers.get("Authorization", "").partition(" ")
        claims = self._claims(token)
        return kind == "Bearer" and claims is not None and str(claims.get("uri")).endswith(http.path)

    def _claims(self, token: str) -> Body | None:
        """Return what a token claims, if it is of the key and not too old. Its signature is not looked at."""
        try:
            part = token.split(".")[1]
            claims: Body = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            good = claims["sub"] == KEY_NAME and claims["exp"] * SECOND_US > self.clock_us()
        except (LookupError, ValueError, TypeError, msgspec.DecodeError):
            return None
        return claims if good else None

    # ------------------------------------------------------------ new orders

    def _submit(self, body: Body) -> object:
        now, client_id = self.clock_us(), str(body.get("client_order_id") or "")
        product = self._products.get(str(body.get("product_id")))
        if product is None or body.get("side") not in ("BUY", "SELL") or not client_id:
            raise Refused("INVALID_ARGUMENT", "product_id, side or client_order_id is missing or wrong")
        kind, written = _configured(body)
        order_type, time_in_force = _KINDS[kind]
        side = Side(str(body["side"]).lower())
        quote = written.get("quote_size")
        quantity = _number(written, "base_size") if quote is None else self._worth(product, side, written)
        if not quantity:
            return _failed(body, "INVALID_NO_LIQUIDITY", "there is nothing to trade with")
        reply = self.exchange.submit(
            SubmitRequest(
                client_order_id=client_id_of(client_id),
                account=ACCOUNT,
                instrument=product.instrument.symbol,
                side=side,
                quantity=quantity,
                order_type=order_type,
                price=_number(written, "limit_price") if order_type is OrderType.LIMIT else None,
                time_in_force=time_in_force,
                expires_at_us=None,
            ),
            now,
        )
        match reply:
            case Accepted(order):
                record = self.records.of(number_of(order.venue_order_id))
                if record.number not in self._written:
                    record.client_id = client_id
                    self._written[record.number] = (kind, written)
                return _succeeded(record, product, body)
            case Rejected():
                return _failed(body, _REFUSALS.get(reply.code or "", "INVALID_REQUEST"), reply.reason)
            case Throttled():
                raise Refused("rate_limit_exceeded", reply.reason, 429)
        raise Refused("internal_server_error", "the order was neither taken nor refused", 500)

    def _worth(self, product: Product, side: Side, written: Body) -> Decimal:
        """Return how much a market order may trade that names what it is to cost: as much as there is for that now."""
        left, quantity = _number(written, "quote_size"), Decimal(0)
        bids, offers = self.exchange.book(product.instrument.symbol)
        for resting in offers if side is Side.BUY else bids:
            price = resting.price or Decimal(0)
            step = product.instrument.quantity_step
            there = resting.quantity - resting.cum_quantity
            taken = min(there, ((left / price) / step).to_integral_value(ROUND_DOWN) * step)
            quantity, left = quantity + taken, left - taken * price
            if taken < there:
                break
        return quantity

    # ------------------------------------------------------- cancel and edit

    def _batch_cancel(self, body: Body) -> object:
        numbers = body.get("order_ids")
        if not isinstance(numbers, list) or not numbers:
            raise Refused("INVALID_ARGUMENT", "order_ids is missing")
        return {"results": [self._cancel(str(number)) for number in numbers]}

    def _cancel(self, number: str) -> Body:
        record = self.records.by_native(number)
        if record is None:
            return {"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER", "order_id": number}
        order = record.order
        reply = self.exchange.cancel(cancel_of(order), self.clock_us())
        done = isinstance(reply, Canceled)
        return {
            "success": done,
            "failure_reason": _NO_CANCEL if done else "UNKNOWN_CANCEL_ORDER",
            "order_id": number,
        }

    def _edit(self, body: Body) -> object:
        record = self.records.by_native(str(body.get("order_id")))
        if record is None:
            return _not_edited("ORDER_NOT_FOUND")
        order = record.order
        if order.order_type is not OrderType.LIMIT or order.time_in_force is not TimeInForce.GTC:
            return _not_edited("ONLY_LIMIT_ORDER_EDITS_SUPPORTED")
        reply = self.exchange.replace(
            amend_of(
                order,
                _number(body, "size") if "size" in body else order.quantity,
                _number(body, "price") if "price" in body else order.price,
            ),
            self.clock_us(),
        )
        match reply:
            case Replaced():
                return {"success": True, "errors": []}
            case ReplaceRejected() if order.status not in LIVE:
                return _not_edited("ORDER_NOT_FOUND")
        return _not_edited("COMMANDER_REJECTED_EDIT_ORDER")

    # ------------------------------------------------------------- questions

    def _list_products(self, http: web.Request) -> object:
        spot = http.query.get("product_type", "SPOT") == "SPOT"
        return {"products": [one.body() for one in self._products.values()] if spot else []}

    def _list_orders(self, http: web.Request) -> object:
        since, until = _between(http, "start_date", "end_date")
        status, product = http.query.get("order_status"), http.query.get("product_id")
        records = reversed(self.records.live()) if status == "OPEN" else self.records.newest_first()
        found = itertools.takewhile(lambda record: record.created_at_us >= since, records)
        wanted = [record for record in found if record.created_at_us < until and self._is(record, status, product)]
        page, cursor = _page(http, wanted, lambda record: record.native)
        orders = [self._shown(record) for record in page]
        return {"orders": orders, "sequence": "0", "has_next": bool(cursor), "cursor": cursor}

    def _is(self, record: OrderRecord, status: str | None, product: str | None) -> bool:
        order = record.order
        named = self._by_symbol[order.instrument].name
        return status in (None, STATES[order.status]) and product in (None, named)

    def _list_fills(self, http: web.Request) -> object:
        since, until = _between(http, "start_sequence_timestamp", "end_sequence_timestamp")
        product, number = http.query.get("product_id"), http.query.get("order_id")
        newest_first = reversed(self.records.trades())
        found = itertools.takewhile(lambda traded: traded.report.transacted_at_us >= since, newest_first)
        wanted = [
            traded
            for traded in found
            if traded.report.transacted_at_us < until
            and product in (None, self._by_symbol[traded.report.instrument].name)
            and number in (None, self.records.of(traded.number).native)
        ]
        page, cursor = _page(http, wanted, lambda traded: str(traded.report.position))
        return {"fills": [self._fill(traded) for traded in page], "cursor": cursor}

    def _fill(self, traded: Traded) -> Body:
        return fill_body(traded, self.records.of(traded.number), self._by_symbol[traded.report.instrument])

    def _one_order(self, http: web.Request) -> object:
        record = self.records.by_native(http.match_info["order_id"])
        if record is None:
            raise Refused("unknown", "order with this orderID was not found", 404)
        return {"order": self._shown(record)}

    def _shown(self, record: OrderRecord) -> Body:
        kind, written = self._written[record.number]
        return order_body(record, self._by_symbol[record.order.instrument], kind, written)

    def _holdings(self) -> list[tuple[str, Decimal]]:
        held = {one.quote: OPENING for one in self._products.values()}
        for traded in self.records.trades():
            product, sign = self._by_symbol[traded.report.instrument], 1 if traded.report.side is Side.BUY else -1
            held[product.base] = held.get(product.base, Decimal(0)) + sign * traded.quantity
            held[product.quote] -= sign * traded.value
        return sorted(held.items())

    def _accounts(self) -> list[Body]:
        return [
            {
                "uuid": uuid_of(f"account {name}"),
                "name": f"{name} Wallet",
                "currency": name,
                "available_balance": {"value": plain(held), "currency": name},
                "default": True,
                "active": True,
                "type": "ACCOUNT_TYPE_CRYPTO",
                "ready": True,
                "hold": {"value": "0", "currency": name},
            }
            for name, held in self._holdings()
        ]

    def _wallets(self) -> list[Body]:
        return [
            {
                "id": uuid_of(f"account {name}"),
                "name": f"{name} Wallet",
                "type": "wallet",
                "currency": {"code": name},
                "balance": {"amount": plain(held), "currency": name},
            }
            for name, held in self._holdings()
        ]


@functools.cache
def _private_key() -> str:
    """Return a new private key as text; one for each process."""
    key = ec.generate_private_key(ec.SECP256R1())
    form, bare = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, bare).decode()


def _succeeded(record: OrderRecord, product: Product, body: Body) -> Body:
    return {
        "success": True,
        "failure_reason": "UNKNOWN_FAILURE_REASON",
        "order_id": record.native,
        "success_response": {
            "order_id": record.native,
            "product_id": product.name,
            "side": body["side"],
            "client_order_id": record.client_id,
        },
        "order_configuration": None,
    }


def _failed(body: Body, code: str, reason: str) -> Body:
    return {
        "success": False,
        "failure_reason": "UNKNOWN_FAILURE_REASON",
        "order_id": "",
        "error_response": {
            "error": code,
            "message": reason,
            "error_details": "",
            "new_order_failure_reason": code,
        },
        "order_configuration": body.get("order_configuration"),
    }


def _not_edited(reason: str) -> Body:
    failed = {"edit_failure_reason": reason, "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON"}
    return {"success": False, "errors": [failed]}


def _decoded(text: bytes) -> Body:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise Refused("INVALID_ARGUMENT", "the body is no JSON object") from None


def _configured(body: Body) -> tuple[str, Body]:
    """Return the one kind of order that a request configures, and how."""
    given = body.get("order_configuration")
    if isinstance(given, dict) and len(given) == 1:
        kind, written = next(iter(given.items()))
        if kind in _KINDS and isinstance(written, dict) and not written.get("post_only"):
            return kind, written
    raise Refused("UNSUPPORTED_ORDER_CONFIGURATION", f"the imitation knows {', '.join(_KINDS)}, none of them post-only")


def _number(body: Body, name: str) -> Decimal:
    try:
        return exact_decimal(body.get(name, ""), name)
    except InvalidField:
        raise Refused("INVALID_ARGUMENT", f"{name} is no number") from None


def _between(http: web.Request, first: str, last: str) -> tuple[int, int]:
    since, until = http.query.get(first), http.query.get(last)
    return (moment_us(since) if since else -1), (moment_us(until) if until else 1 << 62)


def _page(http: web.Request, found: list[Found], name: Callable[[Found], str]) -> tuple[list[Found], str]:
    """Return a page, and what the next one begins after, empty if there is none: whatever comes in between, none is missed."""
    after, limit = http.query.get("cursor", ""), min(int(http.query.get("limit", PAGE)), MOST)
    first = 0
    if after:
        first = next((place for place, one in enumerate(found, 1) if name(one) == after), len(found))
    page = found[first : first + limit]
    return page, name(page[-1]) if page and first + limit < len(found) else ""
