"""Kraken's imitation over ccxt passes the suite of venue adapters."""

from conformance_kit import CcxtConformance

from onefill.sim.imitations.kraken import KrakenImitation


class _AnyNonce(KrakenImitation):
    """Does not look at nonces.

    They are milliseconds. Without a network in between a connection makes more than one request in each, so that its nonces
    run ahead of the clock, and the suite opens the next connection under the same key at once. What becomes of refused ones
    is shown by the drill; that they are refused, by the tests of the imitation.
    """

    nonce_window = None


class TestKraken(CcxtConformance):
    """Kraken spot."""

    imitation = _AnyNonce
