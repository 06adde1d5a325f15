"""Replaying whole ledgers, and asking venues whether they tell of executions that a ledger lacks."""

import contextlib
from collections.abc import Sequence

import msgspec

from onefill.core import executions
from onefill.core.capabilities import Capabilities, ExecutionIdScope
from onefill.core.errors import CallerError
from onefill.core.messages import ExecutionReport
from onefill.core.position import DROP_COPY, STREAM
from onefill.core.replay import Replayer, RouteReplay
from onefill.core.values import plain
from onefill.engine.replay import Progress, replay_route
from onefill.ports.ledger import Ledger
from onefill.ports.venue import Venue

MOST_NAMED = 20


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that a venue tells of and that the ledger does not have."""

    stream: str
    position: int
    execution_id: str
    client_order_id: str
    instrument: str
    side: str
    quantity: str
    price: str


class StreamCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's stream, read from its beginning through the replay's dedupe. ``lacking``: the first ones."""

    route: str
    stream: str
    reports: int
    executions: int
    known: int
    missing: int
    lacking: list[Lacking]


async def choose(ledger: Ledger, wanted: str | None) -> tuple[list[str], int]:
    """Return the routes that are to be replayed, and how many entries they have. Raises CallerError."""
    routes = {info.name: info.journal_entries for info in await ledger.routes()}
    if wanted is not None and wanted not in routes:
        raise CallerError(f"--route: {wanted!r} is not in this ledger; there: {', '.join(sorted(routes)) or 'none'}")
    names = sorted(routes) if wanted is None else [wanted]
    return names, sum(routes[name] for name in names)


async def replay(
    ledger: Ledger, names: Sequence[str], *, times: int, on_progress: Progress = lambda _: None
) -> list[tuple[RouteReplay, Replayer]]:
    """Replay routes, one after the other."""
    return [await replay_route(ledger, name, times=times, on_progress=on_progress) for name in names]


async def ask(ledger: Ledger, replayer: Replayer, venue: Venue) -> list[StreamCheck]:
    """Read a started venue's streams from their beginning, and say what of them the replayed route lacks. Changes nothing."""
    streams = [STREAM, DROP_COPY] if venue.capabilities.drop_copy else [STREAM]
    return [await _read(ledger, replayer, venue, stream) for stream in streams]


async def _read(ledger: Ledger, replayer: Replayer, venue: Venue, stream: str) -> StreamCheck:
    after = reports = told = known = missing = 0
    lacking: list[Lacking] = []
    while page := await (venue.drop_copies(after) if stream == DROP_COPY else venue.executions(after)):
        for raw in page:
            report = raw.legible()
            reports += 1
            if not executions.tells_execution(report, venue.capabilities):
                continue
            told += 1
            if await _known(ledger, replayer, report, venue.capabilities):
                known += 1
                continue
            missing += 1
            if len(lacking) < MOST_NAMED:
                lacking.append(_lacking(report, stream))
        after = page[-1].position
    return StreamCheck(
        route=replayer.route,
        stream=stream,
        reports=reports,
        executions=told,
        known=known,
        missing=missing,
        lacking=lacking,
    )


async def _known(ledger: Ledger, replayer: Replayer, report: ExecutionReport, declared: Capabilities) -> bool:
    """Tell whether an execution was applied, under whatever scope its id was unique then."""
    for scope in ExecutionIdScope:
        if replayer.knows(report, msgspec.structs.replace(declared, execution_id_scope=scope)):
            return True
    if not declared.cumulative_fills_only:
        return False
    loaded = await ledger.by_client_order_id(replayer.route, report.client_order_id)
    # Of a growing total, those in between may have been passed by.
    return loaded is not None and report.cum_quantity <= loaded.order.cum_quantity


def _lacking(report: ExecutionReport, stream: str) -> Lacking:
    return Lacking(
        stream=stream,
        position=report.position,
        execution_id=report.execution_id,
        client_order_id=report.client_order_id,
        instrument=report.instrument,
        side=report.side,
        quantity="" if report.last_quantity is None else plain(report.last_quantity),
        price="" if report.last_price is None else plain(report.last_price),
    )


async def ask_and_close(ledger: Ledger, replayer: Replayer, venue: Venue) -> list[StreamCheck]:
    """As :func:`ask`, of a venue that is started first and closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(venue.close)
        await venue.start()
        return await ask(ledger, replayer, venue)
