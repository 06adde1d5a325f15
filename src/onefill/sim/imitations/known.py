"""The imitations that there are, by the profile they are coded to."""

from collections.abc import Mapping
from typing import Final

from onefill.sim.imitations.base import Imitation
from onefill.sim.imitations.binance import BinanceSpot
from onefill.sim.imitations.binance_usdm import BinanceUsdm
from onefill.sim.imitations.bitget import BitgetImitation
from onefill.sim.imitations.bitstamp import BitstampImitation
from onefill.sim.imitations.bybit import BybitImitation
from onefill.sim.imitations.coinbase import CoinbaseImitation
from onefill.sim.imitations.deribit import DeribitImitation
from onefill.sim.imitations.gemini import GeminiImitation
from onefill.sim.imitations.hyperliquid import HyperliquidImitation
from onefill.sim.imitations.kraken import KrakenImitation
from onefill.sim.imitations.okx import OkxImitation

IMITATIONS: Final[Mapping[str, type[Imitation]]] = {
    "binance_spot": BinanceSpot,
    "binance_usdm": BinanceUsdm,
    "bitget": BitgetImitation,
    "bitstamp": BitstampImitation,
    "bybit": BybitImitation,
    "coinbase": CoinbaseImitation,
    "deribit": DeribitImitation,
    "gemini": GeminiImitation,
    "hyperliquid": HyperliquidImitation,
    "kraken": KrakenImitation,
    "okx": OkxImitation,
}
