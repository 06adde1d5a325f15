"""The composition root: a gateway from a ledger's name and some venues."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from onefill.core import lease as leases
from onefill.core.errors import OnefillError, SettingsError
from onefill.core.risk_limits import Risk
from onefill.engine.controller import ControlPlan
from onefill.engine.gateway import Gateway
from onefill.engine.relay import Subscriber
from onefill.engine.settings import GatewaySettings, NodeSettings
from onefill.ports.ledger_browse import BrowsableLedger
from onefill.ports.venue import Venue
from onefill.service import control_socket, ledgers
from onefill.service.callback_settings import CallbackPlan
from onefill.service.ledgers import LedgerName
from onefill.service.listening import bound
from onefill.service.settings import AuditSettings, MetricsSettings

if TYPE_CHECKING:
    from onefill.service.audit_checkpoints import Checkpointer
    from onefill.service.audit_keeper import Keeper


class SystemClock:
    """The computer's clock."""

    def now_us(self) -> int:
        """Return the time in µs since 1970."""
        return time.time_ns() // 1000


def holder(node: NodeSettings | None = None) -> str:
    """Return how this process names itself to others: its node if it is one, process, host."""
    return leases.holder_text(None if node is None else node.name, f"process {os.getpid()} on {socket.gethostname()}")


@contextlib.asynccontextmanager
async def open_gateway(
    ledger: LedgerName,
    *,
    venues: Mapping[str, Venue],
    settings: GatewaySettings | None = None,
    audit: AuditSettings | None = None,
    on_audit_trouble: Callable[[OnefillError], None] | None = None,
    metrics: MetricsSettings | None = None,
    on_metrics: Callable[[str], None] | None = None,
    on_ledger: Callable[[str], None] | None = None,
    risk: Risk | None = None,
    control: ControlPlan | None = None,
    node: NodeSettings | None = None,
    subscribers: Iterable[Subscriber] = (),
    callbacks: CallbackPlan | None = None,
    on_callbacks: Callable[[str], None] = lambda _: None,
    on_callback_refused: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Gateway]:
    """Open a gateway over the ledger ``ledger`` and ``venues``, each a route by its name.

    ``ledger`` is a file, made if missing, or the URL of a PostgreSQL database that ``onefill migrate`` made one in. Several
    gateways may have such a database open: each route is lent to one of them, for ``lease_s`` at a time.

    With ``audit`` it makes signed checkpoints as it runs. If one cannot be made, orders go on and ``on_audit_trouble`` hears
    why; without it, the error is raised when everything is closed.
    With ``metrics`` it serves its figures over HTTP while it runs; ``on_metrics`` hears the URL.
    ``on_ledger`` hears when a database's standby is lost or back; without it, that is logged as a warning.
    ``risk`` are the limits by which new orders and replaces are judged; without them none is refused.
    ``control`` are the thresholds by which routes shut and open by themselves. While it runs, commands reach it by a socket
    beside the file. ``subscribers`` are told of everything that is committed, and never in the orders' way.
    ``node``: this process is one of several that share the database: it asks for routes as they come free, within its wishes,
    and hands them over when it closes. Without it every route is taken at the start, or opening fails.
    ``callbacks`` says whose callbacks are taken in, and where they come in over HTTP; ``on_callbacks`` hears the URL,
    ``on_callback_refused`` of those that were not taken in.
    Raises LedgerInUse, NotALedger, LedgerTooNew or LedgerError for the file, VenueError for a venue that cannot be used,
    SettingsError if figures or callbacks cannot be served there.
    """
    settings = _for_ledger(ledger, settings, node)
    clock, plan = SystemClock(), control or ControlPlan()
    troubles: list[OnefillError] = []
    async with contextlib.AsyncExitStack() as stack:
        # First: a secret that cannot be read, and an address that is taken, are found before anything starts.
        verifiers = {} if callbacks is None else callbacks.verifiers(venues)
        served = stack.enter_context(bound("metrics.listen", None if metrics is None else metrics.listen))
        doors = stack.enter_context(bound("callbacks.listen", None if callbacks is None else callbacks.listen))
        keeper = _keeper(audit, clock, on_audit_trouble or troubles.append)
        store = await ledgers.open_for_writing(
            ledger, holder=holder(node), clock=clock, keeper=keeper, tell=on_ledger or _log
        )
        try:
            gateway = Gateway(
                store,
                venues,
                clock=clock,
                holder=holder(node),
                settings=settings,
                risk=risk,
                control=plan,
                node=node,
                subscribers=subscribers,
            )
        except BaseException:
            await store.close()
            raise
        gateway.keep_postmortems_in(ledgers.folder(ledger))
        await stack.enter_async_context(gateway)
        await stack.enter_async_context(control_socket.serving(gateway, ledger))
        if served is not None:
            from onefill.service import metrics_http  # noqa: PLC0415 - its HTTP library takes its time to load

            url = await stack.enter_async_context(metrics_http.serving(gateway, served))
            if on_metrics is not None:
                on_metrics(url)
        if callbacks is not None:
            for route, verifier in verifiers.items():
                gateway.expect_callbacks(route, verifier)
            if doors is not None:
                from onefill.service import callback_http  # noqa: PLC0415 - likewise

                serving = callback_http.serving(gateway, doors, callbacks, on_callback_refused)
                on_callbacks(await stack.enter_async_context(serving))
        yield gateway
    if troubles:
        raise troubles[0]


