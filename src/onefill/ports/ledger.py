"""The port to the ledger: one durable commit per decision, races decided by unique constraints, owners fenced by epoch.

A :class:`Change` is the atom: an order's new state, its journal entry, claim, execution, operation and stream cursor go in
together or not at all. Many changes may share one commit (group commit); each still has its own outcome. Expected outcomes
are values; exceptions are for a ledger that cannot be used (:class:`~onefill.core.errors.LedgerFailed`) or a route that
belongs to somebody else now (:class:`~onefill.core.errors.Fenced`).
"""

from asyncio import Future
from collections.abc import Collection
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from onefill.core.audit import Archived, JournalEntry, JournalRow, StoredCheckpoint
from onefill.core.audit_executions import ExecutionRow
from onefill.core.control import Control
from onefill.core.incident import Incident
from onefill.core.order import Copy, Order, Replacement
from onefill.core.position import Execution, Position
from onefill.core.spread import HandOverAsked

INTENT_NUMBER_BITS = 40
"""An intent id is the route's small number above these bits, the intent's number on the route below them."""


class Lease(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Ownership of a route. ``epoch`` rises with every owner; a write that names an older one is refused."""

    route: str
    route_id: int
    epoch: int
    session: str
    """Goes into client order ids made under this lease."""
    last_number: int
    """The highest intent number ever recorded on the route."""

    def intent_id(self, number: int) -> int:
        """Return the id of the route's ``number``-th intent."""
        return (self.route_id << INTENT_NUMBER_BITS) | number


class RequestKind(StrEnum):
    """What a claimed request asks of the venue."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    REPLACE = "replace"


class NewIntent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is written once, when an intent is recorded."""

    key_digest: bytes
    fingerprint_version: int
    fingerprint: bytes
    body: bytes


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A copy of a request that is about to be sent, or has its outcome. One owner per kind and number: the ledger decides."""

    kind: RequestKind
    copy: Copy


class Operation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A cancel or replace under a key of its own. ``answer`` is written once and given to every repeat.

    ``quantity`` and ``price`` are what a replace wants; both are ``None`` for a cancel.
    """

    account: str
    strategy: str
    key: str
    operation_key: str
    intent_id: int | None
    requested_at_us: int
    kind: RequestKind = RequestKind.CANCEL
    quantity: Decimal | None = None
    price: Decimal | None = None
    answer: bytes | None = None


class ReplacementChange(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A replace that was recorded, or whose state changed. ``outcome`` is ``None`` while its fate is open.

    The ledger keeps one row per replace of an order. A client order id it gives the order is unique on the route, like
    every order's own, and finds the order; where the venue keeps the id (``new_id`` false) none is given.
    """

    replacement: Replacement
    new_id: bool
    outcome: Literal["replaced", "refused"] | None = None
    version: int = 0
    """The order's version from which on its terms are in force: of several that ever were, the latest."""


class CursorMove(msgspec.Struct, frozen=True, gc=False):
    """A stream was processed through ``position``, having been processed through ``previous`` before.

    The ledger must hold ``previous``: so a report whose change was refused stops every later one from moving the cursor
    past it, and the stream is read again from there.
    """

    stream: str
    previous: int
    position: int


class OpeningPosition(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What an account held of an instrument at the venue before the first order was sent from here.

    ``number``: a later word on the same, which is a person's, takes the next number and counts in place of the earlier ones.
    """

    account: str
    instrument: str
    quantity: Decimal
    number: int = 1


class StoppedLane(msgspec.Struct, frozen=True, gc=False):
    """An order whose events a subscriber is not told for now, because it cannot take one of them.

    ``intent_id`` 0 stands for the events that belong to no order. Everything of it through ``position`` was told;
    ``incident`` is the number of the incident about it; 0 once it goes on, until it has caught up with the others.
    """

    intent_id: int
    position: int
    incident: int


class Subscription(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How far a subscriber was told of a route's journal: everything through ``position``, but for what was stopped."""

    route: str
    subscriber: str
    position: int = 0
    stopped: tuple[StoppedLane, ...] = ()


class SubscriptionMove(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A subscriber was told through ``position``, having been told through ``previous`` before: the ledger must hold that.

    By a person's word ``position`` may be the lower one: what lies between is told again.

    ``stopped``: orders that are stopped, or told further, from now on; ``freed``: orders that are told like all others again.
    """

    subscriber: str
    previous: int
    position: int
    stopped: tuple[StoppedLane, ...] = ()
    freed: tuple[int, ...] = ()


class InboxEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A callback that came from outside, taken in once by its ``event_id`` within its ``source``.

    ``digest``: of its body, so that another body under a known id is noticed.
    """

    source: str
    event_id: str
    digest: bytes


class StepRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A step of a process of the user's own, by the process's ``key`` and its own name ``step``.

    ``attempt`` counts how often it was begun; ``result`` is ``None`` until it is done, then kept for ever. ``arguments``: what
    stands for all that the step was given, so that other arguments are noticed.
    """

    key: str
    step: str
    attempt: int
    begun_at_us: int
    result: bytes | None = None
    done_at_us: int | None = None
    arguments: str = ""


class Suspicion(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Somebody's word that a route may have two holders. ``number`` is given by the ledger, ascending on the route."""

    route: str
    number: int
    epoch: int
    holder: str
    at_us: int
    reason: str


class Change(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One decision about one order (or about a route), to be committed whole.

    ``order`` is the state after it, ``order.version - 1`` what the ledger must hold before it. ``new`` is set when the
    intent is first recorded, with nothing set yet beyond its identity and status (and its answer, if it was refused).
    ``settled`` are copies whose outcome became known. ``cursor`` moves a venue's stream on. ``incidents`` are those that
    were opened or changed, as they are after it; ``control`` is the route's control state from now on. ``subscription`` moves
    a subscriber on, ``inbox`` takes a callback in, ``step`` is a user's step as it is after it.
    """

    route: str
    epoch: int
    at_us: int
    kind: str
    payload: str
    order: Order | None = None
    new: NewIntent | None = None
    claims: tuple[Claim, ...] = ()
    settled: tuple[Claim, ...] = ()
    opened: tuple[Operation, ...] = ()
    answered: tuple[Operation, ...] = ()
    replacement: ReplacementChange | None = None
    adopts: str | None = None
    """A venue's order number that a person gave to the order: no other order of the route may have it."""
    execution: Execution | None = None
    cursor: CursorMove | None = None
    incidents: tuple[Incident, ...] = ()
    control: Control | None = None
    opening: tuple[OpeningPosition, ...] = ()
    subscription: SubscriptionMove | None = None
    inbox: InboxEvent | None = None
    step: StepRecord | None = None


class Committed(msgspec.Struct, frozen=True, gc=False):
    """It is durable, as entry ``sequence`` of the route's journal; its execution, if any, at ``execution_place``."""

    sequence: int
    execution_place: int | None = None


class KeyTaken(msgspec.Struct, frozen=True, gc=False):
    """The key was recorded before. Nothing was written."""

    order: Order


class ClientOrderIdTaken(msgspec.Struct, frozen=True, gc=False):
    """Another intent of this route has this client order id (a collision). Nothing was written."""

    client_order_id: str


class OperationTaken(msgspec.Struct, frozen=True, gc=False):
    """The operation key was recorded before. Nothing was written."""

    operation: Operation


class ExecutionKnown(msgspec.Struct, frozen=True, gc=False):
    """The execution was applied before. Nothing was written."""

    execution_id: str


class VenueOrderTaken(msgspec.Struct, frozen=True, gc=False):
    """Another order of the route has the venue's order number that was to be adopted. Nothing was written."""

    client_order_id: str


class EventKnown(msgspec.Struct, frozen=True, gc=False):
    """The callback was taken in before, with a body of this ``digest``. Nothing was written."""

    event_id: str
    digest: bytes


class StepTaken(msgspec.Struct, frozen=True, gc=False):
    """The step is done, or was begun again by somebody else since. Nothing was written."""

    step: StepRecord


class Stale(msgspec.Struct, frozen=True, gc=False):
    """The order had moved on, or the claim was already taken. Nothing was written: read the order again."""

    reason: str


Outcome = (
    Committed
    | KeyTaken
    | ClientOrderIdTaken
    | OperationTaken
    | ExecutionKnown
    | VenueOrderTaken
    | EventKnown
    | StepTaken
    | Stale
)


class OutboxRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A journal entry as it is told to subscribers: with the names of the order it belongs to, if it belongs to one."""

    entry: JournalEntry
    account: str | None = None
    strategy: str | None = None
    key: str | None = None
    client_order_id: str | None = None


class Loaded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An order as read back, with what belongs to it."""

    order: Order
    execution_ids: frozenset[tuple[str, str]]
    """(scope, execution id) of every execution applied to it."""
    referred_to: frozenset[tuple[str, str]] = frozenset()
    """(scope, execution id) of every execution that a bust or correction speaks of, whether it has come or not."""
    operations: tuple[Operation, ...]
    """Operations that wait for their answer."""


class RouteInfo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A route as the ledger shows it."""

    name: str
    epoch: int
    holder: str
    acquired_at_us: int
    intents: int
    journal_entries: int
    head: bytes
    """Hash of the last journal entry: what the chain must end in."""
    lease_until_us: int | None = None
    """When the holder's lease ends; ``None`` where it is not lent for a time."""
    asked: HandOverAsked | None = None
    """Somebody's wish that the holder hands it over."""
    suspicions: int = 0
    """The highest number of a suspicion that was noted of it, 0 at first."""
    archived: Archived | None = None
    """What was archived of it last: the journal here begins behind that. ``None``: all of it is here."""


class Ledger(Protocol):
    """What every ledger does. :mod:`onefill.testing.ledger` is the suite that each implementation must pass."""

    async def acquire(
        self, route: str, holder: str, at_us: int, *, venue: str = "", lease_us: int | None = None
    ) -> Lease:
        """Become the route's owner under a new epoch, durably; every earlier owner is fenced.

        ``venue`` is what the venue calls itself, if it does. ``lease_us``: for how long the route is lent; ``None``: until
        somebody else takes it. Raises, and changes nothing, :class:`~onefill.core.errors.OtherVenue` if the ledger remembers
        another venue for the route, :class:`~onefill.core.errors.LeaseHeld` if another holder's lease has not ended.
        """
        ...

    async def renew(self, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        """Lend the route to its owner for ``lease_us`` from ``at_us`` on. Raises Fenced if a later owner has it.

        ``lease_us`` zero gives the route back: the next owner need not wait.
        """
        ...

    def commit(self, change: Change) -> Future[Outcome]:
        """Commit one change durably, after every change handed in before. The future's exception may be Fenced or
        LedgerFailed. After LedgerFailed nothing more is taken of its route, until the route is acquired again or, where the
        ledger is one process's own, until it is opened again. Reads may overtake a commit that was not awaited.
        """
        ...

    async def move_cursor(self, route: str, epoch: int, move: CursorMove) -> bool:
        """Move a cursor that no change carried along. Returns False, and changes nothing, unless ``previous`` holds."""
        ...

    async def cursor(self, route: str, stream: str) -> int:
        """Return the last position of a venue's stream that is durably processed, 0 at first."""
        ...

    async def by_key(self, account: str, strategy: str, key: str) -> Loaded | None:
        """Return the order recorded under a key."""
        ...

    async def by_client_order_id(self, route: str, client_order_id: str) -> Loaded | None:
        """Return the order of a route with this client order id, be it the first or one that a replace gave it."""
        ...

    async def operation(self, account: str, strategy: str, key: str, operation_key: str) -> Operation | None:
        """Return the operation recorded under a key and operation key."""
        ...

    async def open_orders(self, route: str) -> list[Loaded]:
        """Return the orders that are not closed. Cost depends on how many there are, not on history."""
        ...

    async def orders(self, after: int, limit: int) -> list[Order]:
        """Return up to ``limit`` orders with an id above ``after``, by id."""
        ...

    async def executions(self, route: str, after: int, limit: int) -> list[tuple[int, Execution]]:
        """Return up to ``limit`` executions of a route recorded after log place ``after``, each with its place."""
        ...

    async def executions_of(self, intent_id: int) -> list[Execution]:
        """Return every row of the execution log that belongs to an order, in the log's order."""
        ...

    async def executions_named(self, route: str, names: Collection[tuple[str, str]]) -> list[tuple[int, Execution]]:
        """Return those of a route's executions that have these (scope, execution id), each with its place in the log."""
        ...

    async def quarantined(self, route: str) -> list[tuple[int, Execution]]:
        """Return every execution of a route that belongs to no order, each with its place in the log."""
        ...

    async def executions_of_position(
        self, account: str, strategy: str, venue: str, instrument: str, through: int
    ) -> list[Execution]:
        """Return every row that belongs to one position, through log place ``through``, in the log's order.

        Needed after a bust or correction only: it may read the whole log.
        """
        ...

    async def amended_positions(self, route: str) -> set[tuple[str, str, str, str]]:
        """Return (account, strategy, venue, instrument) of every position of a route of which an execution was busted or
        corrected.
        """
        ...

    async def incidents(self, *, open_only: bool = True) -> list[Incident]:
        """Return the incidents, by route and number."""
        ...

    async def last_incident(self, route: str) -> int:
        """Return the highest number that an incident of the route was ever given, 0 at first."""
        ...

    async def control(self, route: str) -> Control | None:
        """Return the route's control state, ``None`` while nobody ever moved it."""
        ...

    async def opening_positions(self, route: str) -> list[OpeningPosition]:
        """Return what the route's accounts held before its first order: of each instrument the word that counts."""
        ...

    async def positions(self, route: str) -> tuple[list[Position], int]:
        """Return the stored projection of a route and the log place through which it has been folded."""
        ...

    async def save_positions(self, route: str, positions: list[Position], through: int) -> None:
        """Store the projection of a route. It can always be rebuilt from the executions; this only shortens the next start.

        Does nothing where more was stored before.
        """
        ...

    async def outbox(self, route: str, after: int, limit: int) -> list[OutboxRow]:
        """Return up to ``limit`` of a route's journal entries after sequence ``after``, for telling subscribers."""
        ...

    async def outbox_of(self, route: str, intent_id: int, after: int, limit: int) -> list[OutboxRow]:
        """Return the same of one order alone; ``intent_id`` 0: of those entries that belong to no order."""
        ...

    async def subscriptions(self, route: str) -> list[Subscription]:
        """Return how far each subscriber was told of a route, by name."""
        ...

    async def move_subscription(self, route: str, epoch: int, move: SubscriptionMove) -> bool:
        """Move a subscriber on without a journal entry. Returns False, and changes nothing, unless ``previous`` holds."""
        ...

    async def inbox_event(self, route: str, source: str, event_id: str) -> InboxEvent | None:
        """Return a callback that was taken in, ``None`` if it was not."""
        ...

    async def step(self, route: str, key: str, step: str) -> StepRecord | None:
        """Return a user's step as it stands, ``None`` if it was never begun."""
        ...

    async def steps(self, route: str, key: str) -> list[StepRecord]:
        """Return every step of a user's process, in the order in which they were first begun."""
        ...

    async def suspect(self, route: str, epoch: int, holder: str, at_us: int, reason: str) -> None:
        """Note, durably, that a route may have two holders. Not fenced: it is the fenced one who knows."""
        ...

    async def ask_hand_over(self, route: str, asked: HandOverAsked) -> None:
        """Note, durably, that a route is to be handed over, in place of an earlier wish. Not fenced: its holder reads it, and
        whoever acquires the route next ends it.
        """
        ...

    async def suspicions(self, route: str, after: int) -> list[Suspicion]:
        """Return what was noted of a route under numbers above ``after``."""
        ...

    async def journal(self, route: str, after: int, limit: int) -> list[JournalEntry]:
        """Return up to ``limit`` journal entries of a route after sequence ``after``."""
        ...

    async def routes(self) -> list[RouteInfo]:
        """Return every route of the ledger."""
        ...

    async def journal_rows(self, route: str, after: int, limit: int) -> list[JournalRow]:
        """Return the same page as :meth:`journal`, as bare rows: for verifying many."""
        ...

    async def journal_hashes(self, route: str, after: int, limit: int) -> list[bytes]:
        """Return only the hashes of that page."""
        ...

    async def execution_rows(self, route: str, after: int, limit: int) -> list[ExecutionRow]:
        """Return up to ``limit`` executions of a route recorded after log place ``after``, as they stand in the log."""
        ...

    async def save_checkpoint(self, stored: StoredCheckpoint) -> None:
        """Keep a signed checkpoint, durably. One of the same route and size that is kept already stays as it is."""
        ...

    async def checkpoints(self, route: str, after: int, limit: int) -> list[StoredCheckpoint]:
        """Return up to ``limit`` checkpoints of a route of a size above ``after``, by size."""
        ...

    async def newest_checkpoint(self, route: str) -> StoredCheckpoint | None:
        """Return the largest checkpoint of a route."""
        ...

    async def close(self) -> None:
        """Finish what was handed in and release the ledger."""
        ...
