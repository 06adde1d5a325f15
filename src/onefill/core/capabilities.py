"""What a venue promises about a repeated order. The retry contract reads nothing else about it."""

from enum import StrEnum

import msgspec

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
    """Nothing is refused: the repeat is a new order."""


class ExecutionIdScope(StrEnum):
    """Within what an execution id is unique."""

    ACCOUNT = "account"
    INSTRUMENT = "instrument"
    ORDER = "order"


class Capabilities(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A venue's declared behaviour. The defaults are the least a venue can promise.

    ``request_expiry_s``: how long after the claim a request stays acceptable, where the venue honours an expiry stamped
    on the request (Binance ``recvWindow``, Kraken ``deadline``); ``None`` where it does not.
    ``conclusive_after_s``: seconds after the last possible send from which "not found" proves absence: expiry, engine
    time-out and read lag together; ``None`` where it never proves anything.
    """

    unique_scope: UniqueScope = UniqueScope.NONE
    duplicate_reply: DuplicateReply = DuplicateReply.ACCEPTS
    lookup_by_client_order_id: bool = False
    request_expiry_s: float | None = None
    conclusive_after_s: float | None = None
    acknowledges_asynchronously: bool = False
    execution_id_scope: ExecutionIdScope = ExecutionIdScope.ORDER
    id_format: IdFormat = IdFormat()
