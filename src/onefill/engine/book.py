"""The positions in memory: the fold of the execution log, begun from the stored projection."""

from onefill.core.position import Execution, Position, fold
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

    async def load(self, ledger: Ledger) -> None:
        """Read the projection and fold what came after it."""
        stored, self._through = await ledger.positions()
        self._positions = {_key(position): position for position in stored}
        while page := await ledger.executions(self._through, _PAGE):
            for place, execution in page:
                self.add(execution, place)

    def add(self, execution: Execution, place: int | None) -> None:
        """Fold one committed execution. A quarantined one moves no position."""
        self._since_save += 1
        if place is not None:
            self._through = max(self._through, place)
        if execution.intent_id is None:
            return
        key = (execution.account, execution.strategy, execution.venue, execution.instrument)
        before = self._positions.get(key)
        if before is None:
            before = Position(account=key[0], strategy=key[1], venue=key[2], instrument=key[3])
        self._positions[key] = fold(before, execution.side, execution.quantity, execution.price)
        self._changed.add(key)

    def save_due(self) -> bool:
        """Tell, once each time, that enough was folded to store the projection."""
        if self._since_save < _SAVE_EVERY:
            return False
        self._since_save = 0
        return True

    async def save(self, ledger: Ledger) -> None:
        """Store the projection as it is now."""
        changed, self._changed = self._changed, set()
        self._since_save = 0
        await ledger.save_positions([self._positions[key] for key in changed], self._through)

    def positions(self) -> list[Position]:
        """Return every position, flat ones included."""
        return [self._positions[key] for key in sorted(self._positions)]


def _key(position: Position) -> _Key:
    return position.account, position.strategy, position.venue, position.instrument


async def rebuild(ledger: Ledger) -> list[Position]:
    """Return the positions computed from the whole execution log, ignoring the stored projection."""
    book, after = Book(), 0
    while page := await ledger.executions(after, _PAGE):
        for place, execution in page:
            book.add(execution, place)
        after = page[-1][0]
    return book.positions()
