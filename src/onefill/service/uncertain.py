"""What waits for evidence or for a person: every order whose fate is open, with all that is known of it.

Reads only: the ledger, also beside a running gateway, and the venue where it is to be asked now. Nothing is decided here; what
would be done next is asked of the retry contract.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from onefill.core import events as ev
from onefill.core import evidence, steps
from onefill.core.apply import advance
from onefill.core.audit import JournalEntry
from onefill.core.capabilities import Capabilities, Lookup
from onefill.core.claims import dead_at_us, latest_leave_us
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import Found, Listed, LookupReply, NotFound, ScanReply, VenueOrder, VenueStatus
from onefill.core.order import Copy, Order, Terms
from onefill.core.query import looked_up, scan_from_us, search
from onefill.core.retry import next_step
from onefill.core.steps import LastLookup, Step
from onefill.ports.ledger import RequestKind
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.ports.venue import Venue

_WORTH_TELLING_US: Final = 500_000
_MOST_STEPS: Final = 3000
_SUBMIT_OPEN: Final = frozenset({Status.UNCERTAIN, Status.SENDING})
_FATE_OPEN: Final = _SUBMIT_OPEN | {Status.PENDING_NEW}
_AT_WORK: Final = frozenset({Status.PENDING_REPLACE, Status.PENDING_CANCEL})
_ENDS: Final[dict[type[Step], str]] = {
    steps.ConcludeNotReplaced: "holds it for not replaced",
    steps.ExpireUnsent: "ends it as never sent",
    steps.Withdraw: "ends it as never sent",
    steps.Park: "leaves it for a person",
    steps.TellRefused: "tells that the cancel was refused",
    steps.DropReplace: "tells that it was not replaced",
}
_events = msgspec.json.Decoder(list[ev.Event | ev.RouteEvent])


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An order that the venue shows, and what speaks for its being the one that is looked for.

    * ``bears_id``: it has a client order id of the order that is looked for. Without that it is only *alike*: of the same
      instrument, side, quantity and price, which proves nothing.
    * ``differs``: with the id, the first field by which it cannot be that order all the same.
    * ``key``: the order of this ledger that it is known to be.
    """

    order: VenueOrder
    bears_id: bool
    differs: str | None = None
    key: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue said when it was asked just now (µs since 1970): by each client order id, and as a list."""

    at_us: int
    by_id: tuple[tuple[str, LookupReply], ...]
    listed: ScanReply
    candidates: tuple[Candidate, ...]


class OpenCase(msgspec.Struct, frozen=True, kw_only=True):
    """An order that waits for evidence or for a person, with its journal.

    ``capabilities`` are ``None`` while nobody said which venue it is, ``asked`` while that was not asked.
    """

    order: Order
    history: list[JournalEntry]
    capabilities: Capabilities | None = None
    asked: Asked | None = None

    @property
    def requests(self) -> list[tuple[RequestKind, Copy]]:
        """Every copy of a request that is or was claimed for it; of replaces, those whose fate is open."""
        order = self.order
        replaces = order.strays + (() if order.replacement is None else order.replacement.copies)
        return [
            *((RequestKind.SUBMIT, copy) for copy in order.copies),
            *((RequestKind.REPLACE, copy) for copy in sorted(replaces, key=lambda copy: copy.number)),
            *((RequestKind.CANCEL, copy) for copy in order.cancels),
        ]

    @property
    def executions(self) -> list[ev.Traded]:
        """The executions that are known, in the order in which they came."""
        return [event for _, event in self._happened() if isinstance(event, ev.Traded)]

    @property
    def parked(self) -> tuple[int, str] | None:
        """When and why it was left for a person; ``None`` unless it is."""
        if not self.order.parked:
            return None
        told = [(at_us, event.reason) for at_us, event in self._happened() if isinstance(event, ev.Parked)]
        return told[-1] if told else (self.order.recorded_at_us, self.order.reason or "")

    @property
    def anomalies(self) -> list[str]:
        """Everything that the venue said against what was known, in the order in which it came."""
        return [event.reason for _, event in self._happened() if isinstance(event, ev.Anomaly)]

    def _happened(self) -> Iterable[tuple[int, ev.Event | ev.RouteEvent]]:
        return ((entry.at_us, event) for entry in self.history for event in _events.decode(entry.payload))

    def awaited_until_us(self, now_us: int) -> int | None:
        """Until when a gateway may still await the reply to its last request; ``None`` if it is overdue, or came."""
        last = _last_request(self.order)
        if self.order.parked or self.order.status is Status.UNCERTAIN or last is None or last.outcome is not None:
            return None
        until_us = latest_leave_us(last)
        return until_us if now_us < until_us else None

    def open_to_a_person(self, now_us: int) -> bool:
        """Tell whether somebody may say what became of it: its fate is open, and no reply is awaited any more."""
        if self.awaited_until_us(now_us) is not None:
            return False
        return self.order.status in _FATE_OPEN or (self.order.parked and self.order.replacing)

    @property
    def conclusive_from_us(self) -> int | None:
        """Since when "not found" proves absence, or shall; ``None`` if that never comes or is not known."""
        if self.capabilities is None or not self.capabilities.can_be_asked:
            return None
        wanted = self.order.replacement
        copies = wanted.copies if wanted is not None and wanted.copies else self.order.copies
        return dead_at_us(copies, self.capabilities)

    def next_words(self, now_us: int) -> str | None:
        """Return what a gateway that starts now would do; ``None`` while the capabilities are not known."""
        if self.capabilities is None:
            return None
        return outlook(self.order, self.capabilities, self._last_lookup(), now_us)

    def _last_lookup(self) -> LastLookup | None:
        if self.asked is None or not self.asked.by_id:
            return None
        client_order_id, reply = self.asked.by_id[-1]
        for other_id, other in self.asked.by_id:
            if isinstance(other, Found):
                client_order_id, reply = other_id, other
        return looked_up(self.order, client_order_id, reply, None, asked_at_us=self.asked.at_us, waited_us=None)


def waits(order: Order) -> bool:
    """Tell whether an order waits for evidence of what became of a request, or for a person."""
    if order.parked or order.status in _SUBMIT_OPEN:
        return True
    if order.status is Status.PENDING_NEW:
        return bool(order.copies_under_way)
    last = _last_request(order)
    replacing = order.replacement is not None and bool(order.replacement.under_way)
    return order.status in _AT_WORK and (replacing or (last is not None and last.under_way))


def _last_request(order: Order) -> Copy | None:
    """Return the request about which the order's state leaves a question."""
    if order.status is Status.PENDING_CANCEL:
        return order.cancels[-1] if order.cancels else None
    if order.status is Status.PENDING_REPLACE:
        return order.replacement.copies[-1] if order.replacement and order.replacement.copies else None
    return order.copies[-1] if order.copies else None


