"""The failover drills: real PostgreSQL, two gateway processes that share its routes, and a load of orders; then things die.

In each round something is killed with -9 (the primary database, a gateway, or both at the same moment), or a gateway is
paused for longer than its lease, or cut off from the database or from the exchange. The standby is promoted, the dead are
started again, and the load goes on all the while. In the end the exchange's own book is held against the ledger and against
what callers were told.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from onefill.core import lease as leases
from onefill.core.errors import InvalidField
from onefill.gameday import failover_judge
from onefill.gameday.cable import Cable
from onefill.gameday.database_pair import DatabasePair
from onefill.gameday.judge import ExchangeWatch
from onefill.gameday.load import Load
from onefill.gameday.node_words import NodeJob, route_of
from onefill.gameday.nodes import Node, NodeError, NodeGone
from onefill.gameday.processes import DrillFailed, Server, server
from onefill.ledger import postgres_schema
from onefill.ledger.postgres import PostgresLedger
from onefill.ledger.postgres_settings import place_of

T = TypeVar("T")
UNPLANNED_MORE_S = 1.0
"""An unplanned handover takes less than a lease and this, in seconds; where the database failed over, and takes longer than a
lease to confirm commits again, less than that and this."""
PLANNED_S = 1.0
"""A planned handover takes less than this, in seconds."""
_BACK_S = 60.0
"""The longest that a drill waits for orders to go on: much longer than they should take, so that what is late is measured."""
_QUIET_S = 1.0
_LOOK_S = 0.1
_LEDGER_OPTIONS: dict[str, object] = {
    "require_synchronous_standby": "true",
    "connect_timeout_s": 1,
    "commit_timeout_s": 5,
}
_EXCHANGE = ["exchange", "--unique-scope", "ever", "--conclusive-after-s", "3"]
_WATCHED = (b"POST /v1/orders",)
"""Submits, cancels and replaces all begin so."""


class Blow(StrEnum):
    """What happens in a round."""

    DATABASE = "database"
    """The primary database is killed, and the standby promoted."""
    GATEWAY = "gateway"
    BOTH = "both"
    """The primary database and a gateway are killed at the same moment."""
    PAUSE = "pause"
    """A gateway is paused for longer than its lease, and goes on."""
    CUT_DATABASE = "cut_database"
    """A gateway is cut off from the database, and not from the exchange."""
    CUT_VENUE = "cut_venue"
    """A gateway is cut off from the exchange, and not from the database."""


KILLS = (Blow.DATABASE, Blow.GATEWAY, Blow.BOTH)
_FENCED = (Blow.PAUSE, Blow.CUT_DATABASE)


class FailoverSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is run. ``rounds`` of each of ``blows``; ``load_s``: how long the load runs undisturbed before each."""

    blows: tuple[Blow, ...] = tuple(Blow)
    rounds: int = 10
    nodes: int = 2
    accounts: int = 4
    in_flight: int = 16
    """Orders under way on each account."""
    think_s: float = 0.01
    load_s: float = 1.0
    lease_s: float = 3.0
    version: int = 16
    """PostgreSQL's major version."""
    rewind: bool = False
    """Make the new standby by pg_rewind, not by a new base backup."""
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if min(self.rounds, self.accounts, self.in_flight) < 1 or self.nodes < 2:
            raise InvalidField("rounds, accounts, in_flight, nodes", "must be at least 1, and two nodes")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round. ``back_s``: from the blow until every route had answered an order that was begun after it."""

    blow: Blow
    back_s: float
    promoted_s: float | None = None
    """From the blow until the standby took writes."""
    durable_s: float | None = None
    """From the blow until the next standby confirmed commits: before that, none is acknowledged."""
    taken_s: float | None = None
    """From the blow until the last of the routes that changed hands had its next holder, by the ledger."""
    handover_s: float | None = None
    """The longest time without an answer on the route that was then handed over as planned."""
    late_sends: int | None = None
    """Requests that a node sent after its lease, before it got a route again."""


class FailoverResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole drill. ``violations`` says in words what did not hold; empty is the only good value."""

    lease_s: float
    version: int
    seconds: float
    acknowledged: int
    orders: int
    executions: int
    retries: int
    """Calls that callers had to make again."""
    twice: int
    """Orders given to all nodes at once, and answered by all of them alike."""
    kills: dict[str, int]
    slowest_s: dict[str, float]
    """By blow: the longest time to go on again."""
    slowest_handover_s: float | None
    epochs: dict[str, int]
    incidents: dict[str, int]
    rounds: list[Round]
    late: list[str]
    """What took longer than it should, in words: on a machine that has other work, too, that says little."""
    violations: list[str]


Tell = Callable[[str, int, int], None]
"""Hears what is under way, how far, and of how much."""


