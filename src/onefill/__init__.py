"""Onefill: an order-execution gateway in which retries are safe by construction.

    async with onefill.open("orders.db", venues={"sim": venue}) as gateway:
        order = await gateway.submit(intent, key="rebalance-2026-11-21-BTC")

Send it eleven times; it trades once. :mod:`onefill.sync` gives the same to plain code.
"""

from typing import TYPE_CHECKING, Any

from onefill.core import errors
from onefill.core.answers import Answer, CancelAnswer, CancelResult, ReplaceAnswer, ReplaceResult
from onefill.core.capabilities import (
    Capabilities,
    DuplicateReply,
    ExecutionIdScope,
    Lookup,
    ReplaceStyle,
    UniqueScope,
)
from onefill.core.control import State, Thresholds
from onefill.core.errors import (
    CallbackContradicts,
    CallbackNotHere,
    CallbackRefused,
    CallbackUnreadable,
    CallerError,
    CannotReplace,
    ContradictsEvidence,
    DerivedKeyWarning,
    InvalidField,
    KeyMissing,
    KeyReused,
    LeaseHeld,
    LeaseLost,
    LedgerError,
    NotGuarded,
    NotVerified,
    OnefillError,
    OrderNotSent,
    OrderRefused,
    OrderUncertain,
    RouteClosed,
    StepFailed,
    StepInDoubt,
    StepResultRefused,
    StepReused,
    UnknownKey,
    UnknownVenue,
    VenueError,
)
from onefill.core.events import Verdict
from onefill.core.identity import IdFormat, IdScheme, derived_key
from onefill.core.inbox import CallbackNews, HmacRules, Receipt, Verifier, standard_key
from onefill.core.incident import Incident, Step
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.once import Attempt
from onefill.core.order import Order
from onefill.core.position import Position
from onefill.core.relay import Message
from onefill.core.risk_limits import Limits, Risk
from onefill.core.values import Instrument, OrderType, Side, TimeInForce
from onefill.engine.controller import ControlPlan
from onefill.engine.event_stream import EventStream
from onefill.engine.gate import RouteShut
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Begin, Subscriber
from onefill.engine.settings import GatewaySettings, NodeSettings, ReconcileSettings
from onefill.ports.venue import Venue
from onefill.service.callback_settings import CallbackPlan, CallbackSettings
from onefill.service.wiring import open_gateway as open  # noqa: A004 - reads as onefill.open(...)

if TYPE_CHECKING:
    from onefill.guarding.entrance import guard
    from onefill.venues.exchange_client import ExchangeVenue

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Attempt",
    "Begin",
    "CallbackContradicts",
    "CallbackNews",
    "CallbackNotHere",
    "CallbackPlan",
    "CallbackRefused",
    "CallbackSettings",
    "CallbackUnreadable",
    "CallerError",
    "CancelAnswer",
    "CancelResult",
    "CannotReplace",
    "Capabilities",
    "ContradictsEvidence",
    "ControlPlan",
    "DerivedKeyWarning",
    "DuplicateReply",
    "EventStream",
    "ExchangeVenue",
    "ExecutionIdScope",
    "Gateway",
    "GatewaySettings",
    "HmacRules",
    "IdFormat",
    "IdScheme",
    "Incident",
    "Instrument",
    "Intent",
    "InvalidField",
    "KeyMissing",
    "KeyReused",
    "LeaseHeld",
    "LeaseLost",
    "LedgerError",
    "Limits",
    "Lookup",
    "Message",
    "NodeSettings",
    "NotGuarded",
    "NotVerified",
    "OnefillError",
    "Order",
    "OrderNotSent",
    "OrderRefused",
    "OrderType",
    "OrderUncertain",
    "Position",
    "Receipt",
    "ReconcileSettings",
    "ReplaceAnswer",
    "ReplaceResult",
    "ReplaceStyle",
    "Risk",
    "RouteClosed",
    "RouteElsewhere",
    "RouteShut",
    "Side",
    "State",
    "Status",
    "Step",
    "StepFailed",
    "StepInDoubt",
    "StepResultRefused",
    "StepReused",
    "Subscriber",
    "Thresholds",
    "TimeInForce",
    "UniqueScope",
    "UnknownKey",
    "UnknownVenue",
    "Venue",
    "VenueError",
    "Verdict",
    "Verifier",
    "derived_key",
    "errors",
    "guard",
    "open",
    "standard_key",
]


def __getattr__(name: str) -> Any:
    """Import the HTTP client, and ccxt, only for those who use them: each takes as long as all the rest."""
    if name == "guard":
        from onefill.guarding.entrance import guard  # noqa: PLC0415 - see above

        return guard
    if name == "ExchangeVenue":
        from onefill.venues.exchange_client import ExchangeVenue  # noqa: PLC0415 - see above

        return ExchangeVenue
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
