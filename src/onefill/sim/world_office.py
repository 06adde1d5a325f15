"""Those who sit behind the exchange's and the gateway's desks in a world: who bust trades, restate orders, freeze routes.

What they do they do to whatever is there when their time comes; where nothing fits, nothing happens.
"""

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from onefill.core.control import State
from onefill.core.errors import InvalidField
from onefill.core.intent import Intent
from onefill.core.messages import EXECUTED, ExecutionReport
from onefill.core.values import OrderType, Side
from onefill.engine.gateway import Gateway
from onefill.sim.history import Market
from onefill.sim.world_books import Amendment, Frozen
from onefill.sim.world_feed import OTHERS
from onefill.sim.world_nodes import ROUTE
from onefill.sim.world_plan import ACCOUNT, STRATEGY, SYMBOL, Submit

if TYPE_CHECKING:
    from onefill.sim.world import World
    from onefill.sim.world_life import Life


class Office:
    """See the module's text."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.submits: list[Submit] = []
        """What was submitted from here."""
        self._labels: dict[str, str] = {}

    def amend(self, one: Amendment) -> None:
        """Bust or correct an execution, or restate an order."""
        world = self._world
        try:
            told = self._restate(one) if one.what == "restate" else self._change_execution(one)
        except InvalidField as error:
            told = f"{one.what}: {error}"
        world.history.add(Market(world.at_us(), told))
        world.keep_exchange_going()

    def _change_execution(self, one: Amendment) -> str:
        world = self._world
        trades = [trade for trade in world.exchange.trades(world.account) if trade.counts]
        if not trades:
            return f"nothing to {one.what}"
        trade = trades[int(one.which * len(trades))]
        number, now_us = trade.venue_order_id, world.true_us()
        if one.what == "bust":
            world.exchange.bust(world.account, trade.latest_id, now_us, venue_order_id=number, live=one.live)
        else:
            terms = max(trade.quantity - 1, Decimal(1)), trade.price + 1
            world.exchange.correct(world.account, trade.latest_id, *terms, now_us, venue_order_id=number, live=one.live)
        return f"{one.what} of {trade.latest_id} ({trade.venue_order_id}, {trade.client_order_id})"

    def _restate(self, one: Amendment) -> str:
        world = self._world
        live = world.exchange.open_orders(world.account)
        if not live:
            return "nothing to restate"
        order = live[int(one.which * len(live))]
        quantity = max(order.cum_quantity + 1, order.quantity - 1)
        world.exchange.restate(
            world.account, world.true_us(), venue_order_id=order.venue_order_id, quantity=quantity, reason="restated"
        )
        return f"{order.venue_order_id} ({order.client_order_id}) is restated to {quantity}"

    def freeze(self, one: Frozen) -> None:
        """Have a person freeze the route and release it again."""
        self._world.spawn(self._freeze(one))

    async def _freeze(self, one: Frozen) -> None:
        world = self._world
        life = await world.some_gateway(holding=True)
        if life is None:
            return

        async def freeze(gateway: Gateway) -> bytes:
            await gateway.freeze(ROUTE, by="operator", reason="a drill", state=one.state)
            return str(one.state).encode()

        await world.callers.call(life, ("freeze", "", one.state, None), freeze)
        if one.state is State.DUP_RISK:
            await self._reduce(life)
        await asyncio.sleep(one.for_s)
        await self.release()

    async def _reduce(self, life: "Life") -> None:
        """Close the position, twice: both together would open another one."""
        held = next((one.quantity for one in life.gateway.positions() if one.strategy == STRATEGY), None)
        for number in (1, 2):
            if not held or life.dead:
                return
            intent = Intent(
                account=ACCOUNT,
                strategy=STRATEGY,
                instrument=SYMBOL,
                side=Side.SELL if held > 0 else Side.BUY,
                quantity=abs(held),
                order_type=OrderType.LIMIT,
                price=Decimal(101 if held > 0 else 99),
            )
            wait_s = self._world.plan.settings.reply_timeout_s + 0.2  # a first one without a reply is uncertain by then
            one = Submit(at_s=0.0, key=f"x{number}", intent=intent, time_to_live_s=None, wait_s=wait_s, tries=1)
            self.submits.append(one)
            await self._world.callers.submit_once(life, one, one.wait_s)

    def labelled(self, report: ExecutionReport) -> ExecutionReport:
        """Return a report as the venue words it: an execution of nobody's order may go by the id of an order of ours."""
        world = self._world
        if (
            not (world.plan.books.mislabels and report.client_order_id.startswith(OTHERS))
            or report.kind not in EXECUTED
        ):
            return report
        if report.venue_order_id not in self._labels:
            ids = [
                order.client_order_id
                for order in world.exchange.all_orders()
                if order.account == world.account and order.side is not report.side
            ]
            ours = [one for one in ids if not one.startswith(OTHERS)]
            self._labels[report.venue_order_id] = ours[0] if ours else report.client_order_id
        return msgspec.structs.replace(report, client_order_id=self._labels[report.venue_order_id])

    async def reconcile(self) -> None:
        """Have a person compare both sides where something was hidden: no order may be left that waits for it."""
        world = self._world
        life = await world.some_gateway(holding=True)
        if life is None or not world.plan.books.hidden:
            return

        async def reconcile(gateway: Gateway) -> bytes:
            reports = await gateway.reconcile(ROUTE)
            return str(sum(report.taken_in for report in reports)).encode()

        await world.callers.call(life, ("reconcile", "", "", None), reconcile)

    async def release(self) -> None:
        """Have a person release the route, whatever froze it."""
        world = self._world
        life = await world.some_gateway(holding=True)
        if life is None:
            return

        async def release(gateway: Gateway) -> bytes:
            await gateway.release(ROUTE, by="operator", reason="the drill is over", force=True)
            return b"released"

        await world.callers.call(life, ("release", "", "", None), release)
