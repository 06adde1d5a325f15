"""Reading both sides of a reconciliation, in an order that the rules can rely on.

First the ledger: what is open, held and taken in. Then the venue: open orders, positions, and after both its executions, so
that whatever its positions include it has told by then. Last the ledger again, for what the venue told of.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from decimal import Decimal
from typing import TypeVar

from onefill.core import executions
from onefill.core.errors import OnefillError
from onefill.core.executions import effective
from onefill.core.messages import ExecutionReport, Holdings, Listed, VenueOrder
from onefill.core.order import Order
from onefill.core.position import STREAM, Execution
from onefill.core.reconcile import Here, Key, Looked, There, Told, execution_subject
from onefill.core.values import EXACT, Side
from onefill.engine.book import Book
from onefill.engine.entry import Entry
from onefill.engine.receiver import Receiver
from onefill.engine.route import Route
from onefill.ports.ledger import CursorMove, OpeningPosition

T = TypeVar("T")
_PAGE = 5000
_OVERLAP_US = 600_000_000
"""Where places are times: what is read again in each look."""
_HELD_BACK_US = 86_400_000_000
_LOG = "reconciled log"
_MOST_REPORTS = 500_000
"""Reports read in one look at most, unless it is to be a full one."""
_HELD_BACK = 10_000
"""Reports by which an execution in doubt keeps the next looks from beginning further on."""
_ZERO = Decimal(0)
_Held = dict[tuple[str, str], Decimal]
"""By account and instrument."""


class Blind(OnefillError):
    """The venue cannot be compared with: it cannot be asked, or does not answer."""


def _cursor_of(stream: str) -> str:
    return "reconciled" if stream == STREAM else f"reconciled {stream}"


class Reading:
    """Both sides of a route, as they were read in one look."""

    def __init__(self, at_us: int, *, history: bool) -> None:
        self.at_us = at_us
        self.history = history
        """The venue's executions are read from the first on."""
        self.failure: str | None = None
        """Why something that the venue tells could not be had."""
        self.accounts: list[str] = []
        self.orders: list[Order] = []
        """Not closed before the venue was asked."""
        self.now: list[Order] = []
        """The same, after it."""
        self.holds: _Held = {}
        self.traded: set[str] = set()
        """Accounts for which the ledger has executions."""
        self.taken_in: dict[str, int] = {}
        self.rows: list[tuple[int, Execution]] = []
        """Recorded since the compared place and before the venue was asked."""
        self.rows_through = 0
        self.own_through = 0
        """Through this place of the log, executions of our orders are in ``holds``."""
        self.strangers_through = 0
        """Likewise, those of strangers."""
        self.asked_at_us = at_us
        self.listed: dict[str, tuple[VenueOrder, ...] | None] = {}
        self.holds_there: dict[str, dict[str, Decimal] | None] = {}
        self.told: list[Told] = []
        self.whole = True
        self.read_through: dict[str, int] = {}
        self.known: dict[Key, tuple[int, Execution]] = {}
        self.named: dict[str, Order] = {}

    @property
    def orders_there(self) -> int | None:
        """How many orders the venue lists."""
        listed = [one for one in self.listed.values() if one is not None]
        return sum(map(len, listed)) if listed else None

    @property
    def positions_there(self) -> int | None:
        """How many positions the venue tells."""
        told = [one for one in self.holds_there.values() if one is not None]
        return sum(map(len, told)) if told else None

    @property
    def executions(self) -> int:
        """How many executions the venue told of."""
        return len({told.named.key for told in self.told})

    def has_executions(self, account: str) -> bool:
        """Tell whether anything was executed for an account, by the word of either side."""
        return account in self.traded or any(told.report.account == account for told in self.told)

    def sides(self, account: str, openings: dict[tuple[str, str], OpeningPosition]) -> tuple[Here, There]:
        """Return what each side has of an account."""
        holds = {instrument: held for (whose, instrument), held in self.holds.items() if whose == account}
        for (whose, instrument), opening in openings.items():
            if whose == account:
                holds[instrument] = EXACT.add(holds.get(instrument, _ZERO), opening.quantity)
        told = tuple(one for one in self.told if one.report.account == account)
        keys = {one.named.key for one in told}
        here = Here(
            account=account,
            at_us=self.at_us,
            orders=tuple(order for order in self.orders if order.intent.account == account),
            now=tuple(order for order in self.now if order.intent.account == account),
            named=self.named,
            known={key: self.known[key][1] for key in keys if key in self.known},
            rows=tuple(row for _, row in self.rows if row.account == account),
            taken_in=self.taken_in,
            holds=holds,
            uncounted=frozenset(key for key in keys if key in self.known and not self._counts(*self.known[key])),
        )
        there = There(
            asked_at_us=self.asked_at_us,
            orders=self.listed.get(account),
            executions=told,
            whole=self.whole,
            holds=self.holds_there.get(account),
        )
        return here, there

    def _counts(self, place: int, row: Execution) -> bool:
        return place <= (self.strangers_through if row.intent_id is None else self.own_through)


