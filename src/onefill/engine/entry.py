"""An order in memory: the committed state it had, the state it will have, and who waits for what."""

import asyncio

from onefill.core.errors import OrderUncertain
from onefill.core.order import Order
from onefill.engine.deadlines import Deadlines
from onefill.ports.ledger import Operation

Waiter = asyncio.Future[bytes]


class Entry:
    """One order while the gateway works on it. Derived from the ledger, never an authority over it."""

    __slots__ = (
        "answer_waiters",
        "cancel_waiters",
        "claimed_at_s",
        "digest",
        "doubtful",
        "driver",
        "execution_ids",
        "operations",
        "order",
        "pending",
        "referred_to",
        "replace_waiters",
        "settled",
        "stale_at_s",
        "wake",
    )

    def __init__(self, digest: bytes, order: Order, stale_at_s: float) -> None:
        self.digest = digest
        self.order = order
        self.stale_at_s = stale_at_s
        """When its time to live ends by the loop's clock, which nobody can set back."""
        self.claimed_at_s: float | None = None
        """When this process last claimed a copy of it or of its replace, by the loop's clock."""
        self.pending = 0
        """Changes handed to the ledger whose outcome has not come back."""
        self.doubtful = False
        """The ledger refused a change, and the order has not been read again since."""
        self.settled: asyncio.Future[None] | None = None
        """Set by whoever waits for ``pending`` to reach zero."""
        self.execution_ids: set[tuple[str, str]] = set()
        self.referred_to: set[tuple[str, str]] = set()
        """Executions that a bust or correction speaks of."""
        self.operations: dict[str, Operation] = {}
        """Operations that wait for their answer, by operation key."""
        self.answer_waiters: list[Waiter] = []
        self.cancel_waiters: list[tuple[str | None, Waiter]] = []
        self.replace_waiters: list[tuple[int, str | None, Waiter]] = []
        """With the number of the replace that each waits for."""
        self.driver: asyncio.Task[None] | None = None
        self.wake: asyncio.Future[None] | None = None
        """Set while the driver waits; ending it makes the driver look again."""

    @property
    def idle(self) -> bool:
        """Nobody works on the order or waits for it."""
        waited_for = self.answer_waiters or self.cancel_waiters or self.replace_waiters
        return not (self.pending or self.doubtful or self.driver or waited_for)

    @property
    def unrecorded(self) -> bool:
        """Whether it is not known yet that this order, and no earlier one, has the key."""
        return self.pending > 0 and self.order.version == 1

    def drop(self, waiter: Waiter) -> None:
        """Forget somebody who waits no more."""
        self.answer_waiters = [other for other in self.answer_waiters if other is not waiter]
        self.cancel_waiters = [pair for pair in self.cancel_waiters if pair[1] is not waiter]
        self.replace_waiters = [one for one in self.replace_waiters if one[2] is not waiter]
        if waiter.done() and not waiter.cancelled():
            waiter.exception()  # seen, and of no use to anybody

    def rouse(self) -> None:
        """Make a waiting driver look at the order again."""
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


async def wait_for_answer(waiter: Waiter, entry: Entry, wait_s: float, deadlines: Deadlines) -> bytes:
    """Return the answer, or raise :class:`OrderUncertain` after ``wait_s``. The work goes on either way."""
    if waiter.done():
        return waiter.result()

    def give_up() -> None:
        if not waiter.done():
            order = entry.order
            detail = f"no definite answer within {wait_s:g} s (status {order.status}"
            detail += f", {len(order.copies)} sent, last: {order.reason})" if order.reason else ")"
            waiter.set_exception(OrderUncertain(order.key, order.client_order_id, detail))

    token = deadlines.add(wait_s, give_up)
    try:
        return await waiter
    except BaseException:
        entry.drop(waiter)
        raise
    finally:
        deadlines.remove(token)
