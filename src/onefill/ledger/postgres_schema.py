"""The schema of a PostgreSQL ledger: which version it is, making it, bringing it up to date, and what durability rests on."""

import importlib.resources
import re
from typing import Any

from onefill.core.errors import LedgerError, LedgerTooNew, NotALedger
from onefill.ledger.postgres_connect import connect, failed, shut, told, troubles
from onefill.ledger.postgres_days import make_days
from onefill.ledger.postgres_roles import grant
from onefill.ledger.postgres_settings import PostgresPlace

VERSION = 1
"""The schema this code writes. One file ``schema/postgres/NNNN.sql`` leads to each version."""
_DURABLE = ("on", "remote_apply")
"""Values of ``synchronous_commit`` with which a commit is on the primary's disk and, where a standby is waited for, on its
disk. ``remote_write`` is not among them: the standby's operating system has the commit, its disk may not.
"""
_HOW_MANY = re.compile(r"\s*(?:FIRST|ANY)?\s*(\d+)\s*\(", re.IGNORECASE)
_SETTINGS = ("synchronous_commit", "fsync", "full_page_writes", "synchronous_standby_names")


async def version_of(connection: Any, schema: str) -> int:
    """Return the version of the ledger in a schema, 0 if there is none."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.migration") is None:
        return 0
    return int(await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {schema}.migration"))


async def migrate(
    place: PostgresPlace, *, seed: bytes, at_us: int, check: bool = False, role: str | None = None
) -> tuple[int, int]:
    """Make the ledger, or bring it up to date, in one transaction, and return its version before and now; 0: there was none.

    ``check``: only look. ``seed``: 16 random bytes, used when it is made. ``role``: who may write it from now on, as a gateway
    does. Raises LedgerTooNew, LedgerError or LedgerFailed; then nothing was changed.
    """
    connection = await connect(place, "migrate", writer=False, primary=not check, hurried=False)
    try:
        if check:
            before = await version_of(connection, place.settings.schema)
            return before, before
        async with connection.transaction():
            done = await _migrate(connection, place, seed, at_us)
            if role is not None:
                await grant(connection, place.settings.schema, role)
        await make_days(connection, sort=True)
        return done
    except troubles() as error:
        state = str(getattr(error, "sqlstate", "") or "")
        if state.startswith("42501"):
            raise LedgerError(
                f"{place.name}: this role may not make the schema ({told(error)}). Nothing was changed; run `onefill migrate` "
                "once as the database's owner"
            ) from None
        raise failed(place, error) from None
    finally:
        await shut(connection)


async def _migrate(connection: Any, place: PostgresPlace, seed: bytes, at_us: int) -> tuple[int, int]:
    schema = place.settings.schema
    if await connection.fetchval("SHOW server_encoding") != "UTF8":
        raise LedgerError(f"{place.name}: the database's encoding is not UTF8. Nothing was changed; make one that is")
    await connection.execute("SET LOCAL client_min_messages = error")
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('onefill migrate ' || $1))", schema
    )  # one at a time
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {schema}.migration "
        "(version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now(), by text NOT NULL DEFAULT current_user)"
    )
    before = await version_of(connection, schema)
    _refuse_newer(place, before)
    for number in range(before + 1, VERSION + 1):
        await connection.execute(_sql(number))
        await connection.execute(f"INSERT INTO {schema}.migration (version) VALUES ($1)", number)
    if before == 0:
        await connection.execute(f"INSERT INTO {schema}.ledger VALUES (1, $1, $2)", seed, at_us)
    return before, VERSION


def _sql(number: int) -> str:
    folder = importlib.resources.files("onefill.ledger").joinpath("schema/postgres")
    return folder.joinpath(f"{number:04d}.sql").read_text("utf-8")


def _refuse_newer(place: PostgresPlace, version: int) -> None:
    if version > VERSION:
        raise LedgerTooNew(
            f"{place.name}: was made by a newer Onefill (ledger version {version}, this one knows {VERSION}). "
            "It was left untouched; install the newer Onefill"
        )


async def check_version(connection: Any, place: PostgresPlace) -> None:
    """Raise NotALedger, LedgerTooNew or LedgerError unless the schema is the one that this code writes."""
    version = await version_of(connection, place.settings.schema)
    _refuse_newer(place, version)
    if version == 0:
        raise NotALedger(
            f"{place.name}: there is no ledger in schema {place.settings.schema!r}. Make it with `onefill migrate {place.name}`"
        )
    if version < VERSION:
        raise LedgerError(
            f"{place.name}: was made by an older Onefill (ledger version {version}, this one writes {VERSION}). It was left "
            f"untouched; stop every gateway that uses it, then bring it up to date with `onefill migrate {place.name}`"
        )


async def check_durability(connection: Any, place: PostgresPlace, *, alone: bool = False) -> str:
    """Return what the session's ``synchronous_commit`` is set to, once it is one by which a reported commit lasts (NO-LOSS).

    ``alone``: it is known that no standby is there. Raises LedgerError for a server that cannot promise that.
    """
    shown = ", ".join(f"current_setting('{name}') AS {name}" for name in _SETTINGS)
    found = await connection.fetchrow(f"SELECT {shown}, pg_is_in_recovery() AS is_standby")
    if found["is_standby"]:
        raise LedgerError(f"{place.name}: is a standby and takes no writes. Nothing was sent; name the primary")
    for name in ("fsync", "full_page_writes"):
        if found[name] != "on":
            raise LedgerError(
                f"{place.name}: the server runs with {name} = {found[name]}, so that a power loss can take what it said was "
                f"committed. Nothing was sent; set {name} = on"
            )
    level = str(found["synchronous_commit"])
    if level not in _DURABLE:
        level = "on"
        await connection.execute("SET synchronous_commit = on")
    if place.settings.on_standby_lost == "degrade" and found["synchronous_standby_names"]:
        await _check_sight(connection, place)
    if place.settings.require_synchronous_standby and not alone:
        await _check_standby(connection, place, found["synchronous_standby_names"])
    return level


async def _check_standby(connection: Any, place: PostgresPlace, names: str) -> None:
    if not names:
        raise LedgerError(
            f"{place.name}: a synchronous standby is required, and the server waits for none: synchronous_standby_names is "
            "empty. Nothing was sent; name a standby there, or open without require_synchronous_standby"
        )
    there, needed = await standbys(connection), wanted(names)
    if len(there) < needed:
        raise LedgerError(
            f"{place.name}: a synchronous standby is required, and {len(there)} of {needed} are connected "
            f"(pg_stat_replication shows no other row in state sync or quorum; wanted: {names}). Nothing was sent; start the "
            "standby. If there is one, the role needs the privileges of pg_monitor to see it"
        )


async def _check_sight(connection: Any, place: PostgresPlace) -> None:
    if not await connection.fetchval("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'usage')"):
        raise LedgerError(
            f"{place.name}: on_standby_lost is degrade, and this role may not see the server's standbys: it could not tell "
            "when one is back. Nothing was sent; grant it pg_monitor"
        )


def wanted(names: str) -> int:
    """Return how many standbys a ``synchronous_standby_names`` makes commits wait for."""
    found = _HOW_MANY.match(names)
    return int(found[1]) if found else int(bool(names.strip()))


async def standbys(connection: Any) -> list[str]:
    """Return the names of the standbys that commits are confirmed by now."""
    rows = await connection.fetch(
        "SELECT application_name FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming' "
        "ORDER BY 1"
    )
    return [str(row[0]) for row in rows]
