"""A venue's channels of execution reports as its connections see them: repeated, out of order, skipped, told again later.

The venue's own stream tells everything in its order, some of it again under new places, as a session does that starts anew
from an old cursor. The drop copy tells executions only, in an order of its own, and what it holds back it tells once faults are
over.
"""

from random import Random
from typing import TYPE_CHECKING

import msgspec

from onefill.core.messages import EXECUTED, ExecutionKind, ExecutionReport
from onefill.core.position import DROP_COPY
from onefill.sim.history import Fault

if TYPE_CHECKING:
    from onefill.sim.world import World

_MOST_AGAIN = 6
OTHERS = "other"
"""What the ids of orders begin with that no gateway sent."""


class Feed:
    """One channel. What it told stays as it was told, at its place."""

    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self.name = name
        self._copies = name == DROP_COPY
        self._told: list[ExecutionReport] = []
        self._taken = 0
        """Reports of the exchange that were taken up."""
        self._waiting: list[ExecutionReport] = []
        """Taken up and not told yet."""
        self._rate = world.plan.weather.stream
        self._shuffles = world.plan.books.shuffled if self._copies else 0.0
        self._hides = 0.0 if self._copies else world.plan.books.hidden
        self._hiding = Random(f"hidden {world.plan.seed}")  # noqa: S311 - of its own: changes nothing else
        self._hidden: set[int] = set()
        """Places whose report goes out without its execution."""

    def calm(self) -> None:
        """End the faults: what waits is told next."""
        self._rate = self._shuffles = self._hides = 0.0

    def _happens(self) -> bool:
        return self._rate > 0 and self._world.draw.random() < self._rate

    def _fault(self, name: str, at: int) -> None:
        step = "drop copy" if self._copies else "stream"
        self._world.history.add(Fault(self._world.at_us(), name, step, f"at {at}"))

    def reports(self, after: int) -> list[ExecutionReport]:
        """Return what is told after a position."""
        world = self._world
        for made in world.exchange.executions(world.account, self._taken, 100_000):
            self._taken += 1
            report = world.office.labelled(made)
            if not self._copies:
                self._tell(report)
                self._perhaps_again()
            elif self._tells(report):
                self._waiting.append(report)
        if self._waiting:
            self._tell_waiting()
        return self._told[after:]

    def _tells(self, report: ExecutionReport) -> bool:
        return report.kind in EXECUTED or (self._world.plan.dialect.cumulative_fills_only and bool(report.cum_quantity))

    def _tell_waiting(self) -> None:
        draw, shuffles = self._world.draw, self._shuffles
        if shuffles and len(self._waiting) > 1:
            self._fault("shuffled", len(self._told) + 1)
            draw.shuffle(self._waiting)
        kept: list[ExecutionReport] = []
        for report in self._waiting:
            if shuffles and draw.random() < shuffles:
                self._fault("held back", len(self._told) + 1)
                kept.append(report)
                continue
            self._tell(report)
            self._perhaps_again()
        self._waiting = kept

    def _perhaps_again(self) -> None:
        if not self._happens():
            return
        draw = self._world.draw
        last = draw.randrange(len(self._told))
        many = draw.random() < 0.3
        first = max(last - draw.randint(1, _MOST_AGAIN), 0) if many else last
        self._fault("told again", len(self._told) + 1)
        for report in self._told[first : last + 1]:
            self._tell(report)

    def _tell(self, report: ExecutionReport) -> None:
        self._told.append(msgspec.structs.replace(report, position=len(self._told) + 1))
        of_ours = report.kind is ExecutionKind.TRADE and not report.client_order_id.startswith(OTHERS)
        if of_ours and self._hides and self._hiding.random() < self._hides:
            self._fault("hidden", len(self._told))
            self._hidden.add(len(self._told))

    def shown(self, report: ExecutionReport) -> ExecutionReport:
        """Return a report as it goes over a connection."""
        if report.position not in self._hidden:
            return report
        left_out = dict.fromkeys(("last_quantity", "last_price", "fee", "fee_currency"))
        return msgspec.structs.replace(report, kind=ExecutionKind.ORDER_STATUS, execution_id="", **left_out)

    def spoil(self, batch: list[ExecutionReport]) -> tuple[bool, list[ExecutionReport], int]:
        """Return whether the connection ends after a batch, the batch as it is delivered, and how many of it are skipped."""
        if not self._happens():
            return False, batch, 0
        draw = self._world.draw
        fault = draw.choice(("ends", "repeats", "skips"))
        first = batch[0].position
        self._fault(f"stream {fault}", first)
        if fault == "ends":
            return True, batch[: draw.randint(0, len(batch))], 0
        if fault == "repeats":
            return False, self._told[max(first - 1 - draw.randint(1, 3), 0) : first - 1] + batch, 0
        return False, batch[1:], 1
