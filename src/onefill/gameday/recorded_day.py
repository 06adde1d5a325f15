"""The drill of the recorded day: every order of a real day through a faulty link, killed with -9 again and again.

A clean run (no link, no kills) says what should be at the venue. Then, for each dialect, the same file goes through a link that
hurts one request in ten, and the process that sends it is killed at seeded points of progress and started again. At the end the
venue's orders (client order id, side, price, quantity, final state) must be those of the clean run, each once; running the file
once more must send nothing and give the same answers byte for byte; and the audit chain must verify.

The venue lets all orders rest, so that the order of arrival cannot change the outcome.
"""

import asyncio
import itertools
import lzma
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from onefill.core.capabilities import UniqueScope
from onefill.core.errors import CallerError, InvalidField
from onefill.gameday import ledger_view
from onefill.gameday.judge import Comparison, ExchangeWatch, OrderFacts, compare
from onefill.gameday.processes import DrillFailed, command, server
from onefill.sim.exchange import Counts
from onefill.sim.link_plan import PRESETS

LEAST_HURT = 0.05
"""The share of requests that the link must have hurt for the drill to count."""
_POLL_S = 0.01
QUIET_S = 3.0
"""Longer than the link holds a request back: after so long without news nothing is under way any more."""
_RUN_LIMIT_S = 900.0


class DaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is run. ``kills`` per dialect; ``limit``: only the file's first rows; ``timeout_s`` bounds one call."""

    file: Path
    dialects: tuple[UniqueScope, ...] = (UniqueScope.EVER, UniqueScope.DAY, UniqueScope.OPEN)
    kills: int = 20
    seed: int = 1
    faults: str = "rough"
    limit: int | None = None
    in_flight: int = 256
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.faults not in PRESETS:
            raise InvalidField("faults", f"{self.faults!r} is none of: {', '.join(PRESETS)}")
        if self.kills < 0 or (self.limit is not None and self.limit < 1):
            raise InvalidField("kills, limit", "must not be below zero")


