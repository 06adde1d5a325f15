"""The venue suite over Deribit: by lists alone, and with the streams."""

from decimal import Decimal
from typing import Any, ClassVar

from conformance_kit import CcxtConformance

from onefill.core.values import Instrument
from onefill.sim.imitations import deribit_words as words
from onefill.sim.imitations.deribit import DeribitImitation


class Perpetual(DeribitImitation):
    """The linear perpetual alone, so that it is what is traded."""

    instruments: ClassVar[tuple[Instrument, ...]] = (words.PERPETUAL,)


class TestDeribit(CcxtConformance):
    """A contract, whose positions are told: nothing is refused for its label, and every request is a GET."""

    imitation = Perpetual
    price = Decimal(60000)
    quantity = Decimal("1.2345")
    settings: ClassVar[dict[str, Any]] = {"streams": False}


class TestDeribitStreams(CcxtConformance):
    """The same, told by the WebSocket too."""

    imitation = Perpetual
    price = Decimal(60000)
    quantity = Decimal("1.2345")


class TestDeribitPair(CcxtConformance):
    """A spot pair: what is held of it is told as a balance, so that a route that trades pairs declares no positions."""

    imitation = DeribitImitation
    settings: ClassVar[dict[str, Any]] = {"streams": False, "overrides": {"tells_positions": False}}
