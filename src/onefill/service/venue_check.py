"""What a real venue does about the things that Onefill builds on, tried with the user's own account by harmless questions.

Nothing is ordered or cancelled here; that is :mod:`onefill.service.venue_check_order`, and only on a test network. No
credential can get into a finding: every text is searched for them before it is kept.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from onefill.core.capabilities import Lookup
from onefill.core.errors import OnefillError, VenueError
from onefill.core.identity import derived_id
from onefill.core.messages import Found, Holdings, Listed, NotFound, ScanReply, legible
from onefill.core.values import Instrument
from onefill.service.venue_settings import CcxtSettings
from onefill.venues.ccxt.client import Client, make
from onefill.venues.ccxt.credentials import CREDENTIALS
from onefill.venues.ccxt.manners import manners_of
from onefill.venues.ccxt.venue import CcxtVenue

T = TypeVar("T")
_TRADES_OF_S: Final = 3600
_CLOCK_S: Final = 1.0
"""So far apart two clocks may be where a request carries an expiry of a few seconds."""
_SLOW: Final = 0.5
"""A call that takes a greater part of the time-out than this leaves too little for a bad moment."""
_FAMILIAR: Final = ("BTC/USDT", "BTC/USD", "BTC/USDC", "BTC/EUR", "BTC/USD:BTC", "BTC/USDT:USDT", "BTC/USDC:USDC")
_SHOWN: Final = 240


class Verdict(StrEnum):
    """What came of a check."""

    HELD = "held"
    NOT_HELD = "did not hold"
    NOT_ASKED = "could not be asked"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was tried, what came of it, what was seen, and how long the venue took (ms)."""

    check: str
    verdict: Verdict
    detail: str
    took_ms: int = 0


class NotAsked(Exception):
    """The check cannot be made here. The text says why."""


class NotHeld(Exception):
    """The venue does otherwise. The text says what was seen."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found."""

    venue: str
    exchange: str
    profile: str | None
    network: str
    instrument: str | None
    findings: list[Finding]

    @property
    def holds(self) -> bool:
        """Whether nothing was found that does not hold."""
        return all(one.verdict is not Verdict.NOT_HELD for one in self.findings)


