"""The positions in memory: the fold of the execution log, begun from the stored projection.

An ordinary execution is one step of the fold. A bust or correction changes one that was folded long before: that position is
then folded anew from its own executions, all others are left alone.
"""

import asyncio

from onefill.core.executions import effective
from onefill.core.position import Execution, Kind, Position, fold, fold_all, positions_key
from onefill.ports.ledger import Ledger

_PAGE = 5000
_SAVE_EVERY = 2000
"""Executions after which the projection is stored: bounds what the next start has to fold."""

_Key = tuple[str, str, str, str]


class Book:
    """Positions by account, strategy, venue and instrument."""

    def __init__(self) -> None:
        self._positions: dict[_Key, Position] = {}
        self._changed: set[_Key] = set()
        self._through: dict[str, int] = {}
        """Of each route the last place of its log that was folded."""
        self._since_save: dict[str, int] = {}
        self._due: dict[_Key, int] = {}
        """Positions to be folded anew, with the place of the last execution of each."""
        self._settling = asyncio.Lock()

    async def load(self, ledger: Ledger, route: str) -> None:
        """Read the projection of a route, in place of what was known of it, and fold what came after it."""
        stored, through = await ledger.positions(route)
        self.forget(route)
        self._through[route] = through
        self._positions.update((_key(position), position) for position in stored)
        await self._fold_log(ledger, route, None)

    def forget(self, route: str) -> None:
        """Drop what is known of a route, which somebody else follows from now on."""
        for key in [key for key in self._positions if key[2] == route]:
            del self._positions[key]
        self._changed = {key for key in self._changed if key[2] != route}
        self._due = {key: place for key, place in self._due.items() if key[2] != route}
        self._through.pop(route, None)
        self._since_save.pop(route, None)

    async def _fold_log(self, ledger: Ledger, route: str, last: int | None) -> None:
        """Fold a route's log from where this book ends, through place ``last`` or to its end."""
        amended = await ledger.amended_positions(route)
        through = self._through.setdefault(route, 0)
        while (last is None or through < last) and (page := await ledger.executions(route, through, _PAGE)):
            for place, execution in page:
                if last is None or place <= last:
                    self.add(execution, place, amends=positions_key(execution) in amended)
            through = self._through[route] = page[-1][0] if last is None else min(page[-1][0], last)
        await self.settle(ledger)

    def add(self, execution: Execution, place: int | None, *, amends: bool = False) -> None:
        """Fold one committed execution. A quarantined one moves no position.

        ``amends``: it changes what counts of others, or others speak of it.
        """
        route = execution.venue
        self._since_save[route] = self._since_save.get(route, 0) + 1
        if place is not None:
            self._through[route] = max(self.through(route), place)
        if execution.intent_id is None:
            return
        key = positions_key(execution)
        self._changed.add(key)
        if amends or execution.kind is not Kind.TRADE or key in self._due:
            self._due[key] = self.through(route)
            return
        before = self._positions.get(key) or _empty(key)
        self._positions[key] = fold(
            before, execution.side, execution.quantity, execution.price, execution.fee, execution.fee_currency
        )

    def through(self, route: str) -> int:
        """Return the last place of a route's log that was folded."""
        return self._through.get(route, 0)

    @property
    def settled(self) -> bool:
        """Whether no position waits to be folded anew."""
        return not self._due

    async def settle(self, ledger: Ledger) -> None:
        """Fold anew what a bust or correction has changed."""
        async with self._settling:
            while self._due:
                key = next(iter(self._due))
                through = self.through(key[2])
                rows = await ledger.executions_of_position(*key, through)
                if self._due.get(key, through + 1) <= through:  # else more came meanwhile: it is read again
                    self._positions[key] = fold_all(_empty(key), effective(rows))
                    del self._due[key]

    def save_due(self, route: str) -> bool:
        """Tell, once each time, that enough of a route was folded to store the projection."""
        if self._since_save.get(route, 0) < _SAVE_EVERY:
            return False
        self._since_save[route] = 0
        return True

    async def save(self, ledger: Ledger, route: str) -> None:
        """Store the projection of a route as it is now."""
        await self.settle(ledger)
        changed = {key for key in self._changed if key[2] == route}
        self._changed -= changed
        self._since_save[route] = 0
        await ledger.save_positions(route, [self._positions[key] for key in changed], self.through(route))

    def position(self, account: str, strategy: str, venue: str, instrument: str) -> Position:
        """Return one position, flat if nothing was ever executed."""
        key = (account, strategy, venue, instrument)
        return self._positions.get(key) or _empty(key)

    def positions(self) -> list[Position]:
        """Return every position, flat ones included."""
        return [self._positions[key] for key in sorted(self._positions)]


def _key(position: Position) -> _Key:
    return position.account, position.strategy, position.venue, position.instrument


def _empty(key: _Key) -> Position:
    return Position(account=key[0], strategy=key[1], venue=key[2], instrument=key[3])


async def load_all(ledger: Ledger) -> Book:
    """Return a book of every route of a ledger."""
    book = Book()
    for info in await ledger.routes():
        await book.load(ledger, info.name)
    return book


async def rebuild(ledger: Ledger, route: str, through: int | None = None) -> list[Position]:
    """Return a route's positions computed from the execution log alone, ignoring the stored projection.

    ``through``: the last place of the log that is folded; ``None``: all of it.
    """
    book = Book()
    await book._fold_log(ledger, route, through)
    return book.positions()
