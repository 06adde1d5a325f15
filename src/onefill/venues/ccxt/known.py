"""The venues whose manners are known, by what ccxt calls them."""

from collections.abc import Mapping
from typing import Final

from onefill.venues.ccxt.binance import BinanceSpot, BinanceUsdm
from onefill.venues.ccxt.bitget import BitgetManners
from onefill.venues.ccxt.bitstamp import Bitstamp
from onefill.venues.ccxt.bybit import BybitManners
from onefill.venues.ccxt.coinbase import Coinbase
from onefill.venues.ccxt.deribit import DeribitManners
from onefill.venues.ccxt.gemini import Gemini
from onefill.venues.ccxt.hyperliquid import HyperliquidManners
from onefill.venues.ccxt.kraken import Kraken
from onefill.venues.ccxt.manners import Manners
from onefill.venues.ccxt.okx import OkxManners

MANNERS: Final[Mapping[str, type[Manners]]] = {
    "binance": BinanceSpot,
    "binanceusdm": BinanceUsdm,
    "bitget": BitgetManners,
    "bitstamp": Bitstamp,
    "bybit": BybitManners,
    "coinbase": Coinbase,
    "deribit": DeribitManners,
    "gemini": Gemini,
    "hyperliquid": HyperliquidManners,
    "kraken": Kraken,
    "okx": OkxManners,
}
