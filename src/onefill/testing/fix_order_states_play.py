"""FIX's order state change matrices through this project's own orders: what a FIX adapter would tell, what comes of it.

Requests become the events that a gateway writes before it sends them; reports and refusals go the way that the
gateway's receiver sends them (``executions.take``, ``evidence.from_report``, the replies). Two of the gateway's habits
change what is sent when: a replace waits until the one before it is decided, and a cancel until the venue is known to
have the order. Rows about a replace that has not been sent by then are left out. A cancel has no ClOrdID of its own
here: what FIX reports under it is told of the order. FIX's OrderID stays the same through a chain of replaces.
"""

from decimal import Decimal

import msgspec

from onefill.core import events as ev
from onefill.core import evidence, executions
from onefill.core import messages as msg
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities, ExecutionIdScope, Lookup, ReplaceStyle
from onefill.core.errors import require
from onefill.core.events import Event
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueStatus
from onefill.core.order import Order
from onefill.core.position import Execution, Kind
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.testing.fix_order_states import Collection, Difference, Limits, Matrix, Row, leaves_of

AT_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
PRICE, OTHER_PRICE = Decimal(100), Decimal(101)
ACCOUNT, INSTRUMENT, ROUTE = "acct", "ABC", "fix"
CAPABILITIES = Capabilities(
    lookup=Lookup.DIRECT, replace=ReplaceStyle.NEW_ID, execution_id_scope=ExecutionIdScope.ACCOUNT
)

SHOWN: dict[str, Status] = {
    "pending_new": Status.PENDING_NEW,
    "new": Status.NEW,
    "partially_filled": Status.PARTIALLY_FILLED,
    "filled": Status.FILLED,
    "canceled": Status.CANCELED,
    "rejected": Status.REJECTED,
    "expired": Status.EXPIRED,
    "pending_cancel": Status.PENDING_CANCEL,
    "pending_replace": Status.PENDING_REPLACE,
}
"""How this project shows each OrdStatus. The others (replaced, stopped, suspended, calculated, done for day) are no
states here: the order shows as new, partially filled or filled, by CumQty; a day order that is done for the day as
expired.

Two rules go before the table. While a request of ours is unanswered, the order shows as pending, whatever a report says
that was sent before the request came. And an order of which nothing is or can be left shows as filled, although it is
pending."""
_BY_QUANTITY = (Status.NEW, Status.PARTIALLY_FILLED)
_PENDING = (Status.PENDING_CANCEL, Status.PENDING_REPLACE)
_AMENDED = {
    "cancel": ExecutionKind.TRADE_CANCEL,
    "correct": ExecutionKind.TRADE_CORRECT,
    "status": ExecutionKind.ORDER_STATUS,
}
_KINDS = {
    "partial_fill": ExecutionKind.TRADE,
    "fill": ExecutionKind.TRADE,
    "triggered": ExecutionKind.ORDER_STATUS,  # there are no conditions here: it says what the order is
}
_TIMES = {"TimeInForce=FOK": TimeInForce.FOK, "TimeInForce=IOC": TimeInForce.IOC}


class Outcome(msgspec.Struct, frozen=True):
    """What an order has come to: its state, and which executions were applied and which of them count."""

    status: Status
    quantity: Decimal
    cum: Decimal
    leaves: Decimal
    applied: frozenset[tuple[str, Kind]]
    counted: frozenset[tuple[str, Decimal, Decimal]]


def kind_of(row: Row) -> ExecutionKind:
    """Return what a report is called here."""
    if row.trans in _AMENDED:
        return _AMENDED[row.trans]
    kind = _KINDS.get(row.exec_type) or ExecutionKind(row.exec_type)
    promised = kind is ExecutionKind.TRADE and row.cum is not None and row.last is not None and row.cum < row.last
    return ExecutionKind.STOPPED if promised else kind  # an execution is counted in CumQty, a guarantee is not


