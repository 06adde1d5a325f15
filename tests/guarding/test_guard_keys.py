"""Keys: asked for, taken from params or a keyword, or derived from what is called, with a warning."""

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest
from guard_kit import BTC, Venue

import onefill
from onefill.guarding import desk as desks
from onefill.sim.imitations import spoils


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock that buckets are made by."""
    made = Time()
    monkeypatch.setattr(desks, "time", made)
    return made


def buy(exchange: Any, amount: float = 0.5) -> Any:
    """Place an order, always from this line."""
    with pytest.warns(onefill.DerivedKeyWarning, match="without a key"):
        return exchange.create_limit_buy_order(BTC, amount, 100)


def test_without_a_key_a_call_is_refused_and_nothing_is_opened_or_sent(venue: Venue, ledger: Path) -> None:
    """The refusal says how to give one. It is raised by the call itself, also by an asynchronous object's."""
    with venue.guarded(ledger) as exchange, pytest.raises(onefill.KeyMissing, match="params="):
        exchange.create_order(BTC, "limit", "buy", 0.5, 100)

    async def main() -> None:
        async with onefill.guard(venue.asynchronous(), ledger) as other:
            with pytest.raises(onefill.KeyMissing):
                await other.create_market_order(BTC, "buy", 0.5)

    asyncio.run(main())
    assert venue.orders() == []


@pytest.mark.parametrize("key", ["", " k", "k\n", 7, "x" * 201])
def test_a_key_that_is_none_is_refused(venue: Venue, ledger: Path, key: Any) -> None:
    """Keys are printable text of at most 200 characters, and never made to fit."""
    with venue.guarded(ledger) as exchange:
        for given in ({"params": {"key": key}}, {"key": key}):
            with pytest.raises(onefill.InvalidField):
                exchange.create_order(BTC, "limit", "buy", 0.5, 100, **given)
    assert venue.orders() == []


def test_two_keys_in_one_call_must_agree_and_the_callers_params_stay_as_they_are(venue: Venue, ledger: Path) -> None:
    """The key is taken out of a copy: the caller's own dictionary is not changed."""
    params = {"key": "k", "icebergQty": 0.1}
    with venue.guarded(ledger) as exchange:
        with pytest.raises(onefill.InvalidField, match="twice"):
            exchange.create_order(BTC, "limit", "buy", 0.5, 100, params, key="other")
        exchange.create_order(BTC, "limit", "buy", 0.5, 100, params, key="k")
        assert params == {"key": "k", "icebergQty": 0.1}


def test_a_derived_key_makes_the_same_call_from_the_same_line_one_order(
    venue: Venue, ledger: Path, clock: Time
) -> None:
    """Other content, another line or a later time is another order; each such call warns at the caller's own line."""
    with venue.guarded(ledger, keys="derived") as exchange:
        venue.spoil(spoils.drop)
        first = buy(exchange)
        assert buy(exchange) == first
        assert buy(exchange, 0.6)["id"] != first["id"]
        with pytest.warns(onefill.DerivedKeyWarning) as told:
            elsewhere = exchange.create_limit_buy_order(BTC, 0.5, 100)
        assert told[0].filename == __file__
        assert elsewhere["id"] != first["id"]
        clock.now_s += 200
        assert buy(exchange)["id"] != first["id"]
    assert len(venue.orders()) == 4


def test_a_repeat_just_after_the_bucket_ended_is_a_repeat(
    venue: Venue, ledger: Path, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the time since the order was recorded, not where a bucket of the clock begins. It survives a restart."""
    import time  # noqa: PLC0415 - the real one, which orders are recorded by

    clock.now_s = time.time() // 60 * 60 + 59.9
    with venue.guarded(ledger, keys="derived") as exchange:
        first = buy(exchange)
    clock.now_s += 0.2
    with venue.guarded(ledger, keys="derived") as exchange:
        assert buy(exchange)["id"] == first["id"]
    assert len(venue.orders()) == 1


def test_where_warnings_are_errors_nothing_is_sent(venue: Venue, ledger: Path) -> None:
    """The warning comes before the order."""
    with venue.guarded(ledger, keys="derived") as exchange, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(onefill.DerivedKeyWarning):
            exchange.create_limit_buy_order(BTC, 0.5, 100)
    assert venue.orders() == []


def test_a_derived_key_in_asynchronous_code_knows_the_callers_line(venue: Venue, ledger: Path) -> None:
    """Also where the call is handed to a task: repeats from one line are one order, another line is another."""

    async def handed_over(exchange: Any) -> Any:
        return await asyncio.ensure_future(exchange.create_limit_buy_order(BTC, 0.5, 100))

    async def main() -> None:
        async with onefill.guard(venue.asynchronous(), ledger, keys="derived") as exchange:
            got = []
            for _ in range(3):
                with pytest.warns(onefill.DerivedKeyWarning) as told:
                    got.append(await handed_over(exchange))
                assert told[0].filename == __file__
            assert got[0] == got[1] == got[2]
            with pytest.warns(onefill.DerivedKeyWarning):
                other = await asyncio.ensure_future(exchange.create_order(BTC, "limit", "buy", 0.5, 100))
            assert other["id"] != got[0]["id"]

    asyncio.run(main())
