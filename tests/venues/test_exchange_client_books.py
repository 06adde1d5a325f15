"""The books over HTTP: open orders, positions, the drop copy, and what the exchange's own people do."""

import asyncio
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest
from test_exchange_stream import report
from venue_kit import DIALECT_ANSWER, HANG, NOON_US, OddServer, connected, http, order, run, serving, shown

from onefill.core.capabilities import Capabilities
from onefill.core.errors import VenueError
from onefill.core.messages import ExecutionKind, ExecutionReport, Held, Holdings, Listed, Unknown, VenueStatus
from onefill.ports.venue import Venue
from onefill.sim.exchange import Exchange

BOOKS: dict[str, Any] = {"lists_open_orders": True, "tells_positions": True, "drop_copy": True}


def trade(exchange: Exchange) -> None:
    """Have A buy 3 of 4 at 10."""
    exchange.submit(order("x", "buy", 4, 10), NOON_US)
    exchange.submit(order("y", "sell", 3, 10, account="B"), NOON_US)


def test_open_orders_and_positions_come_over() -> None:
    """As the exchange has them, of any account."""

    async def scenario() -> None:
        async with serving(**BOOKS, fee_rate=Decimal("0.001")) as (exchange, url), connected(url) as connection:
            venue: Venue = connection
            trade(exchange)
            assert await venue.open_orders("A") == Listed(tuple(exchange.open_orders("A")))
            assert await venue.open_orders("B") == Listed(())
            assert await venue.positions("A") == Holdings((Held(instrument="ACME", quantity=Decimal(3)),))
            assert await venue.positions("B") == Holdings((Held(instrument="ACME", quantity=Decimal(-3)),))
            told = await venue.executions(0)
            assert told == exchange.executions("A", 0)
            assert (told[1].fee, told[1].fee_currency) == (Decimal("0.03"), "USD")
            caps = venue.capabilities
            assert caps.drop_copy
            assert caps.lists_open_orders
            assert caps.tells_positions

    run(scenario)


def test_what_the_exchange_does_not_tell_is_unknown() -> None:
    """The answer says so, and is no empty list; of a drop copy there is nothing to read at all."""

    async def scenario() -> None:
        async with serving() as (exchange, url), connected(url) as venue:
            trade(exchange)
            assert await venue.open_orders("A") == Unknown("not_supported: this venue does not list open orders")
            assert await venue.positions("A") == Unknown("not_supported: this venue tells no positions")
            with pytest.raises(VenueError, match=r"501.*no drop copy"):
                await venue.drop_copies(0)
            with pytest.raises(VenueError, match="no stream"):
                await anext(venue.drop_copy(0))

    run(scenario)


def test_an_exchange_that_says_nothing_of_the_books_has_none_of_it() -> None:
    """One of an earlier version does not name these capabilities: absent means no."""
    declared = msgspec.to_builtins(Capabilities())
    for field in ("execution_revisions", "drop_copy", "lists_open_orders", "tells_positions"):
        del declared[field]

    async def scenario() -> None:
        answer = http(200, {"capabilities": declared, "dialect": {}}, "Connection: close")
        async with OddServer(answer) as server, connected(server.url) as venue:
            assert venue.capabilities == Capabilities()

    run(scenario)


