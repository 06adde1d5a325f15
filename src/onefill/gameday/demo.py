"""The demo: the same orders twice over the same faulty network, once by a naive client, once by Onefill under kill -9.

Each client gets an exchange and a link of its own, with the same settings and seed. Onefill is the real command
``onefill run`` in a process of its own; what it did is judged at the exchange.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from onefill.core.errors import InvalidField
from onefill.core.identity import derived_id
from onefill.gameday import ledger_view
from onefill.gameday.demo_orders import ACCOUNT, STRATEGY, DemoIntent, make_intents, write_blotter
from onefill.gameday.demo_result import DemoResult, Kill, NaiveSide, OnefillSide
from onefill.gameday.judge import count_orders
from onefill.gameday.naive_client import NaiveClient
from onefill.gameday.practice_venue import DIALECT, PracticeVenue
from onefill.gameday.processes import command
from onefill.sim.link_plan import LinkSettings, preset


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the demo is run. Raises InvalidField for what cannot be.

    ``faults``: a preset of the link. ``in_flight``: orders under way at once, for both clients. ``timeout_s``: how long
    both wait for an answer. ``limit_s``: how long each side may take in all.
    """

    seed: int = 1
    intents: int = 1_000
    faults: str = "rough"
    kills: int = 3
    in_flight: int = 32
    timeout_s: float = 1.0
    limit_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.intents < 1:
            raise InvalidField("intents", "must be at least 1")
        if not 0 <= self.kills <= self.intents // 2:
            raise InvalidField("kills", f"{self.kills} is not from 0 to half the number of intents")

    @property
    def link(self) -> LinkSettings:
        """The link's settings.

        A POST is never doubled on the way: HTTP forbids intermediaries to repeat it (RFC 9110, 9.2.2), and at a venue
        that fills at once and frees the id again nothing could tell such a copy from a new order.
        """
        return msgspec.structs.replace(preset(self.faults, self.seed), duplicate_methods=("GET",))


class Progress(msgspec.Struct, frozen=True):
    """How far a side (``naive`` or ``onefill``) is; the figures are those at the venue."""

    side: str
    attempts: int
    orders: int
    fills: int
    note: str = ""


SomeSide = TypeVar("SomeSide", NaiveSide, OnefillSide)
OnProgress = Callable[[Progress], None]


async def run_demo(settings: DemoSettings, folder: Path, on_progress: OnProgress) -> DemoResult:
    """Run both sides, one after the other, keeping their files in ``folder``. Raises DrillFailed."""
    intents = make_intents(settings.intents, settings.seed)
    naive = await NaiveRun(settings, intents, on_progress).run()
    onefill = await OnefillRun(settings, intents, folder, on_progress).run()
    return DemoResult(intents=intents, seed=settings.seed, preset=settings.faults, naive=naive, onefill=onefill)


class NaiveRun:
    """The naive client's side."""

    def __init__(self, settings: DemoSettings, intents: Sequence[DemoIntent], on_progress: OnProgress) -> None:
        self._settings = settings
        self._intents = intents
        self._venue = PracticeVenue(settings.link)
        self._on_progress = on_progress
        self._client: NaiveClient | None = None

    async def run(self) -> NaiveSide:
        """Send every order and count what became of them once the network is quiet."""
        began = time.monotonic()
        settings, venue = self._settings, self._venue
        async with venue.open(self._tell), asyncio.timeout(settings.limit_s):
            client = NaiveClient(
                venue.url,
                seed=settings.seed,
                in_flight=settings.in_flight,
                timeout_s=settings.timeout_s,
                on_attempt=self._tell,
            )
            self._client = client
            await client.send_all(self._intents)
            await venue.quiet()
            return _side(
                NaiveSide,
                venue,
                self._intents,
                client.intent_of,
                attempts=client.attempts,
                seconds=time.monotonic() - began,
                unanswered=client.unanswered,
                given_up=len(client.given_up),
            )

    def _tell(self) -> None:
        attempts = 0 if self._client is None else self._client.sent
        self._on_progress(Progress("naive", attempts, self._venue.fills, self._venue.fills))


