"""What is decided about the nodes of a world that has several, from its seed alone.

Several gateways share one ledger, and each of them may stand still, lose the ledger, lose the venue, or run by clocks of
another speed. What a world may not do is what no sender can be right against. Bytes that its process was about to hand over
when it was stopped leave late; but where nothing but the declared T tells when a request is dead, not later than a call may
last. A host that was suspended, so that the clock stood still that nobody can set, finds the time of day right when it goes on.
"""

from random import Random

import msgspec

from onefill.core.lease import CLOCK_RATE_MARGIN

ROUTE = "X"
SHARE = 0.3
"""The part of all worlds that has several nodes."""
SUSPENDED = 0.25
"""The part of those whose hosts are suspended when they stand still."""
FASTEST = CLOCK_RATE_MARGIN
"""How far a clock's speed may be off, as a part of it. A little less is used: exactly at the margin nothing is left."""
FORGETFUL = 0.1
"""The part of those whose ledger forgets a lease."""
AT_THE_WIRE = "send before"
PUBLISH_STEPS = ("publish before", "publish after")
PAUSE_STEPS = (AT_THE_WIRE, "commit before", "commit after", "call before", "call after", "send after", *PUBLISH_STEPS)
GRANTED = "lease granted"
"""The step at which a process hears that the ledger lends it the route: what it counts from decides how long it sends."""


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A process stands still for ``for_s``: of ``host`` at a time, or whichever comes to a ``step`` the ``nth`` time."""

    for_s: float
    step: str = ""
    nth: int = 0
    at_s: float = 0.0
    host: int = 0
    suspends: bool = False
    """The clock that nobody can set stands still as well."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A host is cut off for ``for_s``: from the ledger, and (``venue``) from the venue as well."""

    at_s: float
    host: int
    for_s: float
    venue: bool = False


class Nodes(msgspec.Struct, frozen=True, kw_only=True):
    """What befalls the nodes of a world."""

    hosts: int = 1
    lease_s: float | None = None
    rates: tuple[float, ...] = ()
    """How fast each host's clock runs that nobody can set; empty: all run alike."""
    origins_s: tuple[float, ...] = ()
    """What those clocks showed when the world began."""
    drifts: tuple[float, ...] = ()
    """How much faster each host's time of day runs than the true one, as a part; empty: all run alike."""
    suspends: bool = False
    """Hosts that stand still are suspended."""
    pauses: tuple[Pause, ...] = ()
    cuts: tuple[Cut, ...] = ()
    patience_s: float = 1.0
    """How long a host waits for an answer of the ledger before it takes it for lost."""
    looks: bool = False
    """The venue's adapter looks once more right before the bytes leave."""
    forgotten_at_s: float | None = None
    """When the ledger forgets that the route is lent, as one does that was promoted behind: two may then hold it."""
    handed_over: tuple[Pause, ...] = ()
    """When a host's gateway is ended in order, for how long."""

    @property
    def skew(self) -> float:
        """How far apart the speeds of the clocks may be, as a part."""
        return FASTEST if any(rate != 1 for rate in self.rates) else 0.0

    @property
    def name(self) -> str:
        """Readable, and taken by ``--only``: ``nodes-3``, ``nodes-2-forgetful``; empty where there is one node.

        ``forgetful``: the ledger forgets a lease. ``own-time``: all that a host counts by is slow, or fast.
        """
        forgetful = "-forgetful" if self.forgotten_at_s is not None else ""
        return f"{nodes_name(self.hosts)}{forgetful}{'-own-time' if self.own_time else ''}"

    @property
    def own_time(self) -> bool:
        """Whether the time of day of each host runs as its other clock does, and not as the true time."""
        return bool(self.drifts) and self.drifts == tuple(rate - 1 for rate in self.rates)


def nodes_name(count: int) -> str:
    """Return what worlds with so many nodes are called; empty where there is one."""
    return f"nodes-{count}" if count > 1 else ""


