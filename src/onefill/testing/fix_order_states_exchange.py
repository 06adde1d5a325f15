"""FIX's order state change matrices with an exchange as the sell side: what it reports, and what it answers.

The exchange is any object with the methods of :class:`Venue`. It matches, decides at once, and has no broker: a request
that is pending in a matrix reaches it when the matrix decides about it, and what only a broker says is not expected of
it (see :data:`NOT_SAID`). An execution is made by an order of another account.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from onefill.core import messages as msg
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.testing.fix_order_states import Collection, Matrix, Path, Row, leaves_of, paths
from onefill.testing.fix_order_states_play import AT_US, OTHER_PRICE, PRICE, SECOND_US, is_refused_repeat, venue_status

BUYER, SELLER = "buyer", "seller"
INSTRUMENT = Instrument(symbol="ABC", price_tick=Decimal(1), quantity_step=Decimal(1), min_quantity=Decimal(1))
OFF_GRID = Decimal("100.5")
"""A price that the instrument's rules do not allow: what is to be refused or rejected asks for it."""
ACKNOWLEDGE_US = 5 * SECOND_US
"""How long an asynchronous acknowledgement takes."""
DAY_US = 86_400 * SECOND_US
MIDNIGHT_US = AT_US // DAY_US * DAY_US
NOT_SAID: dict[str, str] = {
    "pending_cancel": "a cancel is decided at once",
    "pending_replace": "a replace is decided at once",
    "restated": "a GTC order goes on the next day without a word",
    "done_for_day": "a GTC order goes on the next day without a word; a day order is reported as expired",
}
"""Reports of the matrices that an exchange does not send, and why."""
REJECTED_LATE = "an order that was accepted is not rejected any more"
CANCEL_REFUSED = "the cancel of an order that can trade is not refused"
_KINDS = {
    "new": ExecutionKind.NEW,
    "partial_fill": ExecutionKind.TRADE,
    "fill": ExecutionKind.TRADE,
    "trade": ExecutionKind.TRADE,
    "canceled": ExecutionKind.CANCELED,
    "replaced": ExecutionKind.REPLACED,
    "rejected": ExecutionKind.REJECTED,
    "done_for_day": ExecutionKind.EXPIRED,
}
_PASSING = {"TimeInForce=FOK": TimeInForce.FOK, "TimeInForce=IOC": TimeInForce.IOC}


class Habits(msgspec.Struct, frozen=True):
    """How the exchange is to be: it gives replaced orders a new id, and has these habits beside that.

    Asynchronous acknowledgements come after :data:`ACKNOWLEDGE_US`.
    """

    acknowledges_asynchronously: bool
    answers_repeats: bool
    """A repeat of an id is answered with the first order; otherwise it is refused."""


class Venue(Protocol):
    """What is asked of an exchange. Times are µs since 1970."""

    def submit(self, request: msg.SubmitRequest, now_us: int) -> msg.SubmitReply:
        """Take a new order."""

    def cancel(self, request: msg.CancelRequest, now_us: int) -> msg.CancelReply:
        """Cancel an order."""

    def replace(self, request: msg.ReplaceRequest, now_us: int) -> msg.ReplaceReply:
        """Replace an order."""

    def lookup(self, client_order_id: str, account: str, now_us: int) -> msg.LookupReply:
        """Find an order."""

    def executions(self, account: str, after: int, limit: int = 1000) -> Sequence[ExecutionReport]:
        """Return an account's reports."""

    def advance(self, now_us: int) -> None:
        """Let time pass."""


Make = Callable[[Habits], Venue]


class Said(msgspec.Struct, frozen=True):
    """What a report tells of an order."""

    kind: ExecutionKind
    client_order_id: str
    status: VenueStatus
    cum: Decimal
    leaves: Decimal
    last: Decimal | None


def why_not(path: Path) -> str:
    """Return why an exchange does not take this way through a matrix, or nothing if it does."""
    end = path.rows[-1] if path.rows else None
    if end is None or not end.alternative:
        return ""
    if end.alternative == "order_rejected":
        accepted = any(row.is_report and row.exec_type == "new" for row in path.rows)
        return REJECTED_LATE if accepted else ""
    asked = next(row for row in path.rows if row.sender == "in" and row.id == end.id)
    return CANCEL_REFUSED if asked.message == "cancel_request" else ""


def _is_rejection(row: Row) -> bool:
    return row.exec_type == "rejected" and row.trans == "new" and row.status == "rejected"


