"""The venue suite over Bybit: by lists alone, and with the streams."""

from typing import Any, ClassVar

from conformance_kit import CcxtConformance

from onefill.sim.imitations.bybit import BybitImitation


class TestBybit(CcxtConformance):
    """A spot pair: every reply has ids only, and comes before the order is decided, or to be found."""

    imitation = BybitImitation
    settings: ClassVar[dict[str, Any]] = {"streams": False}


class TestBybitStreams(CcxtConformance):
    """The same with the private streams of orders and executions."""

    imitation = BybitImitation
