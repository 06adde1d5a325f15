"""Callbacks of the simulated exchange: what it sends, and what its adapter makes of a body."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from test_exchange_stream import report
from venue_kit import NOON_US, connected, order, run, serving

from onefill.core.errors import CallbackUnreadable
from onefill.core.inbox import Verifier, verify
from onefill.ports.venue import CallbackReader
from onefill.venues import exchange_wire as wire

KEY = b"the exchange's and ours alone..."
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver:
    """Takes callbacks in, and answers as it is told: 200 when nothing is left to be told."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    async def post(self, request: web.Request) -> web.Response:
        self.came.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    def bodies(self) -> list[wire.CallbackBody]:
        return [msgspec.json.decode(body, type=wire.CallbackBody) for _, body in self.came]


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    """A receiver that listens, and its URL."""
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/hook", receiver.post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield receiver, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


async def call_back(exchange_url: str, **target: Any) -> int:
    """Have callbacks sent; return the status of the answer."""
    async with aiohttp.ClientSession() as session:
        body = msgspec.json.encode({"account": "A", "secret": SECRET} | target)
        async with session.post(f"{exchange_url}/v1/admin/callbacks", data=body) as answer:
            return answer.status


async def counts(exchange_url: str, account: str = "A") -> dict[str, int]:
    """Return what became of an account's callbacks."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{exchange_url}/v1/admin/callbacks", params={"account": account}) as answer,
    ):
        found: dict[str, int] = msgspec.json.decode(await answer.read())
        return found


async def settled(exchange_url: str, **wanted: int) -> dict[str, int]:
    """Return the counts once they are as wanted."""
    while True:
        found = await counts(exchange_url)
        if all(found[name] == value for name, value in wanted.items()):
            return found
        await asyncio.sleep(0.01)


def test_every_report_is_called_back_signed() -> None:
    """All that the stream tells, each once among the events made, with a signature that holds and the exchange's own name."""

    async def scenario() -> None:
        async with serving() as (exchange, url), connected(url) as venue, receiving() as (receiver, hook):
            exchange.submit(order("before", quantity=2), NOON_US)
            assert await call_back(url, url=hook, seed=3, doubled=0.5, late_s=0.02) == 200
            for number in range(10):
                exchange.submit(order(f"x{number}"), NOON_US)
            found = await settled(url, told=11, waiting=0)
            assert found["answered"] == found["posts"] == len(receiver.came) > found["made"]
            events = {body.event_id: body for body in receiver.bodies()}
            assert len(events) == found["made"]
            reports = [one for body in events.values() for one in body.reports]
            assert sorted(reports, key=lambda one: one.position) == exchange.executions("A", 0)
            for headers, body in receiver.came:
                now_us = int(headers["webhook-timestamp"]) * 1_000_000
                assert verify(Verifier(keys=(KEY,)), headers, body, now_us).event_id in events
                assert venue.read_callback(body).event_id in events

    run(scenario)


def test_what_is_not_answered_is_sent_again() -> None:
    """Until 2xx; a 4xx ends it, but for 408 and 429."""

    async def scenario() -> None:
        async with serving() as (exchange, url), receiving() as (receiver, hook):
            receiver.statuses = [503, 408, 429, 302, 200, 401]
            assert await call_back(url, url=hook) == 200
            exchange.submit(order("x"), NOON_US)
            found = await settled(url, waiting=0, told=1)
            assert (found["answered"], found["unanswered"], found["refused"]) == (1, 4, 0)
            exchange.submit(order("y"), NOON_US)
            found = await settled(url, waiting=0, told=2)
            assert (found["answered"], found["refused"], found["posts"]) == (1, 1, 6)

    run(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"url": "x", "secret": "short"},
        {"url": "x", "doubled": 1},
        {"url": "x", "late_s": -1},
        {"url": "x", "odd": 1},
    ],
)
def test_a_target_that_cannot_be_used_is_refused(wrong: dict[str, Any]) -> None:
    """With a 400; nothing is sent then, and nothing is counted of an account without callbacks."""

    async def scenario() -> None:
        async with serving() as (_, url):
            assert await call_back(url, **wrong) == 400
            assert "code" in await counts(url)

    run(scenario)


def test_only_news_of_the_own_account_at_this_exchange_is_read() -> None:
    """Another account, another exchange (or this one, started anew) and odd bodies are refused as unreadable."""

    async def scenario() -> None:
        async with serving() as (_, url), connected(url) as venue:
            assert isinstance(venue, CallbackReader)

            def body(**changes: Any) -> bytes:
                fields = {"event_id": "e", "instance": venue.identity, "account": "A", "reports": [report(1)]}
                return msgspec.json.encode(fields | changes)

            assert venue.read_callback(body()).reports == (report(1),)
            for told, wrong in (
                ("another exchange", body(instance="elsewhere")),
                ("another account", body(account="B")),
                ("another account", body(reports=[msgspec.structs.replace(report(1), account="B")])),
                ("is not what this exchange sends", body(reports=[{"kind": "trade"}])),
                ("is not what this exchange sends", b"\xff"),
                ("is not what this exchange sends", b"[" * 100_000),
                (
                    "is not what this exchange sends",
                    json.dumps({"event_id": "\ud800"}).encode("utf-8", "surrogatepass"),
                ),
            ):
                with pytest.raises(CallbackUnreadable, match=told):
                    venue.read_callback(wrong)

    run(scenario)
