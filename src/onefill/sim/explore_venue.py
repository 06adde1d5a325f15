"""A venue as a pure function: an order book, a request and the time in; everything that may come of it out.

It does what its capabilities say and leaves open what they leave open. Requests are judged in this order: expiry, then (for a
submit) the venue's own refusal, the client order id, the rest.

* A submit under an id that is refused gets an error or the original order, as the venue answers duplicates. The id of an order
  that was rejected is free again.
* A cancel of an order that is not live is refused, and the refusal does not say what is true.
* A venue that forgets may leave an order out of queries from so many seconds after its end on. Its id stays as used as it was.
* A replace by a quantity below what is executed is refused; by one equal to it, it leaves nothing and the order is filled. A
  repeat of a replace that was done finds the order as it wants it (where the id stays), or its original gone.
"""

from typing import Final, NamedTuple

import msgspec

from onefill.core.capabilities import Capabilities, DuplicateReply, ReplaceStyle, UniqueScope
from onefill.sim.explore_state import (
    CANCEL,
    CANCELED,
    FILLED,
    NEW,
    PARTIAL,
    PENDING,
    REJECTED,
    REPLACED,
    SECOND_US,
    SUBMIT,
    Booked,
    Report,
    Request,
    Scenario,
    View,
)

Book = tuple[Booked, ...]
_with = msgspec.structs.replace
_DAY_US: Final = 86_400_000_000


class Outcome(NamedTuple):
    """What may come of a request: the book and the reports after it, the reply, and the fault that it takes, if any."""

    book: Book
    reports: tuple[Report, ...]
    reply: str
    view: View | None
    fault: str = ""


