"""What can be done next about an order, as values. The retry contract answers with one of them, the engine performs it."""

import msgspec

from onefill.core.messages import VenueOrder, VenueStatus


class LastLookup(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The last query for an order in this process, whether by id or by a scan.

    * ``client_order_id``: which id was asked for; ``asked_at_us``: when the query was begun; ``count``: which one it was.
    * ``not_found``: it had an answer, and the order was not in it. ``shown``: it had an answer, and the order was in it with
      this status. Neither, if the query itself failed, or (``undecided``) if its answer leaves open whether the order is there.
      ``found``: what was shown, until that is taken in.
    * ``as_in_force``: what was shown has the terms that were in force by our record. ``terms``: which replace had made them
      (0: none). It says nothing about an order that was replaced since.
    * ``copies``, ``cancels``, ``replaces``: how many requests of each kind had been claimed when it was begun. It says
      nothing about a later one, whatever the clocks say.
    * ``waited_us``: the time from the last claim to the query by a clock that nobody can set; ``None`` if that claim is an
      earlier process's, whose clock is gone.
    """

    client_order_id: str
    asked_at_us: int
    count: int
    not_found: bool
    undecided: bool = False
    shown: VenueStatus | None = None
    as_in_force: bool = False
    terms: int = 0
    found: VenueOrder | None = None
    copies: int = 0
    cancels: int = 0
    replaces: int = 0
    waited_us: int | None = None


class Send(msgspec.Struct, frozen=True, gc=False):
    """Claim copy ``number`` durably, then send it, always with the id of the first. ``expires_at_us`` goes on the request
    where the venue honours one.
    """

    number: int
    expires_at_us: int | None


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Query the status of the order with this client order id."""

    client_order_id: str


class Scan(msgspec.Struct, frozen=True, gc=False):
    """List open orders, and those that ended or traded since ``since_us``, and search them for this client order id."""

    client_order_id: str
    since_us: int


class Adopt(msgspec.Struct, frozen=True, gc=False):
    """The order was found: compare it with what was wanted, and take in what it proves."""

    order: VenueOrder


class WaitUntil(msgspec.Struct, frozen=True, gc=False):
    """Nothing is safe to do before this moment (µs since 1970)."""

    at_us: int
    reason: str


class ConcludeAbsent(msgspec.Struct, frozen=True, gc=False):
    """No copy is at the venue or can still get there."""

    asked_at_us: int


class ConcludeNotReplaced(msgspec.Struct, frozen=True, gc=False):
    """No copy of the replace took effect or still can."""

    reason: str


class ExpireUnsent(msgspec.Struct, frozen=True, gc=False):
    """The time to live ran out before anything was sent: end the order here."""

    reason: str


class Withdraw(msgspec.Struct, frozen=True, gc=False):
    """A cancel came before anything was sent: end the order here."""

    reason: str


class Park(msgspec.Struct, frozen=True, gc=False):
    """No automatic step is safe: leave the order as it is, its fate unknown, for evidence or a person."""

    reason: str


class SendCancel(msgspec.Struct, frozen=True, gc=False):
    """Claim cancel ``number`` durably, then send it."""

    number: int


class TellRefused(msgspec.Struct, frozen=True, gc=False):
    """The venue keeps refusing the cancel of a live order: say so."""

    reason: str


class SendReplace(msgspec.Struct, frozen=True, gc=False):
    """Claim copy ``number`` of the replace durably, then send it, always with the ids of its first copy."""

    number: int
    expires_at_us: int | None


class DropReplace(msgspec.Struct, frozen=True, gc=False):
    """The replace is refused, or must not be sent (any more): the order goes on as it is. Tell whoever asked."""

    reason: str


class Rest(msgspec.Struct, frozen=True, gc=False):
    """Nothing to do until something happens."""


Step = (
    Send
    | Ask
    | Scan
    | Adopt
    | WaitUntil
    | ConcludeAbsent
    | ConcludeNotReplaced
    | ExpireUnsent
    | Withdraw
    | Park
    | SendCancel
    | TellRefused
    | SendReplace
    | DropReplace
    | Rest
)
