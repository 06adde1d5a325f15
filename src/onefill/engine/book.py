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
        self._through = 0
        self._since_save = 0
        self._due: dict[_Key, int] = {}
        """Positions to be folded anew, with the place of the last execution of each."""
        self._settling = asyncio.Lock()

    async def load(self, ledger: Ledger) -> None:
        """Read the projection and fold what came after it."""
        stored, self._through = await ledger.positions()
        self._positions = {_key(position): position for position in stored}
        await self._fold_log(ledger, None)

    async def _fold_log(self, ledger: Ledger, last: int | None) -> None:
        """Fold the log from where this book ends, through place ``last`` or to its end."""
        amended = await ledger.amended_positions()
        while (last is None or self._through < last) and (page := await ledger.executions(self._through, _PAGE)):
            for place, execution in page:
                if last is None or place <= last:
                    self.add(execution, place, amends=positions_key(execution) in amended)
            self._through = page[-1][0] if last is None else min(page[-1][0], last)
        await self.settle(ledger)

    def add(self, execution: Execution, place: int | None, *, amends: bool = False) -> None:
        """Fold one committed execution. A quarantined one moves no position.

        ``amends``: it changes what counts of others, or others speak of it.
        """
        self._since_save += 1
        if place is not None:
            self._through = max(self._through, place)
        if execution.intent_id is None:
            return
        key = positions_key(execution)
        self._changed.add(key)
        if amends or execution.kind is not Kind.TRADE or key in self._due:
            self._due[key] = self._through
            return
        before = self._positions.get(key) or _empty(key)
        self._positions[key] = fold(
            before, execution.side, execution.quantity, execution.price, execution.fee, execution.fee_currency
        )

    @property
    def through(self) -> int:
        """The last place of the log that was folded."""
        return self._through

    @property
    def settled(self) -> bool:
        """Whether no position waits to be folded anew."""
        return not self._due

    async def settle(self, ledger: Ledger) -> None:
        """Fold anew what a bust or correction has changed."""
        async with self._settling:
            while self._due:
                key, through = next(iter(self._due)), self._through
                rows = await ledger.executions_of_position(*key, through)
                if self._due[key] <= through:  # else more came meanwhile: it is read again
                    self._positions[key] = fold_all(_empty(key), effective(rows))
                    del self._due[key]

    def save_due(self) -> bool:
        """Tell, once each time, that enough was folded to store the projection."""
        if self._since_save < _SAVE_EVERY:
            return False
        self._since_save = 0
        return True

    async def save(self, ledger: Ledger) -> None:
        """Store the projection as it is now."""
        await self.settle(ledger)
        changed, self._changed = self._changed, set()
        self._since_save = 0
        await ledger.save_positions([self._positions[key] for key in changed], self._through)

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


async def rebuild(ledger: Ledger, through: int | None = None) -> list[Position]:
    """Return the positions computed from the execution log alone, ignoring the stored projection.

    ``through``: the last place of the log that is folded; ``None``: all of it.
    """
    book = Book()
    await book._fold_log(ledger, through)
    return book.positions()
