"""A way through worlds as lines that a person can read: who did what, with which message, and what the orders are then."""

import itertools
from collections.abc import Callable
from typing import Any, Final

from onefill.core import steps
from onefill.core.order import Order
from onefill.sim.explore_core import STATUSES, Core
from onefill.sim.explore_drive import Label
from onefill.sim.explore_state import NEVER, SECOND_US, SUBMIT, WORDS, Report, Request, View, World


def tell(core: Core, path: list[tuple[Label, World]]) -> tuple[str, ...]:
    """Return a line for each move of a path, the first world left out."""
    teller = _Teller(core)
    return tuple(teller.line(label, before, after) for (_, before), (label, after) in itertools.pairwise(path))


class _Teller:
    def __init__(self, core: Core) -> None:
        self._core = core

    def line(self, label: Label, before: World, after: World) -> str:
        verb, *parts = label
        said = _LINES[str(verb), len(parts)](self, *parts)
        changes = self._changes(before, after)
        return f"{before.now / SECOND_US:4g} s  {said}{changes}"

    def _changes(self, before: World, after: World) -> str:
        told = []
        for intent, (was, now) in enumerate(zip(before.orders, after.orders, strict=True)):
            if was != now:
                old = _summary(self._core.orders[was]) if was else ["not recorded"]
                new = _summary(self._core.orders[now])
                news = [new[0], *(part for part in new[1:] if part not in old)]
                told.append(f"order {intent + 1}: {old[0]} → {', '.join(news)}")
        for one in after.book[: len(before.book)]:
            was_status = before.book[one.number - 1].status
            if was_status != one.status:
                told.append(f"venue's V{one.number}: {STATUSES[was_status]} → {STATUSES[one.status]}")
        told += [f"the venue makes V{one.number}, {STATUSES[one.status]}" for one in after.book[len(before.book) :]]
        return "".join(f"\n          {text}" for text in told)

    def view(self, view: View | None) -> str:
        if view is None:
            return ""
        intent, client_id, number, quantity, cum, status = view
        name = self._core.client_order_id(intent, client_id)
        return f" (V{number}, ClOrdID {name}, {STATUSES[status]}, {cum} of {quantity} executed)"

    def request(self, request: Request) -> str:
        name = self._core.client_order_id(request.intent, request.client_id)
        parts = [f"ClOrdID {name}"]
        if request.what != SUBMIT:
            parts.append(f"OrderID V{request.venue_number}" if request.venue_number else "no OrderID")
        if request.what == len(WORDS) - 2:
            new_name = self._core.client_order_id(request.intent, request.new_id)
            parts.append(f"becomes {new_name}, quantity {request.quantity}")
        if request.expires < NEVER:
            parts.append(f"expires at {request.expires / SECOND_US:g} s")
        return f"{WORDS[request.what]} {request.number} of order {request.intent + 1} ({', '.join(parts)})"

    def reply(self, number: int) -> str:
        kind = type(self._core.replies[number]).__name__
        return f"{kind}{self.view(self._core.reply_views[number])}"

    def looked(self, number: int) -> str:
        lookup = self._core.lookups[number]
        if lookup is None:
            return "nothing"
        if lookup.found is not None:
            found = lookup.found
            return f"found ({found.venue_order_id}, {found.status}, {found.cum_quantity} of {found.quantity} executed)"
        return "not found" if lookup.not_found else "no reply"

    def step(self, step: Any) -> str:
        name = type(step).__name__
        if isinstance(step, steps.Ask | steps.Scan):
            return f"{name.lower()}s for {step.client_order_id}"
        return f"{name}: {getattr(step, 'reason', '')}".rstrip(": ")


def _summary(order: Order) -> list[str]:
    parts = [str(order.status)]
    if order.cum_quantity:
        parts.append(f"{order.cum_quantity} executed")
    if order.cancel_wanted:
        parts.append("to be cancelled")
    if order.replacement is not None:
        parts.append(f"to be replaced by {order.replacement.quantity}")
    if order.parked:
        parts.append("parked")
    if order.anomaly:
        parts.append(f"anomaly: {order.anomaly}")
    parts += [f"copy {copy.number} {copy.outcome or 'awaited'}" for copy in order.copies]
    parts += [f"cancel {copy.number} {copy.outcome or 'awaited'}" for copy in order.cancels]
    if order.replacement is not None:
        parts += [f"replace {copy.number} {copy.outcome or 'awaited'}" for copy in order.replacement.copies]
    return parts


