"""The drill of real venues' APIs: a recorded day's orders through ccxt, a faulty link and kills, against imitation venues.

For each venue an imitation runs in a process of its own, and in front of it a link that hurts one request in ten. Onefill
(``onefill run --settings``) sends the orders through the real ccxt client, is killed with -9 at seeded points of progress and
started again. At the end the venue itself is asked: every order is to be there once, with its content and final state; running
the file once more must send nothing and give the same answers byte for byte; and the audit chain must verify.

Beside it plain ccxt with a naive retry sends the same orders, never killed, to a fresh imitation over a link with the same
seed. The link knows an order by its content, so the k-th attempt at it meets the same fault, whoever makes it.

The venue lets all orders rest. Where it promises nothing about repeats, an order that was proven absent is told as not sent; a
caller who still wants it decides so and gives it a new key, which is what the drill does then. On such a venue the link doubles
no requests: nothing that a client does could undo that.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from onefill.core.capabilities import UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.messages import VenueStatus
from onefill.gameday import ledger_view
from onefill.gameday.ccxt_orders import Day, identify, order_in, read_day, same_id
from onefill.gameday.ccxt_settings import environment, toml, venue_table
from onefill.gameday.judge import Comparison, ExchangeWatch, OrderFacts, compare
from onefill.gameday.plain_ccxt import PlainCcxt
from onefill.gameday.processes import command, server
from onefill.gameday.recorded_day import LEAST_HURT, Tell, told_of
from onefill.sim.imitations.base import ACCOUNT, Imitation
from onefill.sim.imitations.known import IMITATIONS
from onefill.sim.link import FaultyLink
from onefill.sim.link_plan import PRESETS, LinkCounts, LinkSettings, preset

VENUES: Final = ("binance_spot", "kraken", "coinbase", "okx", "deribit")
"""What is drilled unless other venues are named."""
_POLL_S = 0.05
_RUN_LIMIT_S = 900.0
_MOST_DECISIONS = 5
"""How often the drill decides to send anew what was told as not sent."""
_PREFIX = "DRILL"
_NO_ONE = "an order of nobody: "
_NOT_KNOWN_YET, _VENUE_UNUSABLE = 3, 4
"""Exit codes of a run that is to be run again: a fate is open, or the venue's markets could not be read."""
_NOT_SENT = "expired_unsent"
_TRUTHFUL = frozenset({"accepted", "canceled", "canceled_unsent", _NOT_SENT})
"""What a row may end as: taken by the venue, or told as not sent."""


class VenueDrill(msgspec.Struct, frozen=True, kw_only=True):
    """What is run. ``orders``: the day's first so many; ``kills`` per venue; ``timeout_s`` bounds one call.

    ``in_flight``: rows under way at once with Onefill, ``plain_in_flight`` with plain ccxt. ``capabilities`` replace
    single values of the profile, as in a settings file: an imitation decides at once, and a small drill need not wait for as
    long as a real venue may take.
    """

    file: Path
    venues: tuple[str, ...] = VENUES
    orders: int = 2000
    kills: int = 10
    seed: int = 1
    faults: str = "rough"
    in_flight: int = 64
    plain_in_flight: int = 16
    timeout_s: float = 2.0
    capabilities: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.faults not in PRESETS:
            raise InvalidField("faults", f"{self.faults!r} is none of: {', '.join(PRESETS)}")
        for venue in self.venues:
            if venue not in IMITATIONS:
                raise InvalidField("venues", f"{venue!r} is not imitated; there are: {', '.join(sorted(IMITATIONS))}")
        if self.kills < 0 or self.orders < 1:
            raise InvalidField("kills, orders", "must not be below zero")


class PlainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What plain ccxt with a naive retry did. ``errors`` counts ccxt's classes."""

    attempts: int
    orders: int
    duplicates: int
    """Orders beyond those that were wanted."""
    missing: int
    given_up: int
    refused: int
    errors: dict[str, int]
    hurt: int
    seconds: float