class DayResult(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect's run. ``violations`` says in words what did not hold; empty is the only good value."""

    dialect: UniqueScope
    orders: int
    submits: int
    """Order requests that reached the venue, repeats included."""
    refused_repeats: int
    refused_late: int
    cancels: int
    kills: int
    kills_effective: int
    """Kills that left requests claimed and without an outcome."""
    requests: int
    hurt: int
    faults: dict[str, int]
    duplicates: int
    missing: int
    seconds: float
    violations: list[str]


Tell = Callable[[str, int, int], None]
"""Hears what is under way, how far, and of how much."""


async def run_day(settings: DaySettings, folder: Path, tell: Tell) -> list[DayResult]:
    """Run the drill and return a result for each dialect. Raises DrillFailed if it could not be carried out."""
    file = _trimmed(settings, folder)
    expected, clean = await _clean_run(settings, file, folder, tell)
    return [
        await _Dialect(settings, file, folder, dialect, expected, clean, tell).run() for dialect in settings.dialects
    ]


def _trimmed(settings: DaySettings, folder: Path) -> Path:
    if settings.limit is None:
        return settings.file.resolve()
    opened = lzma.open if settings.file.suffix == ".xz" else open
    target = folder / "first-rows.csv"
    try:
        with opened(settings.file, "rt", encoding="utf-8") as source, target.open("w", encoding="utf-8") as trimmed:
            trimmed.writelines(itertools.islice(source, settings.limit + 1))
    except (OSError, lzma.LZMAError) as error:
        raise CallerError(f"{settings.file}: cannot be read: {error}") from error
    return target


def _run_arguments(settings: DaySettings, file: Path, ledger: Path, url: str) -> list[str | Path]:
    return [
        "run",
        file,
        *("--format", "bitstamp"),
        *("--ledger", ledger),
        *("--venue", url),
        *("--client-order-ids", "derived"),
        *("--in-flight", str(settings.in_flight)),
        *("--timeout-s", str(settings.timeout_s)),
        *("--wait-s", "300"),
        "--json",
    ]


def exchange_arguments(scope: UniqueScope) -> list[str]:
    """Return how the day's exchange is started."""
    return ["exchange", "--no-matching", "--unique-scope", scope.value, "--conclusive-after-s", "3"]


async def _clean_run(settings: DaySettings, file: Path, folder: Path, tell: Tell) -> tuple[list[OrderFacts], Counts]:
    """Return the orders that should be there in the end, and what it took."""
    rows = await asyncio.to_thread(_count_rows, file)
    async with (
        server("clean-exchange", folder, exchange_arguments(UniqueScope.EVER)) as exchange,
        ExchangeWatch(exchange.url) as watch,
        command("clean-run", folder, _run_arguments(settings, file, folder / "clean.db", exchange.url)) as run,
    ):
        while run.running:
            counts = await watch.counts()
            tell("clean run", counts.submits + counts.cancels, rows)
            await asyncio.sleep(10 * _POLL_S)
        if await run.wait() != 0:
            raise DrillFailed(f"the clean run ended with {await run.wait()}: {run.errors() or run.output()[-600:]}")
        return await watch.orders(), await watch.counts()


def _count_rows(file: Path) -> int:
    opened = lzma.open if file.suffix == ".xz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return sum("changed" not in line for line in lines) - 1


def told_of(comparison: Comparison) -> list[str]:
    """Return in words how the venue's orders differ from those of the clean run."""
    found = {
        "ONE-ORDER: more than one order under": comparison.duplicates,
        "NO-LOSS: no order under": comparison.missing,
        "an order that nobody wanted under": comparison.unexpected,
        "another order than in the clean run under": comparison.differing,
    }
    return [
        f"{words} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for words, names in found.items()
        if names
    ]


class _Dialect:
    """The drill against one dialect."""

    def __init__(
        self,
        settings: DaySettings,
        file: Path,
        folder: Path,
        dialect: UniqueScope,
        expected: list[OrderFacts],
        clean: Counts,
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._file = file
        self._folder = folder / dialect.value
        self._dialect = dialect
        self._expected = expected
        self._steps = clean.submits + clean.cancels
        self._tell = tell
        self._ledger = self._folder / "orders.db"
        self._violations: list[str] = []

    async def run(self) -> DayResult:
        """Run, kill, run again, and judge."""
        self._folder.mkdir()
        began = time.monotonic()
        link_arguments = ["link", "--faults", self._settings.faults, "--seed", str(self._settings.seed)]
        async with (
            server("exchange", self._folder, exchange_arguments(self._dialect)) as exchange,
            server("link", self._folder, [*link_arguments, "--upstream", exchange.url]) as link,
            ExchangeWatch(exchange.url) as watch,
        ):
            arguments = _run_arguments(self._settings, self._file, self._ledger, link.url)
            landed = [await self._killed(arguments, watch, number) for number in self._points()]
            first, second = self._folder / "answers.jsonl", self._folder / "answers-again.jsonl"
            await self._whole(arguments, watch, "run-last", first)
            await self._quiet(watch)
            seconds, before = time.monotonic() - began, await watch.counts()
            await self._whole(arguments, watch, "run-again", second)
            await self._quiet(watch)
            counts, orders = await watch.counts(), await watch.orders()
            self._judge_replay(before, counts, first, second)
            comparison = compare(self._expected, orders)
            self._violations += told_of(comparison)
            await self._judge_audit()
            hurt = msgspec.json.decode((await link.stop()).strip() or "{}")
        return self._result(comparison, counts, landed, hurt, seconds)

    def _points(self) -> Iterator[int]:
        """Yield after how many requests at the venue to kill: one moment in each stretch of the day, by the seed."""
        draw = random.Random(f"{self._dialect} {self._settings.seed}")  # noqa: S311 - repeatable on purpose
        stretch = self._steps / max(self._settings.kills, 1)
        return (int(stretch * (number + draw.random())) for number in range(self._settings.kills))

    async def _killed(self, arguments: list[str | Path], watch: ExchangeWatch, point: int) -> bool:
        """Run until ``point`` requests came, at least some of them from this very run, and kill. True if it hurt."""
        first = await watch.counts()
        point = max(point, first.submits + first.cancels + 5)
        async with command("run-killed", self._folder, arguments) as run:
            while run.running:
                counts = await watch.counts()
                done = counts.submits + counts.cancels
                self._tell(f"dialect {self._dialect}", done, self._steps)
                if done >= point:
                    break
                await asyncio.sleep(_POLL_S)
            landed = await run.kill()
        return landed and await ledger_view.under_way(self._ledger) > 0

    async def _whole(self, arguments: list[str | Path], watch: ExchangeWatch, name: str, answers: Path) -> None:
        async with command(name, self._folder, [*arguments, "--answers", answers]) as run:
            try:
                async with asyncio.timeout(_RUN_LIMIT_S):
                    while run.running:
                        counts = await watch.counts()
                        self._tell(f"dialect {self._dialect}", counts.submits + counts.cancels, self._steps)
                        await asyncio.sleep(10 * _POLL_S)
                    code = await run.wait()
            except TimeoutError:
                self._violations.append(f"CONVERGES: {name} did not end within {_RUN_LIMIT_S:g} s")
                return
            if code != 0:
                self._violations.append(f"CONVERGES: {name} ended with {code}: {run.errors() or run.output()[-300:]}")

    async def _quiet(self, watch: ExchangeWatch) -> None:
        """Wait until nothing is under way between the link and the venue."""
        last, since = await watch.counts(), time.monotonic()
        while time.monotonic() - since < QUIET_S:
            await asyncio.sleep(10 * _POLL_S)
            counts = await watch.counts()
            if counts != last:
                last, since = counts, time.monotonic()

    def _judge_replay(self, before: Counts, after: Counts, first: Path, second: Path) -> None:
        if after.submits != before.submits or after.cancels != before.cancels:
            self._violations.append("ONE-ORDER: running the file once more sent something")
        if not (first.exists() and second.exists() and first.read_bytes() == second.read_bytes()):
            self._violations.append("SAME-ANSWER: running the file once more gave other answers")

    async def _judge_audit(self) -> None:
        async with command("audit", self._folder, ["audit", "verify", "--ledger", self._ledger, "--json"]) as run:
            await run.wait()
            if not run.result().get("holds"):
                self._violations.append(f"APPEND-ONLY: audit verify says {run.output()[:300]}")

    def _result(
        self, comparison: Comparison, counts: Counts, landed: list[bool], link: dict[str, Any], seconds: float
    ) -> DayResult:
        requests, hurt = int(link.get("requests", 0)), int(link.get("hurt", 0))
        if self._settings.faults != "calm" and hurt < LEAST_HURT * requests:
            self._violations.append(f"the drill itself: only {hurt} of {requests} requests were hurt")
        if self._settings.kills and sum(landed) * 2 < self._settings.kills:
            self._violations.append(f"the drill itself: only {sum(landed)} kills hit work under way")
        return DayResult(
            dialect=self._dialect,
            orders=comparison.found,
            submits=counts.submits,
            refused_repeats=counts.duplicates,
            refused_late=counts.too_late,
            cancels=counts.cancels,
            kills=len(landed),
            kills_effective=sum(landed),
            requests=requests,
            hurt=hurt,
            faults={kind: one["effective"] for kind, one in link.get("kinds", {}).items() if one["effective"]},
            duplicates=comparison.found - (len(self._expected) - len(comparison.missing)),
            missing=len(comparison.missing),
            seconds=round(seconds, 1),
            violations=self._violations,
        )
