"""A real HTTP server that takes webhooks, and does as a test says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from aiohttp import web

from onefill.core.audit import GENESIS, JournalEntry, entry_hash
from onefill.core.relay import Message, message_of

KEY = b"0123456789abcdef0123456789abcdef"
OTHER_KEY = b"fedcba9876543210fedcba9876543210"


def made(sequence: int, lane: int = 1, text: str = "π") -> Message:
    """Return the message of a made-up entry."""
    fields: dict[str, Any] = {
        "route": "X",
        "sequence": sequence,
        "intent_id": lane or None,
        "kind": "noted",
        "payload": f'[{{"type":"noted","text":"{text}"}}]',
        "at_us": 1_750_000_000_000_000 + sequence,
        "epoch": 1,
    }
    entry = JournalEntry(**fields, previous_hash=GENESIS, hash=entry_hash(GENESIS, **fields))
    return message_of(entry, "A", "s", f"k{lane}", f"o{lane}") if lane else message_of(entry)


class Hook:
    """An endpoint. ``answer`` makes the response to each request; ``taken`` holds headers and body of every one."""

    def __init__(self) -> None:
        self.taken: list[tuple[Mapping[str, str], bytes]] = []
        self.answer: Callable[[Mapping[str, str]], web.StreamResponse | Awaitable[web.StreamResponse]] = lambda _: (
            web.Response(status=204)
        )
        self.most_at_once = 0
        self._at_once = 0
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook?token=secret-in-url"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.taken.append(({name.lower(): value for name, value in request.headers.items()}, body))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            made_ = self.answer(request.headers)
            return await made_ if isinstance(made_, Awaitable) else made_
        finally:
            self._at_once -= 1


def says(status: int, text: str = "", **headers: str) -> Callable[[Mapping[str, str]], web.StreamResponse]:
    """Return an answer that is always this."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(status=status, text=text, headers=named)


async def silence(_: Mapping[str, str]) -> web.StreamResponse:
    """Answer nothing, until the connection is closed."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("never")
