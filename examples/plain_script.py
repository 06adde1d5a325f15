"""A plain script over ccxt that is safe to run again: it can be killed at any line, and every order happens once.

    pip install 'onefill[ccxt]'
    BINANCE_API_KEY=... BINANCE_SECRET=... python plain_script.py 2026-11-21

Run it twice with the same date: the second run places nothing, and prints the same orders.
"""

import os
import sys

import ccxt

import onefill

SYMBOL = "BTC/USDT"
LADDER = {59_000: 0.002, 58_000: 0.004, 57_000: 0.008}
"""How much is to be bought at which price."""


def main() -> None:
    """Place a ladder of buy orders, once for the day that is named."""
    day = sys.argv[1]
    exchange = ccxt.binance({"apiKey": os.environ["BINANCE_API_KEY"], "secret": os.environ["BINANCE_SECRET"]})
    exchange = onefill.guard(exchange, "orders.db", strategy="ladder")
    for price, amount in LADDER.items():
        place(exchange, amount, price, key=f"{day}-{price}")
    for order in exchange.fetch_open_orders(SYMBOL):  # reads are ccxt's own
        print(f"open: {order['amount']} at {order['price']}, {order['filled']} filled")
    exchange.close()


def place(exchange: ccxt.Exchange, amount: float, price: float, key: str) -> None:
    """Place one order. Its key stands for the decision: whoever calls with it again, and whenever, means this order."""
    while True:
        try:
            order = exchange.create_limit_buy_order(SYMBOL, amount, price, params={"key": key})
        except onefill.OrderUncertain as error:
            print(f"{error.key}: not known yet, asking again")
        except ccxt.InsufficientFunds as error:
            print(f"{key}: the venue says no: {error}")
            return
        else:
            print(f"{key}: {order['id']}, {order['status']}")
            return


if __name__ == "__main__":
    main()