class Site:
    """Database, exchange and nodes. Where they are cabled, each node has cables of its own to everything else."""

    def __init__(self, pair: DatabasePair, exchange: str, link: Server | None) -> None:
        self.pair = pair
        self.exchange = exchange
        """The exchange itself, past every link."""
        self.nodes: list[Node] = []
        self.to_database: list[list[Cable]] = []
        """Each node's cables to the two servers."""
        self.to_venue: list[Cable] = []
        """Each node's cable to the exchange."""
        self._link = link

    async def read(self, work: Callable[[PostgresLedger], Awaitable[T]]) -> T:
        """Return what ``work`` finds in the primary's ledger."""
        ledger = await PostgresLedger.open_read_only(self.pair.url(target_session_attrs="primary"))
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    async def holder(self, account: str) -> int | None:
        """Return which node holds an account's route, or held it last."""

        async def found(ledger: PostgresLedger) -> int | None:
            holders = {route.name: leases.node_of(route.holder) for route in await ledger.routes()}
            name = holders.get(route_of(account))
            return next((at for at, node in enumerate(self.nodes) if node.name == name), None)

        return await self.read(found)

    async def link_counts(self) -> dict[str, Any]:
        """End the faulty link, and return what it did."""
        text = "" if self._link is None else await self._link.stop()
        found: dict[str, Any] = msgspec.json.decode(text.strip() or "{}")
        return found


@contextlib.asynccontextmanager
async def opened(
    job: NodeJob,
    folder: Path,
    *,
    nodes: int,
    version: int,
    exchange: list[str],
    link: list[str] | None = None,
    cabled: bool = False,
) -> AsyncIterator[Site]:
    """Run everything until this is left.

    ``job``: what all nodes have in common. ``exchange``, ``link``: the arguments of the exchange's command, and of that of a
    faulty link in front of it. ``cabled``: each node has cables of its own, which can be cut.
    """
    async with contextlib.AsyncExitStack() as stack:
        pair = await stack.enter_async_context(DatabasePair.running(version))
        served = await stack.enter_async_context(server("exchange", folder, exchange))
        before = None
        if link is not None:
            before = await stack.enter_async_context(server("link", folder, [*link, "--upstream", served.url]))
        await postgres_schema.migrate(place_of(pair.url()), seed=bytes(16), at_us=0)
        site = Site(pair, served.url, before)
        for number in range(nodes):
            url, venue = pair.url(**_LEDGER_OPTIONS), served.url if before is None else before.url
            if cabled:
                url, venue = await _cabled(site, stack, url, venue)
            given = msgspec.structs.replace(job, name=f"node-{number + 1}", ledger=url, venue=venue)
            node = Node(given, folder)
            stack.push_async_callback(node.kill)
            site.nodes.append(node)
        await asyncio.gather(*(node.start() for node in site.nodes))
        yield site


async def _cabled(site: Site, stack: contextlib.AsyncExitStack, url: str, venue: str) -> tuple[str, str]:
    """Lay a node's cables; return the URLs of ledger and venue at their near ends."""
    to_database = []
    for one in site.pair.servers:
        cable = await stack.enter_async_context(Cable(one.port))
        to_database.append(cable)
        url = url.replace(f"127.0.0.1:{one.port}", f"127.0.0.1:{cable.port}")
    to_venue = await stack.enter_async_context(Cable(int(venue.rpartition(":")[2]), watched=_WATCHED))
    site.to_database.append(to_database)
    site.to_venue.append(to_venue)
    return url, f"http://127.0.0.1:{to_venue.port}"


async def run_failover(settings: FailoverSettings, folder: Path, tell: Tell) -> FailoverResult:
    """Run the drill. Raises DrillFailed if it could not be carried out."""
    began_s = time.monotonic()
    accounts = tuple(f"acct{number}" for number in range(1, settings.accounts + 1))
    job = NodeJob(name="", ledger="", venue="", accounts=accounts, lease_s=settings.lease_s)
    cabled = any(blow not in KILLS for blow in settings.blows)
    async with (
        opened(job, folder, nodes=settings.nodes, version=settings.version, exchange=_EXCHANGE, cabled=cabled) as site,
        ExchangeWatch(site.exchange) as watch,
    ):
        load = Load(site.nodes, accounts, in_flight=settings.in_flight, think_s=settings.think_s, seed=settings.seed)
        drill = _Drill(settings, site, load, tell)
        try:
            async with asyncio.timeout(_BACK_S * (2 + settings.rounds * len(settings.blows))), load.running():
                await drill.run()
        except TimeoutError:
            drill.violations.append(f"CONVERGES: some orders were not answered within {_BACK_S:g} s of the last blow")
        found = await site.read(lambda ledger: failover_judge.judge(ledger, watch, load.acknowledged, accounts))
    return _result(settings, drill, load, found, time.monotonic() - began_s)


