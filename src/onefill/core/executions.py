"""From a report of an execution to what it changes: dedupe by identity, then effect (promise FILL-ONCE).

An execution is named by the venue's execution id within its declared scope. Where the venue gives none, or tells growing
totals only, its place in the order's total names it: FIX CumQty after it. A bust or correction is an execution report of its
own that refers to another one; which executions count follows from all of them together, so that the order in which they
arrive does not matter.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec

from onefill.core import events as ev
from onefill.core import evidence
from onefill.core.apply import advance
from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.errors import require
from onefill.core.events import CopyOutcome, Event
from onefill.core.incident import Finding, IncidentKind
from onefill.core.lifecycle import NEVER_SENT, Status
from onefill.core.messages import EXECUTED, LIVE, ExecutionKind, ExecutionReport
from onefill.core.order import Order
from onefill.core.position import STREAM, Execution, Kind, dedupe_scope
from onefill.core.values import EXACT, MAX_DIGITS, plain

_ZERO = Decimal(0)
_REVISION = re.compile(r"(.+)\.([0-9]{1,9})", re.ASCII | re.DOTALL)
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)
_PRICE_STEP = Decimal(1).scaleb(-28)
_MOST_PLACES = 60
"""Behind the point, of a number that is added up."""
_KINDS = {
    ExecutionKind.TRADE: Kind.TRADE,
    ExecutionKind.TRADE_CORRECT: Kind.CORRECT,
    ExecutionKind.TRADE_CANCEL: Kind.BUST,
}


class Name(msgspec.Struct, frozen=True, gc=False):
    """Which execution a report tells of: unique by ``scope`` and ``execution_id`` on a route."""

    scope: str
    execution_id: str
    kind: Kind = Kind.TRADE
    refers_to: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What it is deduped by."""
        return self.scope, self.execution_id


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What a report changes: events for the order, a row for the execution log, and what needs an incident."""

    events: tuple[Event, ...] = ()
    execution: Execution | None = None
    findings: tuple[Finding, ...] = ()


def tells_execution(report: ExecutionReport, capabilities: Capabilities) -> bool:
    """Tell whether a report is to be taken in as one about executions."""
    return report.kind in EXECUTED or (capabilities.cumulative_fills_only and bool(report.cum_quantity))


def name(report: ExecutionReport, capabilities: Capabilities) -> Name:
    """Return which execution a report tells of."""
    kind = _KINDS.get(report.kind, Kind.TRADE)
    if kind is Kind.TRADE and (capabilities.cumulative_fills_only or not report.execution_id):
        scope = dedupe_scope(report, ExecutionIdScope.ORDER)
        return Name(scope, f"total {plain(report.cum_quantity)}")
    scope = dedupe_scope(report, capabilities.execution_id_scope)
    if kind is Kind.TRADE and capabilities.execution_revisions:
        match = _REVISION.fullmatch(report.execution_id)
        if match is not None and int(match[2]) > 1:
            # A correction of the first revision, whether that one or any other between has come or not.
            first = f"{match[1]}.{'1'.zfill(len(match[2]))}"
            return Name(scope, report.execution_id, Kind.CORRECT, first)
    execution_id = report.execution_id or f"{kind} of {report.refers_to}"
    return Name(scope, execution_id, kind, None if kind is Kind.TRADE else report.refers_to or "")


def told_before(named: Name, report: ExecutionReport, execution_ids: set[tuple[str, str]], *, replaced: bool) -> bool:
    """Tell whether an execution of an order is known, be it by the id that the order had before or after a replace."""
    if named.key in execution_ids:
        return True
    number = report.venue_order_id
    if not (replaced and number and named.scope == dedupe_scope(report, ExecutionIdScope.ORDER)):
        return False
    head, tail = f"{report.account}\n", f"\n{number}"
    return any(
        name == named.execution_id and scope.startswith(head) and scope.endswith(tail) for scope, name in execution_ids
    )


def is_plain(named: Name, capabilities: Capabilities, referred_to: Iterable[tuple[str, str]]) -> bool:
    """Tell whether the order's other executions need not be looked at: an ordinary trade that nothing spoke of before."""
    plain_trade = named.kind is Kind.TRADE and not capabilities.cumulative_fills_only
    return plain_trade and not any(about == named.execution_id for _, about in referred_to)


