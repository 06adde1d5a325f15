"""The venue suite over Bitget, by lists alone."""

from typing import Any, ClassVar

from conformance_kit import CcxtConformance

from onefill.sim.imitations.bitget import BitgetImitation


class TestBitget(CcxtConformance):
    """A spot pair: replies have ids only, and fills name the order by its number alone."""

    imitation = BitgetImitation
    settings: ClassVar[dict[str, Any]] = {"streams": False}
