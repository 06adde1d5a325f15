"""How venues are spoken to through ccxt: what is the same everywhere, and by which class a venue differs.

A venue's manners say which parameters its requests take and by which of ccxt's methods an order is found; they decide nothing.
The defaults are ccxt's unified methods, read carefully. What a venue promises is in its profile
(:mod:`onefill.venues.profile`), not here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from onefill.core.errors import VenueError
from onefill.core.messages import CancelRequest, ReplaceRequest, SubmitRequest
from onefill.core.values import TimeInForce
from onefill.venues.ccxt import parameters
from onefill.venues.profile import Wire

Order = Mapping[str, Any]
"""An order in ccxt's unified form. Numbers are text."""
Trade = Mapping[str, Any]
"""A trade in ccxt's unified form. Numbers are text."""


class Call(Protocol):
    """Calls one method of the ccxt client by name, once, without any retry. Raises ccxt's own errors."""

    @property
    def exchange(self) -> Any:
        """The client itself, for its markets and its ``safe_...`` and ``parse_...`` functions. Never for requests."""
        ...

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Return what the method returns."""
        ...


class Signing:
    """A request at the moment at which it is signed, after any wait for the rate limit. Manners may change it in place.

    ``path`` and ``api`` are ccxt's words for the endpoint. ``params`` are what is signed, or the one request of a batch.
    ``expires_at_ms``: the venue must refuse the request after this moment; ``now_ms``: this one. Both are by the venue's
    clock, as far as it is known.
    ``headers`` are added to the signed request's. ``options`` replace the client's ``options`` while this request is signed.
    ``exchange`` is the client, where a signature stands in the parameters and has to be made anew. Never for requests.
    """

    def __init__(
        self,
        method: str,
        path: str,
        api: Any,
        params: dict[str, Any],
        expires_at_ms: int,
        now_ms: int,
        exchange: Any = None,
    ) -> None:
        self.method = method
        self.path = path
        self.api = api
        self.params = params
        self.expires_at_ms = expires_at_ms
        self.now_ms = now_ms
        self.exchange = exchange
        self.headers: dict[str, str] = {}
        self.options: dict[str, Any] = {}

    @property
    def left_ms(self) -> int:
        """How long from now the request stays acceptable. Above zero: a request whose time is over is not signed."""
        return self.expires_at_ms - self.now_ms


_TIMES_IN_FORCE = {TimeInForce.GTC: "GTC", TimeInForce.IOC: "IOC", TimeInForce.FOK: "FOK"}


class Manners:
    """The careful default, for any exchange that ccxt knows. Subclasses replace what a venue does otherwise."""

    profile: ClassVar[str | None] = None
    """The profile that holds for it, where there is one."""
    config: ClassVar[Mapping[str, Any]] = {}
    """What the ccxt client is constructed with besides keys, such as ``options``."""
    times_in_force: ClassVar[frozenset[TimeInForce]] = frozenset(_TIMES_IN_FORCE)
    """What the venue takes. A DAY order is refused here where it is not among them."""
    shows_prices: ClassVar[bool] = True
    """Whether an order that is over is shown with type and price. Where it is not, it cannot be compared with what was sent: a
    look-up is then Unknown, and its executions and its end are told by the stream."""
    nonces_rise: ClassVar[bool] = False
    """Whether the venue refuses a request that overtook one signed after it: each request then waits for its turn."""
    poll_s: ClassVar[float] = 2.0
    """How often lists are read where no stream runs and orders may trade, within what the venue grants."""
    page: ClassVar[int] = 100
    """Most trades asked for at once, and most orders of a list."""

    def __init__(self, wire: Wire | None = None) -> None:
        self.wire = wire or Wire()

    async def begin(self, call: Call) -> None:
        """Ask what the client would else ask by itself before its first order, so that an order is one request. Once."""

    # ---------------------------------------------------------------- requests

    def refuses(self, request: SubmitRequest) -> str | None:
        """Return why an order cannot be passed on as it is meant, in a sentence; ``None`` if it can. Nothing is sent then."""
        return None

    def new_order(self, request: SubmitRequest) -> dict[str, Any]:
        """Return the parameters of ``create_order`` beside type, side, amount and price."""
        return {**self.client_id(request.client_order_id), **self.time_in_force(request.time_in_force)}

    def client_id(self, client_order_id: str) -> dict[str, Any]:
        """Return how a new order is given its client order id."""
        return {self.wire.client_id_parameter or "clientOrderId": client_order_id}

    def time_in_force(self, wanted: TimeInForce) -> dict[str, Any]:
        """Return how a new order is given its time in force; GTC is what every venue takes an order for that says nothing."""
        return {} if wanted is TimeInForce.GTC else {"timeInForce": _TIMES_IN_FORCE[wanted]}

    def stamp(self, signing: Signing) -> None:
        """Put the expiry into an order or replace that is signed now, where the venue honours one."""

    async def cancel(self, call: Call, request: CancelRequest) -> Order | None:
        """Ask for a cancel, once. Return the order that the reply shows, ``None`` where it shows none."""
        if request.venue_order_id is not None:
            shown: Order = await call("cancel_order", request.venue_order_id, request.instrument)
        else:
            shown = await call("cancel_order", None, request.instrument, {"clientOrderId": request.client_order_id})
        return shown

    async def replace(self, call: Call, request: ReplaceRequest, order_type: str) -> Order:
        """Ask for a replace, once. ``request.quantity`` counts what is executed. Return the order that the reply shows."""
        params = self.replaced_id(request)
        if request.client_order_id != request.orig_client_order_id:
            params = {**parameters.read(request.parameters), **params}  # another order, which is to be like this one
        shown: Order = await call(
            "edit_order",
            request.venue_order_id,
            request.instrument,
            order_type,
            request.side.value,
            call.exchange.number_of(request.quantity),
            None if request.price is None else call.exchange.number_of(request.price),
            params,
        )
        return shown

    def replaced_id(self, request: ReplaceRequest) -> dict[str, Any]:
        """Return how a replace names the id under which the order goes on."""
        if request.client_order_id == request.orig_client_order_id:
            return {}
        return self.client_id(request.client_order_id)

    # --------------------------------------------------------------- questions

    async def find(self, call: Call, client_order_id: str, instrument: str) -> Order | None:
        """Ask for one order by its client order id, once; dead ones included. ``None`` or OrderNotFound: it is not there."""
        shown: Order = await call("fetch_order", None, instrument, {"clientOrderId": client_order_id})
        return shown

    async def find_by_number(self, call: Call, venue_order_id: str, instrument: str) -> Order | None:
        """As :meth:`find`, by the venue's own number."""
        shown: Order = await call("fetch_order", venue_order_id, instrument)
        return shown

    async def open_orders(self, call: Call, instrument: str | None) -> Sequence[Order]:
        """Return every live order, of one instrument or of all."""
        shown: Sequence[Order] = await call("fetch_open_orders", instrument)
        return shown

    async def ended_orders(self, call: Call, instrument: str, since_ms: int) -> Sequence[Order]:
        """Return the orders that ended or traded since a moment, for a scan. Raises VenueError where they may not be all."""
        methods = ended_lists(call.exchange.has)
        if not methods:
            raise VenueError("ccxt cannot list every order there that ended: those that were cancelled are missing")
        found: dict[str, Order] = {}
        for method in methods:
            most = min(self.page, int(call.exchange.feature_value(instrument, method, "limit") or self.page))
            shown: Sequence[Order] = await call(method, instrument, since_ms, most)
            if len(shown) >= most:
                raise VenueError(f"{method} shows {len(shown)} orders at once, and there may be more")
            found |= {str(one.get("id")): one for one in shown}
        return list(found.values())

    async def trades(self, call: Call, instrument: str, since_ms: int) -> Sequence[Trade]:
        """Return the account's trades in an instrument since a moment, all of them, oldest first: page by page.

        How many a venue shows at most is not known, so one reads on until nothing new is shown. Raises VenueError where all
        that is shown is of one moment, and there is more after it: what is missing of that moment cannot be reached.
        """
        found: dict[tuple[str, str], Trade] = {}
        while True:
            page: Sequence[Trade] = await call("fetch_my_trades", instrument, since_ms, self.page)
            new = {self.trade_key(trade): trade for trade in page}
            fresh = new.keys() - found.keys()
            found |= new
            if not fresh:
                break
            since_ms = max(since_ms, *(int(trade["timestamp"]) for trade in page))
        if page and await call("fetch_my_trades", instrument, since_ms + 1, self.page):
            raise VenueError(
                f"{instrument}: more trades at one moment than the venue shows at once; they cannot be listed"
            )
        return sorted(found.values(), key=lambda trade: (int(trade["timestamp"]), self.trade_key(trade)))

    # ----------------------------------------------------------------- reading

    def replied(self, shown: Order) -> Order:
        """Return the order that the reply to a new one shows, without what ccxt misreads there."""
        return shown

    def client_order_id(self, shown: Order) -> str:
        """Return the client order id that an order shows, empty if none."""
        return str(shown.get("clientOrderId") or "")

    def trade_key(self, trade: Trade) -> tuple[str, str]:
        """Return what tells one trade of the account from another: the venue's id of the order, and of the trade."""
        return str(trade.get("order") or ""), str(trade.get("id") or "")

    def trade_client_order_id(self, trade: Trade) -> str:
        """Return the client order id that a trade shows, empty if none."""
        return ""

    def heard_trade(self, trade: Trade) -> Trade | None:
        """Return a trade that a stream told as the list of trades shows it, where ccxt reads the two differently.

        ``None`` where it is to be read from the list.
        """
        return trade


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def bare_uuid(text: str) -> str:
    """Return an id as it is written here: a UUID without its hyphens, anything else as it is."""
    return text.replace("-", "") if _UUID.fullmatch(text) else text


_ENDED: Final = (
    ("fetchOrders",),
    ("fetchCanceledAndClosedOrders",),
    ("fetchClosedOrders", "fetchCanceledOrders"),
)


def ended_lists(has: Mapping[str, Any]) -> tuple[str, ...]:
    """Return by which of ccxt's methods every order that ended can be listed, cancelled ones too; empty where by none.

    ``has`` is what ccxt says of an exchange. Closed orders alone are those that were filled, at some venues.
    """
    return next((names for names in _ENDED if all(has.get(name) is True for name in names)), ())


def manners_of(ccxt_id: str) -> type[Manners]:
    """Return how a venue is spoken to, by what ccxt calls it; the careful default for one that is not known here."""
    from onefill.venues.ccxt import known  # noqa: PLC0415 - its modules stand on this one

    return known.MANNERS.get(ccxt_id, Manners)