def _result(
    settings: FailoverSettings, drill: "_Drill", load: Load, found: failover_judge.Found, seconds: float
) -> FailoverResult:
    violations = [*drill.violations, *found.violations]
    violations += [f"SAME-ANSWER: two nodes gave different answers to {key}" for key in load.differing[:5]]
    violations += [f"a caller was refused: {text}" for text in load.refused[:5]]
    slowest: dict[str, float] = {}
    for one in drill.rounds:
        slowest[one.blow] = max(slowest.get(one.blow, 0.0), one.back_s)
    handovers = [one.handover_s for one in drill.rounds if one.handover_s is not None]
    return FailoverResult(
        lease_s=settings.lease_s,
        version=settings.version,
        seconds=round(seconds, 1),
        acknowledged=found.acknowledged,
        orders=found.orders,
        executions=found.executions,
        retries=load.retries,
        twice=load.twice,
        kills=drill.kills,
        slowest_s=slowest,
        slowest_handover_s=max(handovers, default=None),
        epochs=found.epochs,
        incidents=found.incidents,
        rounds=drill.rounds,
        late=drill.late,
        violations=violations,
    )


class _Drill:
    """The rounds of a drill."""

    def __init__(self, settings: FailoverSettings, site: Site, load: Load, tell: Tell) -> None:
        self._settings = settings
        self._site = site
        self._load = load
        self._tell = tell
        self.rounds: list[Round] = []
        self.kills = {"databases": 0, "gateways": 0, "pauses": 0, "cuts": 0}
        self.violations: list[str] = []
        self.late: list[str] = []

    async def run(self) -> None:
        """Strike, wait until all is well again, and so on."""
        total = self._settings.rounds * len(self._settings.blows)
        await self._load.flowing(time.monotonic(), _BACK_S)
        for blow in self._settings.blows:
            for number in range(self._settings.rounds):
                self._tell(f"{blow}", len(self.rounds), total)
                await asyncio.sleep(self._settings.load_s)
                one = await self._round(blow, number)
                self._check(one)
                self.rounds.append(one)
        self._tell("judging", total, total)

    def _check(self, one: Round) -> None:
        limit_s = max(one.durable_s or 0.0, self._settings.lease_s) + UNPLANNED_MORE_S
        if one.back_s > limit_s and one.blow is not Blow.CUT_VENUE:
            self.late.append(f"{one.blow}: orders went on after {one.back_s:.2f} s, later than {limit_s:.2f} s")
        if one.handover_s is not None and one.handover_s > PLANNED_S:
            self.late.append(f"a planned handover took {one.handover_s:.2f} s, longer than {PLANNED_S:g} s")
        if one.late_sends:
            self.violations.append(f"ONE-WRITER: {one.blow}: {one.late_sends} requests left after the lease was lost")

    async def _round(self, blow: Blow, number: int) -> Round:
        if blow in KILLS:
            return await self._kill(blow, number)
        at = number % len(self._site.nodes)
        victim, venue = await self._victim(at), self._site.to_venue[at]
        if blow is Blow.PAUSE:
            return await self._pause(victim, venue)
        if blow is Blow.CUT_DATABASE:
            return await self._cut_database(victim, self._site.to_database[at], venue)
        return await self._cut_venue(venue)

    # ------------------------------------------------------------------------- kills

    async def _kill(self, blow: Blow, number: int) -> Round:
        pair, victim = self._site.pair, None
        if blow is not Blow.DATABASE:
            victim = self._site.nodes[number % len(self._site.nodes)]
        async with asyncio.TaskGroup() as blows:
            if blow is not Blow.GATEWAY:
                blows.create_task(pair.kill_primary())
                self.kills["databases"] += 1
            if victim is not None:
                blows.create_task(victim.kill())
                self.kills["gateways"] += 1
        struck_s = time.monotonic()  # not before: until all of it is dead, a database still confirms commits
        promoted_s = durable_s = None
        if blow is not Blow.GATEWAY:
            promoted_s = await pair.fail_over() - struck_s
            await pair.make_standby(rewind=self._settings.rewind)
            durable_s = time.monotonic() - struck_s
        back = await self._load.flowing(struck_s, _BACK_S)
        taken_s = await self._taken_s(struck_s)
        handover_s = None
        if victim is not None:
            await victim.start()
            handover_s = await self._hand_over_half(victim)
        return Round(
            blow=blow,
            back_s=max(back.values()),
            promoted_s=promoted_s,
            durable_s=durable_s,
            taken_s=taken_s,
            handover_s=handover_s,
        )

    async def _hand_over_half(self, to: Node) -> float | None:
        """Give the node that was started again half of the routes, as planned; return how long the slowest one took.

        ``None``: it had asked for them before.
        """
        took = [await self._hand_over(account, to) for account in self._load.accounts[:: len(self._site.nodes)]]
        return max((one for one in took if one is not None), default=None)

    async def _hand_over(self, account: str, to: Node) -> float | None:
        """Hand a route over to a node; return the longest time without an answer on it meanwhile, if it was not there."""
        since_s = time.monotonic()
        place, moved = self._site.nodes.index(to), False
        while (holder := await self._site.holder(account)) != place:
            moved = True
            if holder is not None:
                with contextlib.suppress(NodeError, NodeGone):  # it has just changed hands
                    await self._site.nodes[holder].hand_over(route_of(account), to.name)
                await self._taken(account, holder)
            if time.monotonic() > since_s + _BACK_S:
                raise DrillFailed(f"{account}: could not be handed over to {to.name}")
        await self._load.flowing(time.monotonic(), _BACK_S)
        return self._load.silence(account, since_s) if moved else None

    async def _taken(self, account: str, before: int) -> None:
        """Wait until somebody else has the route, for a lease at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.lease_s):
                while True:
                    if await self._site.holder(account) not in {before, None}:
                        return

    # ----------------------------------------------------------------- pauses and cuts

    async def _victim(self, at: int) -> Node:
        """Return a node that has a route, so that there is something to lose."""
        victim = self._site.nodes[at]
        if at not in [await self._site.holder(account) for account in self._load.accounts]:
            await self._hand_over(self._load.accounts[0], victim)
        return victim

    async def _pause(self, victim: Node, cable: Cable) -> Round:
        """Pause a node until the others have its routes; then let it go on, and watch what it sends."""
        struck_s = time.monotonic()
        victim.pause()
        self.kills["pauses"] += 1
        try:
            back = await self._load.flowing(struck_s, _BACK_S)
            taken_s = await self._taken_s(struck_s)
        finally:
            woken_s = time.monotonic()
            victim.resume()
        until_s = await self._entitled(victim, woken_s)
        return Round(
            blow=Blow.PAUSE, back_s=max(back.values()), taken_s=taken_s, late_sends=cable.seen_between(woken_s, until_s)
        )

    async def _cut_database(self, victim: Node, cables: list[Cable], venue: Cable) -> Round:
        """Cut a node off from the database for longer than its lease, mend it, and watch what it sends."""
        struck_s = time.monotonic()
        with self._cut(cables):
            back = await self._load.flowing(struck_s, _BACK_S)
            taken_s = await self._taken_s(struck_s)
            await asyncio.sleep(struck_s + 2 * self._settings.lease_s - time.monotonic())
        over_s = struck_s + self._settings.lease_s
        until_s = await self._entitled(victim, struck_s)
        late = venue.seen_between(over_s, until_s)
        return Round(blow=Blow.CUT_DATABASE, back_s=max(back.values()), taken_s=taken_s, late_sends=late)

    async def _cut_venue(self, venue: Cable) -> Round:
        """Cut a node off from the exchange for longer than its lease, and mend it."""
        with self._cut([venue]):
            await asyncio.sleep(2 * self._settings.lease_s)
        mended_s = time.monotonic()
        back = await self._load.flowing(mended_s, _BACK_S)
        return Round(blow=Blow.CUT_VENUE, back_s=max(back.values()))

    @contextlib.contextmanager
    def _cut(self, cables: list[Cable]) -> Iterator[None]:
        for cable in cables:
            cable.cut()
        self.kills["cuts"] += 1
        try:
            yield
        finally:
            for cable in cables:
                cable.mend()

    async def _entitled(self, node: Node, since_s: float) -> float:
        """Watch for a while; return from when on the node had a route that it got since then, by the steady clock."""
        until_s = time.monotonic() + self._settings.lease_s + _QUIET_S
        while time.monotonic() < until_s:
            got = [later_s for name, later_s in await self._acquired(since_s) if name == node.name]
            if got:
                return since_s + min(got)
            await asyncio.sleep(_LOOK_S)
        return until_s

    async def _taken_s(self, since_s: float) -> float | None:
        """Return by how much later the last of the routes that changed hands since then had its holder."""
        return max((later_s for _, later_s in await self._acquired(since_s)), default=None)

    async def _acquired(self, since_s: float) -> list[tuple[str | None, float]]:
        """Return which nodes got a route since then, each by how much later."""
        since_us = (time.time() - time.monotonic() + since_s) * 1e6

        async def found(ledger: PostgresLedger) -> list[tuple[str | None, float]]:
            return [
                (leases.node_of(route.holder), (route.acquired_at_us - since_us) / 1e6)
                for route in await ledger.routes()
                if route.acquired_at_us > since_us
            ]

        return await self._site.read(found)
