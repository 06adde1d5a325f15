"""How a simulated exchange treats repeats: the habits in which real venues differ, as settings."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from onefill.core import values
from onefill.core.capabilities import (
    Capabilities,
    DuplicateReply,
    ExecutionIdScope,
    Lookup,
    ReplaceStyle,
    UniqueScope,
)
from onefill.core.errors import InvalidField
from onefill.core.identity import IdFormat
from onefill.core.messages import VenueStatus

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


class ExecutionIds(StrEnum):
    """Whether reports have execution ids."""

    GIVEN = "given"
    NONE = "none"


class Dialect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The habits of one simulated exchange. The defaults are a strict, synchronous venue.

    * ``unique_scope``, ``duplicate_reply``: among which orders of an account a client order id may not come twice, and
      what the repeat gets. A day is a UTC day of the exchange's clock.
    * ``lookup``: whether orders can be looked up by client order id (of several under one id, the latest is shown), only
      listed, or neither.
    * ``replace``: whether a replaced order keeps its client order id, goes on under a new one, or cannot be replaced.
    * ``replaced_shows_as``: the last state of an order that goes on under another id, REPLACED or CANCELED. Where it is
      CANCELED, the stream tells that order's cancellation too.
    * ``cancel_by_client_order_id``: whether a cancel may do without the exchange's own order number.
    * ``request_expiry``: whether ``SubmitRequest.expires_at_us`` is honoured; ``request_expiry_s`` is what to suggest.
    * ``conclusive_after_s``: what to declare; the exchange itself decides at once.
    * ``lookup_forgets_after_s``: so long after its end an order is neither found nor listed any more; ``None``: it always is.
      Its id stays as used as it was.
    * ``refuses_barely``: the refusal of a cancel or replace does not show the order, only says no.
    * ``acknowledges_asynchronously``: submits are answered PENDING_NEW and decided ``acknowledge_delay_us`` later.
    * ``execution_id_scope``: within what execution ids are unique; they restart at 1 in each such scope.
    * ``matching``: if false every order rests, so that the order of arrival cannot change the outcome.
    * ``day_orders_expire``: whether DAY orders end at midnight UTC.
    * ``requests_per_s``, ``burst``: a limit on submits, cancels and replaces per account; ``burst`` defaults to one
      second's worth.
    * ``id_format``: the client order ids taken; anything else is rejected.
    * ``fee_rate``: the part of a trade's value that is paid for it, below zero a rebate, in ``fee_currency``. None: no fee is
      told.
    * ``execution_ids``: whether reports have execution ids.
    * ``cumulative_fills_only``: no single trade is told. Every report has the order's total and average price; what an order
      traded against several others at once is told by one report.
    * ``execution_revisions``: execution ids end in ``.01``; a correction is told as a trade of the same id but ``.02``, a bust
      under the next revision, and as one of the first.
    * ``drop_copy``: an account's executions are told by a second stream too.
    * ``lists_open_orders``, ``tells_positions``: what a connection may ask for.
    """

    unique_scope: UniqueScope = UniqueScope.EVER
    duplicate_reply: DuplicateReply = DuplicateReply.ERROR
    lookup: Lookup = Lookup.DIRECT
    replace: ReplaceStyle = ReplaceStyle.KEEP
    replaced_shows_as: VenueStatus = VenueStatus.REPLACED
    cancel_by_client_order_id: bool = True
    request_expiry: bool = True
    request_expiry_s: float = 2.0
    conclusive_after_s: float | None = 5.0
    lookup_forgets_after_s: float | None = None
    refuses_barely: bool = False
    acknowledges_asynchronously: bool = False
    acknowledge_delay_us: int = 5_000
    execution_id_scope: ExecutionIdScope = ExecutionIdScope.ACCOUNT
    matching: bool = True
    day_orders_expire: bool = True
    requests_per_s: int | None = None
    burst: int | None = None
    id_format: IdFormat = IdFormat()
    fee_rate: Decimal | None = None
    fee_currency: str = "USD"
    execution_ids: ExecutionIds = ExecutionIds.GIVEN
    cumulative_fills_only: bool = False
    execution_revisions: bool = False
    drop_copy: bool = False
    lists_open_orders: bool = False
    tells_positions: bool = False

    def __post_init__(self) -> None:
        """Take the enumerations' texts too, and refuse settings that mean nothing."""
        put = msgspec.structs.force_setattr
        for field, kind in _ENUMS.items():
            put(self, field, values.choice(kind, getattr(self, field), field))
        if self.replaced_shows_as not in (VenueStatus.REPLACED, VenueStatus.CANCELED):
            raise InvalidField("replaced_shows_as", f"{self.replaced_shows_as!s} is none of: replaced, canceled")
        if self.request_expiry_s <= 0:
            raise InvalidField("request_expiry_s", "must be above zero seconds")
        if self.conclusive_after_s is not None and self.conclusive_after_s <= 0:
            raise InvalidField("conclusive_after_s", "must be above zero seconds, or absent")
        if self.lookup_forgets_after_s is not None and self.lookup_forgets_after_s <= 0:
            raise InvalidField("lookup_forgets_after_s", "must be above zero seconds, or absent")
        if self.acknowledge_delay_us < 0:
            raise InvalidField("acknowledge_delay_us", "must not be below zero microseconds")
        if self.requests_per_s is not None and self.requests_per_s < 1:
            raise InvalidField("requests_per_s", "must be at least 1, or absent")
        if self.burst is not None and (self.burst < 1 or self.requests_per_s is None):
            raise InvalidField("burst", "must be at least 1, and needs requests_per_s")
        if self.fee_rate is not None and not (self.fee_rate.is_finite() and abs(self.fee_rate) < 1):
            raise InvalidField("fee_rate", f"{self.fee_rate} is not a part of the value, between -1 and 1")
        if not self.fee_currency:
            raise InvalidField("fee_currency", "is empty")
        if self.execution_revisions and (self.cumulative_fills_only or self.execution_ids is ExecutionIds.NONE):
            raise InvalidField("execution_revisions", "needs single executions with ids")

    @property
    def refuses_repeats(self) -> bool:
        """Whether any client order id is ever refused for having been seen."""
        return self.unique_scope is not UniqueScope.NONE and self.duplicate_reply is not DuplicateReply.ACCEPTS


