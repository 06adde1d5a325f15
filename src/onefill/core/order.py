"""An order as the ledger knows it. Only :mod:`onefill.core.apply` moves it."""

from decimal import Decimal

import msgspec

from onefill.core.events import CopyOutcome
from onefill.core.intent import Intent
from onefill.core.lifecycle import ENDED, Status
from onefill.core.messages import VenueStatus
from onefill.core.values import EXACT


class Copy(msgspec.Struct, frozen=True, gc=False):
    """One sent (or claimed) copy of a request. ``outcome`` is ``None`` while its reply is awaited.

    ``leaves_by_us``: the last moment at which its bytes can leave here; ``None`` in records older than that.
    """

    number: int
    claimed_at_us: int
    expires_at_us: int | None
    outcome: CopyOutcome | None = None
    reason: str | None = None
    retry_at_us: int | None = None
    leaves_by_us: int | None = None

    @property
    def under_way(self) -> bool:
        """Whether it may still reach the venue, or have reached it without our knowing."""
        return self.outcome is None or self.outcome is CopyOutcome.UNKNOWN


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What the order's ``number``-th replace made of it: the id it goes on under, its quantity (FIX OrderQty) and price.

    ``since_us``: from when on, by the venue's clock where it told the time; 0 where nobody knows.
    """

    number: int
    client_order_id: str
    quantity: Decimal
    price: Decimal | None
    since_us: int = 0


class Replacement(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A replace that somebody wants and whose fate is open. At most one at a time; ``number`` rises over the order's life.

    ``copies_before``: copies of earlier replaces of the order; the copies' numbers go on from there.
    ``original_over``: the venue shows the order as over under its old id, cancelled or replaced, and whether this one goes on
    is not known.
    """

    number: int
    client_order_id: str
    quantity: Decimal
    price: Decimal | None
    valid_until_us: int
    operation_key: str | None = None
    copies_before: int = 0
    copies: tuple[Copy, ...] = ()
    original_over: VenueStatus | None = None
    since_us: int = 0
    """Once it is in force: see :class:`Terms`."""

    @property
    def under_way(self) -> tuple[Copy, ...]:
        """The copies that may still reach the venue, or have reached it without our knowing."""
        return tuple(copy for copy in self.copies if copy.under_way)


class Order(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order as the ledger knows it. ``version`` rises by one with every journal entry."""

    intent_id: int
    key: str
    client_order_id: str
    """The first one. A replace may have given it another: see :attr:`live_id`."""
    intent: Intent
    recorded_at_us: int
    valid_until_us: int
    status: Status = Status.RECORDED
    version: int = 0
    cum_quantity: Decimal = Decimal(0)
    """Executed quantity by the executions applied here (FIX CumQty)."""
    reversed_quantity: Decimal = Decimal(0)
    """Executed once, and taken back by busts and corrections."""
    venue_cum_quantity: Decimal = Decimal(0)
    """Executed quantity by the venue's word, what was taken back included; executions may still be on their way."""
    venue_order_id: str | None = None
    reason: str | None = None
    anomaly: str | None = None
    parked: bool = False
    copies: tuple[Copy, ...] = ()
    cancels: tuple[Copy, ...] = ()
    cancel_wanted: bool = False
    in_force: Terms | None = None
    """What the last replace made of it; ``None`` while it is as the intent says."""
    replacement: Replacement | None = None
    replacements: int = 0
    """How many replaces were ever recorded."""
    replace_copies: int = 0
    """How many copies of replaces were ever claimed."""
    strays: tuple[Copy, ...] = ()
    """Copies of replaces that are over, which may still reach the venue."""
    given_up: tuple[str, ...] = ()
    """The client order ids of replaces that came to nothing."""
    answer: bytes | None = None

    @property
    def quantity(self) -> Decimal:
        """The quantity in force (FIX OrderQty)."""
        return self.intent.quantity if self.in_force is None else self.in_force.quantity

    @property
    def price(self) -> Decimal | None:
        """The limit price in force."""
        return self.intent.price if self.in_force is None else self.in_force.price

    @property
    def terms_number(self) -> int:
        """Which replace made the terms in force; 0 while they are the intent's."""
        return 0 if self.in_force is None else self.in_force.number

    @property
    def live_id(self) -> str:
        """The client order id under which the venue has it now (FIX ClOrdID; of the chain's last that is known)."""
        return self.client_order_id if self.in_force is None else self.in_force.client_order_id

    @property
    def replacing(self) -> bool:
        """Whether a replace was claimed whose fate is open."""
        return self.replacement is not None and bool(self.replacement.copies)

    @property
    def gets_new_id(self) -> bool:
        """Whether the replace whose fate is open gives the order another client order id."""
        return self.replacement is not None and self.replacement.client_order_id != self.live_id

    @property
    def most_quantity(self) -> Decimal:
        """The quantity in force, or more if a replace that may have taken effect gives it more."""
        if self.replacement is None or not self.replacement.under_way:
            return self.quantity
        return max(self.quantity, self.replacement.quantity)

    @property
    def leaves_quantity(self) -> Decimal:
        """What can still trade (FIX LeavesQty)."""
        if self.status in ENDED:
            return Decimal(0)
        return max(EXACT.subtract(self.quantity, self.cum_quantity), Decimal(0))

    @property
    def closed(self) -> bool:
        """Nothing more is expected: the order ended and every execution the venue counted has been applied."""
        return self.status in ENDED and self.cum_quantity >= self.counted_quantity

    @property
    def counted_quantity(self) -> Decimal:
        """Executed quantity by the venue's word, less what was taken back: its count may be from before a bust."""
        if not self.reversed_quantity:
            return self.venue_cum_quantity
        return max(EXACT.subtract(self.venue_cum_quantity, self.reversed_quantity), self.cum_quantity)

    @property
    def copies_under_way(self) -> tuple[Copy, ...]:
        """The copies that may still reach the venue."""
        return tuple(copy for copy in self.copies if copy.under_way)
