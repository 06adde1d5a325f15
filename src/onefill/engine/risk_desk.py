"""The exposure of a route's orders, kept as they change, and the gates that judge by it.

Every change costs the same, however many orders are open and however long the history is. It follows memory, which runs ahead
of the disk: what is recorded counts from that moment, and what the ledger refuses is taken back when the order is read again.
"""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal

import msgspec

from onefill.core.executions import effective
from onefill.core.intent import Intent
from onefill.core.lifecycle import ENDED, NEVER_SENT, Status
from onefill.core.order import Order
from onefill.core.position import Execution, Kind, Position
from onefill.core.risk import Exposure, OwnOrder, Refusal, Twin, can_trade, judge, judge_replace, prices, reduces
from onefill.core.risk_limits import InForce, Risk, SelfCrossing
from onefill.core.values import EXACT, Side, positive_decimal
from onefill.ports.clock import Clock
from onefill.ports.ledger import Lease, Ledger, OpeningPosition, Outcome

RECENT = 1000
"""Orders that are read at the start to go on with the windows where they stood."""
_ZERO = Decimal(0)
_SECOND_US = 1_000_000
_MOST_CACHED = 4096
_SLACK = 16
_WITHOUT_EFFECT = NEVER_SENT | {Status.REJECTED, Status.CANCELED, Status.EXPIRED}
_OTHER = {Side.BUY: Side.SELL, Side.SELL: Side.BUY}
_Content = tuple[str, str, Side, Decimal, Decimal | None]
_Pair = tuple[str, str]
Pending = asyncio.Future[Outcome]


class _Held(msgspec.Struct, frozen=True, gc=False):
    """What one order adds to the sums."""

    leaves: Decimal
    prices: tuple[Decimal | None, ...]
    """Empty once it can no more be matched."""


class _Totals:
    """A position, and the most that open orders can still add to it on either side."""

    __slots__ = ("open", "position")

    def __init__(self) -> None:
        self.position = _ZERO
        self.open = {Side.BUY: _ZERO, Side.SELL: _ZERO}

    def move(self, side: Side, quantity: Decimal) -> None:
        """Count what was executed."""
        self.position = (EXACT.add if side is Side.BUY else EXACT.subtract)(self.position, quantity)


class _Ladder:
    """The prices of open orders on one side, best first."""

    __slots__ = ("at_market", "heap", "orders")

    def __init__(self) -> None:
        self.heap: list[tuple[Decimal, int]] = []
        self.orders: dict[int, tuple[str, tuple[Decimal | None, ...]]] = {}
        self.at_market: dict[int, None] = {}

    def put(self, intent_id: int, key: str, side: Side, at: tuple[Decimal | None, ...]) -> None:
        """Keep an order at these prices from now on."""
        self.drop(intent_id)
        self.orders[intent_id] = (key, at)
        for price in at:
            if price is None:
                self.at_market[intent_id] = None
            else:
                heapq.heappush(self.heap, (EXACT.minus(price) if side is Side.BUY else price, intent_id))
        if len(self.heap) > 3 * len(self.orders) + _SLACK:
            self.heap = [one for one in set(self.heap) if self._stands(one)]
            heapq.heapify(self.heap)

    def drop(self, intent_id: int) -> None:
        """Forget an order. Its prices leave the heap when they come to its top."""
        self.orders.pop(intent_id, None)
        self.at_market.pop(intent_id, None)

    def _stands(self, one: tuple[Decimal, int]) -> bool:
        known = self.orders.get(one[1])
        return known is not None and (one[0] in known[1] or EXACT.minus(one[0]) in known[1])

    def best(self) -> tuple[int, OwnOrder] | None:
        """Return the order that is matched first, with its intent's id."""
        for intent_id in self.at_market:
            return intent_id, OwnOrder(self.orders[intent_id][0], None)
        while self.heap:
            if self._stands(self.heap[0]):
                price, intent_id = self.heap[0]
                return intent_id, OwnOrder(self.orders[intent_id][0], abs(price))
            heapq.heappop(self.heap)
        return None