_ENUMS: dict[str, type[StrEnum]] = {
    "unique_scope": UniqueScope,
    "duplicate_reply": DuplicateReply,
    "lookup": Lookup,
    "replace": ReplaceStyle,
    "replaced_shows_as": VenueStatus,
    "execution_id_scope": ExecutionIdScope,
    "execution_ids": ExecutionIds,
}


def capabilities_of(dialect: Dialect) -> Capabilities:
    """Return what an exchange of this dialect may truthfully declare (``conclusive_after_s`` is taken at its word)."""
    refuses = dialect.refuses_repeats
    return Capabilities(
        unique_scope=dialect.unique_scope if refuses else UniqueScope.NONE,
        duplicate_reply=dialect.duplicate_reply if refuses else DuplicateReply.ACCEPTS,
        lookup=dialect.lookup,
        request_expiry_s=dialect.request_expiry_s if dialect.request_expiry else None,
        conclusive_after_s=dialect.conclusive_after_s,
        lookup_forgets_after_s=dialect.lookup_forgets_after_s,
        acknowledges_asynchronously=dialect.acknowledges_asynchronously,
        cancel_by_client_order_id=dialect.cancel_by_client_order_id,
        replace=dialect.replace,
        cumulative_fills_only=dialect.cumulative_fills_only,
        execution_id_scope=dialect.execution_id_scope,
        execution_revisions=dialect.execution_revisions,
        drop_copy=dialect.drop_copy,
        lists_open_orders=dialect.lists_open_orders,
        tells_positions=dialect.tells_positions,
        id_format=dialect.id_format,
    )


class Throttle:
    """A token bucket in whole numbers: ``burst`` requests at once, then ``requests_per_s``."""

    def __init__(self, requests_per_s: int, burst: int) -> None:
        self._rate = requests_per_s
        self._room = burst * SECOND_US
        self._debt = 0
        self._at_us = 0

    def take(self, now_us: int) -> int:
        """Take one request's worth and return 0, or take nothing and return the µs until there is room."""
        # The debt is kept in requests times 1,000,000, so that draining by µs times rate is exact.
        debt = max(0, self._debt - (now_us - self._at_us) * self._rate)
        self._at_us = now_us
        self._debt = debt
        missing = debt + SECOND_US - self._room
        if missing > 0:
            return -(-missing // self._rate)
        self._debt = debt + SECOND_US
        return 0
