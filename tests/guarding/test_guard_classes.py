"""Which methods of ccxt's classes are guarded, refused or left alone; what is no object to be guarded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pytest
from guard_kit import BTC, Venue

import onefill
from onefill.core import guard_rules as rules
from onefill.guarding.classes import guarded_class
from onefill.venues.ccxt.client import is_async

CLASSES = [
    *(getattr(ccxt, name) for name in ccxt.exchanges),
    *(getattr(ccxt.async_support, name) for name in ccxt.async_support.exchanges),
    *(getattr(ccxt.pro, name) for name in ccxt.pro.exchanges),
]
REFUSED = [
    *("create_orders", "edit_orders", "create_order_ws", "edit_order_ws", "create_twap_order", "close_position"),
    *("create_market_order_with_cost", "edit_spot_order", "create_convert_trade"),
]


def test_in_every_class_of_ccxts_what_places_orders_is_guarded_or_refused() -> None:
    """No method of an order's making is left as it was, under either of its names; what reads is."""
    for kind in CLASSES:
        made = guarded_class(kind, "x", frozenset(), asynchronous=issubclass(kind, ccxt.async_support.Exchange))
        for name in dir(kind):
            placing = name.startswith(("create_", "edit_")) and (
                "order" in name.split("_") or "orders" in name.split("_")
            )
            asks = name.endswith(("_request", "_nonce", "_appendix", "_data", "_parts", "_args"))
            if not placing or asks or not callable(getattr(kind, name)):
                continue
            for known_as in (name, rules.camel_case(name)):
                assert getattr(made, known_as) is not getattr(kind, known_as, None), f"{kind.__module__}: {known_as}"
        for name in ("fetch_order", "fetch_balance", "load_markets", "cancel_all_orders", "sign"):
            assert getattr(made, name) is getattr(kind, name)


@pytest.mark.parametrize("name", sorted(rules.HELPERS))
def test_ccxts_short_forms_end_in_the_guarded_methods(name: str) -> None:
    """Wherever a class of ccxt's has its own, it too goes by create_order, edit_order or cancel_order of the object."""
    ends = rules.GUARDED | {rules.camel_case(one) for one in rules.GUARDED | rules.HELPERS} | rules.HELPERS
    for kind in CLASSES:
        code = getattr(kind, name).__code__
        assert ends & set(code.co_names), f"{kind.__module__}: {name}"
        assert not [one for one in code.co_names if one.startswith(("private", "request", "fetch2"))]


@pytest.mark.parametrize("name", REFUSED)
def test_what_goes_past_the_guard_is_refused_under_both_names_unless_allowed(
    venue: Venue, ledger: Path, name: str
) -> None:
    """The refusal names the method and how to allow it; an allowed one is ccxt's own."""
    with venue.guarded(ledger) as exchange:
        for known_as in (name, rules.camel_case(name)):
            with pytest.raises(onefill.NotGuarded, match=name) as caught:
                getattr(exchange, known_as)(BTC)
            assert caught.value.what == name
    with venue.guarded(ledger, allow=[name]) as exchange:
        for known_as in (name, rules.camel_case(name)):
            assert getattr(type(exchange), known_as).__wrapped__ is getattr(ccxt.binance, name)


def test_only_an_unguarded_object_of_ccxts_is_taken(venue: Venue, ledger: Path) -> None:
    """Another thing, and an object that is guarded already, are refused by name."""
    for other in (object(), None, "binance", ccxt.binance):
        with pytest.raises(onefill.InvalidField, match="exchange"):
            onefill.guard(other, ledger)
    plain = venue.plain()
    exchange = onefill.guard(plain, ledger)
    for one in (plain, exchange):
        with pytest.raises(onefill.CallerError, match="guarded already"):
            onefill.guard(one, ledger)
    exchange.close()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"keys": "none"}, "keys"),
        ({"account": "a b"}, "account"),
        ({"strategy": ""}, "strategy"),
        ({"wait_s": 0}, "wait_s"),
        ({"bucket_s": -1}, "bucket_s"),
        ({"poll_s": 0}, "poll_s"),
        ({"time_to_live_s": float("nan")}, "time_to_live_s"),
        ({"allow": "create_orders"}, "allow"),
    ],
)
def test_settings_are_checked_by_name(venue: Venue, ledger: Path, settings: dict[str, Any], field: str) -> None:
    """Before anything is opened; the object can be guarded afterwards."""
    plain = venue.plain()
    with pytest.raises(onefill.InvalidField) as caught:
        onefill.guard(plain, ledger, **settings)
    assert caught.value.field == field
    assert not ledger.exists()
    onefill.guard(plain, ledger).close()


def test_a_mistaken_keyword_is_a_mistake(venue: Venue, ledger: Path) -> None:
    """Neither ccxt's nor the guard's: TypeError, as of any function."""
    with venue.guarded(ledger) as exchange, pytest.raises(TypeError, match="kee"):
        exchange.create_order(BTC, "limit", "buy", 1, 1, kee="k")


def test_a_ledger_in_use_leaves_the_object_as_it_was(venue: Venue, ledger: Path) -> None:
    """Where guarding fails, the plain object stays usable, and may be guarded over another ledger."""
    with venue.guarded(ledger):
        plain = venue.plain()
        with pytest.raises(onefill.LedgerError):
            onefill.guard(plain, ledger)
        assert plain.fetch_open_orders(BTC) == []
        onefill.guard(plain, ledger.with_name("other.db")).close()
    assert not is_async(plain)


def test_who_does_not_guard_does_not_wait_for_ccxt() -> None:
    """Importing Onefill loads neither ccxt nor an HTTP client; naming the guard does."""
    code = (
        "import sys, onefill\n"
        "assert not {'ccxt', 'aiohttp', 'requests'} & set(sys.modules), sys.modules.keys()\n"
        "assert callable(onefill.guard) and 'ccxt' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