def _who(epoch: object) -> str:
    return f"gateway {epoch}"


def _name(intent: int, what: int, number: int) -> str:
    return f"{WORDS[what]} {number} of order {intent + 1}"


def _report(teller: _Teller, epoch: int, report: Report) -> str:
    traded = f", {report.last} executed" if report.last else ""
    return f"{_who(epoch)} reads the report {report.kind}{traded}{teller.view(report.view)}"


def _arrived(teller: _Teller, request: Request, reply: str, view: View | None, fault: str, doubled: bool) -> str:
    twice = " and the network makes a second one of it" if doubled else ""
    again = "the doubled " if request.again else ""
    why = f" ({fault})" if fault else ""
    return f"the venue gets {again}{teller.request(request)}{twice}; it answers {reply}{teller.view(view)}{why}"


_LINES: Final[dict[tuple[str, int], Callable[..., str]]] = {
    ("submit", 1): lambda _, intent: f"a caller submits order {intent + 1}: it is recorded, and copy 1 claimed",
    ("cancel", 1): lambda _, intent: f"a caller cancels order {intent + 1}",
    ("replace", 2): lambda _, intent, quantity: f"a caller wants order {intent + 1} to have quantity {quantity}",
    ("claim", 4): lambda _, epoch, intent, what, number: f"{_who(epoch)} claims {_name(intent, what, number)}",
    ("send", 5): lambda teller, epoch, intent, what, number, request: f"{_who(epoch)} sends {teller.request(request)}",
    ("unsent", 5): lambda _, epoch, intent, what, number, why: (
        f"{_who(epoch)} does not send {_name(intent, what, number)}: {why}"
    ),
    ("query", 4): lambda teller, epoch, intent, step, said: (
        f"{_who(epoch)} {teller.step(step)}; the venue will say: {teller.looked(said)}"
    ),
    ("answer", 3): lambda teller, epoch, intent, said: f"{_who(epoch)} hears of its query: {teller.looked(said)}",
    ("adopt", 3): lambda _, epoch, intent, found: f"{_who(epoch)} takes in what was found: {found.venue_order_id}",
    ("decide", 3): lambda teller, epoch, intent, step: f"{_who(epoch)}: {teller.step(step)}",
    ("decide", 2): lambda _, number, kind: f"the venue decides on V{number}: {kind}",
    ("reply", 5): lambda teller, epoch, intent, what, number, reply: (
        f"{_who(epoch)} gets the reply to {_name(intent, what, number)}: {teller.reply(reply)}"
    ),
    ("no_reply", 5): lambda _, epoch, intent, what, number, late: (
        f"{_who(epoch)} gives {_name(intent, what, number)} up: {'no reply in time' if late else 'the connection broke'}"
    ),
    ("arrive", 5): _arrived,
    ("fill", 2): lambda _, number, quantity: f"the venue executes {quantity} of V{number}",
    ("appear", 1): lambda _, number: f"the venue shows V{number} to queries from now on",
    ("withdrawn", 1): lambda _, number: f"somebody else cancels V{number} at the venue",
    ("forget", 1): lambda _, number: f"the venue forgets V{number}",
    ("report", 2): _report,
    ("crash", 1): lambda _, epoch: f"{_who(epoch)} crashes",
    ("pause", 1): lambda _, epoch: f"{_who(epoch)} falls asleep",
    ("wake", 1): lambda _, epoch: f"{_who(epoch)} wakes up",
    ("clock", 1): lambda _, epoch: f"the time of day of {_who(epoch)} is set back",
    ("start", 1): lambda _, epoch: f"gateway {epoch} starts and takes the route",
    ("tick", 1): lambda _, to: f"time passes to {to / SECOND_US:g} s",
}
