"""How a gateway behaves. Every duration is in seconds."""

import msgspec

from onefill.core.errors import InvalidField
from onefill.core.identity import IdScheme


class ReconcileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When ledger and venue are compared, and what counts as a difference that lasts.

    * ``every_s``: the pause between two looks; ``None``: only when somebody asks for one.
    * ``grace_s``: how long a difference may be in flight.
    * ``blind_after_s``: for how long the venue may fail to be comparable before there is an incident about it.
    * ``overlap``: so many reports of the execution stream are read again in each look.
    """

    every_s: float | None = 60.0
    grace_s: float = 10.0
    blind_after_s: float = 300.0
    overlap: int = 200

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for field in ("every_s", "grace_s", "blind_after_s"):
            seconds = getattr(self, field)
            if seconds is not None and not 0 < seconds < 1e9:
                raise InvalidField(field, f"{seconds:g} is not a duration above zero, in seconds")
        if not 0 <= self.overlap <= 100_000:
            raise InvalidField("overlap", f"{self.overlap} is not a number of reports from 0 to 100000")


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this process is among several that share a ledger, and which routes it is to hold.

    * ``name``: unique among the nodes; shown to people and to the other nodes.
    * ``prefer``: routes that are meant for this node. It asks for them at once when they are free; others wait a moment.
    * ``max_routes``: how many it holds at most; ``None``: as many as there are. Where every node has its most, a route that
      came free stays without a holder.
    """

    name: str
    prefer: tuple[str, ...] = ()
    max_routes: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.name.strip() or not self.name.isprintable() or "," in self.name or len(self.name) > 100:
            raise InvalidField("name", f"{self.name!r} is not a name of 1 to 100 characters without a comma")
        if self.max_routes is not None and self.max_routes < 1:
            raise InvalidField("max_routes", f"{self.max_routes} is not above zero")


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a gateway; the defaults suit a person or a strategy that waits for its answers.

    * ``client_order_ids``: how ids are made, see :mod:`onefill.core.identity`.
    * ``time_to_live_s``: how long after its recording an intent may still be sent. A stale order is never sent late.
    * ``answer_wait_s``: how long a submit or cancel waits before it says OrderUncertain; the work goes on behind it.
    * ``reply_timeout_s``: the longest any single call to a venue may take, above the adapter's own time-out.
    * ``recent_orders``: closed orders kept in memory for late news; more are read from the ledger when needed.
    * ``lease_s``: for how long a route is held at a time, renewed while the gateway lives; ``None``: until somebody else
      takes it, for ledgers that only one process can open.
    * ``reconcile``: when ledger and venue are compared.
    """

    client_order_ids: IdScheme = IdScheme.SEQUENCE
    time_to_live_s: float = 30.0
    answer_wait_s: float = 30.0
    reply_timeout_s: float = 15.0
    recent_orders: int = 1000
    lease_s: float | None = None
    reconcile: ReconcileSettings = ReconcileSettings()

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for field in ("time_to_live_s", "answer_wait_s", "reply_timeout_s"):
            if not 0 < getattr(self, field) < 1e9:
                raise InvalidField(field, f"{getattr(self, field)} is not a duration above zero, in seconds")
        if self.lease_s is not None and not 0 < self.lease_s < 1e9:
            raise InvalidField("lease_s", f"{self.lease_s} is not a duration above zero, in seconds")
        if self.recent_orders < 0:
            raise InvalidField("recent_orders", "is below zero")
