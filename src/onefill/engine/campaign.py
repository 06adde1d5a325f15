"""A node's part in who holds which route: it looks at the ledger, asks for what is free when its turn comes, and asks again for
what it lost (promise ONE-WRITER).

The rules are :mod:`onefill.core.spread` and :mod:`onefill.core.lease`; who gets a route is decided by the ledger alone. One
task looks, for all routes at once. Each route that is asked for has a task of its own, from the asking until it is let go.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable

from onefill.core import lease as leases
from onefill.core import spread
from onefill.core.errors import Fenced, LeaseHeld, LedgerError, OnefillError
from onefill.engine.route import Route
from onefill.engine.settings import NodeSettings
from onefill.ports.ledger import Ledger, RouteInfo

_LOOK_LIMIT_S = 2.0
"""How long a look may take before it counts as failed."""
_AT_ONCE = 16
"""Routes that are being taken, or let go, at the same time."""
_PAUSE_S = 0.02
_TO_END_S = 2.0
"""How long a gateway that is closed waits for routes that are just being taken or let go."""


class _Asked:
    """A route that this node does not hold, as it sees it."""

    def __init__(self) -> None:
        self.awaited = leases.Awaited()
        self.not_before_s = 0.0
        """After trouble with it."""
        self.given_until_s = 0.0
        """Given to others on purpose: until then they have it, unless it is meant for this node again."""
        self.failures = 0
        self.trouble: OnefillError | None = None
        self.namesake: OnefillError | None = None
        """Said while a process has it that has this node's name."""
        self.holder: str | None = None
        self.wish: spread.HandOverAsked | None = None
        self.wish_seen_s = float("-inf")
        """When that wish was first seen here."""
        self.wished_at_s = float("-inf")
        """When this node asked its holder for it."""