class RiskDesk:
    """See the module's text. Without limits (``risk`` is ``None``) nothing is judged and only the sums are kept."""

    def __init__(self, risk: Risk | None, now_s: Callable[[], float]) -> None:
        self._risk = risk
        self._now_s = now_s
        self._limits: dict[tuple[str, str, str], InForce] = {}
        self._held: dict[int, _Held] = {}
        self._accounts: dict[_Pair, _Totals] = {}
        self._strategies: dict[tuple[str, str, str], _Totals] = {}
        self._openings: dict[_Pair, Decimal] = {}
        self._open_orders: dict[_Pair, int] = {}
        self._ladders: dict[tuple[str, str, Side], _Ladder] = {}
        self._references: dict[str, Decimal] = {}
        self._taken: dict[_Pair, OrderedDict[int, int]] = {}
        """By account and strategy: when each order of the last second was taken."""
        self._contents: dict[_Content, OrderedDict[int, tuple[int, str, str]]] = {}
        """Orders within the longest window: when each was taken, its strategy and key."""
        self._recent: OrderedDict[int, tuple[int, _Content]] = OrderedDict()
        self._window_us = 0 if risk is None else risk.longest_window_us
        self._undecided: dict[int, tuple[Intent, Pending]] = {}
        """Orders that may turn out to be repeats of earlier ones, which then were counted for nothing."""
        self._strangers: dict[tuple[str, str], Decimal] = {}
        """What executions that are kept apart come to, by account and instrument."""
        self.strangers_amended = False

    # ----------------------------------------------------------------- following

    def begin(
        self, positions: Iterable[Position], opening: Iterable[OpeningPosition], strangers: Iterable[Execution] = ()
    ) -> None:
        """Take over what is held at the start, before the open orders are read."""
        for position in positions:
            strategy = self._strategies.setdefault(
                (position.account, position.strategy, position.instrument), _Totals()
            )
            account = self._account(position.account, position.instrument)
            strategy.position = EXACT.add(strategy.position, position.quantity)
            account.position = EXACT.add(account.position, position.quantity)
        self.opened(opening)
        self.strangers(strangers)

    def strangers(self, rows: Iterable[Execution]) -> None:
        """Take over every execution that is kept apart, in place of what was taken over before: the account holds it."""
        held: dict[tuple[str, str], Decimal] = {}
        kept = list(rows)
        self.strangers_amended = any(row.refers_to is not None for row in kept)
        for row in effective(kept):
            key = (row.account, row.instrument)
            held[key] = EXACT.add(held.get(key, _ZERO), row.quantity if row.side is Side.BUY else -row.quantity)
        for key in {*held, *self._strangers}:
            change = EXACT.subtract(held.get(key, _ZERO), self._strangers.get(key, _ZERO))
            totals = self._account(*key)
            totals.position = EXACT.add(totals.position, change)
        self._strangers = held

    def stranger(self, row: Execution) -> bool:
        """Take in one more execution that is kept apart. False if all of them have to be looked at again."""
        if row.refers_to is not None or self.strangers_amended:
            return False
        key = (row.account, row.instrument)
        moved = row.quantity if row.side is Side.BUY else -row.quantity
        totals = self._account(*key)
        totals.position = EXACT.add(totals.position, moved)
        self._strangers[key] = EXACT.add(self._strangers.get(key, _ZERO), moved)
        return True

    def opened(self, opening: Iterable[OpeningPosition]) -> None:
        """Take over what accounts held before the first order, in place of what was said of it before."""
        for one in opening:
            key = (one.account, one.instrument)
            totals = self._account(*key)
            before = self._openings.get(key, _ZERO)
            totals.position = EXACT.add(totals.position, EXACT.subtract(one.quantity, before))
            self._openings[key] = one.quantity

    def resume(self, orders: Iterable[Order], now_us: int) -> None:
        """Go on with the windows: ``orders`` are the last ones of the route, in their order."""
        if self._risk is None:
            return
        here_us = self._now_us()
        for order in orders:
            age_us = now_us - order.recorded_at_us
            if 0 <= age_us < max(self._window_us, _SECOND_US) and order.status is not Status.REFUSED:
                self._take(order, here_us - age_us)
                if _without_effect(order):
                    self._untake(order)

    def changed(self, before: Order, after: Order) -> None:
        """Follow an order from one state in memory to the next; the same twice where it came into memory."""
        if _alike(before, after) and after.intent_id in self._held:
            return
        intent = after.intent
        if before.cum_quantity != after.cum_quantity:
            quantity = EXACT.subtract(after.cum_quantity, before.cum_quantity)
            self._account(intent.account, intent.instrument).move(intent.side, quantity)
            self._strategy(intent).move(intent.side, quantity)
        self._hold(after, _held(after))
        if before.version == 0 and self._risk is not None and after.status not in ENDED:
            self._take(after, self._now_us())
        elif after.intent_id in self._recent and _without_effect(after):
            self._untake(after)

    def forgotten(self, order: Order) -> None:
        """Take back an order that goes out of memory and was never recorded. Of others nothing is held any more."""
        if order.closed:
            return
        if order.cum_quantity:
            taken_back = EXACT.minus(order.cum_quantity)
            self._account(order.intent.account, order.intent.instrument).move(order.intent.side, taken_back)
            self._strategy(order.intent).move(order.intent.side, taken_back)
        self._hold(order, None)
        self._untake(order)
        taken = self._taken.get((order.intent.account, order.intent.strategy))
        if taken is not None:
            taken.pop(order.intent_id, None)

    def traded(self, execution: Execution) -> None:
        """Take a trade's price as the instrument's last known one."""
        if execution.kind is Kind.TRADE and execution.intent_id is not None:
            self._references[execution.instrument] = execution.price

    def reference_price(self, instrument: str, price: object | None) -> None:
        """Take this as the instrument's last known price; ``None``: none is known any more."""
        if price is None:
            self._references.pop(instrument, None)
        else:
            self._references[instrument] = positive_decimal(price, "price")

    def _hold(self, order: Order, now: _Held | None) -> None:
        intent = order.intent
        was = self._held.get(order.intent_id)
        if was == now:
            return
        if now is None:
            del self._held[order.intent_id]
        else:
            self._held[order.intent_id] = now
        old, new = was or _NOTHING, now or _NOTHING
        if old.leaves != new.leaves:
            for totals in (self._account(intent.account, intent.instrument), self._strategy(intent)):
                opened = EXACT.add(totals.open[intent.side], EXACT.subtract(new.leaves, old.leaves))
                totals.open[intent.side] = opened
        if old.prices != new.prices:
            self._stand(order, bool(old.prices), new.prices)

    def _stand(self, order: Order, stood: bool, at: tuple[Decimal | None, ...]) -> None:
        intent = order.intent
        if stood is not bool(at):
            pair = (intent.account, intent.strategy)
            self._open_orders[pair] = self._open_orders.get(pair, 0) + (1 if at else -1)
        if self._risk is None:
            return
        ladder = self._ladders.setdefault((intent.account, intent.instrument, intent.side), _Ladder())
        if at:
            ladder.put(order.intent_id, order.key, intent.side, at)
        else:
            ladder.drop(order.intent_id)

    def _account(self, account: str, instrument: str) -> _Totals:
        totals = self._accounts.get((account, instrument))
        if totals is None:
            totals = self._accounts[account, instrument] = _Totals()
        return totals

    def _strategy(self, intent: Intent) -> _Totals:
        key = (intent.account, intent.strategy, intent.instrument)
        totals = self._strategies.get(key)
        if totals is None:
            totals = self._strategies[key] = _Totals()
        return totals

    # ------------------------------------------------------------------- windows

    def _now_us(self) -> int:
        return int(self._now_s() * 1_000_000)

    def _take(self, order: Order, at_us: int) -> None:
        intent = order.intent
        self._taken.setdefault((intent.account, intent.strategy), OrderedDict())[order.intent_id] = at_us
        if not self._window_us:
            return
        content = _content(intent)
        self._contents.setdefault(content, OrderedDict())[order.intent_id] = (at_us, intent.strategy, order.key)
        self._recent[order.intent_id] = (at_us, content)
        while self._recent:
            oldest, (taken_us, _) = next(iter(self._recent.items()))
            if at_us - taken_us < self._window_us:
                break
            self._drop_recent(oldest)

    def _untake(self, order: Order) -> None:
        if order.intent_id in self._recent:
            self._drop_recent(order.intent_id)

    def _drop_recent(self, intent_id: int) -> None:
        _, content = self._recent.pop(intent_id)
        alike = self._contents[content]
        del alike[intent_id]
        if not alike:
            del self._contents[content]

    def _orders_last_s(self, account: str, strategy: str, now_us: int) -> int:
        taken = self._taken.get((account, strategy))
        if taken is None:
            return 0
        while taken and now_us - next(iter(taken.values())) >= _SECOND_US:
            taken.popitem(last=False)
        return len(taken)

    def _twin(self, intent: Intent, key: str, now_us: int, but: Collection[int]) -> Twin | None:
        for intent_id, (at_us, strategy, other) in reversed(self._contents.get(_content(intent), _NO_TWINS).items()):
            if (strategy, other) != (intent.strategy, key) and intent_id not in but:
                return Twin(other, now_us - at_us)
        return None

    # ------------------------------------------------------------------- judging

    def judge(self, intent: Intent, key: str, *, allow_similar: bool = False) -> Refusal | None:
        """Return why a new order is refused, or ``None``.

        What it decides is true until the loop runs others: whoever takes the order records it before that.
        """
        return self._judged(intent, key, allow_similar, ())

    def _judged(self, intent: Intent, key: str, allow_similar: bool, but: Collection[int]) -> Refusal | None:
        if self._risk is None:
            return None
        limits = self._in_force(intent)
        exposure = self._exposure(intent, limits, but)
        now_us = self._now_us()
        taken = self._orders_last_s(intent.account, intent.strategy, now_us)
        if but and taken:
            among = self._taken[intent.account, intent.strategy]
            taken -= sum(intent_id in among for intent_id in but)
        exposure = msgspec.structs.replace(
            exposure,
            orders_last_s=taken,
            twin=self._twin(intent, key, now_us, but) if limits.similar_window_s else None,
        )
        return judge(intent, limits, exposure, allow_similar=allow_similar)

    def undecided(self, intent_id: int, intent: Intent, outcome: Pending) -> None:
        """Count an order that was just taken as one that may turn out to be a repeat, until its outcome is there."""
        if self._risk is not None:
            self._undecided[intent_id] = (intent, outcome)
            outcome.add_done_callback(lambda _: self._undecided.pop(intent_id, None))

    def doubt(self, intent: Intent, key: str, *, allow_similar: bool = False) -> Pending | None:
        """Return what to wait for before a refusal is held against an order: it would pass but for undecided ones."""
        if not self._undecided or self._judged(intent, key, allow_similar, self._undecided) is not None:
            return None
        return next(reversed(self._undecided.values()))[1]

    def judge_replace(self, order: Order, quantity: Decimal, price: Decimal | None) -> Refusal | None:
        """Return why an order may not be given these terms, or ``None``."""
        if self._risk is None:
            return None
        limits = self._in_force(order.intent)
        return judge_replace(order, quantity, price, limits, self._exposure(order.intent, limits, ()))

    def _in_force(self, intent: Intent) -> InForce:
        scope = (intent.account, intent.strategy, intent.instrument)
        limits = self._limits.get(scope)
        if limits is None:
            if len(self._limits) >= _MOST_CACHED:
                self._limits.clear()
            limits = self._limits[scope] = (self._risk or Risk()).in_force(*scope)
        return limits

    def _exposure(self, intent: Intent, limits: InForce, but: Collection[int]) -> Exposure:
        """Return how things stand for an order, ``but`` for some undecided ones."""
        account, strategy = self._account(intent.account, intent.instrument), self._strategy(intent)
        facing = None
        if limits.self_crossing is SelfCrossing.REFUSE:
            ladder = self._ladders.get((intent.account, intent.instrument, _OTHER[intent.side]))
            best = None if ladder is None else ladder.best()
            facing = None if best is None or best[0] in but else best[1]
        exposure = Exposure(
            account_position=account.position,
            account_open=account.open[intent.side],
            strategy_position=strategy.position,
            strategy_open=strategy.open[intent.side],
            open_orders=self._open_orders.get((intent.account, intent.strategy), 0),
            facing=facing,
            reference=self._references.get(intent.instrument),
        )
        return self._without(exposure, intent, but) if but else exposure

    def _without(self, exposure: Exposure, intent: Intent, but: Collection[int]) -> Exposure:
        account_open, strategy_open, count = exposure.account_open, exposure.strategy_open, exposure.open_orders
        for intent_id in but:
            other, held = self._undecided[intent_id][0], self._held.get(intent_id)
            if held is None or other.account != intent.account:
                continue
            mine = other.strategy == intent.strategy
            count -= mine and bool(held.prices)
            if (other.instrument, other.side) == (intent.instrument, intent.side):
                account_open = EXACT.subtract(account_open, held.leaves)
                strategy_open = EXACT.subtract(strategy_open, held.leaves) if mine else strategy_open
        return msgspec.structs.replace(
            exposure, account_open=account_open, strategy_open=strategy_open, open_orders=count
        )

    def can_only_reduce(self, intent: Intent) -> bool:
        """Tell whether a new order can only bring positions nearer to zero, whatever else fills."""
        return self._reduces(intent, intent.quantity, _ZERO)

    def still_only_reduces(self, order: Order) -> bool:
        """Tell the same of an order that is open and counted already."""
        held = self._held.get(order.intent_id, _NOTHING)
        return self._reduces(order.intent, can_trade(order), held.leaves)

    def replace_only_reduces(self, order: Order, quantity: Decimal) -> bool:
        """Tell whether a replace leaves an order that can only reduce, or takes from what it can still add."""
        if quantity <= order.quantity:
            return True
        held = self._held.get(order.intent_id, _NOTHING)
        left = max(EXACT.subtract(quantity, order.cum_quantity), can_trade(order))
        return self._reduces(order.intent, left, held.leaves)

    def _reduces(self, intent: Intent, quantity: Decimal, counted: Decimal) -> bool:
        account = self._account(intent.account, intent.instrument)
        strategy = self._strategy(intent)
        return reduces(
            intent.side,
            quantity,
            account.position,
            strategy.position,
            EXACT.subtract(account.open[intent.side], counted),
            EXACT.subtract(strategy.open[intent.side], counted),
        )


