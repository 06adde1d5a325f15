"""How the two sides of a reconciliation are compared: one account, two readings, and every way in which they can differ.

Each rule is careful about what may lie between the readings. What an honest venue can show on any such occasion either is no
difference at all, or has another content the next time.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from onefill.core import evidence
from onefill.core.capabilities import Capabilities
from onefill.core.executions import effective
from onefill.core.incident import IncidentKind
from onefill.core.lifecycle import ENDED, WORKING, Status
from onefill.core.messages import EXECUTED, LIVE, VenueOrder
from onefill.core.order import Copy, Order
from onefill.core.position import Execution, Kind
from onefill.core.reconcile import (
    Comparison,
    Difference,
    Here,
    Key,
    There,
    Told,
    execution_subject,
    position_subject,
)
from onefill.core.reconcile_positions import compare_positions, price_text, tell
from onefill.core.values import EXACT, OrderType, plain

_ZERO = Decimal(0)
_UNDECIDED = frozenset({Status.RECORDED, Status.SENDING, Status.UNCERTAIN})
"""The retry contract is at work on these: what the venue shows of them is its business."""
_THERE = WORKING - {Status.PENDING_NEW}


def compare(
    here: Here, there: There, capabilities: Capabilities, grace_us: int, *, history: bool = False
) -> Comparison:
    """Return in what the two sides differ. ``history``: the venue's executions were read from the first on."""
    found = [
        *_orders(here, there, grace_us),
        *_executions(here, there, capabilities),
        *_shortfalls(here, there, capabilities),
        *_extra(here, there, capabilities),
    ]
    positions, undecided = compare_positions(here, there, capabilities, grace_us)
    return Comparison(
        differences=tuple({one.item: one for one in reversed((*found, *positions))}.values())[::-1],
        orders=there.orders is not None,
        blind=capabilities.lists_open_orders and there.orders is None,
        positions=there.holds is not None,
        history=history and there.whole,
        shown=frozenset(execution_subject(key) for told in there.executions for key in _keys(told)),
        undecided=undecided,
    )


def _keys(told: Told) -> tuple[Key, ...]:
    named = told.named
    return (named.key,) if not named.refers_to else (named.key, (named.scope, named.refers_to))


# ---------------------------------------------------------------------------------------- orders


def _orders(here: Here, there: There, grace_us: int) -> Iterator[Difference]:
    """Compare the live orders of both sides, where the venue lists its own."""
    if there.orders is None:
        return
    before = {order.client_order_id: order for order in here.orders}
    by_number = {order.venue_order_id: order for order in here.now if order.venue_order_id is not None}
    shown: set[str] = set()
    for seen in there.orders:
        order = here.named.get(seen.client_order_id) if seen.client_order_id else by_number.get(seen.venue_order_id)
        stranger = _stranger(here, there, seen, order)
        if order is None or stranger is not None:
            if seen.status in LIVE and not _may_be_undecided(here, seen):
                yield _unknown_here(here, there, seen, stranger or "nobody here sent it")
            continue
        shown.add(order.client_order_id)
        yield from _live_order(there, seen, order, before.get(order.client_order_id))
    now = {order.client_order_id: order for order in here.now}
    unknown = _unknown(here, there)
    for order in here.orders:
        after = now.get(order.client_order_id, order)
        if order.client_order_id not in shown and _must_be_listed(
            order, after, there, grace_us, unknown.get(order.client_order_id, {}).values()
        ):
            yield Difference(
                kind=IncidentKind.UNKNOWN_AT_VENUE,
                subject=order.client_order_id,
                content="",
                summary=f"order {order.client_order_id} is live here, and the venue does not list it",
                evidence=(
                    _ours(after),
                    f"venue, asked at {there.asked_at_us}: {len(there.orders)} listed, it is not there",
                ),
            )


def _stranger(here: Here, there: There, seen: VenueOrder, order: Order | None) -> str | None:
    """Return why an order of the venue's list cannot be the one here that has its id, or ``None``."""
    if order is None:
        return None
    intent = order.intent
    if intent.account != here.account:
        return f"its id is that of an order of account {intent.account}"
    if seen.instrument != intent.instrument or seen.side is not intent.side:
        return f"its id is that of an order to {intent.side} {intent.instrument}"
    if seen.client_order_id in order.given_up and not _strays(order):
        return f"its id is that of a replace of {order.client_order_id} which was held to have come to nothing"
    twins = [one for one in there.orders or () if one.client_order_id == seen.client_order_id and one.status in LIVE]
    plain_chain = order.in_force is None and not order.replacing and order.status is not Status.PENDING_NEW
    if (
        seen.client_order_id
        and len(twins) > 1
        and plain_chain
        and order.venue_order_id not in (None, seen.venue_order_id)
    ):
        return f"its id is that of the venue's order {order.venue_order_id}"
    return None


