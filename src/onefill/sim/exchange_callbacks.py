"""Callbacks of the simulated exchange: what the stream tells, signed and posted, doubled and out of order by a seed.

Each is sent until somebody answers 2xx, or says for good that it is not wanted (4xx, but 408 and 429). As venues do, the
exchange keeps no order among them, and sends one again although it was answered.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable

import aiohttp
import msgspec
from aiohttp import web

from onefill.core.errors import InvalidField
from onefill.core.inbox import standard_headers, standard_key
from onefill.core.messages import ExecutionReport
from onefill.sim import exchange_http as http
from onefill.sim.exchange import Exchange
from onefill.venues import exchange_wire as wire

_PATH = f"{wire.ADMIN}/callbacks"
_MOST_REPORTS = 3
"""In one callback."""
_AT_ONCE = 16
_TIMEOUT_S = 5.0
_LONGEST_PAUSE_S = 1.0
_AGAIN = frozenset({408, 429})


class CallbackTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an account's callbacks go, and how badly.

    ``secret``: as Standard Webhooks writes it. ``doubled``: which part is sent twice or more; ``late_s``: by how much at most
    each is held back, which mixes their order; ``after``: the place on the stream behind which they begin.
    """

    account: str
    url: str
    secret: str
    seed: int = 0
    doubled: float = 0.0
    late_s: float = 0.0
    after: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        standard_key(self.secret)
        if not (0 <= self.doubled < 1 and 0 <= self.late_s < 60):
            raise InvalidField("doubled", "is a part below 1, and late_s under a minute")


class CallbackCounts(msgspec.Struct):
    """What became of an account's callbacks. ``waiting``: not answered yet; ``told``: reports in all that were made."""

    made: int = 0
    told: int = 0
    waiting: int = 0
    posts: int = 0
    answered: int = 0
    unanswered: int = 0
    refused: int = 0


class _Target:
    """The callbacks of one account."""

    def __init__(self, target: CallbackTarget, exchange: Exchange, clock_us: Callable[[], int], instance: str) -> None:
        self.counts = CallbackCounts()
        self._target = target
        self._exchange = exchange
        self._clock_us = clock_us
        self._instance = instance
        self._key = standard_key(target.secret)
        self._dice = random.Random(target.seed)  # noqa: S311 - mischief, no secret
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._posts: set[asyncio.Task[None]] = set()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        tasks = [self._task, *self._posts]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        changed = asyncio.Event()
        unsubscribe = self._exchange.subscribe(self._target.account, changed.set)
        after = self._target.after
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
                while True:
                    changed.clear()
                    while reports := self._exchange.executions(
                        self._target.account, after, self._dice.randint(1, _MOST_REPORTS)
                    ):
                        after = reports[-1].position
                        self._make(session, reports)
                    await changed.wait()
        finally:
            unsubscribe()

    def _make(self, session: aiohttp.ClientSession, reports: list[ExecutionReport]) -> None:
        event_id = f"evt_{self._target.account}_{reports[0].position}"
        body = msgspec.json.encode(
            wire.CallbackBody(
                event_id=event_id, instance=self._instance, account=self._target.account, reports=tuple(reports)
            )
        )
        self.counts.made += 1
        self.counts.told += len(reports)
        while True:
            self.counts.waiting += 1
            work = self._send(session, event_id, body, self._dice.uniform(0, self._target.late_s))
            task = asyncio.get_running_loop().create_task(work)
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)
            if self._dice.random() >= self._target.doubled:
                return

    async def _send(self, session: aiohttp.ClientSession, event_id: str, body: bytes, late_s: float) -> None:
        """Post a callback until that has an end."""
        await asyncio.sleep(late_s)
        pause_s = 0.05
        while True:
            async with self._slots:
                status = await self._post(session, event_id, body)
            if 200 <= status < 300:
                self.counts.answered += 1
                break
            if 400 <= status < 500 and status not in _AGAIN:
                self.counts.refused += 1
                break
            self.counts.unanswered += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self.counts.waiting -= 1

    async def _post(self, session: aiohttp.ClientSession, event_id: str, body: bytes) -> int:
        headers = standard_headers(self._key, event_id, self._clock_us() // 1_000_000, body)
        headers["Content-Type"] = "application/json"
        self.counts.posts += 1
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            async with session.post(self._target.url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status
        return 0


class CallbackSender:
    """All accounts' callbacks, set and counted over HTTP under :data:`~onefill.venues.exchange_wire.ADMIN`."""

    def __init__(self, exchange: Exchange, clock_us: Callable[[], int], instance: str) -> None:
        self._exchange = exchange
        self._clock_us = clock_us
        self._instance = instance
        self._targets: dict[str, _Target] = {}
        self._decode = msgspec.json.Decoder(CallbackTarget).decode

    def routes(self) -> list[web.RouteDef]:
        """Return what is served: POST sets where an account's callbacks go, GET tells what became of them."""
        return [web.post(_PATH, self._set), web.get(_PATH, self._counts, allow_head=False)]

    async def close(self) -> None:
        """Send nothing more."""
        for target in self._targets.values():
            await target.close()
        self._targets.clear()

    async def _set(self, request: web.Request) -> web.Response:
        try:
            target = http.decoded(self._decode, await request.read())
        except http.Malformed as problem:
            return http.malformed(problem)
        except InvalidField as problem:
            return http.refused(400, wire.REFUSED, str(problem))
        known = self._targets.pop(target.account, None)
        if known is not None:
            await known.close()
        self._targets[target.account] = _Target(target, self._exchange, self._clock_us, self._instance)
        return http.ok(CallbackCounts())

    async def _counts(self, request: web.Request) -> web.Response:
        try:
            target = self._targets.get(http.text(request, "account"))
        except http.Malformed as problem:
            return http.malformed(problem)
        if target is None:
            return http.refused(404, wire.NOT_FOUND, "no callbacks are sent for this account")
        return http.ok(target.counts)