def _urgency(case: OpenCase) -> tuple[int, int, int]:
    order = case.order
    place = 0 if order.parked else 1 if order.status is Status.UNCERTAIN else 3 if order.status is Status.SENDING else 2
    return place, order.recorded_at_us, order.intent_id


async def find(store: BrowsableLedger) -> list[OpenCase]:
    """Return every order of a ledger that waits, the most urgent first: those left for a person, then by their age."""
    found = []
    for route in await store.routes():
        for loaded in await store.open_orders(route.name):
            if waits(loaded.order):
                history = await store.history(loaded.order.intent_id)
                found.append(OpenCase(order=loaded.order, history=history))
    return sorted(found, key=_urgency)


# ---------------------------------------------------------------------- asking the venue


async def ask(
    store: BrowsableLedger, venue: Venue, capabilities: Capabilities, case: OpenCase, now_us: int
) -> OpenCase:
    """Return the case with what the venue says of it now: by each of its client order ids, and as a list. Changes nothing."""
    order = case.order
    account, instrument = order.intent.account, order.intent.instrument
    since_us = scan_from_us(order)
    listed = await venue.scan(account, instrument, since_us)
    by_id: list[tuple[str, LookupReply]] = []
    for terms in _terms(order):
        client_order_id = terms.client_order_id
        if client_order_id in dict(by_id):
            continue
        if capabilities.lookup is Lookup.DIRECT:
            by_id.append((client_order_id, await venue.lookup(client_order_id, account, instrument)))
        elif capabilities.lookup is Lookup.SCAN:
            by_id.append((client_order_id, search(listed, client_order_id)))
    shown = [reply.order for _, reply in by_id if isinstance(reply, Found)]
    if isinstance(listed, Listed):
        shown += [one for one in listed.orders if one not in shown]
    candidates = await _candidates(store, order, shown)
    asked = Asked(at_us=now_us, by_id=tuple(by_id), listed=listed, candidates=tuple(candidates))
    return msgspec.structs.replace(case, capabilities=capabilities, asked=asked)


def _terms(order: Order) -> list[Terms]:
    """Return what the order may be at the venue: as it is in force, and as a replace under way makes it."""
    terms = [Terms(0, order.live_id, order.quantity, order.price)]
    wanted = order.replacement
    if wanted is not None and wanted.copies:
        terms.append(Terms(wanted.number, wanted.client_order_id, wanted.quantity, wanted.price))
    return terms


async def _candidates(store: BrowsableLedger, order: Order, shown: list[VenueOrder]) -> list[Candidate]:
    """Return those of the venue's orders that may be this one: first what bears its id, then what is merely alike."""
    ids = {order.client_order_id, *(terms.client_order_id for terms in _terms(order))}
    found = [
        Candidate(order=one, bears_id=True, differs=_difference(order, one))
        for one in shown
        if one.client_order_id in ids
    ]
    alike = [one for one in shown if one.client_order_id not in ids and _alike(order, one)]
    if alike:
        opened = [loaded.order for loaded in await store.open_orders(order.intent.venue)]
        numbers = {one.venue_order_id: one.key for one in opened if one.venue_order_id is not None}
        for one in alike:
            key = numbers.get(one.venue_order_id)
            if key is None and one.client_order_id:
                loaded = await store.by_client_order_id(order.intent.venue, one.client_order_id)
                key = None if loaded is None else loaded.order.key
            found.append(Candidate(order=one, bears_id=False, key=key))
    return sorted(found, key=lambda one: (not one.bears_id, one.key is not None))