def how_many(seed: int) -> int:
    """Return how many nodes a seed's world has."""
    drawn = Random(f"how many nodes {seed}").random()  # noqa: S311 - repeatable on purpose
    if drawn >= SHARE:
        return 1
    return 3 if drawn < SHARE / 3 else 2


def nodes(seed: int, *, conclusive: bool) -> Nodes:
    """Return the nodes of a seed's world, before anything befalls them. ``conclusive``: the venue declares a T."""
    hosts = how_many(seed)
    if hosts == 1:
        return Nodes()
    draw = Random(f"nodes {seed}")  # noqa: S311 - of its own: what it decides changes nothing else
    most = FASTEST * 0.98
    apart, suspends, drift = draw.random() < 0.5, draw.random() < SUSPENDED, draw.random() < 0.4
    rates = [1 + draw.choice((-most, -most, most, draw.uniform(-most, most))) for _ in range(hosts)]
    # Where a T is declared, the time of day has to be what the declaration counts on.
    drifts = [draw.choice((-1, 1)) * (0.0002 if conclusive else draw.uniform(0, 0.05)) for _ in range(hosts)]
    if apart and not conclusive:
        drifts = [rate - 1 for rate in rates]  # all that a host has to count by is slow, or fast
    return Nodes(
        hosts=hosts,
        lease_s=draw.choice((0.5, 1.0, 1.0, 3.0)),
        rates=tuple(rates) if apart else (1.0,) * hosts if suspends else (),
        origins_s=tuple(draw.uniform(0.0, 50_000.0) for _ in range(hosts)),
        drifts=tuple(drifts) if drift and not suspends else (),
        suspends=suspends,
        looks=draw.random() < 0.5,
        patience_s=draw.choice((0.2, 1.0, 2.5)),
    )


def befall(seed: int, made: Nodes, end_s: float) -> Nodes:
    """Return what befalls the nodes of a world whose faults end then."""
    if made.hosts == 1:
        return made
    draw = Random(f"befalls nodes {seed}")  # noqa: S311 - as above
    lease_s = made.lease_s or 1.0
    longest_s = lease_s * 3 + 1.0

    def pause() -> Pause:
        nearly_s = lease_s * draw.uniform(0.97, 1.06)
        for_s = draw.choice((draw.uniform(0.05, lease_s), draw.uniform(lease_s, longest_s), nearly_s))
        host, suspends = draw.randrange(made.hosts), made.suspends and draw.random() < 0.7
        if draw.random() < 0.4:
            return Pause(for_s=for_s, at_s=draw.uniform(0, end_s), host=host, suspends=suspends)
        step = draw.choice((AT_THE_WIRE, AT_THE_WIRE, *PAUSE_STEPS))
        nth = draw.randint(1, 40 if step.startswith("call") else 14)
        return Pause(for_s=for_s, step=step, nth=nth, suspends=suspends)

    def late_to_hear() -> Pause:
        for_s = lease_s * draw.uniform(0.9, 1.06)
        return Pause(for_s=for_s, step=GRANTED, nth=draw.randint(1, 6), suspends=made.suspends and draw.random() < 0.5)

    def cut() -> Cut:
        for_s = draw.choice((draw.uniform(0.05, lease_s), draw.uniform(lease_s, longest_s)))
        host = draw.randrange(made.hosts)
        return Cut(at_s=draw.uniform(0, end_s), host=host, for_s=for_s, venue=draw.random() < 0.25)

    def hand_over() -> Pause:
        return Pause(for_s=draw.uniform(0.05, 2.0), at_s=draw.uniform(0.1, end_s), host=draw.randrange(made.hosts))

    return msgspec.structs.replace(
        made,
        pauses=(
            *(pause() for _ in range(draw.choice((0, 1, 1, 2, 3)))),
            *(late_to_hear() for _ in range(draw.choice((0, 0, 0, 1, 2)))),
        ),
        cuts=tuple(cut() for _ in range(draw.choice((0, 0, 1, 2)))),
        forgotten_at_s=draw.uniform(0.3, end_s) if draw.random() < FORGETFUL else None,
        handed_over=tuple(hand_over() for _ in range(draw.choice((0, 0, 0, 1, 2)))),
    )