class Venue:
    """A venue with these capabilities. ``start_us``: the time of day at which the world begins, by the venue's clock."""

    def __init__(self, capabilities: Capabilities, scenario: Scenario, start_us: int) -> None:
        self._refuses = capabilities.refuses_repeats
        self._scope = capabilities.unique_scope
        self._original = capabilities.duplicate_reply is DuplicateReply.ORIGINAL
        self._asynchronous = capabilities.acknowledges_asynchronously
        self._by_client_id = capabilities.cancel_by_client_order_id
        self._new_id = capabilities.replace is ReplaceStyle.NEW_ID
        self._late_duplicates = scenario.late_duplicates and self._asynchronous
        self._start_us = start_us
        self._keeps_us: int | None = None
        if capabilities.lookup_forgets_after_s is not None:
            self._keeps_us = int(capabilities.lookup_forgets_after_s * SECOND_US)

    def day(self, now: int) -> int:
        """Return the venue's day."""
        return (self._start_us + now) // _DAY_US

    def receive(self, book: Book, request: Request, now: int) -> list[Outcome]:
        """Return what may come of a request that arrives now."""
        if now > request.expires:
            return [Outcome(book, (), "too_late", None)]
        if request.what == SUBMIT:
            return self._submit(book, request, now)
        if request.what == CANCEL:
            return self._cancel(book, request)
        return self._replace(book, request, now)

    # ------------------------------------------------------------------- submit

    def in_use(self, book: Book, intent: int, client_id: int, now: int) -> Booked | None:
        """Return the order for which a client order id is refused now, if any."""
        if not self._refuses:
            return None
        for one in book:
            if one.intent != intent or one.client_id != client_id or one.status == REJECTED:
                continue
            if (
                self._scope is UniqueScope.EVER
                or (self._scope is UniqueScope.DAY and one.day == self.day(now))
                or (self._scope is UniqueScope.OPEN and one.live)
            ):
                return one
        return None

    def _submit(self, book: Book, request: Request, now: int) -> list[Outcome]:
        original = self.in_use(book, request.intent, request.client_id, now)
        found = [Outcome(book, (), "throttled", None, "throttle")]
        if original is not None and not self._late_duplicates:
            if self._original:
                found.insert(0, Outcome(book, (), "accepted", original.view))
            else:
                found.insert(0, Outcome(book, (), "duplicate", None))
            return found
        made = self._made(book, request, now)
        if not self._asynchronous:
            found.append(Outcome(book, (), "rejected", None, "reject"))
        late = _with(made, hidden=request.bound)
        for one, fault in ((made, ""), (late, "lag")):
            kind = "pending_new" if self._asynchronous else "new"
            found.append(Outcome((*book, one), (Report(kind, one.view),), "accepted", one.view, fault))
        return found

    def _made(self, book: Book, request: Request, now: int) -> Booked:
        number = len(book) + 1
        return Booked(
            intent=request.intent,
            number=number,
            root=number,
            copy=request.number,
            client_id=request.client_id,
            quantity=request.quantity,
            cum=0,
            status=PENDING if self._asynchronous else NEW,
            day=self.day(now),
            again=request.again,
        )

    def decide(self, book: Book, place: int, now: int) -> list[Outcome]:
        """Return what may become of an order that was taken in and not yet accepted."""
        one = book[place]
        rejected = _with(one, status=REJECTED)
        no = Outcome(put(book, place, rejected), (Report("rejected", rejected.view),), "", None, "reject")
        earlier = self.in_use(book[:place], one.intent, one.client_id, now)
        if self._late_duplicates and earlier is not None:
            return [no._replace(fault="")]
        taken = _with(one, status=NEW)
        return [Outcome(put(book, place, taken), (Report("new", taken.view),), "", None), no]

    # -------------------------------------------------------------------- forget

    def kept(self, book: Book, now: int) -> Book:
        """Return the book in which it stands until when orders that have just ended are kept; the same if none has."""
        if self._keeps_us is None or all(one.live or one.kept_until or one.forgotten for one in book):
            return book
        until = now + self._keeps_us
        return tuple(
            one if one.live or one.kept_until or one.forgotten else _with(one, kept_until=until) for one in book
        )

    # ------------------------------------------------------------ cancel, replace

    def find(self, book: Book, request: Request) -> int:
        """Return the place of the order that a cancel or replace names, -1 if there is none."""
        found, client_id = -1, request.client_id
        for place, one in enumerate(book):
            if one.intent != request.intent or one.client_id != client_id:
                continue
            if self._by_client_id or not request.venue_number:
                if found < 0 or one.live or not book[found].live:
                    found = place
            elif one.number == request.venue_number:
                return place
        return found

    def _cancel(self, book: Book, request: Request) -> list[Outcome]:
        place = self.find(book, request)
        if place < 0 or not book[place].live:
            return [Outcome(book, (), "cancel_rejected", None)]
        gone = _with(book[place], status=CANCELED)
        return [
            Outcome(put(book, place, gone), (Report("canceled", gone.view),), "canceled", gone.view),
            Outcome(book, (), "cancel_rejected", book[place].view, "refuse"),
        ]

    def _replace(self, book: Book, request: Request, now: int) -> list[Outcome]:
        place = self.find(book, request)
        if place < 0:
            return [Outcome(book, (), "replace_rejected", None)]
        old = book[place]
        if not old.live or old.status == PENDING or request.quantity < old.cum:
            return [Outcome(book, (), "replace_rejected", None)]
        if not self._new_id and old.quantity == request.quantity:
            return [Outcome(book, (), "replaced", old.view)]
        refused = Outcome(book, (), "replace_rejected", old.view, "refuse")
        status = FILLED if request.quantity == old.cum else PARTIAL if old.cum else NEW
        if not self._new_id:
            made = _with(old, quantity=request.quantity, status=status)
            return [Outcome(put(book, place, made), (_replaced(made, old),), "replaced", made.view), refused]
        if self.in_use(book, request.intent, request.new_id, now) is not None:
            return [Outcome(book, (), "replace_rejected", old.view)]
        made = _with(
            old,
            number=len(book) + 1,
            client_id=request.new_id,
            quantity=request.quantity,
            status=status,
            hidden=0,
            told=False,
        )
        after = (*put(book, place, _with(old, status=REPLACED)), made)
        return [Outcome(after, (_replaced(made, old),), "replaced", made.view), refused]


def put(book: Book, place: int, one: Booked) -> Book:
    """Return a book with one order in another state."""
    return (*book[:place], one, *book[place + 1 :])


def _replaced(made: Booked, old: Booked) -> Report:
    return Report("replaced", made.view, 0, old.client_id)


def fill(book: Book, place: int, quantity: int) -> tuple[Book, Report]:
    """Return the book after an execution of one of its orders, and the report of it."""
    one = book[place]
    cum = one.cum + quantity
    done = _with(one, cum=cum, status=FILLED if cum >= one.quantity else PARTIAL)
    return put(book, place, done), Report("trade", done.view, quantity)


def withdraw(book: Book, place: int) -> tuple[Book, Report]:
    """Return the book after somebody else, or the venue itself, cancelled one of its orders, and the report of it."""
    gone = _with(book[place], status=CANCELED)
    return put(book, place, gone), Report("canceled", gone.view)


def executed(book: Book, intent: int) -> int:
    """Return how much of an intent was executed at the venue, by all its orders together."""
    return sum(one.cum for one in book if one.intent == intent and one.status != REPLACED)