def _strays(order: Order) -> bool:
    return bool(order.strays) or (order.replacement is not None and bool(order.replacement.copies))


def _may_be_undecided(here: Here, seen: VenueOrder) -> bool:
    """Tell whether an order listed without an id could be one whose fate is open here."""
    if seen.client_order_id:
        return False
    return any(
        (order.status in _UNDECIDED or order.venue_order_id is None) and evidence.is_like(order, seen)
        for order in here.now
    )


def _unknown_here(here: Here, there: There, seen: VenueOrder, why: str) -> Difference:
    name = seen.client_order_id or seen.venue_order_id
    return Difference(
        kind=IncidentKind.UNKNOWN_HERE,
        subject=f"{here.account} {seen.venue_order_id}",
        content="",
        summary=f"the venue has a live order {name} in account {here.account}: {why}",
        evidence=(f"ledger: {why}", _theirs(seen, there)),
    )


def _unknown(here: Here, there: There) -> dict[str, dict[Key, Told]]:
    """Return by order of ours the executions that the venue tells and the ledger does not have."""
    unknown: dict[str, dict[Key, Told]] = {}
    for told in there.executions:
        owner = here.named.get(told.report.client_order_id)
        if owner is not None and told.named.key not in here.known:
            unknown.setdefault(owner.client_order_id, {})[told.named.key] = told
    return unknown


def _must_be_listed(order: Order, after: Order, there: There, grace_us: int, unknown: Iterable[Told]) -> bool:
    """Tell whether an order that the venue does not list should be there: live before and after, and not just sent."""
    if not (order.status in _THERE and after.status in _THERE):
        return False
    if max((after.counted_quantity, *(told.report.cum_quantity for told in unknown))) >= after.most_quantity:
        return False  # filled there, by its own word: what is missing is the execution
    wanted = after.replacement
    if after.replacing and wanted is not None and wanted.original_over is not None:
        return False  # over under its old id, and whether it goes on is being asked
    return there.asked_at_us - _last_claim_us(after) >= grace_us


def _last_claim_us(order: Order) -> int:
    copies: Iterable[Copy] = order.copies
    if order.replacement is not None:
        copies = (*order.copies, *order.replacement.copies)
    return max((copy.claimed_at_us for copy in copies), default=order.recorded_at_us)


def _live_order(there: There, seen: VenueOrder, order: Order, before: Order | None) -> Iterator[Difference]:
    """Compare an order that the venue lists with ours of the same id."""
    if order.status in _UNDECIDED:
        return
    live_there = seen.status in LIVE
    if order.status in ENDED:
        just_now = before is not None and before.status not in ENDED
        if live_there and not just_now and not order.strays:
            yield _state(order, seen, there, f"is {order.status} here, and live at the venue")
        return
    if not live_there:
        current = seen.client_order_id in ("", order.live_id) and not order.replacing
        if current and (before is None or before.status in WORKING):
            yield _state(order, seen, there, f"is {order.status} here, and {seen.status} at the venue")
        return
    wanted = None if order.replacement is None else order.replacement.client_order_id
    if seen.client_order_id not in ("", order.live_id, wanted):
        yield _state(order, seen, there, f"goes on as {order.live_id} here, and is live at the venue as it was before")
        return
    yield from _terms(there, seen, order, before or order)
    applied = order.cum_quantity
    if seen.cum_quantity < applied:
        yield Difference(
            kind=IncidentKind.EXTRA_EXECUTION,
            subject=order.client_order_id,
            content=f"{plain(seen.cum_quantity)} there, {_applied(order)} here",
            summary=f"order {order.client_order_id}: {plain(applied)} executed here, the venue shows "
            f"{plain(seen.cum_quantity)}",
            evidence=(_ours(order), _theirs(seen, there)),
        )


def _state(order: Order, seen: VenueOrder, there: There, what: str) -> Difference:
    return Difference(
        kind=IncidentKind.STATE,
        subject=order.client_order_id,
        content=what,
        summary=f"order {order.client_order_id} {what}",
        evidence=(_ours(order), _theirs(seen, there)),
    )


