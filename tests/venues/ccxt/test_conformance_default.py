"""The careful default, without manners or profile, passes the suite of venue adapters over the imitations of four venues.

What is asked there is little, as little is declared; but whatever is said must be true.
"""

from typing import Any, ClassVar

import pytest
from conformance_kit import CcxtConformance

from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.gemini import GeminiImitation
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.sim.imitations.okx import OkxImitation
from onefill.venues.ccxt import known


class _Unknown(CcxtConformance):
    @pytest.fixture(autouse=True)
    def _no_venue_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(known, "MANNERS", {})


class TestBinanceUnknown(_Unknown):
    """Orders are found in lists: ccxt has one of all that ended. It wants to be told that open orders are asked for in one."""

    imitation = BinanceSpot
    settings: ClassVar[dict[str, Any]] = {
        "config": {"options": {**BinanceSpot.config()["options"], "fetchOpenOrders": {"warnWithoutSymbol": False}}}
    }


class _GeminiOfAnyNonce(GeminiImitation):
    """As in Gemini's own test."""

    looks_at_nonces = False


class TestGeminiUnknown(_Unknown):
    """Ended orders cannot be listed: an order whose reply is lost is not found."""

    imitation = _GeminiOfAnyNonce


class _KrakenOfAnyNonce(KrakenImitation):
    """As in Kraken's own test."""

    nonce_window = None


class TestKrakenUnknown(_Unknown):
    """Ids that fit any venue; cancelled orders cannot be listed."""

    imitation = _KrakenOfAnyNonce


class TestOkxUnknown(_Unknown):
    """Orders are found in lists."""

    imitation = OkxImitation
