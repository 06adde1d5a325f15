"""The judge of the failover drills: the exchange's own book and the callers' answers, held against the ledger."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from onefill.core.answers import Answer
from onefill.core.identity import key_digest
from onefill.core.order import Order
from onefill.core.position import Execution
from onefill.gameday.judge import ExchangeWatch
from onefill.gameday.load import STRATEGY, Acknowledged
from onefill.gameday.node_words import route_of
from onefill.ports.ledger import Ledger
from onefill.sim.exchange_desk import ExchangeTrade
from onefill.sim.order_book import ExchangeOrder
from onefill.testing.ledger_kit import verify_chains

_PAGE = 5000
_SETTLE_S = 30.0
_PAUSE_S = 0.1
_SHOWN = 5
_answer = msgspec.json.Decoder(Answer)
Trade = tuple[str, str, Decimal, Decimal]
"""Execution id, client order id, quantity, price."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge counted, and in words what did not hold."""

    acknowledged: int
    """Orders whose answer some caller has."""
    orders: int
    """Orders at the exchange."""
    executions: int
    """Executions at the exchange, each side of a trade counted."""
    incidents: dict[str, int]
    """Incidents by kind, closed ones included."""
    epochs: dict[str, int]
    """How often each route changed hands."""
    violations: list[str]


def _named(problem: str, names: Iterable[str]) -> list[str]:
    listed = sorted(names)
    if not listed:
        return []
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return [f"{problem}: {', '.join(listed[:_SHOWN])}{more}"]


def judge_orders(
    acknowledged: Sequence[Acknowledged], recorded: Mapping[bytes, Order], book: Sequence[ExchangeOrder]
) -> list[str]:
    """Return what is wrong about orders: lost, doubled, unexplained, or answered otherwise than the ledger says."""
    at_venue = Counter(order.client_order_id for order in book)
    known = {order.client_order_id for order in recorded.values()}
    lost, other, absent = [], [], []
    for one in acknowledged:
        order = recorded.get(key_digest(one.account, STRATEGY, one.key))
        if order is None:
            lost.append(one.key)
        elif order.answer != one.answer:
            other.append(one.key)
        elif _answer.decode(one.answer).accepted and at_venue[order.client_order_id] == 0:
            absent.append(one.key)
    return [
        *_named("NO-LOSS: acknowledged, and not in the ledger", lost),
        *_named("SAME-ANSWER: the ledger holds another answer than a caller has", other),
        *_named("NO-LOSS: acknowledged as accepted, and not at the exchange", absent),
        *_named("ONE-ORDER: more than one order at the exchange", (name for name, n in at_venue.items() if n > 1)),
        *_named("LEDGER-FIRST: at the exchange, and not in the ledger", at_venue.keys() - known),
    ]


def judge_executions(account: str, trades: Sequence[ExchangeTrade], log: Sequence[Execution]) -> list[str]:
    """Return what is wrong about executions of an account: lost, doubled, made up, or with other numbers."""
    there = Counter((one.execution_id, one.client_order_id, one.quantity, one.price) for one in trades)
    here = Counter((one.execution_id, one.client_order_id, one.quantity, one.price) for one in log)
    twice = [name for name, count in Counter(one.execution_id for one in log).items() if count > 1]
    return [
        *_named(f"FILL-ONCE: executions of {account} that the ledger does not have", _ids(there - here)),
        *_named(f"FILL-ONCE: executions of {account} that the exchange does not have", _ids(here - there)),
        *_named(f"FILL-ONCE: executions of {account} that the ledger has twice", twice),
    ]


def _ids(trades: Counter[Trade]) -> list[str]:
    return [trade[0] for trade in trades]


async def judge(
    ledger: Ledger, watch: ExchangeWatch, acknowledged: Sequence[Acknowledged], accounts: Sequence[str]
) -> Found:
    """Judge a whole drill, once the ledger has every execution, or does not get it in bounded time."""
    log = await _settled(ledger, watch, accounts)
    trades = {account: await watch.trades(account) for account in accounts}
    recorded = await read_orders(ledger)
    book = await watch.book()
    violations = judge_orders(acknowledged, recorded, book)
    for account in accounts:
        violations += judge_executions(account, trades[account], log[account])
    violations += await judge_chains(ledger)
    incidents = await ledger.incidents(open_only=False)
    return Found(
        acknowledged=len(acknowledged),
        orders=len(book),
        executions=sum(map(len, trades.values())),
        incidents=dict(Counter(str(one.kind) for one in incidents)),
        epochs={route.name: route.epoch for route in await ledger.routes()},
        violations=violations,
    )


async def _settled(ledger: Ledger, watch: ExchangeWatch, accounts: Sequence[str]) -> dict[str, list[Execution]]:
    until_s = time.monotonic() + _SETTLE_S
    while True:
        log = {account: await read_executions(ledger, route_of(account)) for account in accounts}
        if all([len(log[account]) >= len(await watch.trades(account)) for account in accounts]):
            return log
        if time.monotonic() > until_s:
            return log
        await asyncio.sleep(_PAUSE_S)


async def read_orders(ledger: Ledger) -> dict[bytes, Order]:
    """Return every order of a ledger by the digest of its key."""
    found: dict[bytes, Order] = {}
    after = 0
    while page := await ledger.orders(after, _PAGE):
        for order in page:
            found[key_digest(order.intent.account, order.intent.strategy, order.key)] = order
        after = page[-1].intent_id
    return found


async def read_executions(ledger: Ledger, route: str) -> list[Execution]:
    """Return the whole execution log of a route."""
    found: list[Execution] = []
    after = 0
    while page := await ledger.executions(route, after, _PAGE):
        found += [execution for _, execution in page]
        after = page[-1][0]
    return found


async def judge_chains(ledger: Ledger) -> list[str]:
    """Return which journals are torn or altered, or were written under an older epoch after a newer one (ONE-WRITER)."""
    found = []
    try:
        await verify_chains(ledger)
    except AssertionError as fault:
        found.append(f"APPEND-ONLY: {fault}")
    for route in await ledger.routes():
        sequence, epoch = 0, 0
        while page := await ledger.journal(route.name, sequence, _PAGE):
            for entry in page:
                if entry.epoch < epoch:
                    found.append(
                        f"ONE-WRITER: {route.name} entry {entry.sequence} of epoch {entry.epoch} after {epoch}"
                    )
                epoch, sequence = max(epoch, entry.epoch), entry.sequence
    return found[:_SHOWN]
