"""The same on an event loop: several orders at once, one of them edited, all of them cancelled in the end.

    pip install 'onefill[ccxt]'
    BINANCE_API_KEY=... BINANCE_SECRET=... python async_script.py 2026-11-21

Run it again with the same date, after whatever end the first run came to: nothing is placed, edited or cancelled twice.
"""

import asyncio
import os
import sys

import ccxt.async_support as ccxt

import onefill

SYMBOL = "BTC/USDT"
LADDER = {59_000: 0.002, 58_000: 0.004, 57_000: 0.008}
"""How much is to be bought at which price."""


async def main() -> None:
    """Place a ladder of buy orders, move the lowest up, and take back what did not trade."""
    day = sys.argv[1]
    plain = ccxt.binance({"apiKey": os.environ["BINANCE_API_KEY"], "secret": os.environ["BINANCE_SECRET"]})
    async with onefill.guard(plain, "orders.db", strategy="ladder", wait_s=60) as exchange:
        orders = await asyncio.gather(
            *(
                exchange.create_order(SYMBOL, "limit", "buy", amount, price, key=f"{day}-{price}")
                for price, amount in LADDER.items()
            )
        )
        lowest = min(orders, key=lambda order: order["price"])
        if lowest["status"] == "open":
            lowest = await exchange.edit_order(
                lowest["id"], SYMBOL, "limit", "buy", lowest["amount"], 57_500, params={"key": f"{day}-up"}
            )
        for order in (*orders[:-1], lowest):
            done = await exchange.cancel_order(order["id"], SYMBOL)  # an order that is over is no error
            print(f"{order['price']}: {done['status']}, {done['filled']} filled")


if __name__ == "__main__":
    asyncio.run(main())