_NOTHING = _Held(_ZERO, ())
_NO_TWINS: OrderedDict[int, tuple[int, str, str]] = OrderedDict()


def _held(order: Order) -> _Held | None:
    if order.closed:
        return None
    return _Held(can_trade(order), () if order.status in ENDED else prices(order))


def _alike(before: Order, after: Order) -> bool:
    """Tell whether two states of an order that is open in both add the same. Most changes are such."""
    return (
        before.cum_quantity == after.cum_quantity
        and before.venue_cum_quantity == after.venue_cum_quantity
        and before.in_force is after.in_force
        and before.replacement is after.replacement
        and before.status not in ENDED
        and after.status not in ENDED
    )


def _content(intent: Intent) -> _Content:
    return (intent.account, intent.instrument, intent.side, intent.quantity, intent.price)


def _without_effect(order: Order) -> bool:
    """Tell whether an order is over and nothing was executed of it: then no other is its duplicate."""
    return order.status in _WITHOUT_EFFECT and not order.cum_quantity and order.closed


async def open_desk(
    risk: Risk | None, ledger: Ledger, lease: Lease, positions: Iterable[Position], clock: Clock
) -> RiskDesk:
    """Return the desk of a route that was just acquired, before its open orders are read. ``positions``: of all routes."""
    desk = RiskDesk(risk, asyncio.get_running_loop().time)
    desk.begin(
        (one for one in positions if one.venue == lease.route),
        await ledger.opening_positions(lease.route),
        [row for _, row in await ledger.quarantined(lease.route)],
    )
    if risk is not None:
        first = lease.intent_id(max(lease.last_number - RECENT, 0))
        orders = await ledger.orders(first, RECENT)
        desk.resume((one for one in orders if one.intent.venue == lease.route), clock.now_us())
    return desk
