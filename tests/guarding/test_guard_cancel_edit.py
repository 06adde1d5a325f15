"""Cancels and edits of the guard's orders, and of others."""

from pathlib import Path
from typing import Any

import ccxt
import pytest
from guard_kit import BTC, Venue

import onefill


def order(exchange: Any, key: str = "k", amount: float = 0.5, price: float = 100) -> Any:
    """Place a limit order."""
    return exchange.create_order(BTC, "limit", "buy", amount, price, params={"key": key})


def test_a_cancel_returns_the_order_and_repeats_do_too(venue: Venue, ledger: Path) -> None:
    """By the venue's number or the client order id, before and after a restart: the order, cancelled, in ccxt's form."""
    with venue.guarded(ledger) as exchange:
        first, second = order(exchange, "a"), order(exchange, "b")
        gone = exchange.cancel_order(first["id"], BTC)
        assert (gone["id"], gone["status"], gone["filled"], gone["amount"]) == (first["id"], "canceled", 0.0, 0.5)
        by_name = exchange.cancel_order(None, BTC, {"clientOrderId": second["clientOrderId"]})
        assert (by_name["id"], by_name["status"]) == (second["id"], "canceled")
        assert exchange.cancel_order_with_client_order_id(second["clientOrderId"], BTC)["status"] == "canceled"
        assert exchange.cancelUnifiedOrder(first)["status"] == "canceled"
    with venue.guarded(ledger) as exchange:
        assert exchange.cancel_order(first["id"], BTC)["status"] == "canceled"


def test_a_cancel_that_came_too_late_tells_of_the_fill(venue: Venue, ledger: Path) -> None:
    """An order that had filled is no error: the dict says closed."""
    with venue.guarded(ledger) as exchange:
        placed = order(exchange)
        venue.by_another("sell", "0.5", "100")
        late = exchange.cancel_order(placed["id"], BTC)
        assert (late["status"], late["filled"], late["remaining"]) == ("closed", 0.5, 0.0)


def test_an_operations_key_keeps_its_answer(venue: Venue, ledger: Path) -> None:
    """A cancel with a key of its own is one operation however often it is called."""
    with venue.guarded(ledger) as exchange:
        placed = order(exchange)
        one = exchange.cancel_order(placed["id"], BTC, {"key": "stop-1"})
        sent = venue.asked("DELETE /api/v3/order")
        assert exchange.cancel_order(placed["id"], BTC, {"key": "stop-1"})["status"] == one["status"]
        assert venue.asked("DELETE /api/v3/order") <= sent + 1  # asked whose an ended number is, never cancelled again
        assert len(venue.orders()) == 1


def test_foreign_orders_are_passed_through_once(venue: Venue, ledger: Path) -> None:
    """What ccxt returns and raises for them stays as it is; the key is not sent along."""
    plain = venue.plain()
    foreign = plain.create_order(BTC, "limit", "buy", 0.1, 90)
    with venue.guarded(ledger) as exchange:
        order(exchange)
        gone = exchange.cancel_order(foreign["id"], BTC, {"key": "whatever"})
        assert (gone["id"], gone["status"]) == (foreign["id"], "canceled")
        with pytest.raises(ccxt.OrderNotFound):
            exchange.cancel_order(foreign["id"], BTC)
        with pytest.raises(ccxt.OrderNotFound):
            exchange.cancel_order("123456", BTC)
        with pytest.raises(onefill.InvalidField, match="id"):
            exchange.cancel_order(None, BTC)
    plain.close()


def test_an_edit_is_done_once_and_its_repeat_returns_the_same_order(venue: Venue, ledger: Path) -> None:
    """Venues that make a new order of it give it another number: the guard goes on knowing both as one order."""
    with venue.guarded(ledger) as exchange:
        placed = order(exchange)
        edited = exchange.edit_order(placed["id"], BTC, "limit", "buy", 0.4, 99, {"key": "e1"})
        assert (edited["amount"], edited["price"], edited["status"]) == (0.4, 99.0, "open")
        assert exchange.edit_limit_buy_order(edited["id"], BTC, 0.4, 99, key="e1")["id"] == edited["id"]
        again = exchange.editOrder(edited["id"], BTC, "limit", "buy", None, 98)
        assert (again["amount"], again["price"]) == (0.4, 98.0)
        assert exchange.cancel_order(again["id"], BTC)["status"] == "canceled"
    assert [one.status for one in venue.orders()].count("new") == 0
    assert venue.asked("POST /api/v3/order/cancelReplace") == 2


def test_edits_that_cannot_be_are_refused_before_anything_is_sent(venue: Venue, ledger: Path) -> None:
    """Foreign orders, another side, type or symbol, parameters of other kinds."""
    plain = venue.plain()
    foreign = plain.create_order(BTC, "limit", "buy", 0.1, 90)
    plain.close()
    with venue.guarded(ledger) as exchange:
        placed = order(exchange)
        with pytest.raises(onefill.NotGuarded, match="placed through this guard"):
            exchange.edit_order(foreign["id"], BTC, "limit", "buy", 0.1, 91)
        for change in ({"side": "sell"}, {"type": "market"}):
            with pytest.raises(onefill.CannotReplace):
                exchange.edit_order(placed["id"], BTC, **{"type": "limit", "side": "buy", "amount": 1, **change})
        with pytest.raises(onefill.NotGuarded, match="postOnly"):
            exchange.edit_order(placed["id"], BTC, "limit", "buy", 0.4, 99, {"postOnly": True})
    assert venue.asked("POST /api/v3/order/cancelReplace") == 0


def test_an_edit_of_what_has_ended_is_ccxts_error(venue: Venue, ledger: Path) -> None:
    """An order that filled meanwhile: InvalidOrder, as a venue says it."""
    with venue.guarded(ledger, poll_s=1000) as exchange:
        placed = order(exchange)
        venue.by_another("sell", "0.5", "100")
        with pytest.raises(ccxt.InvalidOrder, match="filled"):
            exchange.edit_order(placed["id"], BTC, "limit", "buy", 0.6, 100)
