"""Kraken's imitation over ccxt passes the suite of venue adapters."""

from conformance_kit import CcxtConformance

from onefill.sim.imitations.kraken import KrakenImitation


class TestKraken(CcxtConformance):
    """Kraken spot."""

    imitation = KrakenImitation
