"""How what is held is compared: what an account's position may be, with executions under way, and what it may not."""

from decimal import Decimal

from onefill.core.capabilities import Capabilities
from onefill.core.incident import IncidentKind
from onefill.core.messages import ExecutionKind
from onefill.core.position import Execution, Kind
from onefill.core.reconcile import Difference, Here, Key, Subject, There, Told, position_subject
from onefill.core.values import EXACT, Side, plain

_ZERO = Decimal(0)


def price_text(price: Decimal | None) -> str:
    """Return a price as it is shown; an order at the market has none."""
    return "none" if price is None else plain(price)


def tell(told: Told) -> str:
    """Return the words of an execution as the venue tells it."""
    report = told.report
    quantity = "no quantity" if report.last_quantity is None else plain(report.last_quantity)
    return (
        f"venue: {told.named.kind} {told.named.execution_id}, {report.side} {quantity} {report.instrument} at "
        f"{price_text(report.last_price)}, order {report.venue_order_id} ({report.client_order_id or 'no client order id'}), "
        f"place {report.position} of {told.stream}, at {report.transacted_at_us}"
    )


def compare_positions(
    here: Here, there: There, capabilities: Capabilities, grace_us: int
) -> tuple[list[Difference], frozenset[Subject]]:
    """Compare what is held. Also return about which instruments nothing can be said just now."""
    found: list[Difference] = []
    undecided: set[Subject] = set()
    if there.holds is None:
        return found, frozenset()
    moves = _moves(here, there, capabilities, grace_us)
    for instrument in sorted({*here.holds, *there.holds}):
        ours, theirs = here.holds.get(instrument, _ZERO), there.holds.get(instrument, _ZERO)
        subject = position_subject(here.account, instrument)
        path = moves.get(instrument, [])
        if ours == theirs:
            continue
        if any(moved is None for _, moved in path):
            undecided.add((IncidentKind.POSITION, subject))
            continue
        steps = [(counted, moved or _ZERO) for counted, moved in path]
        if theirs in _on_the_way(ours, steps):
            continue
        end = ours
        for counted, moved in steps:
            end = end if counted else EXACT.add(end, moved)
        told = [tell(one) for one in there.executions if one.report.instrument == instrument][-5:]
        found.append(
            Difference(
                kind=IncidentKind.POSITION,
                subject=subject,
                content=f"{plain(EXACT.subtract(theirs, end))} more at the venue",
                summary=f"account {here.account} holds {plain(ours)} {instrument} here and {plain(theirs)} at the venue",
                evidence=(
                    f"ledger, read at {here.at_us}: {plain(ours)}, and {plain(end)} with what the venue tells beyond that",
                    f"venue, asked at {there.asked_at_us}: {plain(theirs)}",
                    *told,
                ),
                amount=None if steps else EXACT.subtract(theirs, ours),
            )
        )
    return found, frozenset(undecided)


def _moves(
    here: Here, there: There, capabilities: Capabilities, grace_us: int
) -> dict[str, list[tuple[bool, Decimal | None]]]:
    """Return by instrument the executions that the venue's word on its positions may or may not include, in their order.

    Each is (whether it counts in what is held here, by how much it moves that). What moves it by an unknown amount is
    ``None``.
    """
    moves: dict[str, list[tuple[bool, Decimal | None]]] = {}
    met: set[Key] = set()
    for told in there.executions:
        report, key = told.report, told.named.key
        counted = key in here.known and key not in here.uncounted
        if key in met or (counted and report.transacted_at_us < there.asked_at_us - grace_us):
            continue
        met.add(key)
        moves.setdefault(report.instrument, []).append((counted, _moved(told, here.known.get(key), capabilities)))
    return moves


def _moved(told: Told, row: Execution | None, capabilities: Capabilities) -> Decimal | None:
    report = told.report
    if row is not None and row.kind is Kind.TRADE:
        return row.quantity if row.side is Side.BUY else -row.quantity
    by_total = capabilities.cumulative_fills_only or report.kind is not ExecutionKind.TRADE
    if by_total or told.named.kind is not Kind.TRADE or report.last_quantity is None:
        return None
    return report.last_quantity if report.side is Side.BUY else -report.last_quantity


def _on_the_way(ours: Decimal, steps: list[tuple[bool, Decimal]]) -> set[Decimal]:
    """Return every quantity held that the venue can have seen: from before all of these executions to after them."""
    at = ours
    for counted, moved in steps:
        at = EXACT.subtract(at, moved) if counted else at
    points = {at}
    for _, moved in steps:
        at = EXACT.add(at, moved)
        points.add(at)
    return points
