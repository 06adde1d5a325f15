"""Who may act on a route when several processes could: the rule of leases and epochs (promise ONE-WRITER).

A lease is granted for a time, by the ledger's clock. Its holder counts that time from *before* it asked, by a clock that
nobody can set, and stops sending when it is over; the ledger grants the route to another only after that time has passed by
its own clock. Every grant raises the epoch, and the ledger refuses every write that names an older one. So two holders can
overlap only if the clocks of holder and ledger run at different speeds, and even then the later one alone can write.

Who waits for a route knows from the ledger how long its lease still lasts, and follows from then on by how much it was
renewed: both are differences, so that the clocks of nodes and ledger need not agree.
"""

import msgspec

RENEW_AFTER = 1 / 3
"""The part of a lease after which its holder renews it: two renewals may fail before it is over."""
CLOCK_RATE_MARGIN = 0.05
"""The part of a lease that its holder does not use, for clocks that do not run alike."""
LEASE_S = 10.0
"""How long a route is lent at a time where several nodes share a ledger and nothing else is said."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """A route as the ledger has it. ``until_us``: when the lease ends by the ledger's clock; ``None``: it is not lent for a
    time, and whoever opens the ledger takes it (a ledger file's own lock keeps a second process out).
    """

    holder: str
    epoch: int
    until_us: int | None


def may_take(held: Held | None, now_us: int) -> bool:
    """Tell whether a route may be granted to somebody (else) now."""
    return held is None or held.until_us is None or now_us >= held.until_us


def send_until_s(asked_at_s: float, lease_s: float | None) -> float:
    """Return until when, by the asker's own clock, the holder of a lease asked for at ``asked_at_s`` may send."""
    if lease_s is None:
        return float("inf")
    return asked_at_s + lease_s * (1 - CLOCK_RATE_MARGIN)


def renew_at_s(asked_at_s: float, lease_s: float) -> float:
    """Return when to ask for the lease again."""
    return asked_at_s + lease_s * RENEW_AFTER


def retry_renewal_s(lease_s: float) -> float:
    """Return the pause before a renewal that the ledger could not take is tried again."""
    return lease_s * RENEW_AFTER / 4


def renewal_limit_s(lease_s: float) -> float:
    """Return how long a renewal may take before it is tried again."""
    return max(lease_s * RENEW_AFTER, 0.05)


def may_send(now_s: float, until_s: float) -> bool:
    """Tell whether the lease still holds, by the clock that ``until_s`` was counted on."""
    return now_s < until_s


def left_us(now_s: float, until_s: float) -> int | None:
    """Return for how long the holder may still send, in µs; ``None``: without an end."""
    return None if until_s == float("inf") else max(int((until_s - now_s) * 1_000_000), 0)


def bounded_us(expires_at_us: int | None, now_us: int, left_us: int | None) -> int | None:
    """Return the expiry to stamp on a request where the lease lasts for another ``left_us``: no later than its end.

    So what a holder sends at the last moment, and the network keeps, is refused by the venue and not only by this rule.
    """
    if expires_at_us is None or left_us is None:
        return expires_at_us
    return min(expires_at_us, now_us + left_us)


# ------------------------------------------------------------------- waiting for a route


class Awaited(msgspec.Struct, frozen=True, gc=False):
    """A route that a node does not hold, as that node sees it.

    ``until_us``: the end of the lease when it was last looked at, by the ledger's clock; ``None``: there is none, or it was
    not looked at since. ``free_at_s``: when the route can be taken as far as is known, by this node's own clock. ``told``:
    whether that is the ledger's word, and not only a reason to ask it.
    """

    until_us: int | None = None
    free_at_s: float = float("inf")
    told: bool = False


def refused(left_s: float, now_s: float) -> Awaited:
    """Return what a node knows whom the ledger has just refused the route for another ``left_s``."""
    return Awaited(None, now_s + left_s, told=True)


def looked(awaited: Awaited, until_us: int | None, now_s: float) -> Awaited:
    """Return what a node knows after a look: renewed, the lease ends by so much later; given back, it is over.

    At the first look at a route that is lent, only asking for it tells for how long: the ledger's clock is not known here.
    """
    if until_us is None or awaited.free_at_s == float("inf"):
        return Awaited(until_us, min(awaited.free_at_s, now_s), told=until_us is None)
    if awaited.until_us is None:
        return Awaited(until_us, awaited.free_at_s, told=awaited.told)
    if not awaited.told and until_us != awaited.until_us:
        return Awaited(until_us, now_s)  # somebody took or renewed it; what was known had no measure: asking gives one
    return Awaited(until_us, awaited.free_at_s + (until_us - awaited.until_us) / 1_000_000, told=awaited.told)


def is_over(awaited: Awaited, now_s: float) -> bool:
    """Tell whether nobody has the route any more, as far as a node that would take it knows."""
    return awaited.told and awaited.free_at_s <= now_s


# --------------------------------------------------------------------------------- holders


def holder_text(node: str | None, process: str) -> str:
    """Return how a process names itself to others. ``process``: its number and host."""
    return process if node is None else f"{node}, {process}"


def node_of(holder: str) -> str | None:
    """Return the node's name in a holder's text, ``None`` if it has none."""
    node, comma, _ = holder.partition(", ")
    return node if comma else None
