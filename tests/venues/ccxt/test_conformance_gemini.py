"""Gemini's imitation over ccxt passes the suite of venue adapters."""

from conformance_kit import CcxtConformance

from onefill.sim.imitations.gemini import GeminiImitation


class _AnyNonce(GeminiImitation):
    """Does not look at nonces: without a network in between a connection makes more requests than there are milliseconds, and
    the suite opens the next one under the same key at once.
    """

    looks_at_nonces = False


class TestGemini(CcxtConformance):
    """Gemini spot."""

    imitation = _AnyNonce
