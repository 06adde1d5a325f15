"""What an imitation keeps of each order besides the core: the venue's own number, when it ended, and its trades."""

import hashlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import msgspec

from onefill.core.messages import LIVE, ExecutionKind, ExecutionReport
from onefill.core.values import EXACT
from onefill.sim.exchange import Exchange
from onefill.sim.order_book import ExchangeOrder

BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Entry(msgspec.Struct, eq=False):
    """One order. ``venue_order_id`` is the core's number of it, ``native`` the imitated venue's; times are µs since 1970.

    ``client_id`` is the client's id as the client wrote it, ``None`` where it gave none. ``value`` is what all was traded for.
    """

    venue_order_id: str
    native: str
    client_id: str | None
    created_at_us: int
    ended_at_us: int | None = None
    changed_at_us: int = 0
    value: Decimal = Decimal(0)
    trades: list[ExecutionReport] = msgspec.field(default_factory=list)


class Register:
    """The orders and trades of one account of an exchange, under the venue's own numbers.

    ``name`` makes the venue's number out of the core's. Call :meth:`follow` before reading.
    """

    def __init__(self, exchange: Exchange, account: str, name: Callable[[str], str]) -> None:
        self.trades: list[ExecutionReport] = []
        """All trades, oldest first."""
        self._exchange = exchange
        self._account = account
        self._name = name
        self._seen = 0
        self._entries: dict[str, Entry] = {}
        self._by_native: dict[str, Entry] = {}
        self._by_client: dict[str, list[Entry]] = {}

    def add(self, venue_order_id: str, client_id: str | None, at_us: int) -> Entry:
        """Return the entry of an order, made now if it is new."""
        entry = self._entries.get(venue_order_id)
        if entry is None:
            entry = Entry(venue_order_id, self._name(venue_order_id), client_id, at_us, changed_at_us=at_us)
            self._entries[venue_order_id] = self._by_native[entry.native] = entry
            if client_id is not None:
                self._by_client.setdefault(client_id, []).append(entry)
        return entry

    def follow(self) -> list[ExecutionReport]:
        """Take in what the exchange has told since, and return it."""
        news = self._exchange.executions(self._account, self._seen, 1 << 60)
        self._seen += len(news)
        for report in news:
            entry = self.add(report.venue_order_id, report.client_order_id, report.transacted_at_us)
            entry.changed_at_us = report.transacted_at_us
            if report.status not in LIVE:
                entry.ended_at_us = report.transacted_at_us
            if report.kind is ExecutionKind.TRADE:
                entry.trades.append(report)
                self.trades.append(report)
                quantity, price = report.last_quantity or Decimal(0), report.last_price or Decimal(0)
                entry.value = EXACT.add(entry.value, EXACT.multiply(quantity, price))
        return news

    def by_native(self, native: str) -> Entry | None:
        """Return the order under the venue's own number."""
        return self._by_native.get(native)

    def by_client(self, client_id: str) -> list[Entry]:
        """Return the orders under a client's id, oldest first."""
        return self._by_client.get(client_id, [])

    def entry(self, venue_order_id: str) -> Entry:
        """Return the entry of an order that is known. Raises KeyError."""
        return self._entries[venue_order_id]

    def newest_first(self) -> Iterator[Entry]:
        """Yield every order, the newest first."""
        return reversed(self._entries.values())

    def order(self, entry: Entry) -> ExchangeOrder:
        """Return the order as it is now."""
        number = int(entry.venue_order_id[1:])
        return self._exchange.all_orders(number - 1, 1)[0]


def scrambled(text: str, length: int, alphabet: str = BASE32) -> str:
    """Return ``length`` characters of ``alphabet`` that stand for ``text``, always the same: for numbers that look drawn."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    characters = []
    for _ in range(length):
        number, place = divmod(number, len(alphabet))
        characters.append(alphabet[place])
    return "".join(characters)
