"""What a PostgreSQL ledger's URL says: where it is, and the few options that are Onefill's own.

``postgresql://user@host:port/database?option=value``. What is not listed in :class:`PostgresSettings` goes to the driver as it
is (``sslmode``, ``passfile``, several hosts, ...). The password may stand in the URL, but better in ``PGPASSWORD`` or a
``passfile``; no text made here contains it.
"""

import re
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from onefill.core.errors import SettingsError

SCHEMES = ("postgresql://", "postgres://")
_SECRET = frozenset({"password", "sslpassword"})
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a PostgreSQL ledger, each given in the URL's query by its name."""

    schema: str = "onefill"
    """The PostgreSQL schema that everything of the ledger is in."""
    require_synchronous_standby: bool = False
    """Refuse to open, and to commit, unless the server waits for a standby with every commit."""
    on_standby_lost: Literal["fail", "degrade"] = "fail"
    """What becomes of a commit that the standby does not confirm in ``commit_timeout_s``. ``fail``: it is not acknowledged and
    the ledger takes nothing more. ``degrade``: it is acknowledged on the primary's word alone, and the ledger says so until the
    standby is back.
    """
    connect_timeout_s: float = 3.0
    """How long making a connection to one host may take, in seconds."""
    commit_timeout_s: float = 5.0
    """How long a commit, or another statement, may take, in seconds. What takes longer has failed."""
    readers: int = 2
    """Connections for reading, at most."""


class PostgresPlace(msgspec.Struct, frozen=True):
    """Where a PostgreSQL ledger is. ``url`` is for the driver and may hold a password; ``name`` never does."""

    url: str
    name: str
    settings: PostgresSettings


def is_url(ledger: str) -> bool:
    """Tell whether a ledger's name is that of a PostgreSQL database."""
    return ledger.startswith(SCHEMES)


def place_of(url: str) -> PostgresPlace:
    """Read a ledger's URL. Raises SettingsError, without the URL's password in it."""
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise SettingsError("ledger: is not a URL of the form postgresql://user@host:port/database") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise SettingsError(f"ledger: {parts.scheme!r} is no known kind of ledger; use a file name or postgresql://...")
    own = {field.name for field in msgspec.structs.fields(PostgresSettings)}
    name = _without_password(url)
    try:
        settings = msgspec.convert(
            {key: _plain(value) for key, value in given if key in own}, PostgresSettings, strict=False
        )
    except msgspec.ValidationError as error:
        raise SettingsError(f"ledger {name}: {error}") from None
    if not _NAME.fullmatch(settings.schema):
        raise SettingsError(f"ledger {name}: schema: use small letters, digits and underscores only")
    if min(settings.connect_timeout_s, settings.commit_timeout_s) <= 0 or settings.readers < 1:
        raise SettingsError(f"ledger {name}: time-outs must be above zero, readers at least 1")
    rest = urlencode([(key, value) for key, value in given if key not in own])
    return PostgresPlace(urlunsplit(parts._replace(query=rest)), name, settings)


def hosts_of(place: PostgresPlace) -> list[str]:
    """Return the place's URL with one of its hosts each, in their order."""
    parts = urlsplit(place.url)
    login, at, where = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=login + at + host)) for host in where.split(",")]


def identity(place: PostgresPlace) -> str:
    """Return which ledger it is: hosts, database and schema, whoever asks and however."""
    parts = urlsplit(place.url)
    query = [pair for pair in parse_qsl(parts.query) if pair[0] in ("host", "port", "dbname")]
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}?{urlencode(query)}#{place.settings.schema}"


def _plain(value: str) -> str:
    return {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    login, at, where = parts.netloc.rpartition("@")
    shown = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in _SECRET]
    return urlunsplit(parts._replace(netloc=login.partition(":")[0] + at + where, query=urlencode(shown, safe="/,:")))