class _Strangers:
    """What executions of strangers come to: they are in no strategy's position, and in the venue's all the same."""

    def __init__(self) -> None:
        self.held: _Held = {}
        self.through = 0
        """The last place of the log that is in it."""
        self._loaded = False

    async def take(self, route: Route, rows: Iterable[tuple[int, Execution]]) -> None:
        """Add those of these rows that are new. A bust or correction among them has all of them read again."""
        new = [(place, row) for place, row in rows if row.intent_id is None and place > self.through]
        if self._loaded and not any(row.refers_to is not None for _, row in new):
            for place, row in new:
                _add(self.held, row)
                self.through = place
            return
        found = await route.ledger.quarantined(route.name)
        self.held, self._loaded = {}, True
        for row in effective([row for _, row in found]):
            _add(self.held, row)
        self.through = max((place for place, _ in found), default=self.through)


def _add(held: _Held, row: Execution) -> None:
    key = (row.account, row.instrument)
    moved = row.quantity if row.side is Side.BUY else -row.quantity
    held[key] = EXACT.add(held.get(key, _ZERO), moved)


class Readings:
    """Makes readings of one route, each from where the one before it ended."""

    def __init__(self, route: Route, receivers: list[Receiver], book: Book) -> None:
        self._route = route
        self._receivers = receivers
        self._book = book
        self._strangers = _Strangers()
        self._ever: set[str] = set()
        self._places: dict[str, int] | None = None
        """Through where both sides agreed: of each stream of the venue, and of the execution log."""
        self._begin: dict[str, int] = {}
        self.openings: dict[tuple[str, str], OpeningPosition] = {}
        """What accounts held before the first order, by account and instrument."""

    async def _load(self) -> None:
        """Take up where an earlier process ended. A route that was never compared begins where its streams are."""
        route, places = self._route, {}
        for name in (_LOG, *(_cursor_of(one.stream) for one in self._receivers)):
            places[name] = await route.ledger.cursor(route.name, name)
        self._begin = dict(places)
        if not any(places.values()):
            self._begin[_LOG] = self._book.through(self._route.name)
            for one in self._receivers:
                self._begin[_cursor_of(one.stream)] = await route.ledger.cursor(route.name, one.stream)
        for opening in await route.ledger.opening_positions(route.name):
            self.openings[opening.account, opening.instrument] = opening
        self._places = places

    async def read(self, *, full: bool, accounts: Iterable[str] = ()) -> Reading:
        """Read both sides. Raises :class:`Blind` if the venue's executions cannot be had.

        ``accounts``: those that are asked about besides the ones the ledger knows.
        """
        route = self._route
        if self._places is None:
            await self._load()
        reading = Reading(route.clock.now_us(), history=full and not route.timed)
        reading.taken_in = {one.stream: await one.taken_in() for one in self._receivers}
        after = 0 if reading.history else self._begin[_LOG]
        reading.rows, reading.rows_through = await self._rows(after)
        await self._strangers.take(route, reading.rows)
        entries = await self._stand(reading)
        reading.accounts = sorted({*accounts, *reading.accounts})
        await self._ask_accounts(reading)
        await self._read_executions(reading, full=full)
        await self._look_up(reading)
        reading.now = [entry.order for entry in entries]
        new = {told.report.account for told in reading.told} - set(reading.accounts)
        reading.accounts += sorted(new)
        return reading

    async def _stand(self, reading: Reading) -> list[Entry]:
        """Note how things stand here, all at one moment."""
        route, book = self._route, self._book
        await book.settle(route.ledger)
        while not book.settled:
            await book.settle(route.ledger)
        reading.holds = dict(self._strangers.held)
        reading.traded = {account for account, _ in reading.holds}
        for position in book.positions():
            if position.venue == route.name:
                key = (position.account, position.instrument)
                reading.holds[key] = EXACT.add(reading.holds.get(key, _ZERO), position.quantity)
                reading.traded.add(position.account)
        reading.own_through = book.through(route.name)
        reading.strangers_through = max(self._strangers.through, reading.rows_through)
        entries = [entry for entry in route.entries.values() if not entry.order.closed]
        reading.orders = [entry.order for entry in entries]
        opened = {account for account, _ in self.openings}
        # An account that was looked at stays one, or what differs there would seem to be gone.
        self._ever |= reading.traded | opened | {order.intent.account for order in reading.orders}
        reading.accounts = sorted(self._ever)
        return entries

    async def _rows(self, after: int) -> tuple[list[tuple[int, Execution]], int]:
        """Return the route's rows of the execution log after a place, and the log's last place."""
        rows: list[tuple[int, Execution]] = []
        while page := await self._route.ledger.executions(self._route.name, after, _PAGE):
            rows += page
            after = page[-1][0]
        return rows, after

    # ------------------------------------------------------------------- asking the venue

    async def _ask(self, question: Awaitable[T]) -> T:
        route = self._route
        try:
            return await route.deadlines.bound(question, route.settings.reply_timeout_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Blind("the call was cancelled inside the venue's client") from None
        except Exception as error:
            raise Blind(f"{type(error).__name__}: {error}") from error

    async def _ask_accounts(self, reading: Reading) -> None:
        route = self._route
        reading.asked_at_us = route.clock.now_us()
        for account in reading.accounts:
            if route.capabilities.lists_open_orders:
                try:
                    listed = await self._ask(route.venue.open_orders(account))
                except Blind as error:
                    listed, reading.failure = None, str(error)
                if isinstance(listed, Listed):
                    reading.listed[account] = listed.orders
                else:
                    reading.listed[account] = None
                    reading.failure = reading.failure or _why(listed, "open orders")
            if route.capabilities.tells_positions:
                try:
                    held = await self._ask(route.venue.positions(account))
                except Blind as error:
                    held, reading.failure = None, str(error)
                if isinstance(held, Holdings):
                    reading.holds_there[account] = {one.instrument: one.quantity for one in held.positions}
                else:
                    reading.holds_there[account] = None
                    reading.failure = reading.failure or _why(held, "positions")

    async def _read_executions(self, reading: Reading, *, full: bool) -> None:
        """Read the venue's executions, from a little before the compared place on, to the end."""
        route = self._route
        for receiver in self._receivers:
            begin = self._begin[_cursor_of(receiver.stream)]
            overlap = route.settings.reconcile.overlap
            if route.timed:  # there is no first place: what the account did before its first order here is not ours
                overlap = _HELD_BACK_US if full else _OVERLAP_US
            after = 0 if reading.history else max(begin - overlap, 0)
            count = 0
            while page := await self._ask(receiver.page(after)):
                if page[-1].position <= after:
                    break
                reading.told += self._told(receiver.stream, page)
                places = range(after + 1, after + 1 + len(page))
                numbered = route.timed or [one.position for one in page] == list(places)
                reading.whole = reading.whole and numbered
                after, count = page[-1].position, count + len(page)
                if count >= _MOST_REPORTS and not full:
                    reading.whole = False
                    break
            reading.read_through[receiver.stream] = max(after, begin)

    def _told(self, stream: str, page: list[ExecutionReport]) -> Iterator[Told]:
        capabilities = self._route.capabilities
        for report in page:
            if executions.tells_execution(report, capabilities):
                legible = report.legible()
                yield Told(stream, legible, executions.name(legible, capabilities))

    async def _look_up(self, reading: Reading) -> None:
        """Read from the ledger what the venue told of."""
        route = self._route
        keys = sorted({told.named.key for told in reading.told})
        for start in range(0, len(keys), _PAGE):
            for place, row in await route.ledger.executions_named(route.name, keys[start : start + _PAGE]):
                reading.known[row.scope, row.execution_id] = (place, row)
        wanted = {told.report.client_order_id for told in reading.told if told.named.key not in reading.known}
        for listed in reading.listed.values():
            wanted |= {order.client_order_id for order in listed or ()}
        for client_order_id in sorted(wanted - {""}):
            entry = route.by_client_order_id.get(client_order_id)
            if entry is None:
                loaded = await route.ledger.by_client_order_id(route.name, client_order_id)
                entry = None if loaded is None else route.adopt(loaded)
            if entry is not None:
                reading.named[client_order_id] = entry.order

    # ---------------------------------------------------------------------------- places

    def next_places(self, reading: Reading, looked: Looked) -> dict[str, int]:
        """Return from where the next look is to begin: before whatever is not settled, within bounds.

        Of the log, every execution that is told through the place of a stream stands through the log's place.
        """
        in_doubt = {one.subject for one in looked.waiting}
        log = min(
            (place - 1 for place, row in reading.rows if execution_subject((row.scope, row.execution_id)) in in_doubt),
            default=reading.rows_through,
        )
        missing = {told.named.key for one in (*looked.waiting, *looked.breaks) for told in one.missing}
        places = {_LOG: log}
        for stream, through in reading.read_through.items():
            held = through
            for told in reading.told:
                place = reading.known.get(told.named.key, (0, None))[0]
                if told.stream == stream and (told.named.key in missing or place > log):
                    held = min(held, told.report.position - 1)
            places[_cursor_of(stream)] = max(held, through - (_HELD_BACK_US if self._route.timed else _HELD_BACK), 0)
        return places

    async def keep_places(self, places: dict[str, int]) -> None:
        """Make it durable from where the next look is to begin; the log's place first, see :meth:`next_places`."""
        route = self._route
        if self._places is None:
            return
        self._begin = dict(places)
        for name, place in places.items():
            before = self._places[name]
            if place == before:
                continue
            move = CursorMove(name, before, place)
            if await route.ledger.move_cursor(route.name, route.lease.epoch, move):
                self._places[name] = place
            else:
                self._places = None  # read again, before the next look
                return


def _why(answer: object, what: str) -> str:
    return str(getattr(answer, "reason", "")) or f"the venue does not tell its {what}"
