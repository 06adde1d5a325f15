"""What a guarded call means: its key, the order it wants, what it may not bring along, and how results are read."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import order as recorded

from onefill.core import guard_rules as rules
from onefill.core.errors import InvalidField, NotGuarded
from onefill.core.guard_rules import Wanted
from onefill.core.intent import Intent
from onefill.core.lifecycle import Status
from onefill.core.values import OrderType, TimeInForce


def intent(exchange: str = "binance", allowed: Any = (), **changes: Any) -> Intent:
    """Return what a call wants, a limit order to buy half a coin unless said otherwise."""
    given: dict[str, Any] = {
        "market_type": "spot",
        "symbol": "BTC/USDT",
        "type": "limit",
        "side": "buy",
        "amount": "0.5",
        "price": "100.10",
    }
    wanted = Wanted(exchange=exchange, **{**given, **changes})
    return rules.intent_of(wanted, account="main", strategy="script", venue=exchange, allowed=allowed)


def test_a_calls_words_become_an_intent() -> None:
    """Type and side in any case, numbers as text, exact."""
    made = intent(type="LIMIT", side="Sell")
    assert (made.order_type, made.side, made.quantity, made.price) == (
        "limit",
        "sell",
        Decimal("0.5"),
        Decimal("100.1"),
    )
    assert (made.venue, made.account, made.strategy, made.parameters) == ("binance", "main", "script", None)
    at_market = intent(type="market", price=None, market_price=99.5)
    assert (at_market.order_type, at_market.price, at_market.parameters) == (OrderType.MARKET, None, '{"price":99.5}')


@pytest.mark.parametrize(
    ("given", "time_in_force", "parameters"),
    [
        ({}, TimeInForce.GTC, None),
        ({"timeInForce": "ioc"}, TimeInForce.IOC, None),
        ({"timeInForce": "FOK", "reduceOnly": True}, TimeInForce.FOK, '{"reduceOnly":true}'),
        ({"timeInForce": "PO"}, TimeInForce.GTC, '{"postOnly":true}'),
        ({"postOnly": True}, TimeInForce.GTC, '{"postOnly":true}'),
    ],
)
def test_times_in_force_leave_the_parameters(
    given: dict[str, Any], time_in_force: TimeInForce, parameters: str | None
) -> None:
    """The intent says them; ccxt's own PO is a post-only order. The caller's dictionary is not changed."""
    before = dict(given)
    made = intent(params=given)
    assert (made.time_in_force, made.parameters) == (time_in_force, parameters)
    assert given == before


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"params": {"clientOrderId": "mine"}}, "clientOrderId"),
        ({"params": {"newClientOrderId": "mine"}}, "newClientOrderId"),
        ({"params": {"label": "mine"}}, "label"),
        ({"params": {"cost": 100}}, "cost"),
        ({"params": {"test": True}}, "test"),
        ({"params": {"marginMode": "cross"}}, "marginMode"),
        ({"params": {"timeInForce": "GTX"}}, "timeInForce"),
        ({"exchange": "bybit", "params": {"triggerPrice": 99}}, "triggerPrice"),
        ({"type": "stop_limit"}, "type"),
        ({"type": None}, "type"),
        ({"market_type": "swap"}, "symbol"),
    ],
)
def test_what_might_not_be_found_again_is_refused_by_name(changes: dict[str, Any], what: str) -> None:
    """A lost reply is looked for among the market's ordinary orders, under our id: what may lie elsewhere is not sent."""
    with pytest.raises(NotGuarded, match="nothing was sent") as caught:
        intent(**changes)
    assert caught.value.what == what


def test_what_is_allowed_by_name_is_passed_on_but_never_a_client_order_id() -> None:
    """The caller answers for it; the client order id stays ours."""
    assert intent(allowed={"marginMode"}, params={"marginMode": "cross"}).parameters == '{"marginMode":"cross"}'
    with pytest.raises(NotGuarded):
        intent(allowed={"clientOrderId"}, params={"clientOrderId": "mine"})


def test_conditional_orders_are_taken_where_they_lie_among_the_others() -> None:
    """Binance spot and Kraken keep them under the same client order id."""
    for exchange in ("binance", "kraken"):
        assert intent(exchange, params={"triggerPrice": 99.5}).parameters == '{"triggerPrice":99.5}'


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"amount": "x"}, "amount"), ({"amount": None}, "amount"), ({"price": None}, "price"), ({"side": "up"}, "side")],
)
def test_what_no_order_can_be_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    """As any intent."""
    with pytest.raises(InvalidField) as caught:
        intent(**changes)
    assert caught.value.field == field


