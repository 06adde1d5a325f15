"""A ccxt client made fit for orders: exact numbers, one send for each call, every request watched.

The client keeps to ccxt's own classes. A *twin* shares all state of the client that it is made of (keys, markets, limits,
connections) and differs in how it reads numbers and in what it does on the wire.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import aiohttp

from onefill.core.errors import InvalidField, VenueError
from onefill.venues.ccxt import making
from onefill.venues.ccxt.address import point
from onefill.venues.ccxt.manners import Manners, Signing
from onefill.venues.ccxt.witness import WatchedRequests, WatchedSession, present, trace
from onefill.venues.last_look import KeptBack

MISSING: Final = "the ccxt library is not installed: pip install 'onefill[ccxt]'"


_CLOCK: Final = "_onefill_clock_difference_ms"
_TURN: Final = "_onefill_turn"
_NOW: Final = "_onefill_now_ms"
_LONGEST_TURN_S: Final = 0.25


class _Exact:
    """What a twin does differently, for synchronous and asynchronous clients alike."""

    number = property(lambda _: str)
    """ccxt reads every number by this: text, and never a float."""

    def number_of(self, value: Decimal) -> float:
        """Return a number as ccxt's methods take it. Raises InvalidField if a float cannot be exactly that number."""
        number = float(value)
        if Decimal(repr(number)) != value:
            raise InvalidField(
                "quantity, price", f"{value} has more digits than the client library can pass on exactly"
            )
        return number

    def fetch(self, *arguments: Any, **given: Any) -> Any:
        """Send a request by whatever transport the client has; the witness hears that it begins."""
        parent: Any = super()

        def send() -> Any:
            witness = present()
            if witness is not None:
                witness.begins()
            return parent.fetch(*arguments, **given)

        return self._in_turn(send)

    def _in_turn(self, send: Callable[[], Any]) -> Any:
        return send()

    def on_rest_response(
        self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any
    ) -> Any:
        """Show the witness a whole answer, before ccxt judges it."""
        witness = present()
        if witness is not None:
            witness.answered(code, body or "", headers)
        parent: Any = super()
        return parent.on_rest_response(code, reason, url, method, headers, body, *rest)

    def sign(self, path: str, api: Any = "public", method: str = "GET", params: Any = None, *rest: Any) -> Any:
        """Sign a request; one that has an expiry gets it stamped now, after any wait for the rate limit."""
        parent: Any = super()
        params = {} if params is None else params
        witness, me = present(), self.__dict__
        if witness is None or witness.stamp is None or witness.expires_at_ms is None:
            return parent.sign(path, api, method, params, *rest)
        batch = isinstance(params, list)
        if batch and len(params) != 1:
            witness.keep_back("a batch of several requests has no expiry of its own")
            raise KeptBack("a batch of several requests has no expiry of its own")
        # ccxt sends single orders to some venues as a batch of one: it is stamped as that one.
        only = dict(params[0] if batch else params)
        ahead_ms = int(me.get(_CLOCK, 0))  # the venue judges by its own clock
        now_ms = int(parent.milliseconds()) + ahead_ms
        signing = Signing(method, path, api, only, witness.expires_at_ms + ahead_ms, now_ms, self)
        if signing.left_ms <= 0:
            witness.keep_back("its expiry had come before it could be signed")
            raise KeptBack("its expiry had come before it could be signed")
        witness.stamp(signing)
        options = me["options"]
        me["options"] = {**options, **signing.options} if signing.options else options
        me[_NOW] = now_ms - ahead_ms
        try:
            signed = parent.sign(path, api, method, [signing.params] if batch else signing.params, *rest)
        finally:
            me["options"] = options
            del me[_NOW]
        if signing.headers:
            signed = {**signed, "headers": {**(signed.get("headers") or {}), **signing.headers}}
        return signed

    def milliseconds(self) -> int:
        """Return the time of day. While an expiry is signed it stands still: the window and its beginning are of one moment."""
        parent: Any = super()
        fixed = self.__dict__.get(_NOW)
        return int(parent.milliseconds()) if fixed is None else int(fixed)

    def handle_option_integer_and_params(self, params: Any, method: str, option: str, default: Any = None) -> Any:
        """Read an option; that of ccxt's own retries is always none: they repeat just what may have been taken."""
        parent: Any = super()
        value, rest = parent.handle_option_integer_and_params(params, method, option, default)
        return (0 if option == "maxRetriesOnFailure" else value), rest

    def __del__(self) -> None:
        """Leave what is shared to the client it belongs to."""