def _terms(there: There, seen: VenueOrder, order: Order, before: Order) -> Iterator[Difference]:
    """Compare quantity and price. While a replace is open both what is in force and what is wanted are fine."""
    quantities, prices = set(), set()
    for one in (before, order):
        quantities.add(one.quantity)
        prices.add(one.price)
        if one.replacement is not None and one.replacement.copies:
            quantities.add(one.replacement.quantity)
            prices.add(one.replacement.price)
            quantities.add(max(one.replacement.quantity, seen.cum_quantity))  # FIX 4.4 appendix D: what is executed
    if seen.quantity not in quantities:
        yield _differing(IncidentKind.QUANTITY, order, seen, there, plain(order.quantity), plain(seen.quantity))
    if order.intent.order_type is OrderType.LIMIT and seen.price not in prices:
        yield _differing(IncidentKind.PRICE, order, seen, there, price_text(order.price), price_text(seen.price))


def _differing(kind: IncidentKind, order: Order, seen: VenueOrder, there: There, ours: str, theirs: str) -> Difference:
    return Difference(
        kind=kind,
        subject=order.client_order_id,
        content=f"{ours} here by terms {order.terms_number}, {theirs} there",
        summary=f"order {order.client_order_id} has {kind} {ours} here and {theirs} at the venue",
        evidence=(_ours(order), _theirs(seen, there)),
    )


def _ours(order: Order) -> str:
    price = "at the market" if order.price is None else f"at {plain(order.price)}"
    return (
        f"ledger: {order.status}, key {order.key}, {order.intent.side} {plain(order.quantity)} {order.intent.instrument} "
        f"{price}, executed {plain(order.cum_quantity)} (venue's count: {plain(order.venue_cum_quantity)}), under "
        f"{order.live_id}, venue's number {order.venue_order_id or 'unknown'}, version {order.version}"
    )


def _theirs(seen: VenueOrder, there: There) -> str:
    price = "at the market" if seen.price is None else f"at {plain(seen.price)}"
    return (
        f"venue, asked at {there.asked_at_us}: {seen.status}, {seen.side} {plain(seen.quantity)} {seen.instrument} {price}, "
        f"executed {plain(seen.cum_quantity)}, under {seen.client_order_id or 'no client order id'}, number "
        f"{seen.venue_order_id}"
    )


# ------------------------------------------------------------------------------------ executions


def _executions(here: Here, there: There, capabilities: Capabilities) -> Iterator[Difference]:
    """Compare the executions that the venue tells, one by one, with the execution log."""
    late: dict[str, list[Told]] = {}
    for told in there.executions:
        known = here.known.get(told.named.key)
        if known is not None:
            yield from _same_execution(told, known, here)
        elif not capabilities.cumulative_fills_only and _is_missing(told, here):
            if _is_late(told, here):
                late.setdefault(told.stream, []).append(told)
            else:
                yield _passed_by(told, here)
        elif capabilities.cumulative_fills_only and _is_late(told, here) and _total_is_new(told, here):
            late.setdefault(told.stream, []).append(told)
    for stream, waiting in late.items():
        yield _standing_still(stream, waiting, here)


def _is_late(told: Told, here: Here) -> bool:
    return told.report.position > here.taken_in.get(told.stream, 0)


def _is_missing(told: Told, here: Here) -> bool:
    """Tell whether an execution that is not in the log ought to be: what tells nothing is not taken in either."""
    report = told.report
    if report.client_order_id not in here.named and not report.last_quantity:
        return False
    if told.named.kind is not Kind.BUST and not evidence.is_trade(report):
        return False
    return told.named.refers_to != ""


def _total_is_new(told: Told, here: Here) -> bool:
    order = here.named.get(told.report.client_order_id)
    return order is not None and told.report.cum_quantity > _gross(order)


def _passed_by(told: Told, here: Here) -> Difference:
    """The stream went on, and the execution was not taken in: no waiting brings it."""
    report = told.report
    order = here.named.get(report.client_order_id)
    subject = position_subject(here.account, report.instrument) if order is None else order.client_order_id
    whose = f"account {here.account}, {report.instrument}" if order is None else f"order {order.client_order_id}"
    ledger = "ledger: nobody here sent its order" if order is None else _ours(order)
    return Difference(
        kind=IncidentKind.MISSING_EXECUTION,
        subject=subject,
        content="\n".join(told.named.key),
        summary=f"{whose}: the venue has executions that the ledger does not have",
        evidence=(f"{tell(told)}; the stream was taken in through {here.taken_in.get(told.stream, 0)}", ledger),
        may_be_in_flight=False,
        missing=(told,),
    )


