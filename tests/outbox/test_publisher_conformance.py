"""Every publisher passes the suite: over a real NATS server, librdkafka's mock cluster, and in memory."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from onefill.core.relay import Message, Outcome
from onefill.outbox.kafka import KafkaPublisher
from onefill.outbox.nats import NatsPublisher
from onefill.ports.publisher import Publisher
from onefill.testing.kafka import KafkaCluster
from onefill.testing.nats import NatsServer
from onefill.testing.publisher import PublisherConformance, Subscriber
from onefill.testing.publisher_kit import MemoryPublisher, Taken

_STREAM, _TOPIC = "EVENTS", "events"


def _longer(message: Message, size: int) -> Message:
    return msgspec.structs.replace(message, body=message.body + b" " * size)


class _Nats:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = NatsServer(folder, max_payload=64_000)

    async def begin(self) -> None:
        await self._server.start()
        await self._server.make_stream(_STREAM, ["onefill.>"])

    def publisher(self, answer_s: float) -> Publisher:
        return NatsPublisher([self._server.url], _STREAM, answer_s=answer_s, start_s=answer_s, close_s=1)

    async def taken(self) -> Sequence[Taken]:
        return [Taken(found, body) for _, found, body in await self._server.held(_STREAM)]

    def poison(self, message: Message) -> Message:
        return _longer(message, 64_000)

    async def go_away(self) -> None:
        await self._server.process.kill()

    async def fall_silent(self) -> None:
        await self._server.process.pause()

    async def come_back(self) -> None:
        if self._server.process.running:
            self._server.process.resume()
        else:
            await self._server.start()

    async def close(self) -> None:
        await self._server.process.kill()
        shutil.rmtree(self._folder)


class TestNats(PublisherConformance):
    """A real server; out of reach means killed with -9 and started anew over its files."""

    async def subscriber(self) -> Subscriber:
        made = _Nats(Path(tempfile.mkdtemp(prefix="onefill-nats-")))
        await made.begin()
        return made


class _Kafka:
    def __init__(self) -> None:
        self._cluster = KafkaCluster(brokers=2)
        self._silent = False

    async def begin(self) -> None:
        await self._cluster.__aenter__()
        await self._cluster.make_topic(_TOPIC, 4)

    def publisher(self, answer_s: float) -> Publisher:
        options = {"reconnect.backoff.max.ms": 200, "socket.timeout.ms": round(answer_s * 1000)}
        return KafkaPublisher(
            self._cluster.bootstrap, _TOPIC, options=options, delivery_s=answer_s, start_s=answer_s, close_s=1
        )

    async def taken(self) -> Sequence[Taken]:
        return [Taken(found, body) for _, _, found, body in await self._cluster.held(_TOPIC)]

    def poison(self, message: Message) -> Message:
        return _longer(message, 1_000_000)

    async def go_away(self) -> None:
        await self._cluster.down()

    async def fall_silent(self) -> None:
        await self._cluster.process.pause()
        self._silent = True

    async def come_back(self) -> None:
        if self._silent:
            self._cluster.process.resume()
            self._silent = False
        await self._cluster.up()

    async def close(self) -> None:
        await self._cluster.process.kill()


class TestKafka(PublisherConformance):
    """librdkafka's mock cluster of two brokers in a process of its own."""

    async def subscriber(self) -> Subscriber:
        made = _Kafka()
        await made.begin()
        return made


class _SlowMemory(MemoryPublisher):
    """One that can be kept waiting, as any other."""

    def __init__(self, world: "_Memory", answer_s: float) -> None:
        super().__init__(world.held, world.refused)
        self._answer_s = answer_s
        self._world = world
        self._closed = False

    async def start(self) -> None:
        self.reachable = self._world.there
        await super().start()

    async def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        self.reachable = self._world.there and not self._closed
        if self._world.silent:
            await asyncio.wait_for(self._world.heard.wait(), self._answer_s)
        return await super().publish(messages)

    async def close(self) -> None:
        self._closed = True


class _Memory:
    def __init__(self) -> None:
        self.held: list[Taken] = []
        self.refused: set[str] = set()
        self.there, self.silent = True, False
        self.heard = asyncio.Event()

    def publisher(self, answer_s: float) -> Publisher:
        return _SlowMemory(self, answer_s)

    async def taken(self) -> Sequence[Taken]:
        return list(self.held)

    def poison(self, message: Message) -> Message:
        self.refused.add(message.id)
        return message

    async def go_away(self) -> None:
        self.there = False

    async def fall_silent(self) -> None:
        self.silent = True

    async def come_back(self) -> None:
        self.there, self.silent = True, False

    async def close(self) -> None:
        self.held.clear()


class TestMemory(PublisherConformance):
    """The one that tests of a relay use."""

    async def subscriber(self) -> Subscriber:
        return _Memory()
