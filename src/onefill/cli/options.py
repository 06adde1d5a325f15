"""Options that several commands share, and how they become a gateway."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from onefill.cli.output import remark
from onefill.core import values
from onefill.core.errors import CallerError, InvalidField, OnefillError
from onefill.core.identity import IdScheme
from onefill.core.intent import Intent
from onefill.engine.gateway import Gateway
from onefill.ports.venue import Venue
from onefill.service import settings as settings_file
from onefill.service import subscriber_settings, venue_connections
from onefill.service.callback_settings import CallbackPlan
from onefill.service.settings import MetricsSettings, Settings
from onefill.service.venue_settings import AnyVenue
from onefill.service.wiring import open_gateway

T = TypeVar("T")
Ledger = Annotated[str, typer.Option("--ledger", help="The ledger: a file, or a PostgreSQL URL.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Archive = Annotated[
    Path | None,
    typer.Option("--archive", metavar="FOLDER", help="The ledger's archive: read archived entries from its files."),
]
VenueOption = Annotated[
    str, typer.Option("--venue", help="A venue of the settings file, or the URL of a simulated exchange.")
]
AskedVenue = Annotated[
    str | None, typer.Option("--venue", help="Ask this venue too: one of the settings file, or a URL.")
]
VenueUnlessRunning = Annotated[
    str | None,
    typer.Option("--venue", help="A venue of the settings file, or a URL; not needed beside a running gateway."),
]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="A TOML settings file.")]
TimeoutS = Annotated[
    float | None, typer.Option("--timeout-s", help="Seconds that one call to the venue may take.", min=0.01)
]
Account = Annotated[str | None, typer.Option("--account", help="The order's account, if the key alone is not enough.")]
Strategy = Annotated[str | None, typer.Option("--strategy", help="The order's strategy, likewise.")]
WaitS = Annotated[float | None, typer.Option("--wait-s", help="Seconds to wait for the answer.", min=0.001)]


def load_settings(path: Path | None) -> Settings:
    """Return the settings of a file, or the defaults."""
    return Settings() if path is None else settings_file.load(path)


def with_gateway_settings(settings: Settings, **changes: Any) -> Settings:
    """Return settings with those ``changes`` that are not ``None`` applied to the gateway's."""
    given = {name: value for name, value in changes.items() if value is not None}
    return msgspec.structs.replace(settings, gateway=msgspec.structs.replace(settings.gateway, **given))


def route_name(venue: str, account: str) -> str:
    """Return the route of an account at a venue. One connection, one stream, one lease for each.

    Raises :class:`~onefill.core.errors.InvalidField` where the two together are too long.
    """
    route = f"{venue}:{account}"
    if len(route) > values.MAX_NAME:
        raise InvalidField(
            "account", f"{account!r} is too long: with the venue, {route!r} has over {values.MAX_NAME} letters"
        )
    return route


def connection(name: str, venue: AnyVenue, account: str) -> Venue:
    """Return the adapter for one account at the venue called ``name``, not yet started."""
    return venue_connections.connection(venue, account, f"venues.{name}")


def needed(named: tuple[str, AnyVenue] | None) -> tuple[str, AnyVenue]:
    """Return the venue that was named. Raises InvalidField if none was, which only a running gateway can do without."""
    if named is None:
        raise InvalidField(
            "--venue", "is missing: no gateway runs that has this ledger, so it is to be opened with its venue"
        )
    return named


@contextlib.asynccontextmanager
async def opened(
    ledger: str,
    name: str,
    venue: AnyVenue,
    accounts: Iterable[str],
    settings: Settings,
    on_audit_trouble: Callable[[OnefillError], None] = lambda error: remark(f"no checkpoint: {error}"),
    metrics: MetricsSettings | None = None,
    *,
    callbacks: CallbackPlan | None = None,
    on_callbacks: Callable[[str], None] = lambda url: remark(f"callbacks at {url}/callbacks/ROUTE"),
    tells: bool = False,
) -> AsyncIterator[Gateway]:
    """Open a gateway with one route for each account at a venue. ``tells``: its subscribers too, which take their time."""
    venues = {route_name(name, account): connection(name, venue, account) for account in sorted(accounts)}
    async with open_gateway(
        ledger,
        venues=venues,
        settings=settings.gateway,
        risk=settings.risk,
        control=settings.control,
        audit=settings.audit,
        on_audit_trouble=on_audit_trouble,
        metrics=metrics,
        on_ledger=lambda text: remark(f"ledger: {text}"),
        on_metrics=lambda url: remark(f"metrics at {url}/metrics"),
        node=settings.node,
        subscribers=subscriber_settings.make(settings.subscribers) if tells else (),
        callbacks=callbacks,
        on_callbacks=on_callbacks,
        on_callback_refused=remark,
    ) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def opened_for(
    ledger: str, key: str, intent: Intent, name: str, venue: AnyVenue, settings: Settings
) -> AsyncIterator[Gateway]:
    """Open a gateway with the one route that an order was sent by.

    Raises :class:`~onefill.core.errors.CallerError` if the venue was not named as it was then.
    """
    route = route_name(name, intent.account)
    if intent.venue != route:
        raise CallerError(
            f"--venue: order {key!r} was sent by route {intent.venue!r}, this would be {route!r}. Nothing was "
            "changed; name the venue as it was named then (what stands before the account)"
        )
    async with opened(ledger, name, venue, {intent.account}, settings) as gateway:
        yield gateway


IdSchemeOption = Annotated[
    IdScheme | None,
    typer.Option("--client-order-ids", help="sequence: readable, durable counter; derived: a hash of the key."),
]

MetricsOption = Annotated[
    str | None, typer.Option("--metrics", metavar="HOST:PORT", help="Serve /metrics and /healthz there meanwhile.")
]


def with_metrics(settings: Settings, listen: str | None) -> Settings:
    """Return settings that serve the figures at ``listen``, if it is given. Raises InvalidField."""
    if listen is None:
        return settings
    try:
        return msgspec.structs.replace(settings, metrics=MetricsSettings(listen=listen))
    except InvalidField as error:
        raise InvalidField("--metrics", error.problem) from None
