"""The order state change matrices of FIX, appendix D, as data: what passes between two sides, row by row.

``fix_order_states.json`` holds the facts of each matrix and where they were read; the matrices are FIX's, the titles
and notes are not. Beside them it holds, each with its reason, every place where the source contradicts itself, where
this project sees an order differently, and what a plain exchange cannot say.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from importlib import resources

import msgspec

from onefill.core.errors import require

FILE = "fix_order_states.json"
OVER = frozenset({"canceled", "rejected", "expired"})
"""The OrdStatus values after which nothing is left to trade."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a matrix is from. ``address``: of the page, or of the whole specification.

    ``checked``: the same matrix elsewhere, for cells that had run together or were lost in the text that was read.
    """

    spec: str
    section: str
    address: str
    checked: str = ""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row of a matrix. ``id`` and ``orig`` are ClOrdID and OrigClOrdID, ``trans`` is ExecTransType if not New.

    ``sender``: *in* is received by the sell side, *out* is sent by it, *note* is no message. ``alternative``: the other
    of two outcomes; the matrix goes on with the row after it.
    """

    time: str
    sender: str
    message: str = ""
    id: str = ""
    orig: str = ""
    exec_type: str = ""
    trans: str = "new"
    status: str = ""
    qty: Decimal | None = None
    cum: Decimal | None = None
    leaves: Decimal | None = None
    last: Decimal | None = None
    price: Decimal | None = None
    exec_id: str = ""
    refers_to: str = ""
    note: str = ""
    alternative: str = ""

    @property
    def is_report(self) -> bool:
        """Whether it is an execution report."""
        return self.message == "execution"

    @property
    def over(self) -> bool:
        """Whether the order is over by this row: a day order that is done for the day is."""
        return self.status in OVER or (self.status == "done_for_day" and not self.leaves)


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One matrix."""

    id: str
    group: str
    title: str
    source: Source
    rows: tuple[Row, ...]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this project shows after a row where it is not what the row says."""

    time: str
    reason: str
    status: str = ""
    qty: Decimal | None = None
    cum: Decimal | None = None
    leaves: Decimal | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a matrix can be run in a role: not at all (``none``: why), up to a row (``stops``), with differences."""

    none: str = ""
    stops: str = ""
    reason: str = ""
    set_up: str = ""
    """What the order was before the first row, where the matrix begins in the middle."""
    told: str = ""
    """What a person is told of, beside what the order shows."""
    differs: tuple[Difference, ...] = ()


class QuantityException(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row in which LeavesQty and CumQty do not come to OrderQty although the order is live, and why."""

    matrix: str
    time: str
    reason: str


class OrderMatters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two rows whose order of arrival decides the outcome, because nothing in them tells which was first."""

    matrix: str
    first: str
    second: str
    reason: str


class Collection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the file holds."""

    alternatives: dict[str, str]
    matrices: tuple[Matrix, ...]
    quantity_exceptions: tuple[QuantityException, ...]
    our_view: dict[str, Limits]
    exchange: dict[str, Limits]
    order_matters: tuple[OrderMatters, ...]

    def matrix(self, matrix_id: str) -> Matrix:
        """Return one matrix; KeyError if there is none of this id."""
        for matrix in self.matrices:
            if matrix.id == matrix_id:
                return matrix
        raise KeyError(matrix_id)

    def ours(self, matrix: Matrix) -> Limits:
        """Return how far a matrix can be run through this project's own orders."""
        return self.our_view.get(matrix.id, Limits())

    def exchanged(self, matrix: Matrix) -> Limits:
        """Return how far an exchange without brokers and corrections can produce a matrix."""
        return self.exchange.get(matrix.id, Limits())


class Path(msgspec.Struct, frozen=True):
    """One way through a matrix: all rows but the alternatives, or the rows up to one alternative and that one."""

    name: str
    rows: tuple[Row, ...]


@lru_cache(maxsize=1)
def load() -> Collection:
    """Return everything in the file, checked against its form."""
    body = resources.files("onefill.testing").joinpath(FILE).read_bytes()
    collection = msgspec.json.decode(body, type=Collection)
    known = {matrix.id for matrix in collection.matrices}
    named = {*collection.our_view, *collection.exchange}
    named |= {pair.matrix for pair in collection.order_matters} | {row.matrix for row in collection.quantity_exceptions}
    require(len(known) == len(collection.matrices), "two matrices have one id")
    require(named <= known, f"no such matrices: {sorted(named - known)}")
    return collection


def paths(matrix: Matrix, limits: Limits) -> tuple[Path, ...]:
    """Return every way through a matrix within the limits of a role, the main one first. None if it cannot be run."""
    if limits.none:
        return ()
    rows = matrix.rows
    if limits.stops:
        at = next(place for place, row in enumerate(rows) if row.time == limits.stops)
        rows = rows[:at]
    main = tuple(row for row in rows if not row.alternative)
    others = tuple(
        Path(f"{row.time}: {row.alternative}", (*(before for before in rows[:place] if not before.alternative), row))
        for place, row in enumerate(rows)
        if row.alternative
    )
    return (Path("main", main), *others)


def quantity_faults(collection: Collection) -> Iterator[str]:
    """Tell every execution report in which LeavesQty + CumQty is not OrderQty and that is not a known exception.

    An exception that is none is told too.
    """
    excepted = {(known.matrix, known.time) for known in collection.quantity_exceptions}
    for matrix in collection.matrices:
        for row in matrix.rows:
            if not row.is_report or row.qty is None or row.cum is None or row.leaves is None:
                continue
            left = Decimal(0) if row.over else row.qty - row.cum
            is_excepted = not row.alternative and (matrix.id, row.time) in excepted
            if (row.leaves == left) is is_excepted:
                yield f"{matrix.id} {row.time}: {row.leaves} + {row.cum} of {row.qty}, {row.status}"


def leaves_of(collection: Collection, matrix: Matrix, row: Row) -> Decimal | None:
    """Return what is left by a row, corrected where the source contradicts itself."""
    excepted = any((known.matrix, known.time) == (matrix.id, row.time) for known in collection.quantity_exceptions)
    if excepted and row.qty is not None and row.cum is not None:
        return row.qty - row.cum
    return row.leaves
