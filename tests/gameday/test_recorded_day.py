"""The drill of the recorded day, small, on a day made for it."""

import asyncio
import random
from pathlib import Path

import pytest

from onefill.core.capabilities import UniqueScope
from onefill.gameday.recorded_day import LEAST_HURT, DaySettings, run_day

HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction\n"


def write_day(path: Path, orders: int, seed: int) -> None:
    """Write a made-up day: orders that come and mostly go, with the oddities of the real one."""
    draw = random.Random(seed)
    rows, live = [f"{999},1,1,236.00,100000000,deleted,bid\n"], []  # opened before the recording began
    for number in range(1, orders + 1):
        key, side = 1000 + number, draw.choice(["bid", "ask"])
        price, volume = f"{draw.randint(20000, 25000) / 100:.2f}", draw.randint(1, 10**10)
        rows.append(f"{key},{number},{number},{price},{volume},created,{side}\n")
        live.append((key, price, side))
        if number % 7 == 0:
            rows.append(f"{key},{number},{number},{price},{volume // 2},changed,{side}\n")
        if len(live) > 20 or draw.random() < 0.6:
            gone, price, side = live.pop(draw.randrange(len(live)))
            rows.append(f"{gone},{number},{number},{price},0,deleted,{side}\n")
            if number % 50 == 0:
                rows.append(f"{gone},{number},{number},{price},0,deleted,{side}\n")  # told twice
    path.write_text(HEADER + "".join(rows), encoding="utf-8")


@pytest.mark.parametrize("dialect", [UniqueScope.OPEN, UniqueScope.EVER])
def test_the_day_ends_as_a_clean_run_does(dialect: UniqueScope, tmp_path: Path) -> None:
    """Through a link that hurts requests and three kills -9, the venue ends with the clean run's orders, each once."""
    write_day(tmp_path / "day.csv", 300, seed=5)
    settings = DaySettings(file=tmp_path / "day.csv", dialects=(dialect,), kills=3, seed=5, in_flight=64)
    (result,) = asyncio.run(run_day(settings, tmp_path, lambda _what, _done, _total: None))
    assert result.violations == []
    assert (result.orders, result.duplicates, result.missing) == (300, 0, 0)
    assert result.kills == 3
    assert result.hurt >= LEAST_HURT * result.requests