def _difference(order: Order, seen: VenueOrder) -> str | None:
    """Return the first field by which an order that bears our id cannot be ours, or ``None``."""
    under_id = [terms for terms in _terms(order) if terms.client_order_id == seen.client_order_id]
    differing = [evidence.foreign_field(order, seen, terms) for terms in under_id]
    return None if None in differing or not differing else differing[0]


def _alike(order: Order, seen: VenueOrder) -> bool:
    return any(
        evidence.foreign_field(order, msgspec.structs.replace(seen, client_order_id=terms.client_order_id), terms)
        is None
        for terms in _terms(order)
    )


# ---------------------------------------------------------------------- what comes next, in words


def outlook(order: Order, capabilities: Capabilities, lookup: LastLookup | None, now_us: int) -> str:
    """Return in words what a gateway that starts now would do about an order, for as long as the venue shows nothing new.

    The words follow the real contract, step by step. ``lookup``: what the venue said just now, if it was asked.
    """
    order = advance(order, evidence.recovered(order), now_us)
    queries: list[tuple[steps.Ask | steps.Scan, int]] = []
    at_us, waits_for = now_us, ""
    step: Step = steps.Rest()
    for _ in range(_MOST_STEPS):
        step = next_step(order, capabilities, lookup, at_us)
        if isinstance(step, steps.WaitUntil):
            at_us, waits_for = step.at_us, step.reason
        elif isinstance(step, steps.Ask | steps.Scan) and not (order.parked and queries):
            reply = _nothing_new(order, step.client_order_id)
            lookup = looked_up(order, step.client_order_id, reply, lookup, asked_at_us=at_us, waited_us=None)
            lookup = msgspec.structs.replace(lookup, found=None)  # taken in, and nothing in it
            queries.append((step, at_us))
        else:
            break
    said = _said(step, order, capabilities, at_us)
    if queries:
        again_us = queries[-1][1] - now_us
        again = f", again for {span(again_us)}" if again_us >= _WORTH_TELLING_US else ""
        return f"{_way(queries[0][0])}{again}; if that tells nothing new: {said}"
    wait_us = at_us - now_us
    return f"waits {span(wait_us)} ({waits_for}), then {said}" if wait_us >= _WORTH_TELLING_US else said


def _nothing_new(order: Order, client_order_id: str) -> LookupReply:
    """Return the reply that leaves things as they are: the order as it is known to be there, otherwise none."""
    if order.status not in _AT_WORK or client_order_id != order.live_id:
        return NotFound("")
    return Found(
        VenueOrder(
            client_order_id=order.live_id,
            venue_order_id=order.venue_order_id or "",
            instrument=order.intent.instrument,
            side=order.intent.side,
            quantity=order.quantity,
            order_type=order.intent.order_type,
            price=order.price,
            status=VenueStatus.PARTIALLY_FILLED if order.venue_cum_quantity else VenueStatus.NEW,
            cum_quantity=order.venue_cum_quantity,
        )
    )


def _way(step: steps.Ask | steps.Scan) -> str:
    if isinstance(step, steps.Scan):
        return f"lists the venue's orders and searches them for {step.client_order_id}"
    return f"asks for {step.client_order_id}"


def _said(step: Step, order: Order, capabilities: Capabilities, at_us: int) -> str:
    match step:
        case steps.Send(number=number):
            said = "sends it" if number == 1 else f"sends it again with the same id, as copy {number}"
        case steps.SendReplace(number=number):
            said = f"sends the replace with the same ids, as copy {number}"
        case steps.SendCancel(number=number):
            said = f"sends cancel {number}"
        case steps.Adopt():
            said = "compares what the venue shows with what was wanted, and takes in what it proves"
        case steps.ConcludeAbsent():
            said = _after_absence(step, order, capabilities, at_us)
        case steps.Rest():
            said = "does nothing by itself: evidence or a person moves it"
        case steps.Ask() | steps.Scan() | steps.WaitUntil():
            said = "goes on asking, and sends nothing: evidence or a person moves it"
        case _:
            said = f"{_ENDS[type(step)]} ({step.reason})"
    return said


def _after_absence(step: steps.ConcludeAbsent, order: Order, capabilities: Capabilities, at_us: int) -> str:
    order = advance(order, (ev.ProvenAbsent(step.asked_at_us),), at_us)
    if order.status in ENDED:
        return f"holds it for absent, and ends it as {order.status}"
    following = next_step(order, capabilities, None, at_us)
    if isinstance(following, steps.WaitUntil):
        following = next_step(order, capabilities, None, following.at_us)
    return f"holds it for absent, and {_said(following, order, capabilities, at_us)}"


def span(us: int) -> str:
    """Return a duration in µs as people say it."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if us >= 2 * size * 1_000_000:
            return f"{us / size / 1_000_000:.0f} {unit}"
    return f"{us / 1_000_000:.1f} s"
