"""Events in this process: an asynchronous iterator over a route's journal that goes on where its consumer stopped.

Every event in the journal's order, one at a time: the consumer's own pace is the only one, and it holds up nobody else. With a
name the ledger keeps how far the consumer came, as for every subscriber (promise TOLD-ONCE): what it had not acknowledged, or
what was not noted yet, comes once more after a crash, with the same id.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from types import TracebackType
from typing import Self

from onefill.core.errors import InvalidField, LedgerAltered, LedgerError, OnefillError, RouteClosed, require
from onefill.core.relay import Message, wanted_of
from onefill.engine.relay import Begin, message_of_row, place_of
from onefill.engine.route import Route
from onefill.ports.ledger import SubscriptionMove

_PAGE = 200


class EventStream:
    """See the module's text. Made by ``gateway.events()``. Iterate over it; to end it, use it as a context manager.

    An event counts as taken when the next one is asked for, or, with ``by_hand``, once :meth:`ack` was called with it.
    """

    def __init__(
        self,
        route: Route,
        subscriber: str | None,
        after: int | None,
        kinds: Collection[str],
        begin: Begin,
        *,
        by_hand: bool,
        keep_every_s: float,
    ) -> None:
        if after is not None and after < 0:
            raise InvalidField("after", f"{after} is not an entry of a journal")
        if keep_every_s < 0:
            raise InvalidField("keep_every_s", f"{keep_every_s:g} is not a duration from zero on, in seconds")
        self.route = route
        self._subscriber = subscriber
        self._after = after
        self._wanted = wanted_of(kinds)
        self._begin = begin
        self._by_hand = by_hand
        self._keep_every_s = keep_every_s
        self._page: deque[tuple[int, Message | None]] = deque()
        self._begun = False
        self._read = 0
        """Through which entry was read."""
        self._given = 0
        """Through which entry everything was given to the consumer, or left out."""
        self._taken = 0
        """Through which entry it has taken everything."""
        self._kept = 0
        """The place in the ledger."""
        self._kept_at_s = float("-inf")
        self._news = asyncio.Event()
        self._ended: OnefillError | None = None
        self.left = False
        """Its consumer has ended it."""
        self._over = asyncio.Event()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Message:
        """Return the next event, waiting for it to be committed. The one before counts as taken, unless that is by hand.

        Raises :class:`RouteClosed` once the route is not held here any more, LedgerError if another consumer of the same name
        moved its place.
        """
        if self.left:
            raise StopAsyncIteration
        if not self._begun:
            await self._start()
        if not self._by_hand:
            self._taken = self._given
        await self._keep(soon=True)
        while True:
            while self._page:
                sequence, message = self._page.popleft()
                if message is None and self._taken == self._given:
                    self._taken = sequence
                self._given = sequence
                if message is not None:
                    return message
            await self._turn()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; what was taken is noted."""
        await self.aclose()

    async def ack(self, message: Message) -> None:
        """Take everything through an event that was given. The ledger hears of it as often as ``keep_every_s`` says."""
        require(message.sequence <= self._given, f"entry {message.sequence} was not given yet")
        self._taken = max(self._taken, message.sequence)
        await self._keep(soon=True)

    async def aclose(self) -> None:
        """End it. What was taken by now is noted in the ledger, where that is still possible."""
        if not self.left:
            self.left = True
            self._over.set()
            if not self._begun:
                return
            self.route.news.listeners.remove(self._heard)
            if self._ended is None and self.route.failure is None:
                await self._keep(soon=False)

    def end(self, why: OnefillError) -> None:
        """The route is not held here any more: whoever waits for the next event is told so."""
        self._ended = self._ended or why
        self._over.set()

    # ------------------------------------------------------------------ inside

    def _heard(self) -> None:
        self._news.set()

    async def _start(self) -> None:
        self._check()
        route = self.route
        heads = {info.name: info.journal_entries for info in await route.ledger.routes()}
        route.news.found(heads.get(route.name, 0))
        position = 0 if self._begin is Begin.FIRST else route.news.head
        if self._subscriber is not None:
            place = await place_of(route, self._subscriber)
            if place is None:
                await self._move(0, position)
            else:
                position = place.position
        self._kept = position
        if self._after is not None:
            position = self._after
        self._read = self._given = self._taken = position
        route.news.listeners.append(self._heard)
        self._news.set()
        self._begun = True

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended
        if self.route.failure is not None:
            raise RouteClosed(f"route {self.route.name!r} tells no more events here: {self.route.failure}")

    async def _turn(self) -> None:
        """Read on; where there is nothing, note what was taken and wait."""
        self._check()
        self._news.clear()
        left = self.route.news.head - self._read
        if left > 0:
            await self._read_on(min(left, _PAGE))
            await asyncio.sleep(0)  # a filter that leaves out much lets others go on
            return
        await self._keep(soon=False)
        waits = [asyncio.ensure_future(one.wait()) for one in (self._news, self._over, self.route.over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if self.left:
            raise StopAsyncIteration

    async def _read_on(self, limit: int) -> None:
        rows = await self.route.ledger.outbox(self.route.name, self._read, limit)
        for row in rows:
            if row.entry.sequence != self._read + 1:
                break
            self._read = row.entry.sequence
            self._page.append((self._read, message_of_row(row) if self._wanted(row.entry.payload) else None))
        else:
            if rows:
                return
        raise LedgerAltered(f"route {self.route.name!r}: entry {self._read + 1} of the journal is not there")

    async def _keep(self, *, soon: bool) -> None:
        """Note in the ledger what was taken; ``soon``: only if the last time is a while ago."""
        now_s = self.route.loop.time()
        if self._subscriber is None or self._taken == self._kept:
            return
        if soon and now_s < self._kept_at_s + self._keep_every_s:
            return
        taken = self._taken
        await self._move(self._kept, taken)
        self._kept, self._kept_at_s = taken, now_s

    async def _move(self, previous: int, position: int) -> None:
        route, name = self.route, self._subscriber or ""
        self._check()
        move = SubscriptionMove(subscriber=name, previous=previous, position=position)
        if not await asyncio.shield(route.ledger.move_subscription(route.name, route.lease.epoch, move)):
            raise LedgerError(
                f"route {route.name!r}: another consumer named {name!r} moved its place. Nothing was changed; one name is "
                "for one consumer"
            )
