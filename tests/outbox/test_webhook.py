"""Telling an HTTP endpoint: signatures as Standard Webhooks has them, and what each answer means."""

import asyncio
import base64
import hashlib
import hmac
import socket
from typing import Any

import pytest
from aiohttp import web
from hook_kit import KEY, OTHER_KEY, Hook, made, says, silence

from onefill.core.errors import InvalidField, NotVerified
from onefill.core.inbox import Verifier, verify
from onefill.core.relay import TOLD, Gone, Invalid, Outcome, Unavailable
from onefill.outbox.webhook import WebhookPublisher

NOW_S = 1_750_000_000.5


def _publisher(url: str, *keys: bytes, **other: Any) -> WebhookPublisher:
    return WebhookPublisher(url, keys or (KEY,), **({"now_s": lambda: NOW_S, "timeout_s": 20.0} | other))


async def _outcome(answer: Any, **other: Any) -> Outcome:
    async with Hook() as hook:
        hook.answer = answer
        publisher = _publisher(hook.url, **other)
        try:
            (outcome,) = await publisher.publish([made(1)])
            return outcome
        finally:
            await publisher.close()


def test_a_request_is_signed_and_carries_the_message_as_it_is() -> None:
    """TOLD-ONCE: the body is the message's bytes, the id its id, and whoever has the key can verify both."""

    async def main() -> None:
        async with Hook() as hook:
            publisher = _publisher(hook.url)
            message = made(7)
            assert await publisher.publish([message]) == [TOLD]
            await publisher.close()
            ((headers, body),) = hook.taken
        assert body == message.body
        assert headers["webhook-id"] == message.id
        assert headers["webhook-timestamp"] == "1750000000"
        assert headers["content-type"] == "application/json"
        verifier = Verifier(keys=(KEY,))
        assert verify(verifier, headers, body, int(NOW_S * 1e6)).event_id == message.id
        with pytest.raises(NotVerified):
            verify(verifier, headers, body + b" ", int(NOW_S * 1e6))
        with pytest.raises(NotVerified):
            verify(verifier, {**headers, "webhook-id": "other"}, body, int(NOW_S * 1e6))

    asyncio.run(main())


def test_the_signature_is_the_schemes() -> None:
    """The signature is HMAC-SHA256 over id, time and body, parted by full stops, in base64 behind ``v1,``."""

    async def main() -> None:
        async with Hook() as hook:
            publisher = _publisher(hook.url)
            message = made(1)
            await publisher.publish([message])
            await publisher.close()
            ((headers, body),) = hook.taken
        signed = f"{message.id}.{headers['webhook-timestamp']}.".encode() + body
        wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{wanted}"

    asyncio.run(main())


def test_while_a_key_is_replaced_both_verify() -> None:
    """With two keys every request carries a signature by each, so that either end may change first."""

    async def main() -> None:
        async with Hook() as hook:
            publisher = _publisher(hook.url, KEY, OTHER_KEY)
            await publisher.publish([made(1)])
            await publisher.close()
            ((headers, body),) = hook.taken
        for key in (KEY, OTHER_KEY):
            assert verify(Verifier(keys=(key,)), headers, body, int(NOW_S * 1e6)).event_id == made(1).id
        with pytest.raises(NotVerified):
            verify(Verifier(keys=(b"x" * 32,)), headers, body, int(NOW_S * 1e6))

    asyncio.run(main())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_told(status: int) -> None:
    """Whatever 2xx the endpoint answers with, it has the message."""
    assert asyncio.run(_outcome(says(status))) == TOLD


def test_what_follows_a_2xx_does_not_matter() -> None:
    """An endpoint that says 200 and then never ends its body has the message."""

    async def endless(_: Any) -> Any:
        return web.Response(body=_endless())

    assert asyncio.run(_outcome(endless, timeout_s=1.0)) == TOLD


