"""What a venue promises about a repeated order. The retry contract reads nothing else about it."""

import math
from enum import StrEnum

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField
from onefill.core.identity import IdFormat


class UniqueScope(StrEnum):
    """Among which orders a venue refuses a client order id it has seen."""

    EVER = "ever"
    DAY = "day"
    """Among the orders of one UTC day."""
    OPEN = "open"
    """Among open orders only: the id of a filled or cancelled order makes a second order."""
    NONE = "none"


class DuplicateReply(StrEnum):
    """What a venue answers to an id it refuses to take again."""

    ERROR = "error"
    ORIGINAL = "original"
    """The first order's own acknowledgement."""
    ACCEPTS = "accepts"
    """Nothing is refused: the repeat is a new order, or changes the one that is there."""


class Lookup(StrEnum):
    """How an order is found again by its client order id."""

    DIRECT = "direct"
    """A status query by client order id, dead orders included."""
    SCAN = "scan"
    """Only by listing open orders and recent fills and searching them for the id."""
    NONE = "none"


class ReplaceStyle(StrEnum):
    """What a replace (FIX OrderCancelReplaceRequest) does at the venue."""

    KEEP = "keep"
    """The order keeps its client order id; its number may change."""
    NEW_ID = "new_id"
    """The order ends and another, under a new client order id, goes on in its place."""
    NONE = "none"


class ExecutionIdScope(StrEnum):
    """Within what an execution id is unique."""

    ACCOUNT = "account"
    INSTRUMENT = "instrument"
    ORDER = "order"


class Capabilities(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A venue's declared behaviour. The defaults are the least a venue can promise.

    * ``unique_scope``, ``duplicate_reply``: among which orders a client order id is refused, and what the repeat gets. A venue
      that takes a repeat in under a number of its own and refuses it only later promises none of this: scope *none*.
    * ``lookup``: how an order is found again by its client order id.
    * ``request_expiry_s``: how long after the claim a request stays acceptable, where the venue honours an expiry stamped
      on the request (Binance ``recvWindow``, Kraken ``deadline``); ``None`` where it does not.
    * ``conclusive_after_s``: seconds after the last possible send from which "not found" proves absence: expiry, engine
      time-out, read lag and the difference between the venue's clock and ours together; ``None`` where it never proves
      anything.
    * ``lookup_forgets_after_s``: so many seconds after its end an order may no longer be found; "not found" from then on proves
      nothing. ``None`` where none is ever forgotten.
    * ``acknowledges_asynchronously``: an accepted submit may still be rejected, and only the stream or a look-up tells.
    * ``cancel_by_client_order_id``: whether a cancel may name the client order id; otherwise it names the venue's number.
    * ``replace``: what a replace does to the order's id, or that there is none.
    * ``cumulative_fills_only``: the stream tells growing totals and no single executions.
    * ``execution_revisions``: an execution id ends in a revision behind its last dot; a higher one corrects a lower one.
    * ``drop_copy``: executions are told by a second channel too.
    * ``lists_open_orders``, ``tells_positions``: what the reconciliation can compare with.

    Checked on construction; raises :class:`~onefill.core.errors.InvalidField`.
    """

    unique_scope: UniqueScope = UniqueScope.NONE
    duplicate_reply: DuplicateReply = DuplicateReply.ACCEPTS
    lookup: Lookup = Lookup.NONE
    request_expiry_s: float | None = None
    conclusive_after_s: float | None = None
    lookup_forgets_after_s: float | None = None
    acknowledges_asynchronously: bool = False
    cancel_by_client_order_id: bool = False
    replace: ReplaceStyle = ReplaceStyle.NONE
    cumulative_fills_only: bool = False
    execution_id_scope: ExecutionIdScope = ExecutionIdScope.ORDER
    execution_revisions: bool = False
    drop_copy: bool = False
    lists_open_orders: bool = False
    tells_positions: bool = False
    id_format: IdFormat = IdFormat()

    def __post_init__(self) -> None:
        """Take the enumerations' texts too, and refuse durations that are none."""
        put = msgspec.structs.force_setattr
        for field, kind in _ENUMS.items():
            if type(getattr(self, field)) is not kind:
                put(self, field, values.choice(kind, getattr(self, field), field))
        for field in ("request_expiry_s", "conclusive_after_s", "lookup_forgets_after_s"):
            seconds = getattr(self, field)
            if seconds is not None and not (math.isfinite(seconds) and 0 < seconds < 1e9):
                raise InvalidField(field, f"{seconds!r} is not a duration above zero, in seconds")

    @property
    def can_be_asked(self) -> bool:
        """Whether an order can be found again by its client order id at all."""
        return self.lookup is not Lookup.NONE

    @property
    def refuses_repeats(self) -> bool:
        """Whether any client order id is ever refused for having been seen. Of two statements the careful one counts."""
        return self.unique_scope is not UniqueScope.NONE and self.duplicate_reply is not DuplicateReply.ACCEPTS


_ENUMS: dict[str, type[StrEnum]] = {
    "unique_scope": UniqueScope,
    "duplicate_reply": DuplicateReply,
    "lookup": Lookup,
    "replace": ReplaceStyle,
    "execution_id_scope": ExecutionIdScope,
}
