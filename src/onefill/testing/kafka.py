"""A Kafka cluster for tests and drills: librdkafka's mock cluster, :mod:`onefill.testing.kafka_mock`, as a process."""

import asyncio
import sys
import time
from types import TracebackType

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from onefill.testing.kafka_mock import Order, Reply
from onefill.testing.server_process import ServerProcess, ServerTrouble

PRODUCE, INIT_PRODUCER_ID = 0, 22
"""Kinds of requests: to store records, and to be known as an idempotent producer."""
_BATCH = 5000
_PAGE_S = 0.05
_SLOW_S = 30.0
Record = tuple[int, str, str, bytes]
"""(partition, key, id, value)"""


class KafkaCluster:
    """A mock cluster. Use it with ``async with``, which ends it, and what it holds with it."""

    def __init__(self, brokers: int = 1) -> None:
        self.brokers = brokers
        self.bootstrap = ""
        self._process: ServerProcess | None = None
        self._orders = 0

    async def __aenter__(self) -> "KafkaCluster":
        arguments = [sys.executable, "-m", "onefill.testing.kafka_mock", str(self.brokers)]
        self._process = await ServerProcess.start("kafka mock cluster", arguments)
        try:
            self.bootstrap = (await self._reply()).bootstrap
        except BaseException:
            await self._process.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.process.kill()

    @property
    def process(self) -> ServerProcess:
        """Its process. Raises ServerTrouble if it was never started."""
        if self._process is None:
            raise ServerTrouble("the Kafka cluster was not started")
        return self._process

    async def make_topic(self, name: str, partitions: int) -> None:
        """Make a topic. A partition keeps five megabytes: take enough of them."""
        await self._do(do="topic", topic=name, partitions=partitions)

    async def refuse(self, *codes: int, api: int = PRODUCE) -> None:
        """Answer the next requests of a kind with these errors, one each. What they carry is not stored."""
        await self._do(do="refuse", codes=codes, api=api)

    async def down(self) -> None:
        """Close every broker's connections and take no new ones. What they hold is kept."""
        for broker in range(1, self.brokers + 1):
            await self._do(do="down", broker=broker)

    async def up(self) -> None:
        """Take connections again."""
        for broker in range(1, self.brokers + 1):
            await self._do(do="up", broker=broker)

    async def slow(self, delay_ms: int) -> None:
        """Let every answer take so long."""
        for broker in range(1, self.brokers + 1):
            await self._do(do="slow", broker=broker, delay_ms=delay_ms)

    async def _do(self, **order: object) -> None:
        self._orders += 1
        await self.process.tell(msgspec.json.encode(Order(self._orders, **order)).decode())  # type: ignore[arg-type]
        result = (await self._reply()).result
        if result:
            raise ServerTrouble(f"the Kafka cluster cannot do {order}: error {result}")

    async def _reply(self) -> Reply:
        line = await self.process.until(f'^{{"number":{self._orders},.*')
        return msgspec.json.decode(line[0], type=Reply)

    async def held(self, topic: str) -> list[Record]:
        """Return every record of a topic, partition by partition, each in its order. Raises ServerTrouble if some are gone."""
        return await asyncio.to_thread(read_topic, self.bootstrap, topic)

    async def count(self, topic: str) -> int:
        """Return how many records were ever stored in a topic."""

        def counted() -> int:
            consumer = _consumer(self.bootstrap)
            try:
                return sum(end for _, end in _ends(consumer, topic).values())
            finally:
                consumer.close()

        return await asyncio.to_thread(counted)


def read_topic(bootstrap: str, topic: str) -> list[Record]:
    """Return every record of a topic. Blocks. See :meth:`KafkaCluster.held`."""
    consumer = _consumer(bootstrap)
    found: list[Record] = []
    try:
        ends = _ends(consumer, topic)
        gone = {number: first for number, (first, _) in ends.items() if first}
        if gone:
            raise ServerTrouble(f"topic {topic!r} lost its oldest records, in partitions {gone}: take more partitions")
        left = {number: end for number, (_, end) in ends.items() if end}
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
        last = time.monotonic()
        while left:
            page = consumer.consume(_BATCH, _PAGE_S)  # waits for so long unless there are as many
            if page:
                last = time.monotonic()
            elif time.monotonic() - last > _SLOW_S:
                raise ServerTrouble(f"topic {topic!r} gave nothing for {_SLOW_S:g} s; still to come: {left}")
            for record in page:
                problem, number, offset = record.error(), record.partition(), record.offset()
                if problem is not None:
                    raise KafkaException(problem)
                if number is None or offset is None:
                    raise ServerTrouble(f"topic {topic!r} gave a record without a place")
                found.append(
                    (number, _text(record.key()), _text(dict(record.headers() or [])["id"]), record.value() or b"")
                )
                if offset + 1 >= left.get(number, offset):
                    left.pop(number, None)
    finally:
        consumer.close()
    return sorted(found, key=lambda record: record[0])


def _text(raw: str | bytes | None) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw or ""


def _consumer(bootstrap: str) -> Consumer:
    return Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "onefill-suite",
        "enable.auto.commit": False,
        "log_level": 2,
    })  # fmt: skip


def _ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first offset that is there and the one behind the last, by partition."""
    partitions = consumer.list_topics(topic, _SLOW_S).topics[topic].partitions
    return {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_SLOW_S) for number in partitions
    }
