"""How a gateway behaves. Every duration is in seconds."""

import msgspec

from onefill.core.errors import InvalidField
from onefill.core.identity import IdScheme


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a gateway; the defaults suit a person or a strategy that waits for its answers.

    * ``client_order_ids``: how ids are made, see :mod:`onefill.core.identity`.
    * ``time_to_live_s``: how long after its recording an intent may still be sent. A stale order is never sent late.
    * ``answer_wait_s``: how long a submit or cancel waits before it says OrderUncertain; the work goes on behind it.
    * ``reply_timeout_s``: the longest any single call to a venue may take, above the adapter's own time-out.
    * ``recent_orders``: closed orders kept in memory for late news; more are read from the ledger when needed.
    * ``lease_s``: for how long a route is held at a time, renewed while the gateway lives; ``None``: until somebody else
      takes it, for ledgers that only one process can open.
    """

    client_order_ids: IdScheme = IdScheme.SEQUENCE
    time_to_live_s: float = 30.0
    answer_wait_s: float = 30.0
    reply_timeout_s: float = 15.0
    recent_orders: int = 1000
    lease_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for field in ("time_to_live_s", "answer_wait_s", "reply_timeout_s"):
            if not 0 < getattr(self, field) < 1e9:
                raise InvalidField(field, f"{getattr(self, field)} is not a duration above zero, in seconds")
        if self.lease_s is not None and not 0 < self.lease_s < 1e9:
            raise InvalidField("lease_s", f"{self.lease_s} is not a duration above zero, in seconds")
        if self.recent_orders < 0:
            raise InvalidField("recent_orders", "is below zero")
