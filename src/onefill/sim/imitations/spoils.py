"""Ways in which the reply to a request can be lost although the venue has carried the request out.

Each is a :data:`~onefill.sim.imitations.base.Spoil`, or makes one: put them into :attr:`Imitation.spoilt`, one for each new
order. What a caller may conclude from any of them is the same: nothing.
"""

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from onefill.sim.imitations.base import Spoil

_HTML: Final = (
    "<html><head><title>502 Bad Gateway</title></head><body>The edge could not reach the origin.</body></html>"
)


class _Cut(web.StreamResponse):
    """Announces a whole body, sends a part of it and hangs up. Without headers it hangs up at once."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, sent: int | None) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = len(body)
        self._part = None if sent is None else body[:sent]

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send what is sent, and end the connection. Raises ConnectionResetError, at which the server lets go."""
        if self._part is not None:
            await super().prepare(request)
            await self.write(self._part)
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError("the reply is cut on purpose")


def _body(reply: web.Response) -> bytes:
    return reply.body if isinstance(reply.body, bytes) else b""


def drop(_: web.Response) -> web.StreamResponse:
    """Hang up in place of answering."""
    return _Cut(200, {}, b"", None)


def truncate(reply: web.Response) -> web.StreamResponse:
    """Send half of the reply's body, and hang up."""
    body = _body(reply)
    return _Cut(reply.status, {"Content-Type": reply.content_type}, body, len(body) // 2)


def html(_: web.Response) -> web.StreamResponse:
    """Answer 200 with a page for people, as what stands between a client and a venue may do."""
    return web.Response(text=_HTML, content_type="text/html")


def status(code: int, text: str = "", content_type: str = "text/plain") -> Spoil:
    """Return what answers with this HTTP status and text in place of the reply: 502, 503 or 504 as from a gateway."""

    def spoil(_: web.Response) -> web.StreamResponse:
        return web.Response(status=code, text=text or f"{code}", content_type=content_type)

    return spoil
