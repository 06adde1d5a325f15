"""The history of a world, put in order for those who judge it."""

import functools
from collections.abc import Iterator

import msgspec

from onefill.core.messages import SubmitRequest, VenueStatus
from onefill.core.order import Order
from onefill.sim.history import Acquired, Answered, Arrived, Called, Commit, Heard, Query, Record, Sent
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.world import Run
from onefill.sim.world_nodes import ROUTE


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that was broken: what happened, and at which time of the history (µs; the end where none is named)."""

    promise: str
    text: str
    at_us: int = 0


class Verdict(msgspec.Struct, kw_only=True):
    """What a check says: how many cases it judged, and what broke."""

    promise: str
    cases: int = 0
    violations: list[Violation] = []

    def broken(self, text: str, at_us: int = 0) -> None:
        """Note that the promise was broken."""
        self.violations.append(Violation(promise=self.promise, text=text, at_us=at_us))


class Index:
    """A run's records by kind. ``places`` are positions in the history, which order what happened at one moment."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.plan = run.plan
        self.plan_route = ROUTE
        self.records: list[Record] = run.history.records
        self.sent: list[tuple[int, Sent]] = []
        self.heard: dict[int, tuple[int, Heard]] = {}
        self.arrived: dict[int, list[tuple[int, Arrived]]] = {}
        self.commits: list[tuple[int, Commit]] = []
        self.called: dict[int, tuple[int, Called]] = {}
        self.answered: dict[int, tuple[int, Answered]] = {}
        self.acquired: dict[int, int] = {}
        """Where in the history each epoch began."""
        self.owner: dict[str, str] = {}
        """From every client order id that was ever recorded to the key of its intent."""
        for place, record in enumerate(self.records):
            self._take(place, record)
        self.orders: dict[str, Order] = {order.key: order for order in run.orders}

    def _take(self, place: int, record: Record) -> None:
        kind = type(record)
        if kind is Sent:
            self.sent.append((place, record))  # type: ignore[arg-type]
        elif isinstance(record, Heard):
            self.heard[record.message] = (place, record)
        elif isinstance(record, Arrived):
            self.arrived.setdefault(record.message, []).append((place, record))
        elif isinstance(record, Commit):
            self.commits.append((place, record))
            if record.order is not None:
                self._own(record.order)
        elif isinstance(record, Acquired):
            self.acquired[record.epoch] = place
        elif isinstance(record, Called):
            self.called[record.call] = (place, record)
        elif isinstance(record, Answered):
            self.answered[record.call] = (place, record)

    def _own(self, order: Order) -> None:
        self.owner[order.client_order_id] = order.key
        if order.replacement is not None:
            self.owner[order.replacement.client_order_id] = order.key
        if order.in_force is not None:
            self.owner[order.in_force.client_order_id] = order.key

    def answer(self, call: int) -> Answered:
        """Return what came of a call; of one that never returned, that it is gone."""
        found = self.answered.get(call)
        return found[1] if found is not None else Answered(0, call, None, "gone")

    @functools.cached_property
    def submits(self) -> dict[str, list[tuple[int, Sent]]]:
        """The submits on the wire, by client order id."""
        found: dict[str, list[tuple[int, Sent]]] = {}
        for place, sent in self.sent:
            if isinstance(sent.request, SubmitRequest):
                found.setdefault(sent.request.client_order_id, []).append((place, sent))
        return found

    def queries(self, client_order_id: str) -> Iterator[tuple[int, Sent]]:
        """Yield the queries that would show an order under this id, scans included."""
        for place, sent in self.sent:
            if isinstance(sent.request, Query) and sent.request.client_order_id in ("", client_order_id):
                yield place, sent

    @functools.cached_property
    def chains(self) -> dict[str, list[list[ExchangeOrder]]]:
        """The exchange's orders that are or were live, by the key of the intent they belong to.

        An order that goes on in another's place by a replace is the same order: each list is one order's chain.
        """
        following = {order.venue_order_id: order for order in self.run.at_venue}
        successors = {order.replaced_by for order in self.run.at_venue if order.replaced_by}
        found: dict[str, list[list[ExchangeOrder]]] = {}
        for order in self.run.at_venue:
            key = self.owner.get(order.client_order_id)
            if key is None or order.venue_order_id in successors or order.status is VenueStatus.REJECTED:
                continue
            chain = [order]
            while (last := chain[-1].replaced_by) is not None:
                chain.append(following[last])
            found.setdefault(key, []).append(chain)
        return found

    def doubled_by_network(self, key: str) -> bool:
        """Tell whether one message made several orders of an intent: what no sender can prevent."""
        made = [self.run.born[chain[0].venue_order_id].message for chain in self.chains.get(key, ())]
        return len(made) > len(set(made))
