"""Replaying a ledger's routes: pages of its journal and its execution log, handed to :mod:`onefill.core.replay`.

Reads only, and may run beside the gateway that writes: what is replayed is what stood there when it began. How much memory
it takes is told there; pages add a few megabytes.
"""

from collections import deque
from collections.abc import Callable, Sequence

from onefill.core.errors import CallerError
from onefill.core.order import Order
from onefill.core.position import Execution
from onefill.core.replay import Replayer, RouteReplay
from onefill.ports.ledger import Ledger, RouteInfo

_PAGE = 2000
_ORDERS_PAGE = 200
Progress = Callable[[int], None]


async def replay_route(
    ledger: Ledger, name: str, *, times: int = 2, on_progress: Progress = lambda _: None
) -> tuple[RouteReplay, Replayer]:
    """Replay one route up to the entry in which it ends now.

    ``times``: how often each report is fed. ``on_progress`` hears how many entries were read since it was last called.
    Raises :class:`~onefill.core.errors.CallerError` if there is no such route.
    """
    stored, through = await ledger.positions(name)
    info = await _route(ledger, name)  # after the positions: all that they hold is in its entries
    replayer = Replayer(
        info.name, times=times, stored=stored, folded_through=through, amended=await ledger.amended_positions(name)
    )
    log = _Log(ledger, info.name)
    while replayer.end.sequence < info.journal_entries and not replayer.broken:
        after = replayer.end.sequence
        rows = await ledger.journal_rows(info.name, after, min(_PAGE, info.journal_entries - after))
        if not rows:
            replayer.broken = True
            replayer.differ(f"entry {after + 1}: is missing")
            break
        replayer.page(rows, await log.with_at_least(replayer.wanting(rows)))
        await _compare(ledger, replayer, replayer.over(), last=False)
        on_progress(len(rows))
    await _compare(ledger, replayer, replayer.over(last=True), last=True)
    if not replayer.broken and replayer.end.hash != info.head:
        replayer.differ(f"entry {replayer.end.sequence}: the chain does not end in the hash that the route holds")
    left = await log.with_at_least(1)
    written = (await _route(ledger, name)).journal_entries > info.journal_entries
    replayer.finish([] if written else list(left)[:1])
    return replayer.result(), replayer


async def _route(ledger: Ledger, name: str) -> RouteInfo:
    routes = {info.name: info for info in await ledger.routes()}
    if name not in routes:
        raise CallerError(f"route {name!r} is not in this ledger; there: {', '.join(sorted(routes)) or 'none'}")
    return routes[name]


async def _compare(ledger: Ledger, replayer: Replayer, wanted: Sequence[int], *, last: bool) -> None:
    if wanted:
        replayer.compare(wanted, await _orders(ledger, wanted), last=last)


async def _orders(ledger: Ledger, wanted: Sequence[int]) -> dict[int, Order]:
    """Return the orders with these ids, which ascend. Those near one another come in one page."""
    found: dict[int, Order] = {}
    after = 0
    for intent_id in wanted:
        if intent_id <= after:
            continue  # it would have come with the page before
        page = await ledger.orders(intent_id - 1, _ORDERS_PAGE)
        if not page:
            break
        found.update((order.intent_id, order) for order in page)
        after = page[-1].intent_id
    return {intent_id: found[intent_id] for intent_id in wanted if intent_id in found}


class _Log:
    """The rows of the execution log that belong to one route, read ahead as far as is needed."""

    def __init__(self, ledger: Ledger, route: str) -> None:
        self._ledger = ledger
        self._route = route
        self._after = 0
        self._rows: deque[tuple[int, Execution]] = deque()

    async def with_at_least(self, count: int) -> deque[tuple[int, Execution]]:
        """Return the rows that were not taken out yet, so many if there are."""
        while len(self._rows) < count and (page := await self._ledger.executions(self._route, self._after, _PAGE)):
            self._after = page[-1][0]
            self._rows += page
        return self._rows
