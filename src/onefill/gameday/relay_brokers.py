"""The brokers of the relay drill: a real NATS server, and librdkafka's mock cluster, each in a process of its own."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from onefill.testing.kafka import KafkaCluster
from onefill.testing.nats import NatsServer
from onefill.testing.publisher_kit import Taken

_PARTITIONS = 64
"""The mock cluster keeps five megabytes of each."""
_NATS_SETTINGS = 'max_pending: 1GB\nwrite_deadline: "120s"'
"""Who only listens may be behind: it is not to be cut off for that."""


class NatsBroker:
    """A stream for each target; beside it a plain listener hears every message, also what the stream drops as a repeat."""

    def __init__(self, server: NatsServer, client: Client) -> None:
        self.address = server.url
        self._server = server
        self._client = client
        self._heard: dict[str, list[Taken]] = {}

    async def make(self, target: str, *, listen: bool) -> None:
        """Make a stream that knows ids for as long as a drill may take."""
        await self._server.make_stream(target, [f"{target}.>"], window_s=3600)
        if not listen:
            return
        heard: list[Taken] = []

        async def hear(message: Msg) -> None:
            heard.append(Taken((message.headers or {})["Nats-Msg-Id"], message.data))

        await self._client.subscribe(f"{target}.>", cb=hear, pending_msgs_limit=-1, pending_bytes_limit=-1)
        self._heard[target] = heard

    async def count(self, target: str) -> int:
        """Return how many messages the listener has heard."""
        return len(await self.arrived(target))

    async def arrived(self, target: str) -> Sequence[Taken]:
        """Return what the listener has heard, once all of it has come."""
        before = -1
        while before != len(self._heard[target]):
            before = len(self._heard[target])
            await self._client.flush(60)
        return self._heard[target]

    async def held(self, target: str) -> list[str]:
        """Return the ids of what the stream holds."""
        return [found for _, found, _ in await self._server.held(target)]


class KafkaBroker:
    """A topic for each target. Everything that reaches it stays there."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self.address = cluster.bootstrap
        self._cluster = cluster

    async def make(self, target: str, *, listen: bool) -> None:
        """Make a topic: what is in it can be read at any time."""
        await self._cluster.make_topic(target, _PARTITIONS)

    async def count(self, target: str) -> int:
        """Return how many records the topic has."""
        return await self._cluster.count(target)

    async def arrived(self, target: str) -> Sequence[Taken]:
        """Return every record of the topic, partition by partition."""
        return [Taken(found, value) for _, _, found, value in await self._cluster.held(target)]

    async def held(self, target: str) -> list[str]:
        """Return the ids of the same."""
        return [one.id for one in await self.arrived(target)]


@contextlib.asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[NatsBroker]:
    """Run a NATS server until this is left."""
    async with NatsServer(folder, settings=_NATS_SETTINGS) as server:
        client = await server.client()
        try:
            yield NatsBroker(server, client)
        finally:
            await client.close()


@contextlib.asynccontextmanager
async def kafka() -> AsyncIterator[KafkaBroker]:
    """Run a mock cluster until this is left."""
    async with KafkaCluster(brokers=3) as cluster:
        yield KafkaBroker(cluster)
