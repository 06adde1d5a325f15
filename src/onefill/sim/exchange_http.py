"""How the simulated exchange reads requests and writes answers over HTTP."""

import math
from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from onefill.core.messages import Throttled
from onefill.venues import exchange_wire as wire

_JSON = {"Content-Type": "application/json"}
encode = msgspec.json.Encoder().encode
Body = TypeVar("Body")


class Malformed(Exception):
    """The request cannot be read."""


def decoded(decode: Callable[[bytes], Body], body: bytes) -> Body:
    """Return what a body says. Raises :class:`Malformed`."""
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Malformed(f"body: {problem}") from None


def text(http: web.Request, field: str) -> str:
    """Return a query parameter. Raises :class:`Malformed`."""
    value = http.query.get(field)
    if not value:
        raise Malformed(f"query parameter {field!r} is missing")
    return value


def number(http: web.Request, field: str, default: int) -> int:
    """Return a query parameter that is a whole number. Raises :class:`Malformed`."""
    value = http.query.get(field)
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise Malformed(f"query parameter {field!r} is not a whole number")
    return int(value)


def answer(status: int, body: object) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(status=status, body=encode(body), headers=_JSON)


def ok(body: object) -> web.Response:
    """Return a 200."""
    return web.Response(body=encode(body), headers=_JSON)


def refused(status: int, code: str, reason: str) -> web.Response:
    """Return an answer that says why not."""
    return answer(status, wire.RefusalBody(code=code, reason=reason))


def malformed(problem: Malformed) -> web.Response:
    """Return the answer to a request that cannot be read."""
    return refused(400, wire.MALFORMED, str(problem))


def throttled(reply: Throttled) -> web.Response:
    """Return a 429."""
    body = wire.RefusalBody(code=wire.THROTTLED, reason=reply.reason, retry_after_s=reply.retry_after_s)
    headers = {**_JSON, "Retry-After": str(math.ceil(reply.retry_after_s))}
    return web.Response(status=429, body=encode(body), headers=headers)
