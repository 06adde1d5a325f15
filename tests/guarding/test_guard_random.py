"""Many keys, replies lost in every way, tries from several threads, restarts in between: one order for each key."""

import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import ccxt
import pytest
from guard_kit import BTC, Venue, hang

import onefill
from onefill.sim.imitations import spoils

SPOILS = [None, None, spoils.drop, spoils.truncate, spoils.html, spoils.status(500), spoils.status(503), hang]
KEYS = 24


@pytest.mark.parametrize("seed", range(3))
def test_every_key_is_one_order_whatever_happens(venue: Venue, ledger: Path, seed: int) -> None:
    """Each try returns the key's own order; in the end the venue has one order for each key, of the right content."""
    draw = random.Random(seed)
    got: dict[str, set[str]] = {}

    def attempt(exchange: Any, number: int) -> None:
        while True:
            try:
                found = exchange.create_limit_buy_order(BTC, 0.01 * (number + 1), 100 + number, {"key": f"k{number}"})
            except ccxt.NetworkError:
                continue  # OrderUncertain is one of them: its key goes on
            got.setdefault(f"k{number}", set()).add(found["id"])
            assert (found["amount"], found["price"]) == (round(0.01 * (number + 1), 8), 100 + number)
            return

    todo = [number for number in range(KEYS) for _ in range(3)]
    draw.shuffle(todo)
    while todo:
        venue.do(lambda imitation: imitation.spoilt.clear())
        venue.spoil(*(draw.choice(SPOILS) or (lambda reply: reply) for _ in range(12)))
        exchange = onefill.guard(venue.plain(timeout=300), ledger, wait_s=0.4)
        now, todo = todo[:12], todo[12:]
        threads = [threading.Thread(target=attempt, args=(exchange, number)) for number in now]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        exchange.close()
    assert {len(ids) for ids in got.values()} == {1}
    assert len(got) == KEYS
    made = Counter((order.quantity, order.price) for order in venue.orders())
    assert len(made) == KEYS
    assert set(made.values()) == {1}