def held(instrument: str = "ACME", quantity: object = "1") -> dict[str, object]:
    """Return one holding as it comes over the wire."""
    return {"instrument": instrument, "quantity": quantity}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        {},
        {"account": "A"},
        {"positions": []},
        {"account": "B", "positions": []},
        {"account": "A", "positions": None},
        {"account": "A", "positions": [held(quantity="NaN")]},
        {"account": "A", "positions": [held(quantity="Infinity")]},
        {"account": "A", "positions": [held(quantity="much")]},
        {"account": "A", "positions": [held(instrument="")]},
        {"account": "A", "positions": [held(), held(quantity="2")]},
    ],
)
def test_positions_that_are_not_clear_are_unknown(body: object) -> None:
    """Another account's, not numbers, an instrument twice or none: nothing is concluded from that."""

    async def scenario() -> None:
        answer = http(200, body, "Connection: close")
        async with OddServer(DIALECT_ANSWER, answer) as server, connected(server.url) as venue:
            reply = await venue.positions("A")
            assert isinstance(reply, Unknown)
            assert "not the exchange's" in reply.reason

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        [],
        {"account": "A"},
        {"account": "B", "orders": []},
        {"account": "A", "orders": [shown("x"), shown("y")]},
        {"account": "A", "orders": [shown("x", VenueStatus.FILLED)]},
        {"account": "A", "orders": [{"client_order_id": "x"}]},
    ],
)
def test_open_orders_that_are_not_clear_are_unknown(body: object) -> None:
    """Another account's, one number twice, or an order that is over: what is missing in such a list says nothing."""

    async def scenario() -> None:
        answer = http(200, body, "Connection: close")
        async with OddServer(DIALECT_ANSWER, answer) as server, connected(server.url) as venue:
            assert isinstance(await venue.open_orders("A"), Unknown)

    run(scenario)


@pytest.mark.parametrize("answer", [None, HANG, http(502, b"bad gateway"), http(404, b"")])
def test_no_answer_is_unknown(answer: bytes | None) -> None:
    """Whatever stands between, and however it fails."""

    async def scenario() -> None:
        async with OddServer(DIALECT_ANSWER, answer) as server, connected(server.url, timeout_s=0.3) as venue:
            assert isinstance(await venue.positions("A"), Unknown)
            assert isinstance(await venue.open_orders("A"), Unknown)
        assert isinstance(await venue.positions("A"), Unknown)

    run(scenario)


def test_the_drop_copy_is_read_and_followed() -> None:
    """By pages and as it comes, from its own places; told again, it has other places and the same ids."""

    async def scenario() -> None:
        async with serving(**BOOKS) as (exchange, url), connected(url) as venue:
            trade(exchange)
            assert await venue.drop_copies(0) == exchange.drop_copies("A", 0)
            exchange.redeliver("A", 1)
            stream = venue.drop_copy(1)
            again = await anext(stream)
            assert (again.position, again.execution_id) == (2, "E2")
            exchange.bust("A", "E2", NOON_US)
            bust = await anext(stream)
            assert (bust.position, bust.kind, bust.refers_to) == (3, ExecutionKind.TRADE_CANCEL, "E2")
            await stream.aclose()

    run(scenario)


@pytest.mark.parametrize("wrong", [report(2), report(1, "B")])
def test_a_drop_copy_with_a_gap_or_of_another_account_is_refused(wrong: ExecutionReport) -> None:
    """What was missed must not be passed by; another account's executions are none of ours."""

    async def scenario() -> None:
        answer = http(200, [wrong], "Connection: close")
        async with OddServer(DIALECT_ANSWER, answer) as server, connected(server.url) as venue:
            with pytest.raises(VenueError, match="report"):
                await venue.drop_copies(0)

    run(scenario)


def test_the_stream_follows_through_what_is_told_again() -> None:
    """A session that begins anew tells everything once more, without a gap in the places."""

    async def scenario() -> None:
        async with serving(**BOOKS) as (exchange, url), connected(url) as venue:
            trade(exchange)
            stream = venue.stream(0)
            first = [await anext(stream) for _ in range(2)]
            exchange.retell("A")
            again = [await anext(stream) for _ in range(2)]
            assert [one.position for one in again] == [3, 4]
            assert [one.execution_id for one in again] == [one.execution_id for one in first]
            await stream.aclose()

    run(scenario)


# --------------------------------------------------------- the exchange's people


async def asked(session: aiohttp.ClientSession, path: str, **body: object) -> tuple[int, Any]:
    """Ask the exchange's own people for something."""
    async with session.post(f"/v1/admin/{path}", data=msgspec.json.encode(body)) as response:
        return response.status, await response.json()


