"""Verifying positions: the stored ones against the fold of exactly those executions that they claim to hold."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from onefill.core.audit_executions import ExecutionRow
from onefill.core.executions import effective
from onefill.core.position import Position, fold, fold_all
from onefill.core.values import Side, plain
from onefill.ports.ledger import Ledger

_SIDES = {side.value: side for side in Side}
_Key = tuple[str, str, str, str]


class Positions:
    """The positions computed anew while the execution log passes by, and the stored ones as they stood at the beginning."""

    def __init__(self, stored: Sequence[Position], through: Mapping[str, int], amended: set[_Key]) -> None:
        self._stored = stored
        self._through = through
        """By route."""
        self._amended = amended
        """Of these an execution was busted or corrected: which others count then, all of them together tell."""
        self._computed: dict[_Key, Position] = {}

    @classmethod
    async def begin(cls, ledger: Ledger) -> "Positions":
        """Read what is stored."""
        stored: list[Position] = []
        through: dict[str, int] = {}
        amended: set[_Key] = set()
        for info in await ledger.routes():
            held, through[info.name] = await ledger.positions(info.name)
            stored += held
            amended |= await ledger.amended_positions(info.name)
        return cls(stored, through, amended)

    def add(self, route: str, rows: Sequence[ExecutionRow]) -> None:
        """Fold the next executions of a route."""
        computed, through, amended = self._computed, self._through.get(route, 0), self._amended
        for row in rows:
            if row.place > through:
                break
            if row.intent_id is None:
                continue
            key = (row.account, row.strategy, route, row.instrument)
            if key in amended:
                continue
            computed[key] = fold(
                computed.get(key) or _empty(key),
                _SIDES[row.side],
                Decimal(row.quantity),
                Decimal(row.price),
                None if row.fee is None else Decimal(row.fee),
                row.fee_currency,
            )

    async def faults(self, ledger: Ledger) -> list[str]:
        """Return where the stored positions differ."""
        for key in self._amended:
            rows = await ledger.executions_of_position(*key, self._through.get(key[2], 0))
            if rows:
                self._computed[key] = fold_all(_empty(key), effective(rows))
        computed = {_name(self._computed[key]): self._computed[key] for key in sorted(self._computed)}
        faults = []
        for position in self._stored:
            other = computed.pop(_name(position), None)
            if other != position and (other is not None or position.executions):
                faults.append(f"{_name(position)}: stored {_sums(position)}; the executions give {_sums(other)}")
        faults += [f"{name}: is not stored; the executions give {_sums(missing)}" for name, missing in computed.items()]
        return faults


def _empty(key: _Key) -> Position:
    return Position(account=key[0], strategy=key[1], venue=key[2], instrument=key[3])


def _name(position: Position) -> str:
    return f"account {position.account}, strategy {position.strategy}, {position.venue}, {position.instrument}"


def _sums(position: Position | None) -> str:
    if position is None:
        return "none"
    value = f"value {plain(position.bought_value)} and {plain(position.sold_value)}"
    paid = "".join(f", fees {plain(amount)} {currency}" for currency, amount in position.fees)
    sums = f"bought {plain(position.bought)}, sold {plain(position.sold)}, {value}"
    return f"{sums}, cost {plain(position.cost)}{paid}, {position.executions:,} fills"