class Campaign:
    """See the module's text. ``hold(name, held)`` takes a route, calls ``held`` with it, and ends when it is over here."""

    def __init__(
        self,
        ledger: Ledger,
        routes: list[str],
        node: NodeSettings,
        hold: Callable[[str, Callable[[Route], object]], Awaitable[None]],
        now_us: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._wishes = spread.Wishes(node.name, frozenset(node.prefer), node.max_routes)
        self._asked = {name: _Asked() for name in routes}
        self._in_turn = spread.in_turn(routes, self._wishes)
        self._hold = hold
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, Route] = {}
        self._nodes = 1
        """How many nodes hold something, or this one would."""
        self._first = asyncio.Event()
        """Set once every route that was free at the start was asked for."""
        self._looking: asyncio.Task[None] | None = None
        self._blind: OnefillError | None = None
        """Why the last look at the ledger failed."""
        self._now_us = now_us
        self._ask_at_s = 0.0

    # ------------------------------------------------------------------- from outside

    async def start(self) -> None:
        """Begin. Returns once every route that was free was asked for, and what was got is open."""
        loop = asyncio.get_running_loop()
        self._ask_at_s = loop.time() + spread.ASK_EVERY_S
        self._looking = loop.create_task(self._run())
        first = asyncio.ensure_future(self._first.wait())
        try:
            await asyncio.wait({first, self._looking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            first.cancel()

    async def stop(self) -> None:
        """Ask for nothing more. What is held stays open; what is just being taken or let go is waited for, for a moment."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        moving = [task for name, task in self._tasks.items() if name not in self._held]
        if moving:
            await asyncio.wait(moving, timeout=_TO_END_S)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def hand_over(self, name: str) -> None:
        """Let go of a route that is held here, and leave it to others for a while. Returns when it is given back.

        Does nothing where it went meanwhile: a look may have seen the wish first.
        """
        task = self._tasks.get(name)
        if task is None or name not in self._held:
            return
        self._give(name)
        await asyncio.wait([task])

    def _give(self, name: str) -> None:
        self._asked[name].given_until_s = asyncio.get_running_loop().time() + spread.AFTER_HAND_OVER_S
        self._held[name].over.set()

    def holder(self, name: str) -> str | None:
        """Return who held a route when it was last looked at."""
        return self._asked[name].holder

    def trouble(self, name: str) -> OnefillError | None:
        """Return why a route could not be taken, or was given up, the last time that this was tried; or why nobody can look."""
        asked = self._asked[name]
        return asked.trouble or asked.namesake or self._blind

    # ------------------------------------------------------------------------ looking

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at_s = loop.time()
        while True:
            if loop.time() >= look_at_s:
                began_s = loop.time()
                try:
                    await self._look()
                    self._blind = None
                except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go better
                    self._blind = _told(error)
                look_at_s = began_s + (spread.HURRIED_LOOK_S if self._expects(began_s) else spread.LOOK_EVERY_S)
            due_s = [self._consider(name) for name in self._in_turn]
            if not self._first.is_set() and not any(one is not None and one < look_at_s for one in due_s):
                self._note_first()
            await asyncio.sleep(max(min([look_at_s, *(one for one in due_s if one is not None)]) - loop.time(), 0.001))

    def _expects(self, now_s: float) -> bool:
        """Tell whether a route is on its way here. A wish that is not heeded is soon not waited for any more."""
        return any(
            one.wish_seen_s > now_s - spread.HURRY_FOR_S and spread.expected(self._wishes, one.wish)
            for name, one in self._asked.items()
            if name not in self._tasks
        )

    def _note_first(self) -> None:
        if all(name in self._held for name in self._tasks):
            self._first.set()

    async def _look(self) -> None:
        async with asyncio.timeout(_LOOK_LIMIT_S):
            infos = {info.name: info for info in await self._ledger.routes()}
        now_s = asyncio.get_running_loop().time()
        nodes = {self._wishes.node}
        for name, asked in self._asked.items():
            info = infos.get(name)
            asked.holder = None if info is None or info.lease_until_us is None else info.holder
            wish = None if info is None else info.asked
            if wish != asked.wish:
                asked.wish, asked.wish_seen_s = wish, now_s
            if (route := self._held.get(name)) is not None:
                _check_epoch(route, info)
                # What was read before this node acquired the route speaks of an earlier holder.
                current = info is not None and info.epoch == route.lease.epoch
                if current and asked.wish is not None and spread.gives_way(name, self._wishes, asked.wish):
                    self._give(name)
                if current and info is not None:
                    route.suspicions_noted(info.suspicions)
            else:
                asked.awaited = leases.looked(asked.awaited, None if info is None else info.lease_until_us, now_s)
                if leases.is_over(asked.awaited, now_s):
                    asked.holder = None
            asked.namesake = None
            if asked.holder is not None:
                node = leases.node_of(asked.holder) or asked.holder
                nodes.add(node)
                if node != self._wishes.node:
                    asked.given_until_s = 0.0  # somebody has it: what comes free again is for everybody
                elif name not in self._tasks:
                    asked.namesake = OnefillError(
                        f"{asked.holder} has it: a process of this node that ended without giving it back, or another one that "
                        "was given the same name"
                    )
        self._nodes = len(nodes)
        await self._ask_others(now_s)

    async def _ask_others(self, now_s: float) -> None:
        """Ask another node for a route, if this one has too few or one is meant for it."""
        if now_s < self._ask_at_s or len(self._tasks) != len(self._held):
            return
        self._ask_at_s = now_s + spread.ASK_EVERY_S
        holders = {
            name: None if one.holder is None else (leases.node_of(one.holder) or one.holder)
            for name, one in self._asked.items()
        }
        lately = [name for name, one in self._asked.items() if one.wished_at_s > now_s - spread.NOT_AGAIN_S]
        for _ in range(spread.asks_at_once(len(holders), len(set(holders.values())), len(self._held))):
            name = spread.to_ask_for(holders, self._wishes, lately)
            if name is None or self._asked[name].wish is not None:
                return
            await self._ask_for(name, now_s)
            lately.append(name)
            holders[name] = self._wishes.node  # as it will be

    async def _ask_for(self, name: str, now_s: float) -> None:
        self._asked[name].wished_at_s = now_s
        node = self._wishes.node
        wish = spread.HandOverAsked(by=node, to=node, at_us=self._now_us())
        with contextlib.suppress(LedgerError, TimeoutError):  # it asks again later
            async with asyncio.timeout(_LOOK_LIMIT_S):
                await self._ledger.ask_hand_over(name, wish)

    def _consider(self, name: str) -> float | None:
        """Ask for a route if its turn has come. Returns when it comes, ``None``: not as things are."""
        if name in self._tasks:
            return None
        share = spread.fair_share(len(self._asked), self._nodes)
        asked = self._asked[name]
        back_s = spread.held_back_s(name, self._wishes, len(self._tasks), share, asked.wish)
        if back_s is None:
            return None
        due_s = max(asked.awaited.free_at_s + back_s, asked.not_before_s)
        if asked.wish is None or asked.wish.to != self._wishes.node:
            due_s = max(due_s, asked.given_until_s)
        loop = asyncio.get_running_loop()
        if due_s > loop.time():
            return due_s
        if len(self._tasks) - len(self._held) >= _AT_ONCE:
            return loop.time() + _PAUSE_S
        task = self._tasks[name] = loop.create_task(self._ask(name, asked))
        task.add_done_callback(functools.partial(self._ended, name))
        return None

    async def _ask(self, name: str, asked: _Asked) -> None:
        loop = asyncio.get_running_loop()
        asked.awaited = leases.Awaited()
        try:
            await self._hold(name, functools.partial(self._holds, name))
        except LeaseHeld as error:
            asked.awaited = leases.refused(error.left_s, loop.time())
            asked.holder = error.holder
        except Exception as error:  # noqa: BLE001 - whatever it is, the route is left to others for a while
            asked.trouble = _told(error)
            asked.not_before_s = max(asked.not_before_s, loop.time() + _pause_s(error, asked))

    def _holds(self, name: str, route: Route) -> None:
        self._held[name] = route
        asked = self._asked[name]
        asked.failures, asked.trouble = 0, None

    def _ended(self, name: str, done: "asyncio.Task[None]") -> None:
        self._tasks.pop(name, None)
        self._held.pop(name, None)
        if not done.cancelled():
            done.exception()


def _told(error: Exception) -> OnefillError:
    return error if isinstance(error, OnefillError) else OnefillError(f"{type(error).__name__}: {error}")


def _pause_s(error: Exception, asked: _Asked) -> float:
    """Return for how long a route is left to others after this went wrong with it."""
    if isinstance(error, Fenced):
        return 0.0
    if isinstance(error, LedgerError):
        return spread.AFTER_LEDGER_S
    asked.failures += 1
    return spread.pause_s(asked.failures)


def _check_epoch(route: Route, info: RouteInfo | None) -> None:
    """End a route at once of which the ledger shows a later owner: the next write would be refused anyway."""
    if info is not None and info.epoch > route.lease.epoch:
        route.fail(Fenced(route.name, route.lease.epoch, info.epoch))
