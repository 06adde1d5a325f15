"""Connections to PostgreSQL: the driver, what every session is set to, and what a failure is told as."""

import contextlib
from typing import Any

from onefill.core.errors import LedgerError, LedgerFailed
from onefill.ledger.postgres_settings import PostgresPlace, hosts_of

_LOST = "08"
"""SQLSTATE class of connection failures."""


def driver() -> Any:
    """Return the driver's module. Raises LedgerError if it is not installed."""
    try:
        import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - only who uses PostgreSQL needs it, and it loads slowly
    except ImportError:
        raise LedgerError(
            "a PostgreSQL ledger needs the package asyncpg, which is not installed here: pip install 'onefill[postgresql]'"
        ) from None
    return asyncpg


def troubles() -> tuple[type[BaseException], ...]:
    """Return the exceptions by which the driver tells that something went wrong."""
    found = driver()
    return (found.PostgresError, found.InterfaceError, found.InternalClientError, OSError, TimeoutError, EOFError)


def session_settings(place: PostgresPlace, holder: str, *, writer: bool, hurried: bool = True) -> dict[str, str]:
    """Return what a session is set to as it begins."""
    limit_ms = str(max(1, round(place.settings.commit_timeout_s * 1000))) if hurried else "0"
    given = {
        "application_name": f"onefill {holder}".encode("ascii", "replace").decode()[:63],
        "search_path": place.settings.schema,
        "statement_timeout": limit_ms,
        "lock_timeout": limit_ms,
        # A process that is cut off in the middle of a transaction must not keep a route's row for long.
        "idle_in_transaction_session_timeout": limit_ms,
        "tcp_user_timeout": limit_ms,
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "jit": "off",
        "timezone": "UTC",
        "client_min_messages": "warning",
    }
    if writer:
        # Every statement finds its rows by an index, however small the tables were when it was planned.
        plans = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan")
        given |= dict.fromkeys(plans, "off")
        given["plan_cache_mode"] = "force_generic_plan"
        given["default_transaction_isolation"] = "read committed"
    return given


async def connect(
    place: PostgresPlace, holder: str, *, writer: bool, primary: bool = True, hurried: bool = True
) -> Any:
    """Open a connection to the first of the place's hosts that answers. ``primary``: that takes writes.

    ``hurried``: no statement takes longer than a commit may; the writer times its own. Raises LedgerError if there is none.
    """
    troubles_met: list[BaseException] = []
    for url in hosts_of(place):
        try:
            return await driver().connect(
                url,
                timeout=place.settings.connect_timeout_s,
                command_timeout=place.settings.commit_timeout_s if hurried and not writer else None,
                server_settings=session_settings(place, holder, writer=writer, hurried=hurried),
                target_session_attrs="read-write" if primary else "any",
            )
        except troubles() as error:
            troubles_met.append(error)
    # Of several hosts each has its own reason, and none of them is the one that counts.
    reasons = "; ".join(dict.fromkeys(map(told, troubles_met)))
    raise LedgerError(f"{place.name}: cannot be reached: {reasons}. Nothing was sent")


async def make_pool(place: PostgresPlace, holder: str, *, primary: bool) -> Any:
    """Make the connections for reading. None is opened before it is used."""

    async def make(*_: Any, **__: Any) -> Any:
        return await connect(place, holder, writer=False, primary=primary)

    async def keep(connection: Any) -> None:
        """Leave a session as it is: nothing here changes one, and resetting costs a round trip."""

    return await driver().create_pool(
        place.url,
        connect=make,
        min_size=0,
        max_size=place.settings.readers,
        reset=keep,
    )


def told(error: BaseException) -> str:
    """Return one line about a failure. The driver's texts hold no password: they name hosts, users and what the server said."""
    text = str(error).strip().partition("\n")[0] or "no answer in time"
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__}{f' {state}' if state else ''}: {text}"


def lost(error: BaseException) -> bool:
    """Tell whether a failure means that the connection is gone."""
    if isinstance(error, (OSError, EOFError, TimeoutError)):
        return True
    found = driver()
    if isinstance(error, found.PostgresError):
        return str(error.sqlstate or "").startswith((_LOST, "57P"))
    return isinstance(error, (found.InterfaceError, found.InternalClientError))


def failed(place: PostgresPlace, error: BaseException) -> LedgerFailed:
    """Return what to tell when a write failed."""
    state = str(getattr(error, "sqlstate", "") or "")
    hints = {
        "53": "the server is out of something (disk, memory or connections): make room",
        "25": "the server takes no writes: it is a standby; name the primary",
        "57": "the server stopped the statement or is going down: look at its log",
        "55": "another session held the route's row for too long: look at pg_stat_activity",
        "OF": "a synchronous standby is required and the server no longer waits for one: set synchronous_standby_names",
        "42": "the schema is not the one that this Onefill writes, or the role may not use it: see `onefill migrate`",
    }
    hint = "the connection was lost: check server and network" if lost(error) else "see the cause"
    hint = hints.get(state[:2], hint)
    return LedgerFailed(
        f"{place.name}: a write failed ({told(error)}); {hint}, then open the ledger again. Everything acknowledged so far "
        "is safe; the route takes no new orders, and what was under way is re-read when it opens"
    )


async def shut(connection: Any) -> None:
    """Close a connection in good order, or drop it where that takes too long."""
    with contextlib.suppress(*troubles()):
        await connection.close(timeout=1.0)
    connection.terminate()
