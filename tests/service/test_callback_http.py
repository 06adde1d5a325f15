"""The HTTP side of callbacks: which answer means what, bounds on what comes in, and nothing told that should not be."""

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest

from onefill.core.errors import CallbackContradicts, CallbackNotHere, CallbackUnreadable, NotVerified
from onefill.core.inbox import Headers, Receipt
from onefill.service import callback_http
from onefill.service.callback_settings import CallbackPlan

PLAN = CallbackPlan(most_body_bytes=100, retry_after_s=7)


class Door:
    """Stands for a gateway: does as it is told with a callback."""

    def __init__(self) -> None:
        self.does: Callable[[], Awaitable[Receipt]] = self.takes
        self.came: list[tuple[str, dict[str, str], bytes]] = []

    async def takes(self) -> Receipt:
        return Receipt(event_id="e1", repeated=len(self.came) > 1)

    async def take_callback(self, route: str, headers: Headers, body: bytes) -> Receipt:
        self.came.append((route, {name.lower(): value for name, value in headers}, body))  # type: ignore[misc]
        return await self.does()


def serve(work: Callable[[Door, str, aiohttp.ClientSession, list[str]], Awaitable[None]]) -> None:
    """Run a test against a server."""

    async def main() -> None:
        door, remarks = Door(), list[str]()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with (
                callback_http.serving(door, listening, PLAN, remarks.append) as url,  # type: ignore[arg-type]
                aiohttp.ClientSession() as session,
            ):
                await work(door, url, session, remarks)

    asyncio.run(main())


async def post(
    session: aiohttp.ClientSession, url: str, body: Any = b"{}"
) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
    """Post a callback; return status, body and headers of the answer."""
    async with session.post(url, data=body, headers={"X-Sign": "of no value"}) as answer:
        return answer.status, msgspec.json.decode(await answer.read()), answer.headers


def test_2xx_is_said_after_it_was_taken_in() -> None:
    """The route is what stands in the path, slashes and all; headers and body come as they were sent."""

    async def work(door: Door, url: str, session: aiohttp.ClientSession, _: list[str]) -> None:
        for repeated in (False, True):
            status, told, _headers = await post(session, f"{url}/callbacks/sim:A/b", b'{"a":  1}')
            assert (status, told) == (200, {"taken": True, "event_id": "e1"} | ({"repeated": True} if repeated else {}))
        route, headers, body = door.came[0]
        assert (route, headers["x-sign"], body) == ("sim:A/b", "of no value", b'{"a":  1}')

    serve(work)


def test_a_body_is_taken_as_it_came() -> None:
    """What was compressed stays so: the signature is over those bytes, and nothing small becomes large here."""
    packed = gzip.compress(b"x" * 10_000)

    async def work(door: Door, url: str, session: aiohttp.ClientSession, _: list[str]) -> None:
        headers = {"Content-Encoding": "gzip"}
        async with session.post(f"{url}/callbacks/sim:A", data=packed, headers=headers, compress=None) as answer:
            assert answer.status == 200
        assert door.came[0][2] == packed

    serve(work)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotVerified("no signature fits"), 401),
        (CallbackUnreadable("odd"), 422),
        (CallbackContradicts("e1"), 409),
        (CallbackNotHere("sim:A", "it is elsewhere"), 503),
        (ZeroDivisionError("a secret"), 500),
    ],
)
def test_what_was_not_taken_in_says_whether_to_send_it_again(error: Exception, status: int) -> None:
    """4xx: never; 503 with Retry-After: later. A defect is a 500, and its text is told to nobody."""

    async def fails() -> Receipt:
        raise error

    async def work(door: Door, url: str, session: aiohttp.ClientSession, remarks: list[str]) -> None:
        door.does = fails
        for _ in range(3):
            found, told, headers = await post(session, f"{url}/callbacks/sim:A")
            assert (found, told["taken"]) == (status, False)
            assert headers.get("Retry-After") == ("7" if status == 503 else None)  # type: ignore[union-attr]
            assert "a secret" not in str(told)
            assert "it is elsewhere" not in str(told)
        assert len(remarks) == (status != 503)  # anybody can send what is refused: one a second is enough
        assert "of no value" not in str(remarks)
        assert "a secret" not in str(remarks)

    serve(work)


def test_what_is_too_large_or_no_callback_is_not_read() -> None:
    """A bound on the body, whether its length is announced or not; other paths and methods are nothing."""

    async def much() -> Any:
        for _ in range(11):
            yield b"x" * 10

    async def work(door: Door, url: str, session: aiohttp.ClientSession, _: list[str]) -> None:
        for body in (b"x" * 101, much()):
            status, told, _headers = await post(session, f"{url}/callbacks/sim:A", body)
            assert (status, told["taken"]) == (413, False)
        assert (await post(session, f"{url}/callbacks/sim:A", b"x" * 100))[0] == 200
        assert len(door.came) == 1
        for path in ("/callbacks/", "/", "/metrics"):
            async with session.post(url + path) as answer:
                assert answer.status == 404
        async with session.get(f"{url}/callbacks/sim:A") as answer:
            assert answer.status == 405

    serve(work)


def test_more_than_can_be_held_are_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on how many are read at once."""
    monkeypatch.setattr(callback_http, "MOST_AT_ONCE", 2)
    let_go, full = asyncio.Event(), asyncio.Barrier(3)

    async def slow() -> Receipt:
        await full.wait()
        await let_go.wait()
        return Receipt(event_id="e1", repeated=False)

    async def work(door: Door, url: str, session: aiohttp.ClientSession, _: list[str]) -> None:
        door.does = slow
        waiting = [asyncio.ensure_future(post(session, f"{url}/callbacks/sim:A")) for _ in range(2)]
        await asyncio.wait_for(full.wait(), 10)
        status, _told, headers = await post(session, f"{url}/callbacks/sim:A")
        assert (status, headers["Retry-After"]) == (503, "7")  # type: ignore[index]
        let_go.set()
        assert [one[0] for one in await asyncio.gather(*waiting)] == [200, 200]

    serve(work)


def test_a_body_that_does_not_come_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that stops in the middle is answered 408 after a bounded time."""
    monkeypatch.setattr(callback_http, "_READ_S", 0.05)

    async def work(door: Door, url: str, _: aiohttp.ClientSession, _remarks: list[str]) -> None:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /callbacks/sim:A HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert not door.came

    serve(work)


def test_a_ledger_that_hangs_holds_no_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time it is to be sent again: the first may still become durable, and the repeat is known then."""
    monkeypatch.setattr(callback_http, "_TAKE_S", 0.05)

    async def hangs() -> Receipt:
        return await asyncio.get_running_loop().create_future()

    async def work(door: Door, url: str, session: aiohttp.ClientSession, _: list[str]) -> None:
        door.does = hangs
        status, told, headers = await post(session, f"{url}/callbacks/sim:A")
        assert (status, told["taken"], headers["Retry-After"]) == (503, False, "7")  # type: ignore[index]

    serve(work)