async def _endless() -> Any:
    yield b"x"
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("status", [400, 402, 406, 409, 411, 413, 415, 422, 451])
def test_what_is_refused_is_invalid(status: int) -> None:
    """A 4xx about the message is told with what the endpoint says of it, printable and short."""
    outcome = asyncio.run(_outcome(says(status, "no\x1b such\nfield " + "x" * 1000)))
    assert isinstance(outcome, Invalid)
    assert outcome.reason.startswith(f"answered {status}: no such field xxx")
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 350


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 301, 302, 307, 308, 500, 502, 504])
def test_what_may_be_the_endpoints_fault_is_suspect(status: int) -> None:
    """What says more about the endpoint, or may be about either, counts only where others are. No redirect is followed."""

    async def main() -> None:
        async with Hook() as hook:
            hook.answer = says(status, "no", location=f"http://127.0.0.1:{hook.port}/elsewhere")
            publisher = _publisher(hook.url)
            (outcome,) = await publisher.publish([made(1)])
            await publisher.close()
            assert outcome == Unavailable(reason=f"answered {status}: no", suspect=True)
            assert len(hook.taken) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "asked", "wanted"),
    [
        (429, "7", 7.0),
        (429, None, None),
        (503, "120", 120.0),
        (408, "soon", None),
        (425, "-1", None),
        (429, "Sun, 15 Jun 2025 15:07:40 GMT", 1_750_000_060 - NOW_S),
        (503, "Sun, 15 Jun 2025 15:00:00 GMT", 0.0),
        (429, "9" * 400, 999999999.0),
        (429, "Sun, 99 Jun 9999999 15:00:00 GMT", None),
    ],
)
def test_one_that_asks_for_time_is_given_it(status: int, asked: str | None, wanted: float | None) -> None:
    """``Retry-After`` counts in both its forms; one that says neither is as if it were not there."""
    headers = {} if asked is None else {"retry_after": asked}
    outcome = asyncio.run(_outcome(says(status, **headers)))
    assert outcome == Unavailable(reason=f"answered {status}", retry_after_s=wanted)


def test_one_that_wants_nothing_more_says_410() -> None:
    """410 Gone ends the subscription."""
    assert asyncio.run(_outcome(says(410, "bye"))) == Gone("answered 410: bye")


def test_no_answer_is_unknown() -> None:
    """An endpoint that takes the request and answers nothing in time may have the message, and is told again."""
    outcome = asyncio.run(_outcome(silence, timeout_s=0.2))
    assert outcome == Unavailable(reason="no answer within 0.2 s", suspect=True)


def test_nobody_there_is_no_suspicion_and_no_url_is_told() -> None:
    """Where nobody listens nothing counts against the message; the error does not hold the URL, which may be secret."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def main() -> Outcome:
        publisher = _publisher(f"http://user:pw@127.0.0.1:{port}/x?token=secret")
        (outcome,) = await publisher.publish([made(1)])
        await publisher.close()
        return outcome

    outcome = asyncio.run(main())
    assert outcome == Unavailable(reason="no connection (ClientConnectorError)")


def test_requests_go_out_together_and_bounded() -> None:
    """Messages of one call are told at once, over at most as many connections as are set; each has its own outcome."""

    async def main() -> None:
        async with Hook() as hook:
            seen = asyncio.Event()

            async def answer(headers: Any) -> Any:
                if hook.most_at_once >= 3:
                    seen.set()
                await seen.wait()
                return says(422)(headers) if headers["webhook-id"] == made(4, 4).id else says(200)(headers)

            hook.answer = answer
            publisher = _publisher(hook.url, connections=3)
            outcomes = await publisher.publish([made(n, n) for n in range(1, 9)])
            await publisher.close()
            assert [type(one) for one in outcomes] == [type(TOLD)] * 3 + [Invalid] + [type(TOLD)] * 4
            assert hook.most_at_once == 3

    asyncio.run(main())


def test_closed_it_tells_nothing() -> None:
    """After close, and also where a call is under way meanwhile, nothing is Told."""

    async def main() -> None:
        async with Hook() as hook:
            hook.answer = silence
            publisher = _publisher(hook.url)
            telling = asyncio.ensure_future(publisher.publish([made(1)]))
            while not hook.taken:
                await asyncio.wait({telling}, timeout=0.01)
            await publisher.close()
            (outcome,) = await telling
            assert isinstance(outcome, Unavailable)
            (outcome,) = await publisher.publish([made(1)])
            assert isinstance(outcome, Unavailable)
            assert len(hook.taken) == 1

    asyncio.run(main())


@pytest.mark.parametrize("url", ["", "ftp://host/x", "elsewhere", "http://", "https://host/x#part", "http://host:0/"])
def test_a_url_that_cannot_be_one_is_refused_and_not_shown(url: str) -> None:
    """The error names the field, and never the URL."""
    with pytest.raises(InvalidField, match=r"url: is not|url: has") as caught:
        WebhookPublisher(url, [KEY])
    assert len(url) < 8 or url not in str(caught.value)


def test_without_a_key_there_is_no_webhook() -> None:
    """A webhook that nobody could verify is refused."""
    with pytest.raises(InvalidField, match="keys: is empty"):
        WebhookPublisher("https://host/x", [])