class OnefillRun:
    """Onefill's side: run, kill -9, run again, and at the end once more although everything is done."""

    def __init__(
        self, settings: DemoSettings, intents: Sequence[DemoIntent], folder: Path, on_progress: OnProgress
    ) -> None:
        self._settings = settings
        self._intents = intents
        self._folder = folder
        self._blotter = folder / "blotter.csv"
        self._ledger = folder / "orders.db"
        self._venue = PracticeVenue(settings.link)
        self._on_progress = on_progress
        self._note = ""

    async def run(self) -> OnefillSide:
        """Run the whole side and judge it."""
        began = time.monotonic()
        venue, folder = self._venue, self._folder
        write_blotter(self._blotter, self._intents)
        async with venue.open(self._tell), asyncio.timeout(2 * self._settings.limit_s):
            kills = [await self._killed_run(number, point) for number, point in enumerate(self._points(), 1)]
            first, second = folder / "answers.jsonl", folder / "answers-again.jsonl"
            finished = await self._whole_run("run-last", first, self._settings.limit_s)
            await venue.quiet()
            seconds = time.monotonic() - began
            sent_before, note = venue.exchange.counts().submits, self._note
            self._say("the same file once more")
            finished = await self._whole_run("run-again", second, self._settings.limit_s) and finished
            replay_sent = venue.exchange.counts().submits - sent_before
            self._say(note)
            audit = await self._result("audit", "audit", "verify")
            positions = await self._result("positions", "positions")
            copies = await ledger_view.copies(self._ledger, ACCOUNT, STRATEGY, [i.key for i in self._intents])
            form = DIALECT.id_format
            return _side(
                OnefillSide,
                venue,
                self._intents,
                {derived_id(ACCOUNT, STRATEGY, i.key, form): i.key for i in self._intents},
                attempts=copies,
                seconds=seconds,
                kills=kills,
                finished=finished,
                ledger_position=sum((Decimal(one["quantity"]) for one in positions), Decimal(0)),
                audit_holds=bool(audit["holds"]),
                replay_sent=replay_sent,
                replay_same=_same_bytes(first, second),
            )

    def _points(self) -> list[int]:
        """Return after how many fills to kill: one moment in each stretch of the run, by the seed."""
        draw = random.Random(f"kills {self._settings.seed}")  # noqa: S311 - repeatable on purpose
        kills, intents = self._settings.kills, len(self._intents)
        return [intents * number // kills + draw.randint(1, max(intents // kills - 1, 1)) for number in range(kills)]

    async def _killed_run(self, number: int, point: int) -> Kill:
        async with command(f"run-{number}", self._folder, self._arguments()) as run:
            # At least one fill in this very run: the blow must land while work is under way.
            reached = asyncio.create_task(self._venue.filled(max(point, self._venue.fills + 1)))
            ended = asyncio.create_task(run.wait())
            _, pending = await asyncio.wait(
                {reached, ended}, timeout=self._settings.limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            fills, landed = self._venue.fills, await run.kill()
            for task in pending:
                task.cancel()
        self._say(f"killed with -9, {number} of {self._settings.kills}")
        return Kill(after_fills=fills, landed=landed, under_way=await ledger_view.under_way(self._ledger))

    async def _whole_run(self, name: str, answers: Path, limit_s: float) -> bool:
        """Run the blotter to its end; False if that takes too long or some order was not accepted."""
        async with command(name, self._folder, [*self._arguments(), "--answers", answers]) as run:
            try:
                async with asyncio.timeout(limit_s):
                    return await run.wait() == 0
            except TimeoutError:
                return False

    async def _result(self, name: str, *arguments: str) -> Any:
        async with command(name, self._folder, [*arguments, "--ledger", self._ledger, "--json"]) as run:
            await run.wait()
            return run.result()

    def _arguments(self) -> list[str | Path]:
        settings = self._settings
        return [
            "run",
            self._blotter,
            *("--ledger", self._ledger),
            *("--venue", self._venue.url),
            *("--client-order-ids", "derived"),
            *("--in-flight", str(settings.in_flight)),
            *("--timeout-s", str(settings.timeout_s)),
            "--json",
        ]

    def _say(self, note: str) -> None:
        self._note = note
        self._tell()

    def _tell(self) -> None:
        venue = self._venue
        self._on_progress(Progress("onefill", venue.requests, venue.fills, venue.fills, self._note))


def _side(
    kind: type[SomeSide],
    venue: PracticeVenue,
    intents: Sequence[DemoIntent],
    intent_of: dict[str, str],
    **more: Any,
) -> SomeSide:
    """Return a side's figures: those at the venue, and ``more`` that only the side knows."""
    keys = [intent.key for intent in intents]
    there = count_orders(keys, intent_of, (order.client_order_id for order in venue.orders()))
    fills_of = dict.fromkeys(keys, 0)
    for client_order_id, fills in venue.fills_of.items():
        key = intent_of.get(client_order_id)
        if key is not None:
            fills_of[key] += fills
    counts = venue.counts
    return kind(
        fills_of=fills_of,
        venue_orders=there.orders,
        duplicates=there.duplicates,
        missing=there.missing,
        fills=venue.fills,
        position=venue.position,
        faults=dict(counts.kinds),
        requests=counts.requests,
        hurt=counts.hurt,
        **more,
    )


def _same_bytes(first: Path, second: Path) -> bool:
    try:
        return first.read_bytes() == second.read_bytes()
    except OSError:
        return False
