"""The drill of real venues' APIs, small: the real ccxt client, an imitation, a faulty link, a kill; plain ccxt beside it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from test_recorded_day import write_day

from onefill.core.errors import CallerError
from onefill.core.values import Instrument
from onefill.gameday.ccxt_orders import identify, read_day
from onefill.gameday.recorded_ccxt import VenueDrill, run_venues

CONTRACT = Instrument(
    symbol="BTC/USD:BTC", price_tick=Decimal("0.5"), quantity_step=Decimal(10), min_quantity=Decimal(10)
)
COIN = Instrument(
    symbol="BTC/USD", price_tick=Decimal("0.01"), quantity_step=Decimal("0.001"), min_quantity=Decimal("0.01")
)


def test_each_order_is_there_once_and_plain_ccxt_makes_some_twice(tmp_path: Path) -> None:
    """Over the same link, hurt by the same seed: through Onefill none is doubled or lost, although it is killed once."""
    write_day(tmp_path / "day.csv", 60, seed=4)
    settings = VenueDrill(
        file=tmp_path / "day.csv",
        venues=("binance_spot",),
        orders=60,
        kills=1,
        seed=90,
        in_flight=16,
        timeout_s=1.0,
        capabilities={"conclusive_after_s": 3.0},
    )
    (result,) = asyncio.run(run_venues(settings, tmp_path, lambda _what, _done, _total: None))
    assert result.violations == []
    assert (result.orders, result.duplicates, result.missing, result.kills) == (60, 0, 0, 1)
    assert result.plain.duplicates > 2
    assert result.plain.orders == 60 + result.plain.duplicates - result.plain.missing


def test_a_day_is_read_on_the_steps_of_its_instrument(tmp_path: Path) -> None:
    """Numbers are cut, never below the smallest order; contracts count the money; cancels of other orders are left out."""
    rows = [
        "1,1,1,236.47,0,deleted,bid",
        "2,1,1,236.47,123456789,created,bid",
        "3,1,1,236.74,1,created,ask",
        "2,1,1,236.47,0,deleted,bid",
        "2,1,1,236.47,0,deleted,bid",
        "4,1,1,1,1,created,bid",
    ]
    file = tmp_path / "day.csv"
    file.write_text("id,timestamp,exchange.timestamp,price,volume,action,direction\n" + "\n".join(rows) + "\n")
    day = read_day(file, COIN, 2)
    assert day.rows == ["2", "3", "2"]
    assert [(one.quantity, one.price, one.canceled) for one in day.orders.values()] == [
        (Decimal("1.234"), Decimal("236.47"), True),
        (Decimal("0.01"), Decimal("236.74"), False),
    ]
    contracts = read_day(file, CONTRACT, 2).orders.values()
    assert [(one.quantity, one.price) for one in contracts] == [(290, Decimal("236.0")), (10, Decimal("236.5"))]
    day.write(tmp_path / "orders.csv", {"2": "2~3"})
    assert (tmp_path / "orders.csv").read_text().splitlines()[1:] == [
        "2~3,BTC/USD,buy,1.234,limit,236.47,gtc,yes",
        "2~3,,,,cancel,,,",
    ]
    with pytest.raises(CallerError, match="has 3 orders, and 4 are wanted"):
        read_day(file, COIN, 4)


ACTION = (
    b'{"action":{"type":"order","orders":[{"a":10000,"b":true,"p":"236.47","s":"1","r":false,"c":"0x1"}]},'
    b'"nonce":1,"signature":{"r":"0x1","s":"0x1","v":27}}'
)
CANCEL = b'{"action":{"type":"cancelByCloid","cancels":[{"asset":10000,"cloid":"0x1"}]},"nonce":1,"signature":{}}'
ORDER = b'{"clOrdId":"a1","instId":"BTC-USDT","px":"236.470","sz":"1","side":"buy"}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"POST", b"/o", ORDER), (b"POST", b"/o", ORDER.replace(b"a1", b"b2").replace(b"236.470", b"236.47"))),
        (
            (b"POST", b"/o", b"symbol=B&side=BUY&quantity=1.0&newClientOrderId=x&timestamp=1&signature=2"),
            (b"POST", b"/o", b"symbol=B&side=BUY&quantity=1&newClientOrderId=y&timestamp=3&signature=4&recvWindow=5"),
        ),
        (
            (b"GET", b"/buy?instrument_name=B&amount=10&price=1&label=x&valid_until=7", b""),
            (b"GET", b"/buy?instrument_name=B&amount=10&price=1", b""),
        ),
        (
            (b"POST", b"/o", b'{"order_configuration":{"limit_limit_gtc":{"base_size":"1","limit_price":"2"}}}'),
            (
                b"POST",
                b"/o",
                b'{"client_order_id":"x","order_configuration":{"l":{"base_size":"1","limit_price":"2"}}}',
            ),
        ),
        (
            (b"GET", b"/order?origClientOrderId=x&timestamp=1&signature=a", b""),
            (b"GET", b"/order?origClientOrderId=x&timestamp=2&signature=b", b""),
        ),
        (
            (b"POST", b"/exchange", ACTION),
            (
                b"POST",
                b"/exchange",
                ACTION.replace(b"0x1", b"0x2").replace(b'"nonce":1', b'"nonce":2,"expiresAfter":3'),
            ),
        ),
    ],
)
def test_a_request_is_known_by_the_order_in_it(
    one: tuple[bytes, bytes, bytes], other: tuple[bytes, bytes, bytes]
) -> None:
    """Not by client order id, signature, time or the spelling of a number; anything else by what it asks."""
    assert identify(*one) == identify(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"POST", b"/o", ORDER), (b"POST", b"/o", ORDER.replace(b'"sz":"1"', b'"sz":"2"'))),
        ((b"POST", b"/o", ORDER), (b"POST", b"/o", ORDER.replace(b"buy", b"sell"))),
        ((b"GET", b"/buy?amount=10&price=1", b""), (b"GET", b"/sell?amount=10&price=1", b"")),
        ((b"GET", b"/order?origClientOrderId=x", b""), (b"GET", b"/order?origClientOrderId=y", b"")),
        ((b"GET", b"/order?id=x", b""), (b"DELETE", b"/order?id=x", b"")),
        ((b"POST", b"/exchange", ACTION), (b"POST", b"/exchange", ACTION.replace(b'"s":"1"', b'"s":"2"'))),
        ((b"POST", b"/exchange", ACTION), (b"POST", b"/exchange", ACTION.replace(b"true", b"false"))),
        ((b"POST", b"/exchange", CANCEL), (b"POST", b"/exchange", CANCEL.replace(b"0x1", b"0x2"))),
        ((b"POST", b"/o", b"{broken"), (b"POST", b"/o", b"{broken as well")),
    ],
)
def test_other_orders_and_questions_are_others(
    one: tuple[bytes, bytes, bytes], other: tuple[bytes, bytes, bytes]
) -> None:
    """Quantity, side, path and method tell orders apart; ids tell questions apart."""
    assert identify(*one) != identify(*other)
