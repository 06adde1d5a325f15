"""The world of the exhaustive search as one immutable value, and the bounds within which it is searched.

Equal worlds are equal values with equal hashes, so whatever does not matter for what can happen next is left out: texts and
journal versions of orders, requests that can have no effect any more, replies nobody waits for, processes that are gone.
Moments are µs after the start of the world. Orders, replies and look-ups are numbers into the tables of
:class:`~onefill.sim.explore_core.Core`; zero means none.
"""

from typing import Final

import msgspec

from onefill.core.capabilities import Capabilities

SECOND_US: Final = 1_000_000
NEVER: Final = 10**15
"""Later than anything."""
CALL_US: Final = SECOND_US
"""How long a call to the venue may take before its reply counts as lost."""
EXPIRY_S: Final = 1.0
CONCLUSIVE_S: Final = 2.0
FORGETS_S: Final = 3.0
"""How long after its end an order is found, where requests bear an expiry: a second longer than until copies are dead."""
FORGETS_LATE_S: Final = 6.0
"""Likewise, where requests bear none, and copies live for as long as they can leave, and T."""
BASE_QUANTITY: Final = 2
SUBMIT, CANCEL, REPLACE, QUERY = range(4)
WORDS: Final = ("submit", "cancel", "replace", "query")
IDLE, UNSENT, CALLING = range(3)
"""Where an order's driver stands: between two steps, between claim and send, waiting for a reply."""


class Driver(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """What a process remembers of one order beyond the ledger. Gone when it crashes.

    ``what`` and ``number`` name the request that is claimed or awaited, ``since`` is when its call began, ``reply`` what
    came back so far. ``lookup`` is the last query, ``claimed`` when this process last claimed a request (-1: it has not).
    """

    phase: int = IDLE
    what: int = 0
    number: int = 0
    since: int = 0
    reply: int = 0
    lookup: int = 0
    claimed: int = -1


RESTING: Final = Driver()


class Process(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """A living gateway process. It owns the route as long as its ``epoch`` is the ledger's.

    ``until``: up to when it may send by its lease. ``offset``: what its time of day is off by, in µs. ``memory``: its idea
    of the orders once another owns the route; empty while it is the owner, since then memory is what the ledger has.
    """

    epoch: int
    until: int
    drivers: tuple[Driver, ...]
    paused: bool = False
    offset: int = 0
    memory: tuple[int, ...] = ()


class Request(msgspec.Struct, frozen=True, gc=False, cache_hash=True, order=True):
    """A request under way to the venue: copy ``number`` of a submit, cancel or replace.

    ``expires``: after this moment the venue refuses it. ``bound``: before this moment it has arrived or is lost (see
    :mod:`~onefill.sim.explore_moves`). ``client_id``, ``new_id``: 0 for the first client order id of the order, n for that
    of its n-th replace. ``venue_number``: the venue's own number, 0 where it is not known. ``again``: the network made a
    second one of it, and the first has arrived.
    """

    what: int
    intent: int
    number: int
    expires: int
    bound: int
    client_id: int = 0
    new_id: int = 0
    venue_number: int = 0
    quantity: int = BASE_QUANTITY
    again: bool = False


PENDING, NEW, PARTIAL, FILLED, CANCELED, REJECTED, REPLACED = range(7)
LIVE_STATES: Final = frozenset({PENDING, NEW, PARTIAL})


class Booked(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """An order at the venue. ``copy``: which copy of the submit made it (of the first of its chain of replaces).

    ``root``: the number of the first of its chain. ``hidden``: queries do not show it before this moment. ``told``: the
    gateway was told of it, durably. ``again``: made by a request that the network had doubled. ``kept_until``: it has ended,
    and from this moment on the venue may forget it (0: never); ``forgotten``: it has, and no query shows it.
    """

    intent: int
    number: int
    root: int
    copy: int
    client_id: int
    quantity: int
    cum: int
    status: int
    day: int
    hidden: int = 0
    told: bool = False
    again: bool = False
    kept_until: int = 0
    forgotten: bool = False

    @property
    def live(self) -> bool:
        """Whether it can still trade."""
        return self.status in LIVE_STATES

    @property
    def view(self) -> "View":
        """What the venue shows of it."""
        return (self.intent, self.client_id, self.number, self.quantity, self.cum, self.status)


View = tuple[int, int, int, int, int, int]
"""Intent, client id, venue number, quantity, cumulative quantity, status."""


class Report(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """One report of the venue's execution stream. ``orig``: the client id that a replace ended, where ``kind`` says so."""

    kind: str
    view: View
    last: int = 0
    orig: int = 0


class World(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Everything. ``stream``: the reports that are not yet taken in durably.

    ``unasked``, ``most``: per intent, whether no query was begun since the last unknown outcome, and the largest quantity
    that was ever wanted. ``faults``, ``cancels``, ``replaces``: how many of them are left. ``doubled``: the network has made
    a second request out of one.
    """

    now: int
    epoch: int
    until: int
    orders: tuple[int, ...]
    procs: tuple[Process, ...]
    net: tuple[Request, ...]
    book: tuple[Booked, ...]
    stream: tuple[Report, ...]
    unasked: tuple[bool, ...]
    most: tuple[int, ...]
    faults: int
    cancels: int
    replaces: int
    doubled: bool


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a small world.

    ``kinds``: which faults may happen, ``faults``: how many of them in all. ``lifetime_s``: the intents' time to live.
    ``stops``: at how many moments at most the clock stops (``None``: at all of :func:`instants`). ``midnight_s``: when the
    venue's day ends, seconds after the start (``None``: not while it lasts). ``lease_s``: for how long the route is lent
    (``None``: until somebody takes it, and a lock keeps a second process out).
    """

    name: str
    intents: int = 1
    processes: int = 1
    copies: int = 3
    faults: int = 2
    kinds: frozenset[str] = frozenset()
    cancels: int = 0
    replaces: int = 0
    quantities: tuple[int, ...] = (3, 1)
    partial: bool = False
    fills: bool = True
    lifetime_s: float = 1000.0
    stops: int | None = None
    midnight_s: float | None = None
    lease_s: float | None = None
    late_duplicates: bool = False
    """A venue that acknowledges asynchronously also refuses a repeat only after having taken it in."""
    answers_doubled: bool = False
    """Of a request that the network doubled, the refusal of the second may come back in the place of the first's reply."""
    forgetful: bool = False
    """A venue that forgets orders some time after their end. What such a one does before that, others do as well."""


class Violation(msgspec.Struct, frozen=True):
    """A promise that does not hold in a world, and why."""

    promise: str
    reason: str


def instants(capabilities: Capabilities, scenario: Scenario) -> tuple[int, ...]:
    """Return the moments at which the clock stops: now, after one call, when the first copy must be dead, and so on again;
    and the venue's midnight.
    """
    dead_s = 3.0 if capabilities.conclusive_after_s is None else capabilities.conclusive_after_s
    if capabilities.request_expiry_s is None and capabilities.conclusive_after_s is not None:
        dead_s += 3.0
    stops = {0, 1, dead_s, dead_s + 1, 2 * dead_s, 2 * dead_s + 1}
    if scenario.midnight_s is not None:
        stops.add(scenario.midnight_s)
    return tuple(int(at_s * SECOND_US) for at_s in sorted(stops)[: scenario.stops])