def _log(text: str) -> None:
    logging.getLogger("onefill").warning("%s", text)


def _for_ledger(
    ledger: LedgerName, settings: GatewaySettings | None, node: NodeSettings | None
) -> GatewaySettings | None:
    """Return the settings for a gateway over this ledger: where others may come, a route is only lent."""
    if node is not None and not ledgers.is_shared(ledger):
        raise SettingsError(
            f"node: {ledger} is a file, which one process has for itself; several nodes share a database: "
            "postgresql://... Nothing was started"
        )
    given = settings or GatewaySettings()
    if ledgers.is_shared(ledger) and given.lease_s is None:
        return msgspec.structs.replace(given, lease_s=leases.LEASE_S)
    return settings


def _keeper(audit: AuditSettings | None, clock: SystemClock, tell: Callable[[OnefillError], None]) -> "Keeper | None":
    if audit is None or audit.key is None:
        return None
    from onefill.service.audit_keeper import Keeper  # noqa: PLC0415 - what signs takes its time to load

    return Keeper(make_checkpointer(audit, clock), tell)


def make_checkpointer(audit: AuditSettings, clock: SystemClock) -> "Checkpointer":
    """Return what makes checkpoints by these settings, which name a key. Raises CallerError if it cannot be used."""
    from onefill.service import audit_checkpoints, signing  # noqa: PLC0415 - as above

    return audit_checkpoints.Checkpointer(
        signing.load_signer(Path(audit.key or "")),
        None if audit.checkpoints is None else audit_checkpoints.CheckpointFile(Path(audit.checkpoints)),
        clock,
        audit_checkpoints.Every(audit.every_entries, audit.every_s),
    )


@contextlib.asynccontextmanager
async def open_to_sign(ledger: LedgerName) -> AsyncIterator[BrowsableLedger]:
    """Open an existing ledger for writing what is no order's. Raises like :func:`open_gateway`, and makes no file."""
    async with open_for_reading(ledger):
        pass  # there is one, and it is a ledger
    store = await ledgers.open_for_writing(ledger, holder=holder(), clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def open_for_reading(ledger: LedgerName, archive: Path | None = None) -> AsyncIterator[BrowsableLedger]:
    """Open an existing ledger for reading, also while a gateway writes it.

    ``archive``: the folder that archived days are in; what they hold is read from there. Raises NoArchive if it is not that.
    """
    store = await ledgers.open_for_reading(ledger)
    try:
        if archive is None:
            yield store
        else:
            from onefill.service import archive_folder  # noqa: PLC0415 - only who uses it

            yield await archive_folder.with_archive(store, archive)
    finally:
        await store.close()
