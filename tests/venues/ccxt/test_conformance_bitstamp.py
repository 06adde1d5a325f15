"""Bitstamp's imitation over ccxt passes the suite of venue adapters."""

from typing import Any, ClassVar

from conformance_kit import CcxtConformance, CcxtKit

from onefill.sim.imitations.bitstamp import BitstampImitation


class BitstampKit(CcxtKit):
    """An order that is over is shown without its price. A replace, where it is trusted, is only asked for before any trade."""

    shows_ended = False
    replaces_traded = False


class TestBitstamp(CcxtConformance):
    """Bitstamp spot."""

    imitation = BitstampImitation
    kit_type = BitstampKit


class TestBitstampReplacing(CcxtConformance):
    """Bitstamp spot, where somebody trusts its replace."""

    imitation = BitstampImitation
    kit_type = BitstampKit
    settings: ClassVar[dict[str, Any]] = {"overrides": {"replace": "new_id"}}