class VenueResult(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's run. ``violations`` says in words what did not hold; empty is the only good value."""

    venue: str
    wanted: int
    orders: int
    """Orders at the venue in the end."""
    duplicates: int
    missing: int
    submits: int
    """Order requests that reached the venue, repeats included."""
    refused_repeats: int
    refused_late: int
    cancels: int
    decided_anew: int
    """Orders told as not sent, and sent under a new key by decision."""
    kills: int
    kills_effective: int
    """Kills that left requests claimed and without an outcome."""
    requests: int
    hurt: int
    faults: dict[str, int]
    seconds: float
    plain: PlainResult
    violations: list[str]


async def run_venues(settings: VenueDrill, folder: Path, tell: Tell) -> list[VenueResult]:
    """Run the drill and return a result for each venue. Raises DrillFailed if it could not be carried out."""
    return [await _Venue(settings, folder / name, name, tell).run() for name in settings.venues]


class _Link:
    """A faulty link in this process, in front of an imitation in another. ``orders``: requests of orders that came to it."""

    def __init__(self, exchange: str, faults: LinkSettings) -> None:
        host, _, port = exchange.removeprefix("http://").partition(":")
        self._host = host
        self._proxy = FaultyLink(host, int(port), faults, identify=self._identify)
        self.counts = self._proxy.counts
        self.orders = 0
        self.url = ""

    async def __aenter__(self) -> "_Link":
        """Listen."""
        self.url = f"http://{self._host}:{await self._proxy.start(self._host)}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop everything."""
        await self._proxy.close()

    def _identify(self, method: bytes, target: bytes, body: bytes) -> bytes:
        self.orders += order_in(target, body) is not None
        return identify(method, target, body)


class _Venue:
    """The drill against one venue."""

    def __init__(self, settings: VenueDrill, folder: Path, name: str, tell: Tell) -> None:
        self._settings = settings
        self._folder = folder
        self._name = name
        self._tell = tell
        self._kind: type[Imitation] = IMITATIONS[name]
        self._day: Day = read_day(settings.file.resolve(), self._kind.instruments[0], settings.orders)
        self._ledger = folder / "orders.db"
        self._violations: list[str] = []
        self._intent_of: dict[str, str] = {}
        """The day's key behind each client order id."""
        self._decided_anew = 0

    async def run(self) -> VenueResult:
        """Run, kill, run again, judge; then plain ccxt."""
        self._folder.mkdir()
        began = time.monotonic()
        blotter = self._folder / "orders.csv"
        self._day.write(blotter, {key: key for key in self._day.orders})
        async with self._served("onefill") as (watch, link):
            self._write_settings(link.url)
            landed = [await self._killed(blotter, watch, number) for number in self._points()]
            blotters = [blotter]
            first = [await self._whole(blotter, watch, 1)]
            while (anew := self._not_sent(first[-1])) and len(blotters) <= _MOST_DECISIONS:
                self._decided_anew += len(anew)
                blotters.append(self._folder / f"orders-{len(blotters) + 1}.csv")
                self._day.write(blotters[-1], {key: f"{key}~{len(blotters)}" for key in anew})
                first.append(await self._whole(blotters[-1], watch, 1))
            await self._quiet(watch)
            before, sent = await watch.counts(), link.orders
            again = [await self._whole(one, watch, 2) for one in blotters]
            counts, orders = await watch.counts(), await watch.orders()
            hurt = link.counts
        if (counts.submits, counts.cancels, link.orders) != (before.submits, before.cancels, sent):
            self._violations.append("ONE-ORDER: running the file once more sent something")
        if any(one.read_bytes() != two.read_bytes() for one, two in zip(first, again, strict=True)):
            self._violations.append("SAME-ANSWER: running the file once more gave other answers")
        comparison = self._compared(orders)
        self._violations += told_of(comparison)
        await self._judge_audit()
        self._judge_drill(landed, hurt)
        seconds = time.monotonic() - began
        return VenueResult(
            venue=self._name,
            wanted=len(self._day.orders),
            orders=len(orders),
            duplicates=len(orders) - (comparison.expected - len(comparison.missing)),
            missing=len(comparison.missing),
            submits=counts.submits,
            refused_repeats=counts.duplicates,
            refused_late=counts.too_late,
            cancels=counts.cancels,
            decided_anew=self._decided_anew,
            kills=len(landed),
            kills_effective=sum(landed),
            requests=hurt.requests,
            hurt=hurt.hurt,
            faults={kind.value: one.effective for kind, one in hurt.kinds.items() if one.effective},
            seconds=round(seconds, 1),
            plain=await self._plain(),
            violations=self._violations,
        )

    @contextlib.asynccontextmanager
    async def _served(self, name: str) -> AsyncIterator[tuple[ExchangeWatch, _Link]]:
        """Run a fresh imitation that lets orders rest, a link in front of it, and what watches it past the link."""
        faults = preset(self._settings.faults, self._settings.seed)
        if self._kind.dialect.unique_scope is UniqueScope.NONE:
            faults = msgspec.structs.replace(faults, duplicate=Decimal(0))
        arguments = ["exchange", "--imitate", self._name, "--no-matching"]
        async with (
            server(f"exchange-{name}", self._folder, arguments) as exchange,
            ExchangeWatch(exchange.url) as watch,
            _Link(exchange.url, faults) as link,
        ):
            yield watch, link

    # ------------------------------------------------------------------ Onefill

    def _write_settings(self, url: str) -> None:
        """Write the settings: the venue's address is the link, what its client needs besides is the imitation's.

        The route is moved by hand only: each kill leaves more of unknown fate than an unattended one goes on with.
        """
        settings = self._settings
        venue = venue_table(self._kind, url, _PREFIX, timeout_s=settings.timeout_s, capabilities=settings.capabilities)
        venue["config"]["rateLimit"] = 1
        text = toml(
            {"gateway": {"client_order_ids": "derived"}, "control": {"automatic": False}, "venues": {"drilled": venue}}
        )
        (self._folder / "settings.toml").write_text(text, encoding="utf-8")

    def _command(self, blotter: Path) -> list[str | Path]:
        return [
            "run",
            blotter,
            *("--settings", self._folder / "settings.toml"),
            *("--venue", "drilled"),
            *("--account", ACCOUNT),
            *("--ledger", self._ledger),
            *("--in-flight", str(self._settings.in_flight)),
            *("--wait-s", "300"),
            "--json",
        ]

    def _points(self) -> Iterator[int]:
        """Yield after how many requests at the venue to kill: a moment in each stretch of the day, by the seed."""
        draw = random.Random(f"{self._name} {self._settings.seed}")  # noqa: S311 - repeatable on purpose
        stretch = len(self._day.rows) / max(self._settings.kills, 1)
        return (int(stretch * (number + 0.8 * draw.random())) for number in range(self._settings.kills))

    async def _killed(self, blotter: Path, watch: ExchangeWatch, point: int) -> bool:
        """Run until ``point`` requests came, some of them from this very run, and more are under way; kill. True if it hurt."""
        began = await watch.counts()
        point = max(point, began.submits + began.cancels + 5)
        end_s = time.monotonic() + _RUN_LIMIT_S
        async with command("run-killed", self._folder, self._command(blotter), environment(self._kind, _PREFIX)) as run:
            while run.running and time.monotonic() < end_s:
                if await self._progress(watch) >= point and await ledger_view.under_way(self._ledger):
                    break
                await asyncio.sleep(_POLL_S)
            landed = await run.kill()
        return landed and await ledger_view.under_way(self._ledger) > 0

    async def _progress(self, watch: ExchangeWatch) -> int:
        counts = await watch.counts()
        self._tell(self._name, counts.submits + counts.cancels, len(self._day.rows))
        return counts.submits + counts.cancels

    async def _whole(self, blotter: Path, watch: ExchangeWatch, number: int) -> Path:
        """Run a blotter to its end and return its answers."""
        name = f"{blotter.stem}-answers-{number}"
        answers = self._folder / f"{name}.jsonl"
        arguments = [*self._command(blotter), "--answers", answers]
        end_s = time.monotonic() + _RUN_LIMIT_S
        code = _VENUE_UNUSABLE
        while code in (_NOT_KNOWN_YET, _VENUE_UNUSABLE) and time.monotonic() < end_s:
            async with command(name, self._folder, arguments, environment(self._kind, _PREFIX)) as run:
                while run.running and time.monotonic() < end_s:
                    await self._progress(watch)
                    await asyncio.sleep(2 * _POLL_S)
                await run.kill()
                code = await run.wait()
        self._take_answers(name, answers, run.errors)
        return answers

    def _take_answers(self, name: str, answers: Path, why: Callable[[], str]) -> None:
        """Learn client order ids from the answers; say what was neither taken nor told as not sent."""
        if not answers.exists():
            self._violations.append(f"CONVERGES: {name} wrote no answers: {why()}")
            answers.touch()
            return
        for row in _results(answers):
            said = row.get("answer") or {}
            if said.get("client_order_id"):
                self._intent_of[same_id(said["client_order_id"])] = _day_key(row["key"])
            if row["outcome"] not in _TRUTHFUL:
                self._violations.append(
                    f"CONVERGES: {name}: {row['key']} ended as {row['outcome']}: {row.get('error')}"
                )

    def _not_sent(self, answers: Path) -> list[str]:
        """Return the keys of the orders that were told as not sent."""
        return [_day_key(row["key"]) for row in _results(answers) if row["outcome"] == _NOT_SENT]

    # -------------------------------------------------------------------- judge

    def _compared(self, found: Iterable[OrderFacts]) -> Comparison:
        expected = [
            OrderFacts(one.key, one.side, one.price, one.quantity, _final(canceled=one.canceled))
            for one in self._day.orders.values()
        ]
        named = [
            msgspec.structs.replace(
                one,
                client_order_id=self._intent_of.get(same_id(one.client_order_id), _NO_ONE + one.client_order_id),
            )
            for one in found
        ]
        return compare(expected, named)

    async def _judge_audit(self) -> None:
        async with command("audit", self._folder, ["audit", "verify", "--ledger", self._ledger, "--json"]) as run:
            await run.wait()
            if not run.result().get("holds"):
                self._violations.append(f"APPEND-ONLY: audit verify says {run.output()[:300]}")

    def _judge_drill(self, landed: list[bool], link: LinkCounts) -> None:
        if self._settings.faults != "calm" and link.hurt < LEAST_HURT * link.requests:
            self._violations.append(f"the drill itself: only {link.hurt} of {link.requests} requests were hurt")
        if self._settings.kills and sum(landed) * 2 < self._settings.kills:
            self._violations.append(f"the drill itself: only {sum(landed)} kills hit work under way")

    async def _quiet(self, watch: ExchangeWatch) -> None:
        """Wait until nothing is under way between the link and the venue."""
        last, since = await watch.counts(), time.monotonic()
        longest_s = preset(self._settings.faults).delay_request_ms[1] / 1000
        while time.monotonic() - since < longest_s + _POLL_S:
            await asyncio.sleep(2 * _POLL_S)
            counts = await watch.counts()
            if counts != last:
                last, since = counts, time.monotonic()

    # --------------------------------------------------------------- plain ccxt

    async def _plain(self) -> PlainResult:
        began = time.monotonic()
        what = f"{self._name}, plain ccxt"
        async with self._served("plain") as (watch, link):
            orders = self._day.orders.values()
            client = PlainCcxt(
                self._kind.ccxt_id,
                link.url,
                {**self._kind.config(), "rateLimit": 1},
                timeout_s=self._settings.timeout_s,
                in_flight=self._settings.plain_in_flight,
                on_attempt=lambda: self._tell(what, client.sent, len(orders)),
            )
            await client.send_all(self._day.instrument.symbol, orders)
            await self._quiet(watch)
            found = await watch.book()
            hurt = link.counts.hurt
        wanted = Counter(one.content for one in orders)
        there = Counter((one.side, one.price, one.quantity) for one in found)
        return PlainResult(
            attempts=client.sent,
            orders=len(found),
            duplicates=(there - wanted).total(),
            missing=(wanted - there).total(),
            given_up=client.given_up,
            refused=client.refused,
            errors=client.errors,
            hurt=hurt,
            seconds=round(time.monotonic() - began, 1),
        )


def _final(*, canceled: bool) -> VenueStatus:
    return VenueStatus.CANCELED if canceled else VenueStatus.NEW


def _day_key(key: str) -> str:
    return key.partition("~")[0]


def _results(answers: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in answers.read_bytes().splitlines()]
