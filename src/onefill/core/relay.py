"""What subscribers are told: a journal entry as a message, and what may come of telling it (promise TOLD-ONCE).

A message has the same id and the same bytes however often it is told, by whatever process. Its *lane* is its order; entries
that belong to no order share the route's own. Within a lane a message is told only after the one before it was taken.
"""

from collections.abc import Callable, Collection

import msgspec

from onefill.core.audit import JournalEntry
from onefill.core.errors import InvalidField

VERSION = 1
"""Of a message's body. A field that is added does not change it; one that goes or changes its meaning does."""
ROUTE_LANE = 0
"""The lane of what belongs to no order."""
_ID_BYTES = 16


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One journal entry, as it is told.

    ``id``: stable and unique everywhere; what a consumer dedupes by. ``lane``: the order's intent id, or :data:`ROUTE_LANE`;
    ``lane_name``: the same for others, the order's client order id or the route's name. ``body``: JSON, UTF-8.
    """

    id: str
    lane: int
    route: str
    sequence: int
    at_us: int
    kind: str
    account: str | None
    strategy: str | None
    key: str | None
    client_order_id: str | None
    body: bytes

    @property
    def lane_name(self) -> str:
        """Under which name others keep its order: the client order id, or the route."""
        return self.client_order_id or self.route


class _Body(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    v: int
    id: str
    route: str
    sequence: int
    at_us: int
    kind: str
    account: str | None
    strategy: str | None
    key: str | None
    client_order_id: str | None
    events: msgspec.Raw


_encode = msgspec.json.Encoder().encode


def message_id(entry_hash: bytes) -> str:
    """Return the id of the message of an entry: the first 16 bytes of its hash, in hex."""
    return entry_hash[:_ID_BYTES].hex()


def message_of(
    entry: JournalEntry,
    account: str | None = None,
    strategy: str | None = None,
    key: str | None = None,
    client_order_id: str | None = None,
) -> Message:
    """Return the message of a journal entry and the names of the order it belongs to, if it belongs to one."""
    made = message_id(entry.hash)
    body = _Body(
        v=VERSION,
        id=made,
        route=entry.route,
        sequence=entry.sequence,
        at_us=entry.at_us,
        kind=entry.kind,
        account=account,
        strategy=strategy,
        key=key,
        client_order_id=client_order_id,
        events=msgspec.Raw(entry.payload.encode()),
    )
    return Message(
        id=made,
        lane=entry.intent_id or ROUTE_LANE,
        route=entry.route,
        sequence=entry.sequence,
        at_us=entry.at_us,
        kind=entry.kind,
        account=account,
        strategy=strategy,
        key=key,
        client_order_id=client_order_id,
        body=_encode(body),
    )


class _Tagged(msgspec.Struct):
    type: str


_tags = msgspec.json.Decoder(list[_Tagged])


def wanted_of(kinds: Collection[str]) -> Callable[[str], bool]:
    """Return what tells whether an entry's payload holds an event of one of these kinds; of none means of any."""
    if not kinds:
        return lambda _payload: True
    chosen = frozenset(kinds)
    return lambda payload: any(one.type in chosen for one in _tags.decode(payload))


# --------------------------------------------------------------------------- what may come of telling


class Told(msgspec.Struct, frozen=True, gc=False):
    """The subscriber has it, as durably as it ever will."""


class Invalid(msgspec.Struct, frozen=True, gc=False):
    """The subscriber was reached and will not take this very message, whenever it is told."""

    reason: str


class Unavailable(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """It is not known to have the message, and may have it. It will be told again, for as long as that takes.

    ``retry_after_s``: how long the subscriber asks to be left alone. ``suspect``: it may be this message that it fails at, and
    not the subscriber as a whole: counts against the message if others are taken in the meantime.
    """

    reason: str
    retry_after_s: float | None = None
    suspect: bool = False


class Gone(msgspec.Struct, frozen=True, gc=False):
    """The subscriber was reached and wants nothing more, of any kind. It is told nothing until a person says so."""

    reason: str


Outcome = Told | Invalid | Unavailable | Gone
TOLD = Told()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a subscriber is told.

    * ``batch``: messages in one call of a publisher at most, each of another order. ``in_flight``: calls under way at once.
    * ``window``: journal entries read ahead of the first that was not taken. What bounds memory.
    * ``answer_s``: how long a call may take; then its messages count as unavailable.
    * ``invalid_tries``: how often a message is told that is said to be invalid, before its order is stopped.
    * ``suspect_tries``: how often one that fails while others are taken.
    * ``most_stopped``: orders stopped at once. Beyond that it is held to be the subscriber that is wrong: nothing more is
      stopped, and it is asked again now and then.
    * ``pause_s``, ``longest_pause_s``: between two tries; doubled from the first to the second.
    * ``cursor_every_s``: how long what was taken may go without being noted in the ledger. More is told again after a crash.
    """

    batch: int = 256
    in_flight: int = 2
    window: int = 4096
    answer_s: float = 30.0
    invalid_tries: int = 3
    suspect_tries: int = 12
    most_stopped: int = 100
    pause_s: float = 0.1
    longest_pause_s: float = 30.0
    cursor_every_s: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for field in ("batch", "in_flight", "window", "invalid_tries", "suspect_tries"):
            if not 1 <= getattr(self, field) <= 1_000_000:
                raise InvalidField(field, f"{getattr(self, field)} is not a number from 1 to 1000000")
        if not 0 <= self.most_stopped <= 10_000:
            raise InvalidField("most_stopped", f"{self.most_stopped} is not a number from 0 to 10000")
        for field in ("answer_s", "pause_s", "longest_pause_s", "cursor_every_s"):
            if not 0 < getattr(self, field) < 1e6:
                raise InvalidField(field, f"{getattr(self, field):g} is not a duration above zero, in seconds")

    def pause(self, tries: int, asked_s: float | None = None) -> float:
        """Return how long to wait after so many failures in a row, in s. ``asked_s``: what the subscriber asks for."""
        grown = min(self.pause_s * 2.0 ** min(max(tries, 1) - 1, 40), self.longest_pause_s)
        return grown if asked_s is None else max(grown, min(asked_s, self.longest_pause_s))
