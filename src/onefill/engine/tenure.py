"""A process's hold on a route: until when it may send, when that is over, and what speaks for a second holder."""

import asyncio

from onefill.core import lease as leases
from onefill.core import split_brain
from onefill.core.claims import delay_us
from onefill.core.errors import Fenced, LeaseLost, LedgerError, OnefillError, RouteClosed, SecondSession
from onefill.ports.clock import Clock
from onefill.ports.ledger import Lease, Ledger

_MOST_TRIES = 20
"""Times that a suspicion is brought to a ledger that cannot take it."""


class Tenure:
    """What a :class:`~onefill.engine.route.Route` is by its lease."""

    def __init__(self, name: str, ledger: Ledger, clock: Clock, lease: Lease, holder: str) -> None:
        self.name = name
        self.ledger = ledger
        self.clock = clock
        self.lease = lease
        self.holder = holder
        self.loop = asyncio.get_running_loop()
        self.lease_until_s = float("inf")
        """Until when this process may send, by the loop's clock."""
        self.lease_until_us: float = float("inf")
        """The same by the time of day: it may be set, but counts on while a host is suspended, which the loop's may not do."""
        self.failure: OnefillError | None = None
        self.closing = False
        """The route is being closed: nothing more is begun."""
        self.leaving = False
        """It is being given to another process: nothing more is sent, and what is under way comes to its end."""
        self.over = asyncio.Event()
        """Set once the route has failed, or is to be given up."""
        self.suspecting: set[asyncio.Task[None]] = set()
        """What is being noted of a second holder."""
        self._suspected: set[str] = set()
        self._noted = 0
        self.noted = asyncio.Event()
        """Set when there may be suspicions that were not read yet."""

    def may_send(self) -> bool:
        """Tell whether the lease on the route still holds (promise ONE-WRITER)."""
        held = leases.may_send(self.loop.time(), self.lease_until_s)
        return held and leases.may_send(self.clock.now_us(), self.lease_until_us)

    def lend(self, asked_at_s: float, asked_at_us: int, lease_s: float | None) -> None:
        """Take the route as lent for ``lease_s`` from then on, by both clocks: when the ledger was asked for it."""
        self.lease_until_s = leases.send_until_s(asked_at_s, lease_s)
        self.lease_until_us = leases.send_until_s(asked_at_us / 1_000_000, lease_s) * 1_000_000

    @property
    def at_work(self) -> bool:
        """Whether orders are taken and sent here now."""
        return self.failure is None and not (self.leaving or self.closing) and self.may_send()

    def not_open(self) -> str | None:
        """Return why nothing may leave for the venue now, ``None`` if it may."""
        if self.failure is not None or self.closing or self.leaving:
            return "the route closed between claim and send"
        return None if self.may_send() else "the lease on the route ended between claim and send"

    def lease_left_us(self) -> int | None:
        """Return for how long the route may still send, in µs; ``None``: without an end."""
        left_us = leases.left_us(self.loop.time(), self.lease_until_s)
        return left_us if left_us is None or self.may_send() else 0

    def bounded(self, expires_at_us: int | None) -> int | None:
        """Return the expiry of a request that is claimed now: no later than the lease on the route."""
        return leases.bounded_us(expires_at_us, self.clock.now_us(), self.lease_left_us())

    def check_held(self) -> None:
        """Raise LeaseLost unless the route may send, as far as its lease goes."""
        if self.leaving:
            raise LeaseLost(self.name, "it is being handed over")
        if not self.may_send():
            raise LeaseLost(
                self.name, "its lease ran out before it could be renewed, so that another process may own it by now"
            )

    def failed_of(self, error: BaseException | None) -> OnefillError:
        """Keep why the route failed, the first time, and return it."""
        if self.failure is None:
            self.failure = error if isinstance(error, OnefillError) else RouteClosed(f"{type(error).__name__}: {error}")
            if isinstance(error, Fenced):
                gave_back = self.leaving or self.closing
                left_us = self.lease_left_us()
                self.suspect(split_brain.sign_of_fencing(left_us, error.epoch, error.current, gave_back=gave_back))
            self.over.set()
        return self.failure

    def notice(self, error: BaseException) -> None:
        """Look at what the venue's adapter raised: a second session of the account is a sign of a second holder."""
        if isinstance(error, SecondSession):
            self.suspect(split_brain.sign_of_session(str(error), self.lease.epoch))

    def suspicions_noted(self, number: int) -> None:
        """Hear of the highest number of a suspicion that the ledger shows."""
        if number > self._noted:
            self._noted = number
            self.noted.set()

    def suspect(self, reason: str | None) -> None:
        """Note beside the route that it may have two holders, if there is a reason to think so: who holds it shuts it."""
        if reason is not None and reason not in self._suspected:
            self._suspected.add(reason)
            telling = self.loop.create_task(self._suspect(reason))
            self.suspecting.add(telling)
            telling.add_done_callback(self.suspecting.discard)

    async def _suspect(self, reason: str) -> None:
        for failures in range(1, _MOST_TRIES + 1):
            try:
                await self.ledger.suspect(self.name, self.lease.epoch, self.holder, self.clock.now_us(), reason)
            except LedgerError:
                await asyncio.sleep(delay_us(failures) / 1_000_000)
            else:
                return

    async def suspected(self, within_s: float) -> None:
        """Return once what is suspected was noted, or cannot be for so long: then it is left at that."""
        telling = list(self.suspecting)
        if telling:
            await asyncio.wait(telling, timeout=within_s)
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)