def _standing_still(stream: str, waiting: list[Told], here: Here) -> Difference:
    """Executions wait behind the place through which their stream was taken in. As long as that moves on, they come."""
    through = here.taken_in.get(stream, 0)
    return Difference(
        kind=IncidentKind.STREAM,
        subject=stream,
        content=f"{here.account} through {through}",
        summary=f"the stream {stream!r} stands still: the venue has executions that do not come by it",
        evidence=(f"ledger: taken in through {through}", *map(tell, waiting[:10])),
        missing=tuple(waiting),
    )


def _same_execution(told: Told, known: Execution, here: Here) -> Iterator[Difference]:
    """Compare an execution that both sides have. One that is to be derived from totals has no numbers of its own."""
    report = told.report
    if (
        report.kind not in EXECUTED
        or told.named.kind is not Kind.TRADE
        or told.named.execution_id != report.execution_id
    ):
        return
    for kind, ours, theirs in (
        (IncidentKind.QUANTITY, known.quantity, report.last_quantity),
        (IncidentKind.PRICE, known.price, report.last_price),
    ):
        if theirs is not None and ours != theirs:
            yield Difference(
                kind=kind,
                subject=execution_subject(told.named.key),
                content=f"{plain(ours)} here, {plain(theirs)} there",
                summary=f"execution {known.execution_id} has {kind} {plain(ours)} here and {plain(theirs)} at the venue",
                evidence=(_row(known), tell(told)),
            )


def _row(row: Execution) -> str:
    return (
        f"ledger: {row.kind} {row.execution_id}, {row.side} {plain(row.quantity)} {row.instrument} at {plain(row.price)}, "
        f"order {row.venue_order_id} ({row.client_order_id or 'no client order id'}), by {row.stream}, at "
        f"{row.transacted_at_us}"
    )


def _gross(order: Order) -> Decimal:
    """Return what was ever executed by what was applied here."""
    return EXACT.add(order.cum_quantity, order.reversed_quantity)


def _applied(order: Order) -> str:
    return f"{plain(order.cum_quantity)} (and {plain(order.reversed_quantity)} taken back)"


def _shortfalls(here: Here, there: There, capabilities: Capabilities) -> Iterator[Difference]:
    """Find orders of which the venue counts more executed than was applied, and tells no execution that would explain it."""
    listed = {seen.client_order_id: seen for seen in there.orders or () if seen.client_order_id}
    unknown = _unknown(here, there)
    for order in {order.client_order_id: order for order in (*here.now, *here.named.values())}.values():
        if order.intent.account != here.account:
            continue
        counted, missing, on_the_way = order.venue_cum_quantity, [], _ZERO
        seen = listed.get(order.live_id)
        if seen is not None and order.status not in _UNDECIDED and seen.instrument == order.intent.instrument:
            counted = max(counted, seen.cum_quantity)
        for told in unknown.get(order.client_order_id, {}).values():
            if not capabilities.cumulative_fills_only:
                on_the_way = EXACT.add(on_the_way, told.report.last_quantity or _ZERO)
            elif _is_late(told, here):
                on_the_way = max(on_the_way, EXACT.subtract(told.report.cum_quantity, _gross(order)))
            elif _total_is_new(told, here):
                counted = max(counted, told.report.cum_quantity)
                missing.append(told)
        if counted > EXACT.add(_gross(order), on_the_way):
            yield Difference(
                kind=IncidentKind.MISSING_EXECUTION,
                subject=order.client_order_id,
                content=f"{_applied(order)} executed here",
                summary=f"order {order.client_order_id}: the venue has executions that the ledger does not have",
                evidence=(f"venue: {plain(counted)} executed", _ours(order), *map(tell, missing)),
                missing=tuple(missing),
            )


def _extra(here: Here, there: There, capabilities: Capabilities) -> Iterator[Difference]:
    """Find executions that count here, were recorded since the compared place, and are not among those the venue tells."""
    if not there.whole or capabilities.cumulative_fills_only:
        return
    shown = {key for told in there.executions for key in _keys(told)}
    for row in effective(here.rows):
        first = (row.scope, row.refers_to or row.execution_id)
        if row.intent_id is None or row.account != here.account or {first, (row.scope, row.execution_id)} & shown:
            continue
        yield Difference(
            kind=IncidentKind.EXTRA_EXECUTION,
            subject=execution_subject((row.scope, row.execution_id)),
            content="",
            summary=f"execution {row.execution_id} of order {row.client_order_id} is here, and the venue does not show it",
            evidence=(
                _row(row),
                f"venue, asked after {there.asked_at_us}: {len(there.executions)} executions, not this one",
            ),
        )