def test_what_the_exchange_s_people_do_can_be_asked_for() -> None:
    """Busts, corrections, restatements, transfers, and reports told again: as in the exchange itself."""

    async def scenario() -> None:
        async with serving(**BOOKS) as (exchange, url), aiohttp.ClientSession(url) as session:
            trade(exchange)
            status, told = await asked(session, "correct", account="A", execution_id="E2", quantity="2", price="9.95")
            assert (status, told["refers_to"], told["last_price"]) == (200, "E2", "9.95")
            status, told = await asked(session, "bust", account="B", execution_id="E2", live=False)
            assert (status, told["kind"], told["status"]) == (200, "trade_cancel", "canceled")
            async with session.get("/v1/admin/trades?account=A") as response:
                assert (await response.json())[0]["quantity"] == "2"
            status, told = await asked(session, "restate", account="A", client_order_id="x", quantity="7")
            assert (status, told["quantity"]) == (200, "7")
            status, told = await asked(session, "done-for-day", account="A", venue_order_id="X1")
            assert (status, told["status"]) == (200, "partially_filled")
            status, told = await asked(session, "transfer", account="A", instrument="ACME", quantity="-5")
            assert (status, told) == (200, {"ACME": "-3"})
            assert await asked(session, "retell", account="A", through=2) == (200, {"told": 2})
            assert await asked(session, "hold-drop-copies", account="A") == (200, {"told": 0})
            exchange.bust("A", "E2", NOON_US)
            assert await asked(session, "release-drop-copies", account="A", order=[0]) == (200, {"told": 1})
            assert await asked(session, "redeliver", account="A", places=[2, 1]) == (200, {"told": 2})
            assert exchange.counts().busted == 2

    run(scenario)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("bust", {"account": "A"}, "malformed"),
        ("bust", {"account": "A", "execution_id": "E2", "alive": True}, "malformed"),
        ("bust", {"account": "A", "execution_id": "E9"}, "refused"),
        ("correct", {"account": "A", "execution_id": "E2", "quantity": "1"}, "malformed"),
        ("correct", {"account": "A", "execution_id": "E2", "quantity": "9", "price": "10"}, "refused"),
        ("restate", {"account": "A", "client_order_id": "z"}, "refused"),
        ("done-for-day", {"account": "A"}, "refused"),
        ("transfer", {"account": "A", "instrument": "ACME", "quantity": "NaN"}, "refused"),
        ("retell", {"account": "A", "from_position": 0}, "refused"),
        ("redeliver", {"account": "A", "places": [7]}, "refused"),
        ("release-drop-copies", {"account": "A", "order": [0]}, "refused"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(path: str, body: dict[str, object], code: str) -> None:
    """And changes nothing."""

    async def scenario() -> None:
        async with serving(**BOOKS) as (exchange, url), aiohttp.ClientSession(url) as session:
            trade(exchange)
            before = (exchange.executions("A", 0), exchange.drop_copies("A", 0), exchange.positions("A"))
            status, told = await asked(session, path, **body)
            assert (status, told["code"]) == (400, code)
            assert told["reason"]
            assert (exchange.executions("A", 0), exchange.drop_copies("A", 0), exchange.positions("A")) == before

    run(scenario)


def test_two_readers_of_two_channels_do_not_meet() -> None:
    """Each gets its own channel's reports, both while they come."""

    async def scenario() -> None:
        async with serving(**BOOKS) as (exchange, url), connected(url) as venue:
            stream, copies = venue.stream(0), venue.drop_copy(0)
            readers = [asyncio.create_task(anext(one)) for one in (stream, copies)]  # type: ignore[arg-type]
            trade(exchange)
            found = await asyncio.gather(*readers)
            assert [one.kind for one in found] == [ExecutionKind.NEW, ExecutionKind.TRADE]
            for one in (stream, copies):
                await one.aclose()

    run(scenario)
