"""The recorded day over PostgreSQL and several gateways: killed, paused and failed over at random, judged as the day over one.

A clean run (one gateway, a file, no link) says what should be at the venue. Then the same rows go to the nodes, through a link
that hurts one request in ten, while nodes are killed with -9 and paused for longer than their lease, and the database fails
over. In the end the venue's orders must be those of the clean run, each once; every row once more must send nothing and give
the same answers byte for byte; and the audit chain must verify.

The rows are spread over accounts, each a route of its own. The venue lets all orders rest, as in
:mod:`onefill.gameday.recorded_day`.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from onefill.core import lease as leases
from onefill.core.capabilities import UniqueScope
from onefill.core.identity import IdScheme
from onefill.core.intent import Intent
from onefill.gameday.failover import Site, Tell, opened
from onefill.gameday.failover_judge import judge_chains
from onefill.gameday.judge import ExchangeWatch, OrderFacts, compare
from onefill.gameday.load import Callers
from onefill.gameday.node_words import NodeJob
from onefill.gameday.nodes import Node, NodeError
from onefill.gameday.processes import DrillFailed, server
from onefill.gameday.recorded_day import LEAST_HURT, QUIET_S, exchange_arguments, told_of
from onefill.ports.ledger import Ledger

TIME_TO_LIVE_S = 86_400.0
_POLL_S = 0.05
_WAIT_S = 0.5
"""How long a node is asked to wait for an answer."""
_BUSY_S = 10.0
_LIMIT_S = 3600.0


class Struck(StrEnum):
    """What happens to the nodes, or to their database."""

    KILLED = "killed"
    PAUSED = "paused"
    FAILED_OVER = "failed over"


class DaySubmit(msgspec.Struct, frozen=True, gc=False):
    """A row that places an order."""

    key: str
    intent: Intent


class DayCancel(msgspec.Struct, frozen=True, gc=False):
    """A row that cancels one."""

    key: str
    account: str
    strategy: str
    operation_key: str


Row = DaySubmit | DayCancel


class NodesDaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: so many ``kills``, ``pauses`` and ``failovers`` for each dialect."""

    accounts: tuple[str, ...]
    dialects: tuple[UniqueScope, ...] = (UniqueScope.EVER, UniqueScope.DAY, UniqueScope.OPEN)
    nodes: int = 2
    kills: int = 12
    pauses: int = 6
    failovers: int = 2
    seed: int = 1
    faults: str = "rough"
    in_flight: int = 256
    lease_s: float = 2.0
    version: int = 16


