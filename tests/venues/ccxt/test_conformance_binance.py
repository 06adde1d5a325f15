"""The venue suite over Binance spot and USD-M futures, by lists alone."""

from decimal import Decimal
from typing import Any, ClassVar

from conformance_kit import CcxtConformance, CcxtKit

from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_usdm import BinanceUsdm


class SpotKit(CcxtKit):
    """cancelReplace counts its quantity from zero, and is asked for only where nothing was executed."""

    replaces_traded = False


class TestBinanceSpot(CcxtConformance):
    """Spot: a replace ends the order and begins another."""

    imitation = BinanceSpot
    kit_type = SpotKit
    settings: ClassVar[dict[str, Any]] = {"streams": False}


class TestBinanceUsdm(CcxtConformance):
    """Futures: a replace keeps the order."""

    imitation = BinanceUsdm
    price = Decimal("60000.1")
    quantity = Decimal("1.2")
    settings: ClassVar[dict[str, Any]] = {"streams": False}
