"""Steps and callbacks on real PostgreSQL, with two nodes that share the route."""

import asyncio
import time

import msgspec
import pytest

import onefill
from onefill.core.inbox import standard_headers
from onefill.ledger import postgres_schema
from onefill.ledger.postgres_settings import place_of
from onefill.sim.dialect import Dialect
from onefill.sim.exchange import Exchange
from onefill.sim.exchange_server import ExchangeServer
from onefill.venues import exchange_wire as wire

KEY = b"the exchange's and ours alone..."
BTC = onefill.Instrument(symbol="BTC", price_tick=1, quantity_step=1, min_quantity=1)  # type: ignore[arg-type]


def test_what_is_done_at_one_node_is_done_at_the_other(postgres_url: str) -> None:
    """A step keeps its result, its arguments and its attempts; a callback is a repeat at the next holder."""

    async def main() -> None:
        await postgres_schema.migrate(place_of(postgres_url), seed=bytes(16), at_us=time.time_ns() // 1000)
        server = ExchangeServer(Exchange(Dialect(), [BTC]))
        url = f"http://127.0.0.1:{await server.start()}"

        def opened(name: str) -> "onefill.Gateway":
            return onefill.open(  # type: ignore[return-value]
                postgres_url,
                venues={"sim": onefill.ExchangeVenue(url, "A")},
                settings=onefill.GatewaySettings(lease_s=5),
                node=onefill.NodeSettings(name=name),
            )

        body = msgspec.json.encode(wire.CallbackBody(event_id="e1", instance=server.instance, account="A", reports=()))
        headers = standard_headers(KEY, "e1", int(time.time()), body)

        async def work(attempt: onefill.Attempt) -> str:
            if attempt.number == 1:
                raise ConnectionError("\x00 the line broke")
            return f"π {attempt.number}"

        async with opened("a") as a, opened("b") as b:
            for gateway in (a, b):
                gateway.expect_callbacks("sim", onefill.Verifier(keys=(KEY,)))
            with pytest.raises(ConnectionError):
                await a.once("k", "book", work, arguments={"lots": 2})
            assert await a.once("k", "book", work, arguments={"lots": 2}) == "π 2"
            assert await b.once("k", "book", work, arguments={"lots": 2}) == "π 2"
            assert not (await a.take_callback("sim", headers, body)).repeated
            await a.hand_over("sim")
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert (await b.take_callback("sim", headers, body)).repeated
                        break
                    except onefill.CallbackNotHere:
                        await asyncio.sleep(0.05)
            for _ in range(2):
                with pytest.raises(onefill.StepFailed, match="the line broke"):
                    await b.once("k", "tell", work, keep_errors=ConnectionError)
            (book, tell) = await b.steps("k")
            assert (book.attempt, book.arguments != "", tell.attempt) == (2, True, 1)
        await server.close()

    asyncio.run(main())
