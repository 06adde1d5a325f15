"""The recorded day over PostgreSQL and two gateways, small, on a day made for it."""

import asyncio
import random
from decimal import Decimal
from pathlib import Path

from onefill.core.capabilities import UniqueScope
from onefill.core.intent import Intent
from onefill.core.values import Side, TimeInForce
from onefill.gameday.node_words import route_of
from onefill.gameday.recorded_day import LEAST_HURT
from onefill.gameday.recorded_nodes import DayCancel, DaySubmit, NodesDaySettings, Row, run_nodes_day

ACCOUNTS = ("acct1", "acct2")


def made_day(orders: int, seed: int) -> list[Row]:
    """Return a made-up day: orders that come and mostly go."""
    draw = random.Random(seed)
    rows: list[Row] = []
    live: list[tuple[str, str]] = []
    for number in range(orders):
        key, account = f"day-{number}", ACCOUNTS[number % 2]
        intent = Intent(
            account=account,
            strategy="blotter",
            instrument="BTC-USD",
            side=draw.choice((Side.BUY, Side.SELL)),
            quantity=Decimal(draw.randint(1, 10**9)) / 10**8,
            price=Decimal(draw.randint(20_000, 25_000)) / 100,
            time_in_force=TimeInForce.GTC,
            venue=route_of(account),
        )
        rows.append(DaySubmit(key, intent))
        live.append((key, account))
        if len(live) > 10 or draw.random() < 0.5:
            gone, owner = live.pop(draw.randrange(len(live)))
            rows.append(DayCancel(gone, owner, "blotter", f"cancel-{gone}"))
    return rows


def test_the_day_ends_as_a_clean_run_does_whatever_happens_to_the_gateways(tmp_path: Path) -> None:
    """Through a link that hurts requests, with a gateway killed, one paused for longer than its lease and the database failed
    over, the venue ends with the clean run's orders, each once, and every row keeps its answer."""
    settings = NodesDaySettings(
        accounts=ACCOUNTS,
        dialects=(UniqueScope.OPEN,),
        kills=1,
        pauses=1,
        failovers=1,
        in_flight=32,
        lease_s=1.0,
        version=18,
        seed=3,
    )
    (result,) = asyncio.run(run_nodes_day(settings, made_day(150, seed=3), tmp_path, lambda *_: None))
    assert result.violations == []
    assert (result.orders, result.duplicates, result.missing) == (150, 0, 0)
    assert (result.kills, result.pauses, result.failovers) == (1, 1, 1)
    assert result.hurt >= LEAST_HURT * result.requests
    assert result.epochs > len(ACCOUNTS)
