"""The adapter's execution stream: without a gap, without trust."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from venue_kit import (
    DIALECT_ANSWER,
    HANG,
    NOON_US,
    OddServer,
    connected,
    http,
    order,
    run,
    serving,
    shown,
)

from onefill.core.errors import VenueError
from onefill.core.messages import (
    Accepted,
    ExecutionKind,
    ExecutionReport,
    VenueStatus,
)
from onefill.core.values import Side


def report(position: int, account: str = "A") -> ExecutionReport:
    """Return a NEW report at a stream position."""
    return ExecutionReport(
        position=position,
        execution_id=f"E{position}",
        kind=ExecutionKind.NEW,
        client_order_id="x",
        venue_order_id="X1",
        account=account,
        instrument="ACME",
        side=Side.BUY,
        last_quantity=None,
        last_price=None,
        cum_quantity=shown("x").cum_quantity,
        leaves_quantity=shown("x").quantity,
        status=VenueStatus.NEW,
        transacted_at_us=NOON_US,
    )


@contextlib.asynccontextmanager
async def streaming(*frames: str | bytes, then_hang: bool = False) -> AsyncIterator[str]:
    """Serve a stream that sends these frames (text, or binary for bytes) and then closes, or stays silent."""
    over = asyncio.Event()

    async def dialect(_: web.Request) -> web.Response:
        return web.Response(body=DIALECT_ANSWER.partition(b"\r\n\r\n")[2])

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for frame in frames:
            await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
        if then_hang:
            await over.wait()
        return socket

    app = web.Application()
    app.router.add_get("/v1/dialect", dialect)
    app.router.add_get("/v1/stream", stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        over.set()
        await runner.cleanup()


def frame(*reports: ExecutionReport) -> str:
    """Return a frame of the stream."""
    return msgspec.json.encode(list(reports)).decode()


class TestStream:
    def test_a_stream_gives_the_past_and_then_the_new_without_a_gap(self) -> None:
        """From any cursor the stored suffix comes first and what happens later follows, each once, in order."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as venue:
                for number in range(1200):
                    exchange.submit(order(f"x{number}"), NOON_US)
                seen: list[ExecutionReport] = []
                async for one in venue.stream(7):
                    seen.append(one)
                    if one.position == 1200:
                        await venue.submit(order("live"))
                    if one.client_order_id == "live":
                        break
                assert seen == exchange.executions("A", 7, 5000)

        run(scenario)

    def test_a_slow_reader_holds_up_nobody_and_misses_nothing(self) -> None:
        """While one reader stands still, tens of thousands of reports are made and served to others; it then reads them all."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as venue:
                exchange.submit(order("first"), NOON_US)
                slow = venue.stream(0)
                positions = [(await anext(slow)).position]
                for number in range(30_000):
                    exchange.submit(order(f"x{number}"), NOON_US)
                assert isinstance(await venue.submit(order("last")), Accepted)
                async for one in slow:
                    positions.append(one.position)
                    if one.client_order_id == "last":
                        break
                await slow.aclose()
                assert positions == list(range(1, 30_003))

        run(scenario)

    def test_a_stream_ends_when_the_exchange_closes_and_resumes_from_the_cursor(self) -> None:
        """After a server is gone a new connection goes on where the last report stood."""

        async def scenario() -> None:
            async with serving() as (exchange, url), connected(url) as venue:
                exchange.submit(order("x"), NOON_US)
                first = venue.stream(0)
                assert (await anext(first)).position == 1
                await first.aclose()
                exchange.submit(order("y"), NOON_US)
                second = venue.stream(1)
                assert (await anext(second)).position == 2
                ending = asyncio.create_task(anext(second, None))
                # The server context ends below while this waits.
                await asyncio.sleep(0)
            with contextlib.suppress(VenueError):
                assert await ending is None

        run(scenario)

    def test_an_idle_stream_stays_open_through_heartbeats(self) -> None:
        """Silence on the exchange is no silence on the wire: heartbeats keep an idle stream from counting as broken."""

        async def scenario() -> None:
            beats, enough = iter(range(40)), asyncio.Event()

            def clock_us() -> int:
                # The server reads the clock once per heartbeat: 40 of them outlast the silence allowed.
                if next(beats, None) is None:
                    enough.set()
                return NOON_US

            async with serving(clock_us, heartbeat_s=0.02) as (exchange, url), connected(url, silence_s=0.6) as venue:
                stream = venue.stream(0)
                waiting = asyncio.create_task(anext(stream))
                await enough.wait()
                assert not waiting.done()
                exchange.submit(order("x"), NOON_US)
                assert (await waiting).position == 1
                await stream.aclose()

        run(scenario)

    @pytest.mark.parametrize(
        ("frames", "problem"),
        [
            ([frame(report(1)), frame(report(3))], "report 3 came where 2 was due"),
            ([frame(report(1), report(1))], "report 1 came where 2 was due"),
            ([frame(report(2))], "report 2 came where 1 was due"),
            ([frame(report(1, "B"))], "account"),
            (["[{}]"], "unreadable"),
            (["<html>"], "unreadable"),
            ([b"[]"], "broke"),
        ],
    )
    def test_a_stream_that_cannot_be_trusted_raises(self, frames: list[str | bytes], problem: str) -> None:
        """A gap, a repeat, another account's report or a frame that makes no sense is an error, never skipped."""

        async def scenario() -> None:
            async with streaming(*frames) as url, connected(url) as venue:
                with pytest.raises(VenueError, match=problem):
                    async for _ in venue.stream(0):
                        pass

        run(scenario)

    def test_a_closed_stream_ends(self) -> None:
        """When the exchange closes the stream the iterator ends after what came, heartbeats left out."""

        async def scenario() -> None:
            async with streaming("[]", frame(report(1), report(2)), "[]") as url, connected(url) as venue:
                assert [one.position async for one in venue.stream(0)] == [1, 2]

        run(scenario)

    def test_a_silent_stream_raises(self) -> None:
        """A connection on which nothing comes, not even a heartbeat, counts as broken after ``silence_s``."""

        async def scenario() -> None:
            async with (
                streaming(frame(report(1)), then_hang=True) as url,
                connected(url, silence_s=0.05, timeout_s=0.5) as venue,
            ):
                with pytest.raises(VenueError, match="silent"):
                    async for _ in venue.stream(0):
                        pass

        run(scenario)

    @pytest.mark.parametrize("answer", [http(200, b"<html>"), http(503, b""), None, HANG])
    def test_no_stream_to_be_had_raises(self, answer: bytes | None) -> None:
        """Whatever answers in place of a WebSocket makes ``stream`` raise, in bounded time."""

        async def scenario() -> None:
            async with OddServer(DIALECT_ANSWER, answer) as odd, connected(odd.url, timeout_s=0.3) as venue:
                with pytest.raises(VenueError, match="no stream"):
                    await anext(venue.stream(0))
                with pytest.raises(VenueError, match="ask again"):
                    await venue.executions(0)

        run(scenario)

    def test_executions_with_a_gap_raise(self) -> None:
        """The page read is checked like the stream."""

        async def scenario() -> None:
            async with OddServer(DIALECT_ANSWER, http(200, [report(1), report(3)])) as odd, connected(odd.url) as venue:
                with pytest.raises(VenueError, match="report 3"):
                    await venue.executions(0)

        run(scenario)
