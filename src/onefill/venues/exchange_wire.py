"""What the simulated exchange and its client say to each other over HTTP, in one place so that they cannot differ.

A reply counts only with its JSON body: a bare status may come from anything on the way. The stream's frames are JSON arrays
of execution reports; an empty one is a heartbeat.
"""

from typing import Final

import msgspec

from onefill.core.capabilities import Capabilities
from onefill.core.messages import ExecutionReport, Held, VenueOrder

DIALECT: Final = "/v1/dialect"
INSTRUMENTS: Final = "/v1/instruments"
ORDERS: Final = "/v1/orders"
CANCEL: Final = "/v1/orders/cancel"
REPLACE: Final = "/v1/orders/replace"
SCAN: Final = "/v1/orders/scan"
OPEN_ORDERS: Final = "/v1/open-orders"
EXECUTIONS: Final = "/v1/executions"
STREAM: Final = "/v1/stream"
POSITIONS: Final = "/v1/positions"
DROP_COPIES: Final = "/v1/drop-copies"
DROP_COPY: Final = "/v1/drop-copy"
"""As STREAM and EXECUTIONS, of the second channel."""
ADMIN: Final = "/v1/admin"
"""Under it: what the exchange's own people do. No trader's request."""
ALL_ORDERS: Final = "/v1/all-orders"
COUNTS: Final = "/v1/counts"
HEALTH: Final = "/healthz"

MALFORMED: Final = "malformed"
REQUEST_EXPIRED: Final = "request_expired"
DUPLICATE_ID: Final = "duplicate_client_order_id"
THROTTLED: Final = "throttled"
NOT_FOUND: Final = "not_found"
CANCEL_REJECTED: Final = "cancel_rejected"
REPLACE_REJECTED: Final = "replace_rejected"
NOT_SUPPORTED: Final = "not_supported"
REFUSED: Final = "refused"


class OrderBody(msgspec.Struct, frozen=True):
    """Body of a 200 to a submit, a cancel, a replace or a look-up."""

    order: VenueOrder


class OrdersBody(msgspec.Struct, frozen=True):
    """Body of a 200 to a scan: everything asked for, or the answer is another one."""

    orders: tuple[VenueOrder, ...]


class OpenOrdersBody(msgspec.Struct, frozen=True):
    """Body of :data:`OPEN_ORDERS`: every live order of the account, or the answer is another one."""

    account: str
    orders: tuple[VenueOrder, ...]


class PositionsBody(msgspec.Struct, frozen=True):
    """Body of :data:`POSITIONS`: everything that the account holds, each instrument once, or the answer is another one."""

    account: str
    positions: tuple[Held, ...]


class RefusalBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Body of every other answer.

    ``order``: with ``cancel_rejected`` and ``replace_rejected``, where there is one; ``retry_after_s``: with 429.
    """

    code: str
    reason: str
    order: VenueOrder | None = None
    retry_after_s: float | None = None


class DialectBody(msgspec.Struct, frozen=True):
    """Body of :data:`DIALECT`: what the exchange declares, and the dialect behind it."""

    capabilities: Capabilities
    dialect: msgspec.Raw
    instance: str = ""
    """Tells this exchange from one that was started anew and remembers nothing."""


class CallbackBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a callback, which the exchange sends: reports of an account, as they stand on its stream."""

    event_id: str
    instance: str
    account: str
    reports: tuple[ExecutionReport, ...]
