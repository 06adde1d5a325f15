"""A program that dies: killed with -9, ended without close, or without its ledger. The key goes on in the next one."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from guard_kit import BTC, Venue, hang

from onefill.sim.imitations import spoils

SCRIPT = """
import sys
import ccxt
import onefill
from onefill.sim.imitations.binance import BinanceSpot
from onefill.venues.ccxt.address import point

exchange = point(ccxt.binance({**BinanceSpot.config(), "enableRateLimit": False, "timeout": 2000}), sys.argv[1])
exchange = onefill.guard(exchange, sys.argv[2])
order = exchange.create_order("BTC/USDT", "limit", "buy", 0.5, 100, params={"key": "k"})
print(order["id"], flush=True)
"""


ASYNCHRONOUS = """
import asyncio
import sys
import ccxt.async_support as ccxt
import onefill
from onefill.sim.imitations.binance import BinanceSpot
from onefill.venues.ccxt.address import point

async def main():
    exchange = point(ccxt.binance({**BinanceSpot.config(), "enableRateLimit": False, "timeout": 2000}), sys.argv[1])
    async with onefill.guard(exchange, sys.argv[2]) as exchange:
        order = await exchange.create_order("BTC/USDT", "limit", "buy", 0.5, 100, params={"key": "k"})
        print(order["id"], flush=True)

asyncio.run(main())
"""


def start(venue: Venue, ledger: Path, more: str = "", script: str = SCRIPT) -> "subprocess.Popen[str]":
    """Run the script in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", script + more, venue.imitation.url, str(ledger)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return the exit code and what was written to standard output and error."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out.strip(), err


@pytest.mark.parametrize("script", [SCRIPT, ASYNCHRONOUS], ids=["synchronous", "asynchronous"])
def test_killed_while_the_reply_is_awaited_the_next_run_returns_the_order(
    venue: Venue, ledger: Path, script: str
) -> None:
    """The order is at the venue, its reply was never had: the same script again prints its number and buys nothing more."""
    arrived = threading.Event()

    async def arrive(reply: Any) -> Any:
        arrived.set()
        await hang(reply)

    venue.spoil(arrive)
    first = start(venue, ledger, script=script)
    assert arrived.wait(60)
    first.send_signal(signal.SIGKILL)
    assert ended(first)[0] == -signal.SIGKILL
    (order,) = venue.orders()
    code, out, err = ended(start(venue, ledger, script=script))
    assert (code, err) == (0, "")
    plain = venue.plain()
    assert plain.fetch_order(out, BTC)["clientOrderId"] == order.client_order_id
    plain.close()
    assert len(venue.orders()) == 1


def test_killed_right_after_the_call_returned_the_next_run_returns_the_same(venue: Venue, ledger: Path) -> None:
    """The call returns as soon as the venue has said yes: what is not written yet by then is asked for again."""
    told = set()
    for _ in range(3):
        process = start(venue, ledger, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
        code, out, _ = ended(process)
        assert code == -signal.SIGKILL
        told.add(out)
    assert len(told) == 1
    assert told != {""}
    assert len(venue.orders()) == 1


def test_a_program_that_ends_without_close_ends_well(venue: Venue, ledger: Path) -> None:
    """No error, no warning, no waiting; the ledger is free for the next one."""
    numbers = {ended(start(venue, ledger)) for _ in range(2)}
    assert len(numbers) == 1
    ((code, out, err),) = numbers
    assert (code, err) == (0, "")
    assert out
    assert len(venue.orders()) == 1


def test_with_another_ledger_a_key_still_has_the_same_client_order_id(venue: Venue, ledger: Path) -> None:
    """Where a ledger is lost while its order is open, the venue's refusal of a repeated id leads to that order."""
    with venue.guarded(ledger) as exchange:
        first = exchange.create_order(BTC, "limit", "buy", 0.5, 100, key="k")
    with venue.guarded(ledger.with_name("another.db")) as exchange:
        assert exchange.create_order(BTC, "limit", "buy", 0.5, 100, key="k")["id"] == first["id"]
    assert len(venue.orders()) == 1


def test_others_on_the_account_do_not_disturb(venue: Venue, ledger: Path) -> None:
    """Trades of the same account that were made past the guard leave it open, and its own orders as they are."""
    plain = venue.plain()
    with venue.guarded(ledger, poll_s=0.05) as exchange:
        ours = exchange.create_order(BTC, "limit", "buy", 0.5, 100, key="k")
        for number in range(12):
            plain.create_order(BTC, "limit", "buy", 0.1, 101 + number)
            venue.by_another("sell", "0.1", "100.5")
        asked = venue.asked("GET /api/v3/myTrades")
        while venue.asked("GET /api/v3/myTrades") < asked + 3:
            exchange.fetch_open_orders(BTC)
        venue.spoil(spoils.drop)
        assert exchange.create_order(BTC, "limit", "buy", 0.5, 100, key="l")["status"] == "open"
        assert exchange.cancel_order(ours["id"], BTC)["status"] == "canceled"
    plain.close()
