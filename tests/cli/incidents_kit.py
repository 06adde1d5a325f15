"""What tests of incidents by command line share: an exchange that trades, and somebody who trades there by hand."""

import urllib.request
from pathlib import Path

import msgspec
from cli_kit import PATIENCE_S, Result, Venue, blotter, onefill


def by_hand(venue: Venue, account: str, client_order_id: str, side: str, quantity: str, price: str) -> str:
    """Send an order past every gateway; return the venue's number of it."""
    body = {
        "client_order_id": client_order_id,
        "account": account,
        "instrument": "BTC-USD",
        "side": side,
        "quantity": quantity,
        "order_type": "limit",
        "price": price,
        "time_in_force": "gtc",
        "expires_at_us": None,
    }
    request = urllib.request.Request(  # noqa: S310 - our own exchange
        f"{venue.url}/v1/orders", msgspec.json.encode(body), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:  # noqa: S310 - likewise
        return str(msgspec.json.decode(reply.read())["order"]["venue_order_id"])


def run(folder: Path, ledger: Path, venue: Venue, account: str, *lines: str) -> Result:
    """Send lines of a blotter."""
    done = onefill("run", blotter(folder, *lines), "--ledger", ledger, "--venue", venue.url, "--account", account)
    assert done.code == 0, done
    return done
