"""The webhook publisher passes the suite of publishers, over a real HTTP server."""

from collections.abc import Mapping, Sequence

from aiohttp import web
from hook_kit import KEY, Hook, silence

from onefill.core.relay import Message
from onefill.outbox.webhook import WebhookPublisher
from onefill.ports.publisher import Publisher
from onefill.testing.publisher import PublisherConformance, Subscriber
from onefill.testing.publisher_kit import Taken


class _Endpoint:
    def __init__(self) -> None:
        self._hook = Hook()
        self._up = False
        self._refused: set[str] = set()
        self._held: list[Taken] = []

    async def come_back(self) -> None:
        if self._up:
            await self._hook.__aexit__()
        self._hook.answer = self._answer
        await self._hook.__aenter__()
        self._up = True

    def _answer(self, headers: Mapping[str, str]) -> web.StreamResponse:
        name = headers["webhook-id"]
        if name in self._refused:
            return web.Response(status=422, text="no")
        self._held.append(Taken(name, self._hook.taken[-1][1]))
        return web.Response(status=200)

    def publisher(self, answer_s: float) -> Publisher:
        return WebhookPublisher(self._hook.url, [KEY], timeout_s=answer_s)

    async def taken(self) -> Sequence[Taken]:
        return list(self._held)

    def poison(self, message: Message) -> Message:
        self._refused.add(message.id)
        return message

    async def go_away(self) -> None:
        if self._up:
            await self._hook.__aexit__()
            self._up = False

    async def fall_silent(self) -> None:
        self._hook.answer = silence

    async def close(self) -> None:
        await self.go_away()


class TestWebhook(PublisherConformance):
    """An endpoint in this process; out of reach means that nobody listens."""

    async def subscriber(self) -> Subscriber:
        made = _Endpoint()
        await made.come_back()
        return made
