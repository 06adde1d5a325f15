"""The judge of a drill: it asks the exchange itself what orders there are, past every link, and compares two such sets."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

import aiohttp
import msgspec

from onefill.core.messages import VenueStatus
from onefill.core.values import Side
from onefill.gameday.processes import DrillFailed
from onefill.sim.exchange import Counts
from onefill.sim.exchange_desk import ExchangeTrade
from onefill.sim.order_book import ExchangeOrder
from onefill.venues import exchange_wire as wire

_PAGE = 5000
_orders = msgspec.json.Decoder(list[ExchangeOrder])
_trades = msgspec.json.Decoder(list[ExchangeTrade])
_counts = msgspec.json.Decoder(Counts)


class OrderFacts(msgspec.Struct, frozen=True):
    """What must be the same about an order at the venue, however it got there."""

    client_order_id: str
    side: Side
    price: Decimal | None
    quantity: Decimal
    status: VenueStatus
    """Its final state."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How two sets of orders at a venue differ. Each list names client order ids, sorted."""

    expected: int
    found: int
    duplicates: list[str]
    """Ids under which there is more than one order."""
    missing: list[str]
    unexpected: list[str]
    differing: list[str]
    """Ids that both sets have, with another side, price, quantity or final state."""

    @property
    def equal(self) -> bool:
        """Whether the sets are the same and no order is there twice."""
        return not (self.duplicates or self.missing or self.unexpected or self.differing)


def compare(expected: Iterable[OrderFacts], found: Iterable[OrderFacts]) -> Comparison:
    """Compare the orders a venue has with those it should have."""
    wanted, there = _by_id(expected), _by_id(found)
    both = wanted.keys() & there.keys()
    return Comparison(
        expected=sum(map(len, wanted.values())),
        found=sum(map(len, there.values())),
        duplicates=sorted(name for name, orders in there.items() if len(orders) > 1),
        missing=sorted(wanted.keys() - there.keys()),
        unexpected=sorted(there.keys() - wanted.keys()),
        differing=sorted(name for name in both if set(wanted[name]) != set(there[name])),
    )


def _by_id(orders: Iterable[OrderFacts]) -> dict[str, list[OrderFacts]]:
    found: dict[str, list[OrderFacts]] = defaultdict(list)
    for order in orders:
        found[order.client_order_id].append(order)
    return found


class AtVenue(msgspec.Struct, frozen=True, kw_only=True):
    """What there is at the venue, counted against the orders that were intended."""

    orders: int
    duplicates: int
    """Orders beyond the first of their intent, and orders that no intent explains."""
    missing: int
    """Intents without an order."""


def count_orders(intents: Iterable[str], intent_of: Mapping[str, str], client_order_ids: Iterable[str]) -> AtVenue:
    """Count the orders under ``client_order_ids``, one for each order, by the intents that ``intent_of`` leads them to."""
    ids = list(client_order_ids)
    found = Counter(intent_of.get(name) for name in ids)
    wanted = set(intents)
    served = sum(1 for key in found if key in wanted)
    return AtVenue(orders=len(ids), duplicates=len(ids) - served, missing=len(wanted) - served)


class ExchangeWatch:
    """Reads an exchange over HTTP, directly. Use it as an async context manager. Raises DrillFailed if it cannot."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ExchangeWatch":
        """Connect."""
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()

    async def _get(self, path: str, **query: int | str) -> bytes:
        if self._session is None:
            raise DrillFailed(f"{self._url}: not connected")
        try:
            async with self._session.get(self._url + path, params=query) as response:
                response.raise_for_status()
                return await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise DrillFailed(f"{self._url}{path}: the exchange does not answer its judge: {error}") from error

    async def counts(self) -> Counts:
        """Return what happened at the exchange so far."""
        return _counts.decode(await self._get(wire.COUNTS))

    async def book(self) -> list[ExchangeOrder]:
        """Return every order there ever was, as the exchange has it, in order of arrival."""
        found: list[ExchangeOrder] = []
        while page := _orders.decode(await self._get(wire.ALL_ORDERS, after=len(found), limit=_PAGE)):
            found += page
        return found

    async def orders(self) -> list[OrderFacts]:
        """Return the facts of every order there ever was, in order of arrival."""
        return [OrderFacts(o.client_order_id, o.side, o.price, o.quantity, o.status) for o in await self.book()]

    async def trades(self, account: str) -> list[ExchangeTrade]:
        """Return every trade of an account as it is in truth."""
        return _trades.decode(await self._get(f"{wire.ADMIN}/trades", account=account))