def stranger_to(order: Order, report: ExecutionReport) -> str | None:
    """Return by which field an execution under one of our ids cannot be our order's, or ``None``."""
    intent = order.intent
    if report.account != intent.account:
        return f"account ({report.account!r} instead of {intent.account!r})"
    if report.instrument != intent.instrument:
        return f"instrument ({report.instrument!r} instead of {intent.instrument!r})"
    if report.side is not intent.side:
        return f"side ({report.side} instead of {intent.side})"
    return None


def effective(rows: Iterable[Execution]) -> list[Execution]:
    """Return the executions that count, each with the quantity and price that it has by the latest word, in log order.

    Rows that speak of one another belong together. Of them counts the one that no other speaks of; of several such (some
    venues let every correction refer to the first report) a bust, or else the latest by revision, then by the venue's time. A
    bust counts for nothing. The order of the rows decides nothing but the order of the result.
    """
    kept = list(rows)
    leads = _leads(kept)
    groups = _groups(kept, leads)
    first_place: dict[str, int] = {}
    for place, row in enumerate(kept):
        first_place.setdefault(groups[row.scope, row.execution_id], place)
    heads: dict[str, Execution] = {}
    referred = set(leads.values())
    for row in kept:
        if (row.scope, row.execution_id) in referred:
            continue
        group = groups[row.scope, row.execution_id]
        if group not in heads or _latest(heads[group]) < _latest(row):
            heads[group] = row
    counted = sorted((first_place[group], row) for group, row in heads.items() if row.kind is not Kind.BUST)
    return [row for _, row in counted]


def _latest(row: Execution) -> tuple[bool, int, int, int, str]:
    match = None if row.refers_to is None else _REVISION.fullmatch(row.execution_id)
    of_same_root = match is not None and row.refers_to is not None and row.refers_to.startswith(f"{match[1]}.")
    revision = int(match[2]) if match is not None and of_same_root else 0
    return row.kind is Kind.BUST, revision, row.transacted_at_us, len(row.execution_id), row.execution_id


