"""Real venues through the ccxt library. :class:`~onefill.venues.ccxt.venue.CcxtVenue` is the adapter; ccxt is an extra.

Each venue's habits are one class of :mod:`onefill.venues.ccxt.manners`; what an error means is decided by
:mod:`onefill.core.client_errors`.
"""
