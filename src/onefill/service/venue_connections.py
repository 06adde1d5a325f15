"""From a venue's settings to its adapter."""

from onefill.core.errors import InvalidField
from onefill.ports.venue import Venue
from onefill.service.venue_settings import AnyVenue, CcxtSettings


def connection(venue: AnyVenue, account: str, place: str) -> Venue:
    """Return the adapter for one account at a venue, not yet started. ``place`` is the settings table that errors name.

    Raises :class:`~onefill.core.errors.SettingsError` for credentials that the environment does not have, and
    :class:`~onefill.core.errors.InvalidField` for an account that they do not belong to.
    """
    if isinstance(venue, CcxtSettings):
        if account != venue.account:
            raise InvalidField(
                "account",
                f"{account!r} is not the account of [{place}], which is {venue.account!r}: its credentials are of that one "
                "alone. Nothing was sent; another account is another venue of the settings",
            )
        from onefill.venues.ccxt.venue import CcxtVenue  # noqa: PLC0415 - ccxt takes its time, and is an extra

        return CcxtVenue(
            venue.exchange,
            account,
            config=venue.client_config(f"{place}.credentials"),
            profile=venue.profile,
            url=venue.url,
            testnet=venue.testnet,
            timeout_s=venue.timeout_s,
            instruments=venue.instruments,
            overrides=venue.capabilities,
        )
    from onefill.venues.exchange_client import ExchangeVenue  # noqa: PLC0415 - its HTTP library takes its time to load

    return ExchangeVenue(venue.url, account, venue.timeout_s, overrides=venue.overrides())
