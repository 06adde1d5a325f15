"""What tests of callbacks share: a venue whose reports come signed, in any order and as often as wanted."""

import itertools
from typing import Any

import msgspec
from gateway_world import NOON_US, World
from scripted_venue import ScriptedVenue

from onefill.core.errors import CallbackUnreadable
from onefill.core.inbox import CallbackNews, Receipt, Verifier, standard_headers
from onefill.core.messages import ExecutionReport
from onefill.engine.gateway import Gateway

KEY = b"a key of the test's own"
VERIFIER = Verifier(keys=(KEY,))
_numbers = itertools.count(1)


class Body(msgspec.Struct, frozen=True):
    """What a callback says here."""

    reports: tuple[ExecutionReport, ...]


class CallbackVenue(ScriptedVenue):
    """A venue whose callbacks can be read."""

    def read_callback(self, body: bytes) -> CallbackNews:
        try:
            return CallbackNews(msgspec.json.decode(body, type=Body).reports)
        except msgspec.DecodeError as error:
            raise CallbackUnreadable(str(error)) from None


class Callback(msgspec.Struct, frozen=True):
    """A callback as it is sent, and sent again."""

    headers: dict[str, str]
    body: bytes


def callback(
    world: World, *reports: ExecutionReport, event_id: str | None = None, body: bytes | None = None
) -> Callback:
    """Return a signed callback that tells of these reports."""
    made = msgspec.json.encode(Body(reports)) if body is None else body
    name = event_id or f"evt_{next(_numbers)}"
    return Callback(standard_headers(KEY, name, world.clock.now_us() // 1_000_000, made), made)


async def take(gateway: Gateway, sent: Callback) -> Receipt:
    """Have a gateway take a callback in."""
    return await gateway.take_callback("X", sent.headers, sent.body)


def told(world: World) -> list[ExecutionReport]:
    """Return what the account's stream tells."""
    return world.exchange.executions("A", 0, 1000)


def with_callbacks(world: World) -> World:
    """Give a world a venue that tells by callbacks."""
    world.venue = CallbackVenue(world.exchange, world.clock.now_us, look=world.look)
    return world


async def opened(world: World, **settings: Any) -> Gateway:
    """Start a gateway that expects callbacks."""
    gateway = await world.start(**settings)
    gateway.expect_callbacks("X", VERIFIER)
    return gateway


__all__ = [
    "KEY",
    "NOON_US",
    "VERIFIER",
    "Callback",
    "CallbackVenue",
    "callback",
    "opened",
    "take",
    "told",
    "with_callbacks",
]