class _AsyncTwin(_Exact):
    async def throttle(self, cost: Any = None) -> None:
        """Wait for the rate limit. What costs nothing waits for nobody: some venues count questions only, and orders not.

        ccxt charges a wait that was given up all the same. Where questions wait for seconds, and no longer than a time-out,
        those that nobody waits for any more would use up the whole limit, and none be asked in time.
        """
        if cost == 0:
            return
        throttler = self.__dict__["throttler"]
        turn = throttler(cost)
        try:
            await turn
        except asyncio.CancelledError:
            for place, (waiting, _) in enumerate(throttler.queue):
                if waiting is turn:
                    throttler.queue[place] = (turn, 0)
            raise

    async def _in_turn(self, send: Callable[[], Any]) -> Any:
        """Send requests in the order in which they were signed, where the venue wants rising nonces.

        The next one waits until this one was answered, but not for long: one that hangs is not to hold up the others.
        """
        turn: asyncio.Lock | None = self.__dict__.get(_TURN)
        if turn is None:
            return await send()
        await turn.acquire()
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                turn.release()

        timer = asyncio.get_running_loop().call_later(_LONGEST_TURN_S, release)
        try:
            return await send()
        finally:
            timer.cancel()
            release()

    @property
    def session(self) -> Any:
        """The shared session, watched."""
        found = self.__dict__.get("session")
        if found is None:
            return None
        watched = self.__dict__.get("_onefill_session")
        if watched is None or watched.inner is not found:
            traced = found is self.__dict__.get("_onefill_traced")
            watched = self.__dict__["_onefill_session"] = WatchedSession(found, traced=traced)
        return watched

    @session.setter
    def session(self, value: Any) -> None:
        self.__dict__["session"] = value.inner if isinstance(value, WatchedSession) else value

    def get_socks_proxy_session(self, proxy: str) -> Any:
        """Return the session for a proxy: nothing is resent there either, but what leaves is not seen."""
        parent: Any = super()
        return WatchedSession(parent.get_socks_proxy_session(proxy), traced=False)

    def open(self, *arguments: Any) -> None:
        """Connect as ccxt does, over a session that can be watched."""
        parent: Any = super()
        parent.open(*arguments)
        me: Any = self
        kept = self.__dict__
        session = kept.get("session")
        if session is None or session is kept.get("_onefill_traced"):
            return
        if not me.own_session or me.tcp_connector is None:
            return  # a session of the user's own: what leaves is not seen there, and what fails may have left
        kept["session"] = kept["_onefill_traced"] = aiohttp.ClientSession(
            connector=me.tcp_connector,
            trust_env=me.aiohttp_trust_env,
            trace_configs=[trace()],
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        session.detach()


class _SyncTwin(_Exact):
    @property
    def session(self) -> Any:
        """The shared session, watched."""
        found = self.__dict__.get("session")
        return None if found is None else WatchedRequests(found)

    @session.setter
    def session(self, value: Any) -> None:
        self.__dict__["session"] = value.inner if isinstance(value, WatchedRequests) else value


_twins: dict[tuple[type, type], Any] = {}


def twin(exchange: Any) -> Any:
    """Return the twin of a ccxt client: another object with the very same state."""
    base = _AsyncTwin if is_async(exchange) else _SyncTwin
    key = (type(exchange), base)
    if key not in _twins:
        _twins[key] = type(type(exchange).__name__, (base, type(exchange)), {})
    made: Any = object.__new__(_twins[key])
    made.__dict__ = exchange.__dict__
    return made


def is_async(exchange: Any) -> bool:
    """Tell whether a ccxt client is an asynchronous one."""
    return inspect.iscoroutinefunction(getattr(type(exchange), "fetch", None))


def make(ccxt_id: str, config: Mapping[str, Any], manners: type[Manners], *, url: str | None, testnet: bool) -> Any:
    """Return a new asynchronous client, with streams where ccxt has them.

    Raises VenueError if ccxt is not there, InvalidField for an exchange it does not know, or that has no test network.
    """
    try:
        import ccxt.pro as streaming  # noqa: PLC0415 - takes most of a second
        from ccxt import NotSupported, async_support  # noqa: PLC0415
    except ImportError:
        raise VenueError(MISSING) from None
    kind = getattr(streaming, ccxt_id, None) if ccxt_id in streaming.exchanges else None
    if kind is None and ccxt_id in async_support.exchanges:
        kind = getattr(async_support, ccxt_id)
    if kind is None:
        raise InvalidField("exchange", f"{ccxt_id!r} is no exchange that ccxt {async_support.__version__} knows")
    known: Any = async_support.Exchange.deep_extend(manners.config, dict(config))
    exchange = kind(known)
    exchange.timeout_on_exit = 0  # ccxt waits a quarter of a second after it has closed everything
    if testnet:
        try:
            exchange.set_sandbox_mode(True)
        except (NotSupported, TypeError):  # the latter where an address is named, and is none
            raise InvalidField("testnet", f"ccxt knows no test network of {ccxt_id!r}") from None
    return exchange if url is None else point(exchange, url)


class Client:
    """Calls a ccxt client's methods, one at a time if it is synchronous. Every call is bounded.

    Synchronous ones run in a thread of their own, or where :mod:`~onefill.venues.ccxt.making` says so, in the loop's.

    ``in_turn``: requests leave in the order in which they were signed, one after the other.
    ``lock`` is held during each call of a synchronous client: whoever else uses that client's connection should hold it too.
    """

    def __init__(self, exchange: Any, timeout_s: float, *, own: bool, in_turn: bool = False) -> None:
        self.raw = exchange
        self.exchange = twin(exchange)
        self.asynchronous = is_async(exchange)
        if in_turn and self.asynchronous:
            self.exchange.__dict__[_TURN] = asyncio.Lock()
        self.lock = threading.RLock()
        self._own = own
        self._timeout_s = timeout_s
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        if own:
            exchange.timeout = round(timeout_s * 1000)
        elif not exchange.timeout:
            raise InvalidField("timeout", "the ccxt object waits without end; set its timeout, in ms")

    def has(self, method: str) -> bool:
        """Tell whether ccxt has a method for this exchange (``watchOrders``), not only an imitation of one."""
        return self.exchange.has.get(method) is True

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Return what a method returns, called once. Raises ccxt's own errors, and TimeoutError."""
        function = getattr(self.exchange, method)
        # The loop's thread waits for nobody else's request. It is not the one that signals come to: the lock is given back.
        if not self.asynchronous and making.take() and self.lock.acquire(blocking=False):
            try:
                return function(*arguments)
            finally:
                self.lock.release()
        async with asyncio.timeout(self._timeout_s):
            return await (function(*arguments) if self.asynchronous else self._in_thread(function, arguments))

    @property
    def clock_difference_ms(self) -> int:
        """By how much the venue's clock is ahead of ours, as it was read last; 0 where it cannot be read."""
        return int(self.exchange.__dict__.get(_CLOCK, 0))

    async def read_clock(self) -> None:
        """Read the venue's clock, where it shows one. A difference that the way there or its coarseness may explain is none."""
        if not self.exchange.has.get("fetchTime"):
            return
        asked_ms = time.time_ns() / 1_000_000
        try:
            shown = int(await self("fetch_time"))
        except Exception:  # noqa: BLE001 - then it stays as it was read last
            return
        answered_ms = time.time_ns() / 1_000_000
        behind_ms = 999 if shown % 1000 == 0 else 0  # some venues tell whole seconds only
        least, most = shown - answered_ms - 1, shown + behind_ms - asked_ms + 1
        self.exchange.__dict__[_CLOCK] = 0 if least <= 0 <= most else round((least + most) / 2)

    async def listen(self, method: str) -> Any:
        """Return the next that a stream's method tells, however long that takes."""
        return await getattr(self.exchange, method)()

    async def _in_thread(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        context = contextvars.copy_context()
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(1, "onefill-ccxt")
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: context.run(self._locked, function, arguments)
        )

    def _locked(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        with self.lock:
            return function(*arguments)

    async def load(self) -> Mapping[str, Any]:
        """Return the markets by symbol, loaded once, by the user's own client: its numbers stay of the user's kind."""
        if self.asynchronous:
            self.exchange.open()  # so that the very first connection is one of ours, which later requests go over too
            _ = self.exchange.session
            markets: Mapping[str, Any] = await self.raw.load_markets()
            return markets
        return await asyncio.get_running_loop().run_in_executor(None, self._locked, self.raw.load_markets, ())

    async def close(self) -> None:
        """Close the connections, if the client is our own."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None
        if self._own and self.asynchronous:
            with contextlib.suppress(Exception):  # what is closed may complain; nothing more comes of it
                await self.exchange.close()
