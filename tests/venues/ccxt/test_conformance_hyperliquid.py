"""The venue suite over Hyperliquid, by lists alone."""

from decimal import Decimal
from typing import Any, ClassVar

from conformance_kit import CcxtConformance

from onefill.sim.imitations.hyperliquid import HyperliquidImitation


class TestHyperliquid(CcxtConformance):
    """A spot pair: nothing refuses a repeated id, errors come as successes, and prices have five digits."""

    imitation = HyperliquidImitation
    price: ClassVar[Decimal] = Decimal("40.123")
    quantity: ClassVar[Decimal] = Decimal("12.34")
    settings: ClassVar[dict[str, Any]] = {"streams": False}
