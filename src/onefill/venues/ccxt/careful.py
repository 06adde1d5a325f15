"""What is believed of an exchange of which nothing is known: next to nothing."""

from collections.abc import Mapping
from typing import Any, Final

from onefill.core.capabilities import Capabilities, Lookup
from onefill.core.identity import Alphabet, IdFormat
from onefill.venues.ccxt.manners import ended_lists

FITS_EVERYWHERE: Final = IdFormat(alphabet=Alphabet.HEX, max_length=32)
"""No venue is known that does not take such an id, but those that want a prefix or hyphens."""


def believed(has: Mapping[str, Any]) -> Capabilities:
    """Return the least that a venue can promise, and by which lists ccxt finds an order there. ``has`` is ccxt's own."""
    lists = bool(has.get("fetchOpenOrders"))
    found = Lookup.SCAN if lists and ended_lists(has) else Lookup.NONE
    return Capabilities(lookup=found, lists_open_orders=lists, id_format=FITS_EVERYWHERE)