class NodesDayResult(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect's run. ``violations`` says in words what did not hold; empty is the only good value."""

    dialect: UniqueScope
    rows: int
    orders: int
    submits: int
    """Order requests that reached the venue, repeats included."""
    refused_repeats: int
    refused_late: int
    cancels: int
    kills: int
    kills_effective: int
    """Kills that left requests claimed and without an outcome."""
    pauses: int
    failovers: int
    retries: int
    """Calls that had to be made again."""
    epochs: int
    """How often routes changed hands."""
    requests: int
    hurt: int
    duplicates: int
    missing: int
    seconds: float
    violations: list[str]


class _Feeder(Callers):
    """Gives rows to nodes, so many at a time, those of one key in their order; keeps every answer."""

    def __init__(self, nodes: Sequence[Node], accounts: Sequence[str], in_flight: int) -> None:
        super().__init__(nodes, accounts)
        self._slots = asyncio.Semaphore(in_flight)
        self._news = asyncio.Event()
        self.done = 0
        """Rows that have their answer."""

    async def more(self) -> None:
        """Return once another row has its answer."""
        self._news.clear()
        await self._news.wait()

    async def run(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the answer to each row."""
        answers = [b""] * len(rows)
        last: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            for place, row in enumerate(rows):
                await self._slots.acquire()
                last[row.key] = tasks.create_task(self._one(answers, place, row, last.get(row.key)))
        return answers

    async def _one(self, answers: list[bytes], place: int, row: Row, before: "asyncio.Task[None] | None") -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            account = row.intent.account if isinstance(row, DaySubmit) else row.account
            try:
                answers[place] = await self.ask(account, lambda node: _call(node, row))
            except NodeError as error:
                answers[place] = f"{error.kind}".encode()
            self.done += 1
            self._news.set()
        finally:
            self._slots.release()


async def _call(node: Node, row: Row) -> bytes:
    if isinstance(row, DaySubmit):
        return await node.submit(row.intent, row.key, _WAIT_S)
    return await node.cancel(row.key, row.account, row.strategy, row.operation_key, _WAIT_S)


async def run_nodes_day(
    settings: NodesDaySettings, rows: Sequence[Row], folder: Path, tell: Tell
) -> list[NodesDayResult]:
    """Run the drill and return a result for each dialect. Raises DrillFailed if it could not be carried out."""
    expected = await _clean_run(settings, rows, folder, tell)
    return [await _Dialect(settings, rows, folder, dialect, expected, tell).run() for dialect in settings.dialects]


def _job(settings: NodesDaySettings) -> NodeJob:
    return NodeJob(
        name="clean",
        ledger="",
        venue="",
        accounts=settings.accounts,
        lease_s=None,
        client_order_ids=IdScheme.DERIVED,
        time_to_live_s=TIME_TO_LIVE_S,
    )


async def _clean_run(settings: NodesDaySettings, rows: Sequence[Row], folder: Path, tell: Tell) -> list[OrderFacts]:
    """Return the orders that should be there in the end."""
    async with (
        server("clean-exchange", folder, exchange_arguments(UniqueScope.EVER)) as exchange,
        ExchangeWatch(exchange.url) as watch,
    ):
        job = msgspec.structs.replace(_job(settings), ledger=str(folder / "clean.db"), venue=exchange.url)
        node = Node(job, folder)
        await node.start()
        try:
            feeder = _Feeder([node], settings.accounts, settings.in_flight)
            await _fed(feeder, rows, lambda: tell("clean run", feeder.done, len(rows)))
            await node.stop()
        finally:
            await node.kill()
        return await watch.orders()


async def _fed(feeder: _Feeder, rows: Sequence[Row], shown: Callable[[], None]) -> list[bytes]:
    """Feed all rows while ``shown`` is called now and then. Raises DrillFailed if it takes too long."""
    feeding = asyncio.create_task(feeder.run(rows))
    try:
        async with asyncio.timeout(_LIMIT_S):
            while not feeding.done():
                await asyncio.wait([feeding], timeout=10 * _POLL_S)
                shown()
    except TimeoutError:
        raise DrillFailed(f"after {_LIMIT_S:g} s only {feeder.done:,} of {len(rows):,} rows had an answer") from None
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
    return feeding.result()


class _Dialect:
    """The drill against one dialect."""

    def __init__(
        self,
        settings: NodesDaySettings,
        rows: Sequence[Row],
        folder: Path,
        dialect: UniqueScope,
        expected: list[OrderFacts],
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._folder = folder / dialect.value
        self._dialect = dialect
        self._expected = expected
        self._tell = tell
        self._done: dict[Struck, int] = dict.fromkeys(Struck, 0)
        self._effective = 0
        self._violations: list[str] = []

    async def run(self) -> NodesDayResult:
        """Feed the rows, strike at random, and judge."""
        self._folder.mkdir()
        settings, began_s = self._settings, time.monotonic()
        job = msgspec.structs.replace(_job(settings), lease_s=settings.lease_s)
        link = ["link", "--faults", settings.faults, "--seed", str(settings.seed)]
        exchange = exchange_arguments(self._dialect)
        async with opened(
            job, self._folder, nodes=settings.nodes, version=settings.version, exchange=exchange, link=link
        ) as site:
            async with ExchangeWatch(site.exchange) as watch:
                feeder = _Feeder(site.nodes, settings.accounts, settings.in_flight)
                striking = asyncio.create_task(self._strike(site, feeder))
                try:
                    first = await _fed(feeder, self._rows, lambda: self._show(feeder.done))
                    await striking
                finally:
                    striking.cancel()
                    await asyncio.wait([striking])
                await _quiet(watch)
                seconds, before = time.monotonic() - began_s, await watch.counts()
                again = await _fed(_Feeder(site.nodes, settings.accounts, settings.in_flight), self._rows, lambda: None)
                await _quiet(watch)
                counts, orders = await watch.counts(), await watch.orders()
            self._judge_answers(first, again)
            if (counts.submits, counts.cancels) != (before.submits, before.cancels):
                self._violations.append("ONE-ORDER: every row once more sent something")
            comparison = compare(self._expected, orders)
            self._violations += told_of(comparison)
            epochs = await site.read(self._judge_ledger)
            hurt = await site.link_counts()
        requests = int(hurt.get("requests", 0))
        self._judge_drill(requests, int(hurt.get("hurt", 0)))
        return NodesDayResult(
            dialect=self._dialect,
            rows=len(self._rows),
            orders=comparison.found,
            submits=counts.submits,
            refused_repeats=counts.duplicates,
            refused_late=counts.too_late,
            cancels=counts.cancels,
            kills=self._done[Struck.KILLED],
            kills_effective=self._effective,
            pauses=self._done[Struck.PAUSED],
            failovers=self._done[Struck.FAILED_OVER],
            retries=feeder.retries,
            epochs=epochs,
            requests=requests,
            hurt=int(hurt.get("hurt", 0)),
            duplicates=comparison.found - (len(self._expected) - len(comparison.missing)),
            missing=len(comparison.missing),
            seconds=round(seconds, 1),
            violations=self._violations,
        )

    def _show(self, done: int) -> None:
        self._tell(f"dialect {self._dialect}", done, len(self._rows))

    # ------------------------------------------------------------------------ striking

    async def _strike(self, site: Site, feeder: _Feeder) -> None:
        """Do each thing that is to happen, one in each stretch of the rows, in a random order at random moments."""
        settings = self._settings
        draw = random.Random(f"{self._dialect} {settings.seed}")  # noqa: S311 - repeatable on purpose
        counts = {
            Struck.KILLED: settings.kills,
            Struck.PAUSED: settings.pauses,
            Struck.FAILED_OVER: settings.failovers,
        }
        strikes = [what for what, count in counts.items() for _ in range(count)]
        draw.shuffle(strikes)
        stretch = len(self._rows) * 0.9 / max(len(strikes), 1)
        for number, what in enumerate(strikes):
            point = int(stretch * (number + draw.random()))
            while feeder.done < point:
                await feeder.more()
            await self._one_strike(what, site, draw.choice(self._settings.accounts))
            self._done[what] += 1

    async def _one_strike(self, what: Struck, site: Site, account: str) -> None:
        """Strike the database, or the node that holds an account's route: another one would hardly notice."""
        node = site.nodes[await site.holder(account) or 0]
        if what is Struck.KILLED:
            await _busy(site, node)
            await node.kill()
            self._effective += await site.read(lambda ledger: _under_way(ledger, node.name)) > 0
            await node.start()
        elif what is Struck.PAUSED:
            node.pause()
            try:
                await asyncio.sleep(self._settings.lease_s * 1.5)
            finally:
                node.resume()
        else:
            await site.pair.kill_primary()
            await site.pair.fail_over()
            await site.pair.make_standby()

    # ------------------------------------------------------------------------- judging

    def _judge_answers(self, first: list[bytes], again: list[bytes]) -> None:
        other = [row.key for row, one, two in zip(self._rows, first, again, strict=True) if one != two]
        if other:
            self._violations.append(f"SAME-ANSWER: {len(other)} rows got another answer, the first of them {other[0]}")

    async def _judge_ledger(self, ledger: Ledger) -> int:
        self._violations += await judge_chains(ledger)
        return sum([route.epoch for route in await ledger.routes()])

    def _judge_drill(self, requests: int, hurt: int) -> None:
        if self._settings.faults != "calm" and hurt < LEAST_HURT * requests:
            self._violations.append(f"the drill itself: only {hurt} of {requests} requests were hurt")
        if self._effective * 2 < self._settings.kills:
            self._violations.append(f"the drill itself: only {self._effective} kills hit work under way")


async def _under_way(ledger: Ledger, node: str) -> int:
    """Return how many requests of a node are claimed and without an outcome: what its death has left in doubt."""
    held = [route.name for route in await ledger.routes() if leases.node_of(route.holder) == node]
    orders = [one.order for route in held for one in await ledger.open_orders(route)]
    return sum(copy.outcome is None for order in orders for copy in (*order.copies, *order.cancels))


async def _busy(site: Site, node: Node) -> None:
    """Wait, for a moment at most, until a node has requests under way: a kill that hits nothing shows nothing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BUSY_S):
            while True:
                if await site.read(lambda ledger: _under_way(ledger, node.name)) > 0:
                    return


async def _quiet(watch: ExchangeWatch) -> None:
    """Wait until nothing is under way between the link and the venue."""
    last, since_s = await watch.counts(), time.monotonic()
    while time.monotonic() - since_s < QUIET_S:
        await asyncio.sleep(10 * _POLL_S)
        counts = await watch.counts()
        if counts != last:
            last, since_s = counts, time.monotonic()