def _leads(rows: Sequence[Execution]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return of each row that speaks of another one by what name that one is known.

    Where ids are unique within an order only, a replaced order has several names. A bust or correction that uses another one
    than its execution did speaks of it all the same, if client order id or venue's number agree and no other fits.
    """
    amending = [row for row in rows if row.refers_to is not None]
    if not amending:
        return {}
    names = {(row.scope, row.execution_id) for row in rows}
    leads = {}
    for row in amending:
        about = (row.scope, row.refers_to or "")
        if about not in names and row.intent_id is not None:
            others = {(one.scope, one.execution_id) for one in rows if _by_another_name(row, one)}
            about = others.pop() if len(others) == 1 else about
        leads[row.scope, row.execution_id] = about
    return leads


def _by_another_name(row: Execution, one: Execution) -> bool:
    """Tell whether ``row`` can speak of an execution of the same order that was told under another of the order's names."""
    same = row.client_order_id == one.client_order_id or row.venue_order_id == one.venue_order_id
    return same and one.intent_id == row.intent_id and one.execution_id == row.refers_to and one is not row


def _groups(rows: Sequence[Execution], leads: dict[tuple[str, str], tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return for each row the name of the group of rows that speak of one another."""

    def root(key: tuple[str, str]) -> str:
        passed = set()
        while key in leads and key not in passed:
            passed.add(key)
            key = leads[key]
        return "\n".join(min(passed) if key in passed else key)  # two that speak of each other: one group

    return {(row.scope, row.execution_id): root((row.scope, row.execution_id)) for row in rows}


def totals(rows: Iterable[Execution]) -> tuple[Decimal, Decimal]:
    """Return (executed quantity that counts, quantity once executed that does not count any more)."""
    kept = list(rows)
    counts = _sum(row.quantity for row in effective(kept))
    groups = _groups(kept, _leads(kept))
    most: dict[str, Decimal] = {}  # of each execution, by all that was said of it: the venue's total may have had it
    for row in kept:
        if row.kind is not Kind.BUST:
            group = groups[row.scope, row.execution_id]
            most[group] = max(most.get(group, _ZERO), row.quantity)
    return counts, EXACT.subtract(_sum(most.values()), counts)


def _sum(quantities: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for quantity in quantities:
        total = EXACT.add(total, quantity)
    return total


def take(
    order: Order,
    report: ExecutionReport,
    named: Name,
    capabilities: Capabilities,
    *,
    rows: Sequence[Execution] | None = None,
    stream: str = STREAM,
    incident: int | None = None,
) -> Taken:
    """Return what a report of an execution changes. The caller has dropped those whose name is known.

    ``rows``: every execution recorded of the order, needed unless :func:`is_plain`. ``incident``: the number of the one under
    which an execution is taken in that the stream had passed by.
    """
    field = stranger_to(order, report)
    if field is not None:
        return quarantined(report, named, order, field, stream)
    if (uncounted := _uncounted(report, named)) is not None:
        return Taken((ev.Anomaly(f"execution {named.execution_id} has a {uncounted} that cannot be counted"),))
    if report.fee is not None and not _countable(report.fee):
        told = ev.Anomaly(f"execution {named.execution_id} has a fee ({report.fee}) that cannot be counted")
        report = msgspec.structs.replace(report, fee=None, fee_currency=None)
        taken = take(order, report, named, capabilities, rows=rows, stream=stream, incident=incident)
        return msgspec.structs.replace(taken, events=(*taken.events, told))
    if rows is None or (is_plain(named, capabilities, ()) and not _spoken_of(named, rows)):
        return _trade(order, report, named, stream, incident)
    if capabilities.cumulative_fills_only and named.kind is Kind.TRADE:
        return _under(incident, _by_total(order, report, named, rows, stream))
    return _amended(order, report, named, rows, stream, incident)


def _under(incident: int | None, taken: Taken) -> Taken:
    """Return what is taken in with the number of the incident that it is taken in under."""
    if incident is None:
        return taken
    put = msgspec.structs.replace
    events = (put(one, incident=incident) if isinstance(one, ev.Traded) else one for one in taken.events)
    return put(taken, events=tuple(events))


def _spoken_of(named: Name, rows: Sequence[Execution]) -> bool:
    return any(row.refers_to == named.execution_id for row in rows)


def row_of(order: Order, report: ExecutionReport, named: Name, stream: str) -> Execution:
    """Return the row of the execution log for a report about an order of ours."""
    return Execution(
        intent_id=order.intent_id,
        scope=named.scope,
        execution_id=named.execution_id,
        account=order.intent.account,
        strategy=order.intent.strategy,
        venue=order.intent.venue,
        instrument=report.instrument,
        side=report.side,
        quantity=_kept(report.last_quantity),
        price=_kept(report.last_price),
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id,
        transacted_at_us=report.transacted_at_us,
        kind=named.kind,
        refers_to=named.refers_to,
        fee=report.fee if report.fee_currency is not None else None,
        fee_currency=report.fee_currency if report.fee is not None else None,
        stream=stream,
    )


def _told_of(order: Order, report: ExecutionReport, stream: str, incident: int | None) -> dict[str, object]:
    """Return what a journal entry keeps of a report beside its effect, so that it can be replayed from there."""
    paid = report.fee is not None and report.fee_currency is not None
    return {
        "transacted_at_us": report.transacted_at_us,
        "fee": report.fee if paid else None,
        "fee_currency": report.fee_currency if paid else None,
        "client_order_id": None if report.client_order_id == order.client_order_id else report.client_order_id,
        "stream": stream,
        "incident": incident,
    }


def _countable(number: Decimal | None) -> bool:
    """Tell whether a number can be added up exactly with others, however a venue wrote it."""
    if number is None or not number.is_finite():
        return False
    return number.adjusted() < MAX_DIGITS and int(number.as_tuple().exponent) >= -_MOST_PLACES


def _kept(number: Decimal | None) -> Decimal:
    return number if number is not None and _countable(number) else _ZERO


def _uncounted(report: ExecutionReport, named: Name) -> str | None:
    """Return what of an execution's numbers cannot be counted, or ``None``. Of a bust only the total counts."""
    total = report.cum_quantity
    if total.is_finite() and not _countable(total):
        return f"total ({total})"
    if named.kind is Kind.BUST:
        return None
    for field, number in (("quantity", report.last_quantity), ("price", report.last_price)):
        if number is not None and not _countable(number):
            return f"{field} ({number})"
    return None


def _trade(order: Order, report: ExecutionReport, named: Name, stream: str, incident: int | None) -> Taken:
    events = evidence.from_trade(order, report, named.execution_id, stream, incident)
    for event in events:
        if isinstance(event, ev.Traded):
            return Taken(events, row_of(order, report, named, stream))
    return Taken(events)


def _by_total(order: Order, report: ExecutionReport, named: Name, rows: Sequence[Execution], stream: str) -> Taken:
    """Take in a growing total: what it is above what counts of the applied is one execution more."""
    if not order.replace_copies:
        # The totals of two orders under one id are not one; those of a chain of replaces are.
        rows = [row for row in rows if row.venue_order_id == report.venue_order_id]
    counted = effective(rows)
    applied = _sum(row.quantity for row in counted)
    quantity = EXACT.subtract(report.cum_quantity, applied)
    if quantity <= 0:
        events = evidence.from_report(order, _without_trade(report))
        if quantity < 0 and report.transacted_at_us > max((row.transacted_at_us for row in rows), default=-1):
            told = f"the venue's total fell from {plain(applied)} to {plain(report.cum_quantity)}"
            events = (*events, ev.Anomaly(told))
        return Taken(events)
    price = report.last_price if report.last_quantity == quantity else None
    if price is None and report.average_price is not None and _countable(report.average_price):
        value = EXACT.multiply(report.cum_quantity, report.average_price)
        paid = _sum(EXACT.multiply(row.quantity, row.price) for row in counted)
        price = _WIDE.divide(EXACT.subtract(value, paid), quantity).quantize(_PRICE_STEP, context=_WIDE)
        price = price.normalize(_WIDE)
    if price is None:
        told = f"the venue counts {plain(report.cum_quantity)} executed and tells no price of it"
        return Taken((*evidence.from_report(order, _without_trade(report)), ev.Anomaly(told)))
    derived = msgspec.structs.replace(report, kind=ExecutionKind.TRADE, last_quantity=quantity, last_price=price)
    taken = _trade(order, derived, named, stream, None)
    if report.kind is ExecutionKind.TRADE:
        return taken
    after = advance(order, taken.events, report.transacted_at_us)
    return msgspec.structs.replace(taken, events=taken.events + evidence.from_report(after, report))


def _without_trade(report: ExecutionReport) -> ExecutionReport:
    if report.kind is not ExecutionKind.TRADE:
        return report
    return msgspec.structs.replace(report, kind=ExecutionKind.ORDER_STATUS)


def _amended(
    order: Order,
    report: ExecutionReport,
    named: Name,
    rows: Sequence[Execution],
    stream: str,
    incident: int | None,
) -> Taken:
    """Take in a bust or correction, or a trade that was spoken of before it came."""
    row = row_of(order, report, named, stream)
    wanting = named.kind is not Kind.BUST and not evidence.is_trade(report)
    if wanting or named.refers_to == "":
        told = f"execution {named.execution_id} is a {named.kind} without quantity, price or what it refers to"
        return Taken((ev.Anomaly(told),))
    cum_quantity, reversed_quantity = totals((*rows, row))
    amended = ev.TradeAmended(
        execution_id=named.execution_id,
        kind=named.kind,
        refers_to=named.refers_to,
        quantity=row.quantity,
        price=row.price,
        cum_quantity=cum_quantity,
        reversed_quantity=reversed_quantity,
        venue_order_id=report.venue_order_id,
        venue_cum_quantity=report.cum_quantity,
        live=report.status in LIVE,
        venue_gross_quantity=_gross(report, row, rows),
        **_told_of(order, report, stream, incident),  # type: ignore[arg-type]
    )
    excess = EXACT.subtract(cum_quantity, order.most_quantity)
    if excess > 0:
        return Taken((amended, evidence.overfill(excess)), row)
    replaced = evidence.replaced_by_total(order, report, cum_quantity)
    if replaced is not None:
        return Taken((replaced, amended), row)
    return Taken((amended, *_resurrecting(order, named)), row)


def _resurrecting(order: Order, named: Name) -> tuple[Event, ...]:
    """Return an anomaly if an order was held not to be there of which an execution was busted or corrected."""
    absent = order.status is Status.RECORDED and any(copy.outcome is CopyOutcome.ABSENT for copy in order.copies)
    if absent or order.status in NEVER_SENT or (order.status is Status.REJECTED and not order.cum_quantity):
        told = f"a {named.kind} of an execution came for an order that was {order.status}"
        return (ev.Anomaly(told, IncidentKind.RESURRECTED),)
    return ()


def _gross(report: ExecutionReport, row: Execution, rows: Sequence[Execution]) -> Decimal:
    """Return the venue's count at the time of a bust or correction, and what it had taken back by then."""
    if row.kind is Kind.TRADE:
        return _ZERO  # told before it was spoken of: its count is from then
    before = [one for one in rows if one.transacted_at_us <= row.transacted_at_us]
    return EXACT.add(report.cum_quantity, totals((*before, row))[1])


def strangers_total(report: ExecutionReport, named: Name) -> tuple[ExecutionReport, Name]:
    """Return a total of a stranger's order as what it is among such: a later total takes the place of an earlier one."""
    told = msgspec.structs.replace(report, last_quantity=report.cum_quantity, last_price=report.average_price)
    return told, Name(named.scope, named.execution_id, Kind.CORRECT, "total")


def quarantined(
    report: ExecutionReport, named: Name, order: Order | None, field: str | None, stream: str, venue: str = ""
) -> Taken:
    """Return an execution that is kept apart: nobody here sent its order, or it contradicts the order it names."""
    if order is None:
        kind, subject = IncidentKind.STRANGER_EXECUTION, f"{report.account} {report.instrument}"
        summary = f"executions in account {report.account}, {report.instrument}, of orders that nobody here sent"
    else:
        kind, subject = IncidentKind.FOREIGN_EXECUTION, order.client_order_id
        summary = f"an execution under {order.client_order_id} has another {field} than the order"
    quantity = _ZERO if report.last_quantity is None else report.last_quantity
    price = _ZERO if report.last_price is None else report.last_price
    paid = report.fee_currency is not None and _countable(report.fee)
    line = (
        f"{named.kind} {named.execution_id}: {report.side} {plain(quantity)} {report.instrument} at {plain(price)}, account "
        f"{report.account}, order {report.venue_order_id} ({report.client_order_id or 'no client order id'}), by {stream}"
    )
    require(venue or order is not None, "an execution belongs to a venue")
    execution = Execution(
        intent_id=None,
        scope=named.scope,
        execution_id=named.execution_id,
        account=report.account,
        strategy="",
        venue=venue or (order.intent.venue if order is not None else ""),
        instrument=report.instrument,
        side=report.side,
        quantity=_kept(quantity),
        price=_kept(price),
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id,
        transacted_at_us=report.transacted_at_us,
        kind=named.kind,
        refers_to=named.refers_to,
        fee=report.fee if paid else None,
        fee_currency=report.fee_currency if paid else None,
        stream=stream,
    )
    return Taken((), execution, (Finding(kind=kind, subject=subject, summary=summary, evidence=(line,)),))


def is_row_of(report: ExecutionReport, row: Execution) -> bool:
    """Tell whether a row that is kept apart is what was made of this report, whichever channel told it."""
    return row.intent_id is None and (row.account, row.instrument, row.side, row.client_order_id) == (
        report.account,
        report.instrument,
        report.side,
        report.client_order_id,
    )


def quarantine_event(execution: Execution, reason: str) -> ev.Quarantined:
    """Return the journal's word for an execution that is kept apart."""
    return ev.Quarantined(
        execution_id=execution.execution_id,
        client_order_id=execution.client_order_id,
        venue_order_id=execution.venue_order_id,
        instrument=execution.instrument,
        side=execution.side,
        quantity=execution.quantity,
        price=execution.price,
        account=execution.account,
        kind=execution.kind,
        refers_to=execution.refers_to,
        transacted_at_us=execution.transacted_at_us,
        fee=execution.fee,
        fee_currency=execution.fee_currency,
        stream=execution.stream,
        reason=reason,
    )
