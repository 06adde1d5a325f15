"""What counts as a sign that a route has two holders (promise ONE-WRITER), and what it leads to. Pure.

By the rule of leases (:mod:`onefill.core.lease`) one process at a time may send. That rule rests on clocks and on a ledger
that keeps what it acknowledged. A sign is whatever cannot happen while both hold:

* a holder is fenced although its own lease lasted: the ledger lent the route to somebody else too early, or has forgotten a
  renewal (a clock that jumped, a standby that was promoted behind);
* the ledger shows another epoch than a holder's own while that holder's lease lasts, which is the same seen without a write;
* the venue tells of a second session for the route;
* the venue tells of an execution under an id that was made for this route, and the ledger has no such order.

Whoever notices is often the one who may not write any more. So it notes its suspicion beside the route, unfenced, and the
holder puts the route in SAFE for it.
"""

import msgspec

from onefill.core.identity import IdFormat, session_of, session_parts
from onefill.core.incident import Finding, IncidentKind

CURSOR = "suspicions"
"""The name of the cursor that says through which number the suspicions of a route were acted on."""
LOOK_EVERY_S = 1.0
"""The pause between a holder's looks for what others suspect, where nothing else tells it that there is something."""
TOLD_LOOK_EVERY_S = 30.0
"""The same where its looks at all routes tell it."""
MOST_REASON = 500


class HoldersSuspected(msgspec.Struct, frozen=True, gc=False, tag="holders_suspected"):
    """Somebody noted that the route may have two holders: ``holder``, who had it in ``epoch``."""

    number: int
    epoch: int
    holder: str
    reason: str


def sign_of_fencing(left_us: int | None, epoch: int, current: int | None, *, gave_back: bool) -> str | None:
    """Return why it is a sign of two holders that ``epoch`` was fenced; ``None``: it is what leases are for.

    ``left_us``: for how long the fenced one could still have sent by its own clock; ``None``: it was never lent for a time.
    ``gave_back``: it had given the route back itself.
    """
    if gave_back or not left_us:
        return None
    return (
        f"epoch {epoch} was fenced by epoch {'unknown' if current is None else current} while its lease still lasted for "
        f"{left_us / 1_000_000:.3f} s by its holder's own clock: two processes could have sent at the same time"
    )


def sign_of_session(told: str, epoch: int) -> str:
    """Return why it is a sign of two holders that the venue tells of a second session, in its words ``told``."""
    return f"the venue tells of a second session while the route is held in epoch {epoch}: {told}"


def sign_of_order(client_order_id: str, form: IdFormat, session: str) -> str | None:
    """Return why an order that the ledger does not know is a sign of two holders; ``None``: others trade there too.

    ``session``: what goes into the ids that are made under the lease on the route. An id that carries this very ledger's and
    route's tag was made by a holder of it; and a holder sends nothing before it is recorded.
    """
    made, own = session_of(client_order_id, form), session_parts(session)
    if made is None or own is None or made[0] != own[0]:
        return None
    return (
        f"the venue told of order {client_order_id}, which was made for this route under epoch {made[1]} and is not in the "
        "ledger: somebody sends by a copy of it, or it has lost what it acknowledged"
    )


def finding(route: str, told: HoldersSuspected) -> Finding:
    """Return the incident that a suspicion is."""
    return Finding(
        kind=IncidentKind.SPLIT_BRAIN,
        subject="",
        summary=f"route {route} may have two holders: {told.reason}"[:MOST_REASON],
        evidence=(f"{told.holder} (epoch {told.epoch}): {told.reason}"[:MOST_REASON],),
    )


def reason(told: HoldersSuspected) -> str:
    """Return why a route is SAFE because of a suspicion."""
    return f"a second holder of the route is suspected by {told.holder}: {told.reason}"[:MOST_REASON]
