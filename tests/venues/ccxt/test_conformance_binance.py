"""The venue suite over Binance spot and USD-M futures, with their streams; what is told over time also by lists alone."""

from decimal import Decimal
from typing import Any, ClassVar

from conformance_kit import CcxtConformance, CcxtKit

from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_usdm import BinanceUsdm
from onefill.testing.venue_histories import HistoryFacts
from onefill.testing.venue_kit import VenueKit
from onefill.testing.venue_stream import StreamFacts


class SpotKit(CcxtKit):
    """cancelReplace counts its quantity from zero, and is asked for only where nothing was executed."""

    replaces_traded = False


class TestBinanceSpot(CcxtConformance):
    """Spot: a replace ends the order and begins another."""

    imitation = BinanceSpot
    kit_type = SpotKit


class TestBinanceUsdm(CcxtConformance):
    """Futures: a replace keeps the order."""

    imitation = BinanceUsdm
    price = Decimal("60000.1")
    quantity = Decimal("1.2")


class TestBinanceSpotByLists(StreamFacts, HistoryFacts):
    """Spot without its stream."""

    settings: ClassVar[dict[str, Any]] = {"streams": False}

    async def kit(self) -> VenueKit:
        return await SpotKit(BinanceSpot(), CcxtConformance.price, CcxtConformance.quantity, self.settings).begin()
