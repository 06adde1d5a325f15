"""What a simulated world left behind, for those who judge it."""

from decimal import Decimal

import msgspec

from onefill.core.audit import JournalEntry
from onefill.core.incident import Incident
from onefill.core.messages import ExecutionReport
from onefill.core.order import Order
from onefill.core.position import Execution, Position
from onefill.core.replay import RouteReplay
from onefill.ports.ledger import RouteInfo, Suspicion
from onefill.sim.exchange_desk import ExchangeTrade
from onefill.sim.history import History
from onefill.sim.order_book import ExchangeOrder
from onefill.sim.world_plan import Plan


class Birth(msgspec.Struct, frozen=True, gc=False):
    """An order that the exchange made: its id, when (true time), and of which message (0: of no gateway's)."""

    client_order_id: str
    true_us: int
    message: int


class Run(msgspec.Struct, kw_only=True):
    """What a world left behind."""

    plan: Plan
    history: History
    born: dict[str, Birth]
    at_venue: list[ExchangeOrder] = []
    reports: list[ExecutionReport] = []
    trades: list[ExchangeTrade] = []
    """The account's trades as they are in truth."""
    held: Decimal = Decimal(0)
    """What the account holds at the exchange in the end."""
    orders: list[Order] = []
    executions: list[Execution] = []
    journal: list[JournalEntry] = []
    route: RouteInfo | None = None
    positions: list[Position] = []
    incidents: list[Incident] = []
    replayed: RouteReplay | None = None
    """The journal, replayed."""
    operations: dict[tuple[str, str], bytes | None] = {}
    """The answers that the ledger holds, by key and operation key."""
    finished: bool = True
    """It came to its end at all: what it left behind can be judged."""
    told: bool = False
    """The subscriber was told of everything within the bound."""
    suspicions: list[Suspicion] = []
    rested: bool = False
    """Everything came to rest within the bound."""
    unrested: list[str] = []
    complaints: list[str] = []
    """What nobody saw to: unhandled exceptions, waits for nothing."""
    leaked: list[str] = []
    """Tasks that did not end."""
    lasted_s: float = 0.0
    """Virtual seconds."""
