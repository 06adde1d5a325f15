"""Which ledger a name means: a SQLite file, or a schema of a PostgreSQL database by its URL. The one place that opens them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from onefill.core.errors import InvalidField, LedgerError
from onefill.ledger.postgres_settings import identity, is_url, place_of
from onefill.ports.clock import Clock
from onefill.ports.ledger_browse import BrowsableLedger

if TYPE_CHECKING:
    from onefill.service.audit_keeper import Keeper

LedgerName = str | os.PathLike[str]


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """What ``onefill migrate`` found and did. Versions: 0 stands for no ledger."""

    ledger: str
    before: int
    now: int
    newest: int
    """The version that this Onefill writes."""


def is_shared(ledger: LedgerName) -> bool:
    """Tell whether several gateways may have the ledger open at once. Raises LedgerError for a URL of an unknown kind."""
    name = os.fspath(ledger)
    if is_url(name):
        return True
    if "://" in name:
        raise LedgerError(f"{name.partition('://')[0]}://…: is no known kind of ledger; name a file, or postgresql://…")
    return False


def shown(ledger: LedgerName) -> str:
    """Return a ledger's name as people may see it: without a password."""
    name = os.fspath(ledger)
    return place_of(name).name if is_url(name) else name


def folder(ledger: LedgerName) -> Path:
    """Return where files go that belong beside a ledger: its own folder, or the current one."""
    return Path() if is_shared(ledger) else Path(ledger).parent


def control_name(ledger: LedgerName) -> str | None:
    """Return what the socket of a shared ledger's gateway is named after; ``None``: it lies beside the file."""
    name = os.fspath(ledger)
    return hashlib.sha256(identity(place_of(name)).encode()).hexdigest()[:32] if is_url(name) else None


def is_made(ledger: LedgerName) -> bool:
    """Tell whether there is a ledger to read. Of a database that is for its own answer to say."""
    if is_shared(ledger):
        return True
    path = Path(ledger)
    return path.exists() and not (path.is_file() and path.stat().st_size == 0)


async def open_for_writing(
    ledger: LedgerName,
    *,
    holder: str,
    clock: Clock,
    keeper: "Keeper | None" = None,
    tell: Callable[[str], None] = lambda _: None,
) -> BrowsableLedger:
    """Open a ledger for writing; a file is made if there is none. ``keeper``: makes its checkpoints from now on.

    ``tell``: hears when a database's standby is lost or back.
    Raises NotALedger, LedgerTooNew, LedgerInUse, LedgerError or LedgerFailed, and SettingsError for a URL.
    """
    name, seed, at_us = os.fspath(ledger), os.urandom(16), clock.now_us()
    if keeper is not None:
        from onefill.service import audit_keeper  # noqa: PLC0415 - what signs takes its time to load

        kept: audit_keeper.KeptPostgresLedger | audit_keeper.KeptLedger
        if is_shared(ledger):
            kept = await audit_keeper.KeptPostgresLedger.open(name, holder=holder, tell=tell)
        else:
            kept = await audit_keeper.KeptLedger.open(name, seed=seed, holder=holder, at_us=at_us)
        kept.keep(keeper)
        return kept
    if is_shared(ledger):
        from onefill.ledger.postgres import PostgresLedger  # noqa: PLC0415 - only who uses it

        return await PostgresLedger.open(name, holder=holder, tell=tell)
    from onefill.ledger.sqlite import SqliteLedger  # noqa: PLC0415 - likewise

    return await SqliteLedger.open(name, seed=seed, holder=holder, at_us=at_us)


async def open_for_reading(ledger: LedgerName) -> BrowsableLedger:
    """Open an existing ledger for reading, also while gateways write it. Raises as :func:`open_for_writing`."""
    name = os.fspath(ledger)
    if is_shared(ledger):
        from onefill.ledger.postgres import PostgresLedger  # noqa: PLC0415 - as above

        return await PostgresLedger.open_read_only(name)
    from onefill.ledger.sqlite import SqliteLedger  # noqa: PLC0415 - as above

    return await SqliteLedger.open_read_only(name)


async def migrate(
    ledger: LedgerName, *, holder: str, clock: Clock, check: bool = False, role: str | None = None
) -> Migrated:
    """Make a ledger, or bring it up to date. ``check``: only look. ``role``: of a database, who may write it as a gateway does.

    Raises as :func:`open_for_writing`, and InvalidField for a role in a file.
    """
    name = os.fspath(ledger)
    if is_shared(ledger):
        from onefill.ledger import postgres_schema  # noqa: PLC0415 - as above

        place = place_of(name)
        before, now = await postgres_schema.migrate(
            place, seed=os.urandom(16), at_us=clock.now_us(), check=check, role=role
        )
        return Migrated(ledger=place.name, before=before, now=now, newest=postgres_schema.VERSION)
    if role is not None:
        raise InvalidField(
            "--grant", "a file has no roles; who may write it is for the system to say. Nothing was done"
        )
    from onefill.ledger import sqlite_file  # noqa: PLC0415 - as above

    before = sqlite_file.version_of(name)
    if not check:
        await (await open_for_writing(name, holder=holder, clock=clock)).close()
    now = before if check else sqlite_file.VERSION
    return Migrated(ledger=name, before=before, now=now, newest=sqlite_file.VERSION)