def habits_of(path: Path) -> Habits:
    """Return what the exchange must be like for a path."""
    rejects = any(_is_rejection(row) for row in path.rows)
    accepted = {row.id for row in path.rows if row.is_report and row.exec_type == "new"}
    pending = any(row.message == "new_order" and row.id not in accepted for row in path.rows)
    pending = pending or any(row.status == "pending_new" for row in path.rows)
    repeats = any(row.note == "PossResend=Y" for row in path.rows)
    return Habits(rejects or pending, repeats)


class Drive:
    """One path of one matrix, with an exchange as the sell side."""

    def __init__(self, collection: Collection, matrix: Matrix, path: Path, make: Make) -> None:
        self._collection, self._matrix, self._path = collection, matrix, path
        self.habits = habits_of(path)
        self.venue = make(self.habits)
        self._now_us = AT_US
        self._waiting: dict[str, Row] = {}
        self._reply: msg.SubmitReply | None = None
        self._replied_to = ""
        self._sellers = 0
        self.expected: list[Said] = []
        self.faults: list[str] = []

    def run(self) -> list[str]:
        """Play the path; tell in what the exchange's words differ from the matrix's."""
        for row in self._path.rows:
            self._now_us += SECOND_US
            if row.time.startswith("Day 2"):
                self._now_us = max(self._now_us, MIDNIGHT_US + DAY_US)
            if row.sender == "in":
                self._asked(row)
            elif row.sender == "out":
                self._told(row)
        produced = [
            Said(
                said.kind,
                said.client_order_id,
                said.status,
                said.cum_quantity,
                said.leaves_quantity,
                said.last_quantity,
            )
            for said in self.venue.executions(BUYER, 0)
        ]
        if produced != self.expected:
            self.faults.append(f"{self._matrix.id} {self._path.name}: reported {produced}, not {self.expected}")
        return self.faults

    def _asked(self, row: Row) -> None:
        if row.message == "new_order":
            self._submit(row)
        elif row.message in {"cancel_request", "replace_request"}:
            self._waiting[row.id] = row

    def _submit(self, row: Row) -> None:
        rejected = _is_rejection(self._path.rows[-1]) and not self.expected
        times = TimeInForce.GTC if row.time.startswith("Day") else TimeInForce.DAY
        if _PASSING.get(row.note) is TimeInForce.IOC:
            for trade in self._path.rows:  # what it meets must be there before it comes
                if trade.is_report and _KINDS.get(trade.exec_type) is ExecutionKind.TRADE:
                    self._sell(trade.last, TimeInForce.DAY)
        self._replied_to = row.id
        self._reply = self.venue.submit(
            msg.SubmitRequest(
                client_order_id=row.id,
                account=BUYER,
                instrument=INSTRUMENT.symbol,
                side=Side.BUY,
                quantity=row.qty or Decimal(0),
                order_type=OrderType.LIMIT,
                price=OFF_GRID if rejected else PRICE,
                time_in_force=_PASSING.get(row.note, times),
                expires_at_us=None,
            ),
            self._now_us,
        )

    def _sell(self, quantity: Decimal | None, times: TimeInForce) -> None:
        self._sellers += 1
        self.venue.submit(
            msg.SubmitRequest(
                client_order_id=f"S{self._sellers}",
                account=SELLER,
                instrument=INSTRUMENT.symbol,
                side=Side.SELL,
                quantity=quantity or Decimal(0),
                order_type=OrderType.LIMIT,
                price=PRICE,
                time_in_force=times,
                expires_at_us=None,
            ),
            self._now_us,
        )
        self._let_acknowledge()

    def _let_acknowledge(self) -> None:
        if self.habits.acknowledges_asynchronously:
            self._now_us += ACKNOWLEDGE_US
            self.venue.advance(self._now_us)

    def _told(self, row: Row) -> None:
        """Make the exchange do what a row tells, and note what it is to report."""
        if row.message == "cancel_reject":
            self._refuse(row)
        elif is_refused_repeat(row):
            self._check(row, isinstance(self._reply, msg.DuplicateId))
        elif row.trans == "status" or row.exec_type == "order_status":
            self._answer(row)
        elif row.exec_type in NOT_SAID and not row.over:
            return
        else:
            self._do(row)
            traded = _KINDS[row.exec_type] is ExecutionKind.TRADE
            leaves = leaves_of(self._collection, self._matrix, row) or Decimal(0)
            chain = row.id if self._kept(row) else row.orig
            self.expected.append(
                Said(
                    _KINDS[row.exec_type],
                    chain,
                    venue_status(row),
                    row.cum or Decimal(0),
                    leaves,
                    row.last if traded else None,
                )
            )

    def _kept(self, row: Row) -> bool:
        """Tell whether a report bears the row's own ClOrdID: a cancel has none here."""
        return row.exec_type != "canceled" or not row.orig

    def _do(self, row: Row) -> None:
        passing = any(asked.note in _PASSING for asked in self._path.rows)
        match _KINDS[row.exec_type]:
            case ExecutionKind.NEW | ExecutionKind.REJECTED:
                self._let_acknowledge()
            case ExecutionKind.TRADE if not passing:
                self._sell(row.last, TimeInForce.IOC)
            case ExecutionKind.EXPIRED:
                self.venue.advance(MIDNIGHT_US + DAY_US)
            case ExecutionKind.CANCELED if not passing:
                asked = self._waiting.pop(row.id)
                self._check(row, isinstance(self._cancel(asked), msg.Canceled))
            case ExecutionKind.REPLACED:
                asked = self._waiting.pop(row.id)
                self._check(row, isinstance(self._replace(asked, PRICE), msg.Replaced))

    def _refuse(self, row: Row) -> None:
        """Have a request refused: by what has become of the order, or by asking for what the rules do not allow."""
        asked = self._waiting.pop(row.id)
        if asked.message == "cancel_request":
            reply: object = self._cancel(asked)
        else:
            allowed = row.status not in {"new", "partially_filled"}
            reply = self._replace(asked, OTHER_PRICE if allowed else OFF_GRID)
        refused = isinstance(reply, msg.CancelRejected | msg.ReplaceRejected)
        self._check(row, refused)
        shown = reply.order if isinstance(reply, msg.CancelRejected | msg.ReplaceRejected) else None
        if shown is not None and row.status in {"new", "partially_filled", "filled"}:
            self._check(row, shown.status is venue_status(row))

    def _answer(self, row: Row) -> None:
        """Ask for an order, or take the reply to a repeat of it, whichever the row answers."""
        repeat = self._replied_to == row.id and self.habits.answers_repeats
        reply = self._reply if repeat else self.venue.lookup(row.id, BUYER, self._now_us)
        if row.status == "rejected":
            self._check(row, isinstance(reply, msg.NotFound))
            return
        if not isinstance(reply, msg.Accepted | msg.Found):
            self._check(row, holds=False)
            return
        shown = reply.order
        said = (shown.status, shown.quantity, shown.cum_quantity)
        self._check(row, said == (venue_status(row), row.qty, row.cum))

    def _cancel(self, asked: Row) -> msg.CancelReply:
        request = msg.CancelRequest(
            client_order_id=asked.orig, account=BUYER, instrument=INSTRUMENT.symbol, venue_order_id=None
        )
        return self.venue.cancel(request, self._now_us)

    def _replace(self, asked: Row, price: Decimal) -> msg.ReplaceReply:
        times = TimeInForce.GTC if asked.time.startswith("Day") else TimeInForce.DAY
        request = msg.ReplaceRequest(
            client_order_id=asked.id,
            orig_client_order_id=asked.orig,
            account=BUYER,
            instrument=INSTRUMENT.symbol,
            venue_order_id=None,
            side=Side.BUY,
            quantity=asked.qty or Decimal(0),
            order_type=OrderType.LIMIT,
            price=price,
            time_in_force=times,
            expires_at_us=None,
        )
        return self.venue.replace(request, self._now_us)

    def _check(self, row: Row, holds: bool) -> None:
        if not holds:
            self.faults.append(f"{self._matrix.id} {self._path.name} at {row.time}: not as the matrix says")


def produced(collection: Collection, matrix: Matrix) -> tuple[Path, ...]:
    """Return the ways through a matrix that an exchange can be asked to take."""
    every = paths(matrix, collection.exchanged(matrix))
    return tuple(path for path in every if path.rows and not why_not(path))


def exchange_faults(collection: Collection, matrix: Matrix, make: Make) -> list[str]:
    """Tell in what an exchange's reports and answers differ from a matrix."""
    return [fault for path in produced(collection, matrix) for fault in Drive(collection, matrix, path, make).run()]
