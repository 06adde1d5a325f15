"""The exchange server as any HTTP client sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from venue_kit import NOON_US, cancel, order, replace, serving

from onefill.core.capabilities import Lookup, ReplaceStyle, UniqueScope
from onefill.core.messages import VenueStatus
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer

Scenario = Callable[[Exchange, aiohttp.ClientSession], Awaitable[None]]


def with_server(scenario: Scenario, **settings: Any) -> None:
    """Run a scenario with a server and a plain HTTP session pointed at it; one that hangs fails."""

    async def bounded() -> None:
        async with (
            asyncio.timeout(30),
            serving(**settings) as (exchange, url),
            aiohttp.ClientSession(url) as session,
        ):
            await scenario(exchange, session)

    asyncio.run(bounded())


async def posted(session: aiohttp.ClientSession, path: str, body: object) -> tuple[int, Any, str | None]:
    """Return status, decoded body and Retry-After."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    async with session.post(path, data=raw) as response:
        return response.status, msgspec.json.decode(await response.read()), response.headers.get("Retry-After")


async def got(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    """Return status and decoded body."""
    async with session.get(path) as response:
        return response.status, msgspec.json.decode(await response.read())


def test_each_outcome_has_its_status() -> None:
    """200 accepted, 409 duplicate, 400 rejected or expired, 404 not found, 429 throttled with the seconds to wait."""

    async def scenario(_: Exchange, session: aiohttp.ClientSession) -> None:
        status, body, _ = await posted(session, "/v1/orders", order("x"))
        assert (status, body["order"]["status"]) == (200, VenueStatus.NEW)
        status, body, _ = await posted(session, "/v1/orders", order("x"))
        assert (status, body["code"]) == (409, "duplicate_client_order_id")
        status, body, _ = await posted(session, "/v1/orders", order("y", price="9.99"))
        assert (status, body["code"]) == (400, "off_grid_price")
        status, body, _ = await posted(session, "/v1/orders", order("y", expires_at_us=NOON_US - 1))
        assert (status, body["code"]) == (400, "request_expired")
        status, body, _ = await posted(session, "/v1/orders/cancel", cancel("x"))
        assert (status, body["order"]["status"]) == (200, VenueStatus.CANCELED)
        status, body, retry_after = await posted(session, "/v1/orders/cancel", cancel("x"))
        assert (status, body["code"], retry_after) == (429, "throttled", "1")
        status, body = await got(session, "/v1/orders?account=A&client_order_id=x")
        assert (status, body["order"]["status"]) == (200, VenueStatus.CANCELED)
        status, body = await got(session, "/v1/orders?account=A&client_order_id=y")
        assert (status, body["code"]) == (404, "not_found")

    with_server(scenario, requests_per_s=2, burst=5)


def test_a_refused_cancel_shows_the_order() -> None:
    """A cancel that comes too late is refused with the order as it is."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        exchange.submit(order("x"), NOON_US)
        exchange.submit(order("s", "sell", account="S"), NOON_US)
        status, body, _ = await posted(session, "/v1/orders/cancel", cancel("x"))
        assert (status, body["code"], body["order"]["status"]) == (400, "cancel_rejected", VenueStatus.FILLED)

    with_server(scenario)


def test_each_outcome_of_a_replace_has_its_status() -> None:
    """200 replaced, 400 refused with the order or expired, 429 throttled; where there is no order none is shown."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        exchange.submit(order("x"), NOON_US)
        status, body, _ = await posted(session, "/v1/orders/replace", replace("x", 2, "9.95", "y"))
        assert (status, body["order"]["client_order_id"], body["order"]["price"]) == (200, "y", "9.95")
        status, body, _ = await posted(session, "/v1/orders/replace", replace("x", 2, "9.95", "y"))
        assert (status, body["code"], body["order"]["status"]) == (400, "replace_rejected", VenueStatus.REPLACED)
        status, body, _ = await posted(session, "/v1/orders/replace", replace("q", 2, "9.95", "z"))
        assert (status, body["code"], "order" in body) == (400, "replace_rejected", False)
        late = replace("y", 3, 10, "z", expires_at_us=NOON_US - 1)
        status, body, _ = await posted(session, "/v1/orders/replace", late)
        assert (status, body["code"]) == (400, "request_expired")
        status, body, retry_after = await posted(session, "/v1/orders/replace", replace("y", 3, 10, "z"))
        assert (status, body["code"], retry_after) == (429, "throttled", "1")

    with_server(scenario, replace=ReplaceStyle.NEW_ID, requests_per_s=1, burst=5)


def test_orders_can_be_listed_since_a_moment() -> None:
    """A scan answers with the open orders and those that ended or traded since, of one account and instrument."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        for name in ("x", "y"):
            exchange.submit(order(name), NOON_US)
        exchange.cancel(cancel("x"), NOON_US)
        for since_us, names in ((NOON_US, ["x", "y"]), (NOON_US + 1, ["y"])):
            status, body = await got(session, f"/v1/orders/scan?account=A&instrument=ACME&since_us={since_us}")
            assert (status, [one["client_order_id"] for one in body["orders"]]) == (200, names)

    with_server(scenario, lookup=Lookup.SCAN)


GOOD = msgspec.to_builtins(order("x"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b'{"client_order_id": "x"',
        b"[]",
        b'"\xff"',
        GOOD | {"quantity": "many"},
        GOOD | {"quantity": None},
        GOOD | {"quantity": True},
        GOOD | {"price": "1,5"},
        GOOD | {"side": "hold"},
        GOOD | {"client_order_id": 7},
        GOOD | {"expires_at_us": "soon"},
        {key: value for key, value in GOOD.items() if key != "time_in_force"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders/cancel", "/v1/orders/replace"])
def test_a_body_that_cannot_be_read_is_malformed(path: str, body: object) -> None:
    """What does not decode strictly is refused with the reason, and makes nothing."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        raw = body if isinstance(body, bytes) or path == "/v1/orders" else {"account": body}
        status, answer, _ = await posted(session, path, raw)
        assert (status, answer["code"]) == (400, "malformed")
        assert answer["reason"]
        counts = exchange.counts()
        assert (counts.submits, counts.cancels, counts.replaces) == (0, 0, 0)

    with_server(scenario)


@pytest.mark.parametrize(
    "query",
    [
        "/v1/orders?account=A",
        "/v1/orders?client_order_id=x",
        "/v1/orders/scan?account=A",
        "/v1/orders/scan?instrument=ACME",
        "/v1/orders/scan?account=A&instrument=ACME&since_us=-1",
        "/v1/open-orders",
        "/v1/positions",
        "/v1/drop-copies",
        "/v1/drop-copies?account=A&after=-1",
        "/v1/drop-copy",
        "/v1/admin/trades",
        "/v1/executions",
        "/v1/executions?account=A&after=-1",
        "/v1/executions?account=A&after=soon",
        "/v1/executions?account=A&limit=1e3",
        "/v1/stream",
        "/v1/stream?account=A&after=x",
        "/v1/all-orders?after=x",
    ],
)
def test_a_query_that_cannot_be_read_is_malformed(query: str) -> None:
    """A missing or odd parameter is named, never guessed."""

    async def scenario(_: Exchange, session: aiohttp.ClientSession) -> None:
        status, body = await got(session, query)
        assert (status, body["code"]) == (400, "malformed")

    with_server(scenario, lists_open_orders=True, tells_positions=True, drop_copy=True)


def test_quantities_and_prices_are_exact_on_the_wire() -> None:
    """Decimals go out as text; a JSON number is taken digit by digit, not through a float."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        raw = msgspec.json.encode(order("x")).replace(b'"price":"10"', b'"price":9.95')
        status, body, _ = await posted(session, "/v1/orders", raw)
        assert (status, body["order"]["price"]) == (200, "9.95")
        raw = msgspec.json.encode(order("y")).replace(b'"price":"10"', b'"price":9.9500000000000000000000001')
        assert (await posted(session, "/v1/orders", raw))[1]["code"] == "off_grid_price"

    with_server(scenario)


def test_everything_can_be_read() -> None:
    """Dialect, instruments, open orders, executions, all orders, counts and health answer what the exchange holds."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        for name in "abc":
            exchange.submit(order(name), NOON_US)
        status, body = await got(session, "/v1/dialect")
        assert status == 200
        assert msgspec.convert(body["dialect"], Dialect) == exchange.dialect
        assert body["capabilities"]["unique_scope"] == "open"
        assert [one["symbol"] for one in (await got(session, "/v1/instruments"))[1]] == ["ACME"]
        told = (await got(session, "/v1/open-orders?account=A"))[1]
        assert (told["account"], len(told["orders"])) == ("A", 3)
        assert (await got(session, "/v1/positions?account=A"))[1] == {"account": "A", "positions": []}
        assert [one["position"] for one in (await got(session, "/v1/executions?account=A&after=1&limit=1"))[1]] == [2]
        assert len((await got(session, "/v1/all-orders"))[1]) == 3
        assert [one["number"] for one in (await got(session, "/v1/all-orders?after=1&limit=1"))[1]] == [2]
        assert (await got(session, "/v1/counts"))[1]["open_orders"] == 3
        assert (await got(session, "/healthz"))[0] == 200

    with_server(scenario, unique_scope=UniqueScope.OPEN, lists_open_orders=True, tells_positions=True)


def test_a_venue_without_lookup_says_so() -> None:
    """501, and not 404: where nothing was looked up, nothing was not found."""

    async def scenario(_: Exchange, session: aiohttp.ClientSession) -> None:
        status, body = await got(session, "/v1/orders?account=A&client_order_id=x")
        assert (status, body["code"]) == (501, "not_supported")
        status, body = await got(session, "/v1/orders/scan?account=A&instrument=ACME")
        assert (status, body["code"]) == (501, "not_supported")

    with_server(scenario, lookup=Lookup.NONE)


def test_an_idle_stream_gets_heartbeats() -> None:
    """A stream on which nothing happens carries empty frames."""

    async def scenario(_: Exchange, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect("/v1/stream?account=A") as socket:
            assert [await socket.receive_str(timeout=5) for _ in range(2)] == ["[]", "[]"]

    with_server(scenario, heartbeat_s=0.01)


def test_asynchronous_acknowledgements_come_by_themselves() -> None:
    """Where the exchange acknowledges later, the stream brings NEW without another request."""

    async def scenario(_: Exchange, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect("/v1/stream?account=A") as socket:
            _, body, _ = await posted(session, "/v1/orders", order("x"))
            assert body["order"]["status"] == VenueStatus.PENDING_NEW
            (report,) = msgspec.json.decode(await socket.receive_str(timeout=5))
            assert (report["kind"], report["position"]) == ("new", 1)

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        clock = lambda: NOON_US + int(loop.time() * 1_000_000)  # noqa: E731 - the clock needs the running loop
        settings = {"acknowledges_asynchronously": True, "acknowledge_delay_us": 2_000}
        async with (
            asyncio.timeout(30),
            serving(clock, 60.0, **settings) as (exchange, url),
            aiohttp.ClientSession(url) as session,
        ):
            await scenario(exchange, session)

    asyncio.run(bounded())


def test_a_reader_that_never_reads_is_not_buffered_for() -> None:
    """While a reader takes nothing, the server holds at most a few frames for it, and answers others."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect("/v1/stream?account=A") as socket:
            await socket.receive_str(timeout=5)
            for number in range(20_000):
                exchange.submit(order(f"x{number}"), NOON_US)
            status, body = await got(session, "/v1/counts")
            assert (status, body["reports"]) == (200, 20_000)
            seen = 0
            while seen < 20_000:
                frame = msgspec.json.decode(await socket.receive_str(timeout=5))
                assert len(frame) <= 500
                assert [one["position"] for one in frame] == list(range(seen + 1, seen + len(frame) + 1))
                seen += len(frame)

    with_server(scenario, heartbeat_s=0.01)


def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    """A second server on the same port fails with OSError; the first goes on; closing twice is harmless."""

    async def scenario(exchange: Exchange, session: aiohttp.ClientSession) -> None:
        second = ExchangeServer(exchange)
        assert session._base_url is not None
        assert session._base_url.port is not None
        with pytest.raises(OSError, match="in use"):
            await second.start("127.0.0.1", session._base_url.port)
        await second.close()
        assert (await got(session, "/healthz"))[0] == 200

    with_server(scenario)
