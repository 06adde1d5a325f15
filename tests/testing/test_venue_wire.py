"""The wire of the venue suite: what it does to one request, it does to that one and no other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from onefill.testing.wire import GARBLED, CuttableWire, WireFault


class Venue:
    """Counts what it carries out."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def answer(self, http: web.Request) -> web.Response:
        self.done.append(await http.text())
        return web.json_response({"done": len(self.done)})


@contextlib.asynccontextmanager
async def wired() -> AsyncIterator[tuple[Venue, CuttableWire, Callable[[str], Awaitable[str]]]]:
    """Serve a venue behind a wire; yield both, and what sends a request over the wire, once."""
    venue, app = Venue(), web.Application()
    app.router.add_post("/", venue.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wire = CuttableWire("127.0.0.1", int(runner.addresses[0][1]))
    await wire.start()
    limits = aiohttp.ClientTimeout(total=10.0)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=limits, connector=connector) as session:

        async def send(text: str) -> str:
            async with session.post(f"http://127.0.0.1:{wire.port}/", data=text) as reply:
                return await reply.text()

        try:
            yield venue, wire, send
        finally:
            await wire.close()
            await runner.cleanup()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


@pytest.mark.parametrize(("fault", "arrives"), [(WireFault.LOSE_REQUEST, 0), (WireFault.LOSE_REPLY, 1)])
def test_what_is_lost_is_lost_once(fault: WireFault, arrives: int) -> None:
    """The sender sees its connection break; whether the request was carried out is the fault's; those around it pass."""

    async def scenario() -> None:
        async with wired() as (venue, wire, send):
            assert await send("a") == '{"done": 1}'
            wire.arm(fault)
            with pytest.raises(aiohttp.ClientError):
                await send("b")
            assert venue.done == ["a", "b"][: 1 + arrives]
            assert await send("c") == f'{{"done": {2 + arrives}}}'
            assert wire.requests == 3

    run(scenario)


def test_a_garbled_reply_is_a_page_for_a_request_that_was_carried_out() -> None:
    """Whole, with status 200, and not the venue's."""

    async def scenario() -> None:
        async with wired() as (venue, wire, send):
            wire.arm(WireFault.GARBLE_REPLY)
            assert (await send("a")).encode() in GARBLED
            assert venue.done == ["a"]
            assert await send("b") == '{"done": 2}'

    run(scenario)


def test_only_what_hurts_is_struck() -> None:
    """A fault waits for the request that it is meant for."""

    async def scenario() -> None:
        async with wired() as (venue, wire, send):
            wire.hurts = lambda chunk: b"struck" in chunk
            wire.arm(WireFault.LOSE_REQUEST)
            assert await send("spared") == '{"done": 1}'
            with pytest.raises(aiohttp.ClientError):
                await send("struck")
            assert venue.done == ["spared"]

    run(scenario)


def test_it_goes_away_falls_silent_and_comes_back() -> None:
    """Refused by the kernel, then taken without an answer; afterwards on the same port as before."""

    async def scenario() -> None:
        async with wired() as (venue, wire, send):
            await send("a")
            await wire.go_away()
            with pytest.raises(aiohttp.ClientConnectorError):
                await send("b")
            await wire.come_back()
            wire.fall_silent()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(send("c"), 0.2)
            await wire.come_back()
            assert await send("d") == '{"done": 2}'
            assert venue.done == ["a", "d"]

    run(scenario)
