"""Who may act on a route when several processes could: the rule of leases and epochs (promise ONE-WRITER).

A lease is granted for a time, by the ledger's clock. Its holder counts that time from *before* it asked, by a clock that
nobody can set, and stops sending when it is over; the ledger grants the route to another only after that time has passed by
its own clock. Every grant raises the epoch, and the ledger refuses every write that names an older one. So two holders can
overlap only if the clocks of holder and ledger run at different speeds, and even then the later one alone can write.
"""

import msgspec

RENEW_AFTER = 1 / 3
"""The part of a lease after which its holder renews it: two renewals may fail before it is over."""
CLOCK_RATE_MARGIN = 0.05
"""The part of a lease that its holder does not use, for clocks that do not run alike."""


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


def may_send(now_s: float, until_s: float) -> bool:
    """Tell whether the lease still holds, by the clock that ``until_s`` was counted on."""
    return now_s < until_s