class Checker:
    """Tries things on one venue and keeps what it finds. ``field`` is where errors say that credentials are named."""

    def __init__(self, settings: CcxtSettings, field: str, instrument: str | None) -> None:
        config = settings.client_config(field)
        self.settings = settings
        library = make(
            settings.exchange, config, manners_of(settings.exchange), url=settings.url, testnet=settings.testnet
        )
        self.client = Client(library, settings.timeout_s, own=True)
        self.venue = CcxtVenue(
            library,
            settings.account,
            profile=settings.profile,
            timeout_s=settings.timeout_s,
            overrides=settings.capabilities,
        )
        self.instruments: Mapping[str, Instrument] = {}
        self.findings: list[Finding] = []
        self._instrument = instrument or (settings.instruments[0] if settings.instruments else None)
        self._hidden = _secrets(config)
        self._listed: ScanReply | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self.venue.close()
        await self.client.close()

    @property
    def symbol(self) -> str:
        """The instrument that questions are about. Raises NotAsked while there is none."""
        if self._instrument is None:
            raise NotAsked("no instrument is known; name one with --instrument")
        return self._instrument

    @property
    def network(self) -> str:
        """Where the venue is."""
        return self.settings.url or ("test network" if self.settings.testnet else "real")

    def report(self, name: str) -> Report:
        """Return all that was found."""
        return Report(
            venue=name,
            exchange=self.settings.exchange,
            profile=self.settings.profile,
            network=self.network,
            instrument=self._instrument,
            findings=self.findings,
        )

    async def attempt(self, check: str, seen: Callable[[], Awaitable[str]]) -> bool:
        """Make one check and keep what came of it. True if it held."""
        began = time.monotonic()
        try:
            verdict, detail = Verdict.HELD, await seen()
        except NotHeld as problem:
            verdict, detail = Verdict.NOT_HELD, str(problem)
        except NotAsked as problem:
            verdict, detail = Verdict.NOT_ASKED, str(problem)
        except OnefillError as problem:
            verdict, detail = Verdict.NOT_HELD, str(problem)
        took_ms = round((time.monotonic() - began) * 1000)
        self.findings.append(Finding(check=check, verdict=verdict, detail=self._clean(detail), took_ms=took_ms))
        return verdict is Verdict.HELD

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what one of ccxt's methods returns. Raises NotHeld with what went wrong."""
        return await self.bounded(self.client(method, *arguments))

    async def bounded(self, call: Awaitable[T]) -> T:
        """Return what a question returns in the time given. Raises NotHeld with what went wrong."""
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await call
        except (OnefillError, NotAsked):
            raise
        except Exception as error:
            raise NotHeld(f"{type(error).__name__}: {error}") from error

    def _clean(self, text: str) -> str:
        """Return a text as it may be shown: no credential, no request's query, no control characters."""
        for secret in self._hidden:
            text = text.replace(secret, "***")
        words = (part.split("?", 1)[0] if "://" in part else part for part in text.split())
        return (legible(" ".join(words)) or "")[:_SHOWN]

    # ------------------------------------------------------------------- checks

    async def run(self) -> None:
        """Make every harmless check. Raises VenueError if the markets cannot be had: nothing else can be asked then."""
        began = time.monotonic()
        try:
            await self.venue.start()
        except VenueError as problem:
            raise VenueError(self._clean(str(problem))) from None
        self.instruments = await self.venue.instruments()
        took_ms = round((time.monotonic() - began) * 1000)
        self._choose()
        await self.attempt("markets", self._markets)
        self.findings[-1] = msgspec.structs.replace(self.findings[-1], took_ms=took_ms)
        for check, seen in (
            ("clock", self._clock),
            ("balances", self._balances),
            ("positions", self._positions),
            ("open orders", self._open_orders),
            ("ids of listed orders", self._listed_ids),
            ("look-up of an unknown id", self._unknown_id),
            ("own trades", self._trades),
            ("streams", self._streams),
            ("time-out", self._slowest),
        ):
            await self.attempt(check, seen)

    def _choose(self) -> None:
        if self._instrument is None and self.instruments:
            known = [name for name in _FAMILIAR if name in self.instruments]
            self._instrument = known[0] if known else min(self.instruments)

    async def _markets(self) -> str:
        if not self.instruments:
            raise NotHeld("the venue lists no instrument that can be traded by limit orders")
        wanted = {*self.settings.instruments, self.symbol}
        missing = sorted(wanted - self.instruments.keys())
        if missing:
            raise NotHeld(f"not among the {len(self.instruments):,} instruments: {', '.join(missing)}")
        return f"instruments: {len(self.instruments):,}; questions are about {self.symbol}"

    async def _clock(self) -> str:
        if not self.client.has("fetchTime"):
            raise NotAsked("ccxt cannot ask this venue for its time")
        before = time.time()
        theirs_ms = int(await self.ask("fetch_time"))
        after = time.time()
        whole = theirs_ms % 1000 == 0  # some venues tell no parts of a second
        unsure_s = (after - before) / 2 + (0.5 if whole else 0)
        ahead_s = theirs_ms / 1000 + (0.5 if whole else 0) - (before + after) / 2
        seen = f"the venue's clock is {abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'} this one"
        if abs(ahead_s) > _CLOCK_S + unsure_s:
            raise NotHeld(f"{seen}; expiries of requests are off by as much: set this host's clock")
        return f"{seen} (give or take {unsure_s:.3f} s)"

    async def _balances(self) -> str:
        held = await self.venue.balances()
        return f"assets with a balance: {len(held):,}"

    async def _positions(self) -> str:
        if not self.venue.capabilities.tells_positions:
            raise NotAsked("not declared for this venue: holdings are told as balances")
        found = await self.venue.positions(self.settings.account)
        if not isinstance(found, Holdings):
            raise NotHeld(found.reason)
        return f"positions: {len(found.positions):,}"

    async def _open_orders(self) -> str:
        if not self.venue.capabilities.lists_open_orders:
            raise NotAsked("not declared for this venue")
        found = self._listed = await self.venue.open_orders(self.settings.account)
        if not isinstance(found, Listed):
            raise NotHeld(found.reason)
        return f"open orders: {len(found.orders):,}"

    async def _listed_ids(self) -> str:
        orders = self._listed.orders if isinstance(self._listed, Listed) else ()
        if not orders:
            raise NotAsked("no order is open whose client order id could be shown")
        shown = sum(bool(one.client_order_id) for one in orders)
        seen = f"{shown:,} of {len(orders):,} listed orders show a client order id"
        if not shown and self.venue.capabilities.lookup is Lookup.SCAN:
            raise NotHeld(f"{seen}, and a scan could not find an order by it")
        return seen

    async def _unknown_id(self) -> str:
        capabilities = self.venue.capabilities
        client_order_id = new_id(self.venue)
        if capabilities.lookup is Lookup.DIRECT:
            found = await self.venue.lookup(client_order_id, self.settings.account, self.symbol)
            if isinstance(found, NotFound):
                return f"not found, as it should be: {found.reason}"
            if isinstance(found, Found):
                raise NotHeld(f"an id that was never used is shown as order {found.order.venue_order_id}")
            raise NotHeld(f"the venue's answer is not taken as not found: {found.reason}")
        if capabilities.lookup is Lookup.SCAN:
            listed = await self.venue.scan(self.settings.account, self.symbol, self._since_us())
            if isinstance(listed, Listed):
                return f"by a scan, which lists none with it; orders listed: {len(listed.orders):,}"
            raise NotHeld(f"the scan could not be made: {listed.reason}")
        raise NotAsked("not declared for this venue: orders are not found by client order id there")

    async def _trades(self) -> str:
        since_ms = self._since_us() // 1000
        found = await self.bounded(self.venue.manners.trades(self.client, self.symbol, since_ms))
        nameless = sum(not one.get("id") for one in found)
        seen = f"trades in {self.symbol} in the last hour: {len(found):,}"
        if nameless:
            raise NotHeld(f"{seen}, and {nameless:,} of them have no id: they cannot be told apart")
        return seen

    async def _streams(self) -> str:
        there = [name for name in ("watchOrders", "watchMyTrades") if self.client.has(name)]
        if not there:
            raise NotAsked("ccxt has no stream of orders or trades there; lists are read every second")
        return f"ccxt has {' and '.join(there)}; not opened here"

    async def _slowest(self) -> str:
        slowest = max(self.findings, key=lambda one: one.took_ms)
        limit_ms = self.settings.timeout_s * 1000
        seen = f"the slowest, {slowest.check}, took {slowest.took_ms / 1000:.2f} s of the {limit_ms / 1000:g} s given"
        if slowest.took_ms > _SLOW * limit_ms:
            raise NotHeld(f"{seen}; set a longer timeout_s: every call that runs out of time must be asked about")
        return seen

    @staticmethod
    def _since_us() -> int:
        return (time.time_ns() // 1000) - _TRADES_OF_S * 1_000_000


def new_id(venue: CcxtVenue) -> str:
    """Return a client order id in the venue's format that nobody ever used."""
    return derived_id("check", "check", secrets.token_hex(16), venue.capabilities.id_format)


def _secrets(config: Mapping[str, Any]) -> Collection[str]:
    found = [str(config[name]) for name in CREDENTIALS.values() if config.get(name)]
    return sorted({part for one in found for part in (one, repr(one)[1:-1])}, key=len, reverse=True)
