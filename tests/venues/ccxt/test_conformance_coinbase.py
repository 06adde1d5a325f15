"""Coinbase's imitation over ccxt passes the suite of venue adapters."""

from conformance_kit import CcxtConformance

from onefill.sim.imitations.coinbase import CoinbaseImitation


class TestCoinbase(CcxtConformance):
    """Coinbase Advanced Trade."""

    imitation = CoinbaseImitation
