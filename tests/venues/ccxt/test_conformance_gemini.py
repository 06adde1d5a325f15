"""Gemini's imitation over ccxt passes the suite of venue adapters."""

from conformance_kit import CcxtConformance

from onefill.sim.imitations.gemini import GeminiImitation


class TestGemini(CcxtConformance):
    """Gemini spot."""

    imitation = GeminiImitation