def venue_status(row: Row) -> VenueStatus:
    """Return the OrdStatus of a report as an adapter tells it: what is pending, and days, its kind tells."""
    if row.status in {"pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "expired"}:
        return VenueStatus(row.status)
    if row.over:
        return VenueStatus.EXPIRED
    if not row.cum:
        return VenueStatus.NEW
    return VenueStatus.FILLED if row.qty is not None and row.cum >= row.qty else VenueStatus.PARTIALLY_FILLED


def is_refused_repeat(row: Row) -> bool:
    """Tell whether a report refuses a second order under an id, and shows the first one beside that."""
    return row.is_report and row.exec_type == "rejected" and row.trans == "new" and row.status != "rejected"


def set_up_ids(collection: Collection, matrix: Matrix) -> frozenset[str]:
    """Return the orders that the venue has before a matrix begins."""
    return frozenset(row.orig for row in matrix.rows if row.orig and collection.ours(matrix).set_up)


def script(rows: tuple[Row, ...], *, known: frozenset[str] = frozenset()) -> tuple[Row, ...]:
    """Return the messages in the order in which they pass where requests wait for one another.

    ``known``: the orders that the venue is known to have at the start.
    """
    steps: list[Row] = []
    held: list[Row] = []
    open_replace = ""

    def may_go(row: Row) -> bool:
        if row.message == "cancel_request":
            return row.orig in known
        return row.message != "replace_request" or not open_replace

    for row in rows:
        if row.sender == "note":
            continue
        if row.sender == "in" and not may_go(row):
            held.append(row)
            continue
        waiting = next((one for one in held if row.id == one.id and one.message == "replace_request"), None)
        if row.sender == "out" and waiting is not None:
            held = [one for one in held if one is not waiting or row.message != "cancel_reject"]
            continue
        steps.append(row)
        open_replace = row.id if row.message == "replace_request" else open_replace
        if row.sender == "out":
            known |= {row.id, row.orig}
            decided = row.message == "cancel_reject" or row.exec_type == "replaced"
            open_replace = "" if decided and row.id == open_replace else open_replace
            while held and may_go(held[0]):
                steps.append(held.pop(0))
                open_replace = steps[-1].id if steps[-1].message == "replace_request" else open_replace
    return tuple(steps)


class OurSide:
    """The buy side of one matrix: its orders, and the executions that were applied to them."""

    def __init__(self, collection: Collection, matrix: Matrix, rows: tuple[Row, ...]) -> None:
        self._collection, self._matrix = collection, matrix
        self._limits: Limits = collection.ours(matrix)
        self._places = {id(row): place for place, row in enumerate(matrix.rows)}
        self._steps = rows
        self.orders: dict[str, Order] = {}
        self.rows: dict[str, list[Execution]] = {}
        self.strangers: list[ExecutionReport] = []
        self._owners: dict[str, str] = {}
        """The order to which each ClOrdID belongs, those of its replaces included."""
        self._canceling = {row.id: row.orig for row in matrix.rows if row.message == "cancel_request"}
        """The order that each cancel's ClOrdID stands for."""
        self._cancels: dict[str, int] = {}
        self._replaces: dict[str, int] = {}
        self._unanswered: dict[str, Row] = {}
        if self._limits.set_up:
            first = next(row for row in matrix.rows if row.orig)
            self._submit(msgspec.structs.replace(first, id=first.orig))
            told = ev.Acknowledged("V-X", VenueStatus(self._limits.set_up), Decimal(0), ev.Source.STREAM)
            self._advance(first.orig, (told,))

    def play(self, row: Row) -> None:
        """Take one message in or send it."""
        match row.message:
            case "new_order":
                self._submit(row)
            case "cancel_request":
                self._cancel(row)
            case "replace_request":
                self._replace(row)
            case "cancel_reject":
                self._refused(row)
            case "execution":
                self._told(self.report(row))
                if is_refused_repeat(row):
                    self._repeat_refused(row)
                elif kind_of(row) is ExecutionKind.ORDER_STATUS:
                    self._looked_up(row)

    def outcomes(self) -> dict[str, Outcome]:
        """Return what has become of every order."""
        return {
            key: Outcome(
                order.status,
                order.quantity,
                order.cum_quantity,
                order.leaves_quantity,
                frozenset((row.execution_id, row.kind) for row in self.rows[key]),
                frozenset((row.execution_id, row.quantity, row.price) for row in executions.effective(self.rows[key])),
            )
            for key, order in self.orders.items()
        }

    # ---------------------------------------------------------------- requests

    def _submit(self, row: Row) -> None:
        if row.id in self._owners:
            return  # a copy that was sent before the first report: see below
        require(row.qty is not None, f"{self._matrix.id}: an order without a quantity")
        intent = Intent(
            account=ACCOUNT,
            strategy="strat",
            instrument=INSTRUMENT,
            side=Side.BUY,
            quantity=row.qty or Decimal(0),
            order_type=OrderType.LIMIT,
            price=PRICE,
            time_in_force=_TIMES.get(row.note) or (TimeInForce.GTC if "Day" in row.time else TimeInForce.DAY),
            venue=ROUTE,
        )
        self._owners[row.id] = row.id
        self.rows[row.id] = []
        self.orders[row.id] = Order(
            intent_id=len(self.orders) + 1,
            key=row.id,
            client_order_id=row.id,
            intent=intent,
            recorded_at_us=AT_US,
            valid_until_us=AT_US + 3_600 * SECOND_US,
        )
        # A second order under the same id can only be a copy that was sent while the first one's fate was not known.
        copies = sum(step.message == "new_order" and step.id == row.id for step in self._steps)
        for number in range(1, max(copies, 1) + 1):
            if number > 1:
                self._advance(row.id, (ev.OutcomeUnknown(number - 1, "no reply"),))
            self._advance(row.id, (ev.Claimed(number, None, None),))

    def _cancel(self, row: Row) -> None:
        order = self.orders[self._owners[row.orig]]
        self._cancels[row.id] = len(order.cancels) + 1
        self._owners[row.id] = order.client_order_id
        self._unanswered[row.id] = row
        self._advance(row.orig, (ev.CancelRecorded(None),))
        self._advance(row.orig, (ev.CancelClaimed(self._cancels[row.id]),))

    def _replace(self, row: Row) -> None:
        order = self.orders[self._owners[row.orig]]
        quantity = order.quantity if row.qty is None else row.qty
        price = OTHER_PRICE if quantity == order.quantity else order.price
        until_us = AT_US + 3_600 * SECOND_US
        self._owners[row.id] = order.client_order_id
        self._replaces[row.id] = order.replace_copies + 1
        self._unanswered[row.id] = row
        number = order.replacements + 1
        self._advance(row.id, (ev.ReplaceRecorded(number, row.id, quantity, price, until_us, None),))
        self._advance(row.id, (ev.ReplaceClaimed(self._replaces[row.id], None, None),))

    def _refused(self, row: Row) -> None:
        order = self.orders[self._owners[row.id]]
        reason = row.note or "refused"
        self._unanswered.pop(row.id, None)
        if row.id in self._cancels:
            reply = msg.CancelRejected(reason)
            self._advance(row.id, evidence.from_cancel_reply(order, self._cancels[row.id], reply, self._at(row)))
            if self.orders[order.client_order_id].cancel_wanted:
                self._advance(row.id, (ev.CancelRefused(reason),))  # whoever asked is told
            return
        answer = msg.ReplaceRejected(reason)
        self._advance(row.id, evidence.from_replace_reply(order, self._replaces[row.id], answer, self._at(row)))
        order = self.orders[order.client_order_id]
        wanted = order.replacement
        if wanted is not None and wanted.client_order_id == row.id and not wanted.under_way:
            self._advance(row.id, evidence.not_replaced(order, reason))  # no copy is left that could do it

    # ----------------------------------------------------------------- reports

    def report(self, row: Row) -> ExecutionReport:
        """Return a row as an adapter tells it."""
        kind, owner = kind_of(row), self._owners.get(self._canceling.get(row.id, row.id))
        traded = kind in {ExecutionKind.TRADE, ExecutionKind.TRADE_CORRECT}
        terms = kind in {ExecutionKind.REPLACED, ExecutionKind.RESTATED}
        wanted = self._unanswered.get(row.id)
        changed = wanted is not None and owner is not None and wanted.qty == self.orders[owner].quantity
        return ExecutionReport(
            position=self._places[id(row)] + 1,
            execution_id=row.exec_id or f"{self._matrix.id} {row.time}",
            kind=kind,
            client_order_id=row.id if row.id not in self._canceling or owner is None else self.orders[owner].live_id,
            venue_order_id=f"V-{owner or row.id}",
            account=ACCOUNT,
            instrument=INSTRUMENT,
            side=Side.BUY,
            last_quantity=row.last if traded else None,
            last_price=(row.price or PRICE) if traded else None,
            cum_quantity=row.cum or Decimal(0),
            leaves_quantity=leaves_of(self._collection, self._matrix, row) or Decimal(0),
            status=venue_status(row),
            transacted_at_us=self._at(row),
            text=row.note or None,
            orig_client_order_id=row.orig if kind is ExecutionKind.REPLACED else None,
            order_quantity=row.qty if terms else None,
            order_price=(OTHER_PRICE if changed else PRICE) if terms else None,
            refers_to=row.refers_to or None,
        )

    def _told(self, report: ExecutionReport) -> None:
        """Take a report in the way the gateway's receiver does."""
        key = self._owners.get(report.client_order_id)
        if report.kind in {ExecutionKind.REPLACED, ExecutionKind.CANCELED}:
            over = report.client_order_id if report.kind is ExecutionKind.REPLACED else None
            ends = [name for name in self._unanswered if name == over or (over is None and name in self._cancels)]
            for name in ends:
                del self._unanswered[name]
        if key is None:
            self.strangers.append(report)
            return
        order, rows = self.orders[key], self.rows[key]
        if not executions.tells_execution(report, CAPABILITIES):
            if not evidence.is_old_news(order, report):
                events = evidence.resurrected(order, evidence.from_report(order, report))
                if not evidence.say_nothing_new(order, events):
                    self._advance(key, events)
            return
        named = executions.name(report, CAPABILITIES)
        if any((row.scope, row.execution_id) == named.key for row in rows):
            return
        taken = executions.take(order, report, named, CAPABILITIES, rows=tuple(rows))
        if taken.execution is not None:
            rows.append(taken.execution)
        self._advance(key, taken.events)

    def _repeat_refused(self, row: Row) -> None:
        """The same as the reply to the repeat."""
        order = self.orders[self._owners[row.id]]
        reply = msg.DuplicateId(row.note)
        self._advance(row.id, evidence.from_submit_reply(order, len(order.copies), reply, self._at(row)))

    def _looked_up(self, row: Row) -> None:
        """The same as an answer to a look-up."""
        key = self._owners.get(row.id)
        if key is None:
            require(
                not evidence.from_lookup(next(iter(self.orders.values())), msg.NotFound(row.note)), "it is not found"
            )
            return
        order = self.orders[key]
        seen = msg.VenueOrder(
            client_order_id=row.id,
            venue_order_id=f"V-{key}",
            instrument=INSTRUMENT,
            side=Side.BUY,
            quantity=row.qty or Decimal(0),
            order_type=OrderType.LIMIT,
            price=order.price,
            status=venue_status(row),
            cum_quantity=row.cum or Decimal(0),
        )
        self._advance(key, evidence.from_lookup(order, msg.Found(seen)))

    def _advance(self, name: str, events: tuple[Event, ...]) -> None:
        key = self._owners[name]
        if events:
            self.orders[key] = advance(self.orders[key], events, AT_US)

    def _at(self, row: Row) -> int:
        return AT_US + self._places[id(row)] * SECOND_US

    # -------------------------------------------------------------- comparison

    def faults(self, row: Row) -> list[str]:
        """Tell how the order differs from what a row says of it."""
        key = self._owners.get(row.orig or self._canceling.get(row.id, row.id))
        if key is None:
            return []
        order, differs = self.orders[key], self._difference(row)
        leaves = leaves_of(self._collection, self._matrix, row)
        wanted = {
            "status": self._shown(row, order, differs),
            "quantity": row.qty if differs.qty is None else differs.qty,
            "cum_quantity": row.cum if differs.cum is None else differs.cum,
            "leaves_quantity": leaves if differs.leaves is None else differs.leaves,
        }
        if row.sender == "in" or row.message == "cancel_reject":
            wanted = {"status": wanted["status"]}  # a request changes no quantity before it is granted
        place = f"{self._matrix.id} at {row.time}"
        return [
            f"{place}: {name} is {getattr(order, name)}, not {value}"
            for name, value in wanted.items()
            if value is not None and getattr(order, name) != value
        ]

    def contradictions(self) -> list[str]:
        """Tell what was kept for a person, where the matrix holds nothing that a person must see."""
        told = [order.anomaly for order in self.orders.values() if order.anomaly is not None]
        return [] if self._limits.told else [f"{self._matrix.id}: {anomaly}" for anomaly in told]

    def _difference(self, row: Row) -> Difference:
        told = (known for known in self._limits.differs if known.time == row.time and not row.alternative)
        return next(told if row.sender == "out" else iter(()), Difference("", ""))

    def _shown(self, row: Row, order: Order, differs: Difference) -> Status | None:
        """Return as what the order is to show: see :data:`SHOWN`."""
        if row.sender == "in":
            return {"cancel_request": Status.PENDING_CANCEL, "replace_request": Status.PENDING_REPLACE}.get(row.message)
        if differs.status:
            return Status(differs.status)
        shown = SHOWN.get(row.status)
        if shown is None:
            shown = Status.EXPIRED if row.over else Status(venue_status(row))
        asked = [asked for name, asked in self._unanswered.items() if self._owners[name] == order.client_order_id]
        if shown in _BY_QUANTITY and asked:
            shown = Status.PENDING_CANCEL if any(one.id in self._cancels for one in asked) else Status.PENDING_REPLACE
        if shown in _PENDING and row.qty is not None and row.cum is not None:
            most = max([row.qty, *(one.qty for one in asked if one.id in self._replaces and one.qty is not None)])
            shown = Status.FILLED if row.cum >= most else shown
        return shown