def test_a_derived_key_is_of_content_place_and_time() -> None:
    """The same of all three is the same key, anywhere; each of them changes it, and every field of the content does."""
    key = rules.derived_key(intent(), "app:main:7", 5)
    assert key == "derived-" + key.removeprefix("derived-")
    assert len(key) == 40
    assert rules.derived_key(intent(), "app:main:7", 5) == key
    changes: list[dict[str, Any]] = [
        *(
            {"amount": "0.6"},
            {"price": "100"},
            {"side": "sell"},
            {"symbol": "ETH/USDT"},
            {"params": {"postOnly": True}},
        ),
        *({"params": {"timeInForce": "IOC"}}, {"type": "market"}, {"exchange": "kraken"}),
    ]
    keys = {rules.derived_key(intent(**one), "app:main:7", 5) for one in changes}
    keys |= {rules.derived_key(intent(), "app:main:8", 5), rules.derived_key(intent(), "app:main:7", 6)}
    assert len(keys | {key}) == len(changes) + 3


def test_every_number_of_a_shown_order_is_read_and_nothing_else() -> None:
    """Also in fees and trades; ids, words and the venue's own answer stay as they are."""
    shown = {
        "id": "17",
        "amount": "0.5",
        "price": None,
        "status": "open",
        "info": {"price": "100"},
        "fee": {"cost": "0.1", "currency": "USDT"},
        "fees": [{"cost": "1"}],
        "trades": [{"id": "1", "price": "9"}],
    }
    assert rules.with_numbers(shown, float) == {
        "id": "17",
        "amount": 0.5,
        "price": None,
        "status": "open",
        "info": {"price": "100"},
        "fee": {"cost": 0.1, "currency": "USDT"},
        "fees": [{"cost": 1.0}],
        "trades": [{"id": "1", "price": 9.0}],
    }
    assert shown["amount"] == "0.5"


@pytest.mark.parametrize(
    ("reason", "name", "words"),
    [
        ("InsufficientFunds: x {...} (rejected: rejected)", "InsufficientFunds", "x {...}"),
        ("InvalidOrder: x (y): z (rejected, to be looked at: refused in front)", "InvalidOrder", "x (y): z"),
        ("InvalidOrder: x (refused here: the library itself refused)", "InvalidOrder", "x"),
        ("InvalidOrder: x (not: ours)", "InvalidOrder", "x (not: ours)"),
        *((text, None, text) for text in ("no words", "", "x: y")),
    ],
)
def test_the_class_of_a_rejection_is_read_from_the_recorded_words(reason: str, name: str | None, words: str) -> None:
    """It stands before the first colon; what was judged of it, at the end, is left out."""
    assert rules.rejection_parts(reason) == (name, words)


@pytest.mark.parametrize("status", list(Status))
def test_an_order_is_shown_from_the_ledger_in_every_state(status: Status) -> None:
    """An uncertain order is never shown as open or ended; what has ended is never shown as open."""
    shown = rules.as_shown(msgspec.structs.replace(recorded(), status=status, venue_order_id="7"))
    words = {None: {"recorded", "sending", "uncertain"}, "closed": {"filled"}, "rejected": {"rejected", "refused"}}
    words["canceled"] = {"canceled", "canceled_unsent"}
    words["expired"] = {"expired", "expired_unsent"}
    words["open"] = {"new", "partially_filled", "pending_new", "pending_replace", "pending_cancel"}
    assert status in words[shown["status"]]
    assert (shown["amount"], shown["price"], shown["remaining"], shown["id"]) == ("10", "25.5", "10", "7")


@pytest.mark.parametrize(
    ("method", "past"),
    [
        *(
            (name, False)
            for name in ("create_order", "cancel_order", "edit_order", "fetch_order", "create_order_request")
        ),
        *((name, False) for name in ("create_limit_order", "create_sub_account", "cancel_all_orders", "fetch_orders")),
        *((name, True) for name in ("create_orders", "edit_orders", "create_order_ws", "create_limit_order_ws")),
        *((name, True) for name in ("create_twap_order", "create_market_order_with_cost", "close_position")),
        *((name, True) for name in ("create_spot_order", "edit_contract_order", "create_orders_ws")),
    ],
)
def test_methods_that_place_orders_go_past_the_guard_unless_they_end_in_it(method: str, past: bool) -> None:
    """By their names."""
    assert rules.goes_past(method) is past
