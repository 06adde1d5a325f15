"""Telling Kafka, against librdkafka's mock cluster: what its errors mean, and what the producer is set to."""

import asyncio

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from outbox_kit import kinds, messages, python, running

from onefill.core.errors import InvalidField
from onefill.core.relay import Invalid, Told, Unavailable
from onefill.outbox.kafka import BATCH_BYTES, KafkaPublisher
from onefill.testing.kafka import INIT_PRODUCER_ID, KafkaCluster
from onefill.testing.publisher_kit import entry_message

_TOPIC = "events"
_LARGE = KafkaError.MSG_SIZE_TOO_LARGE
_OUT_OF_ORDER = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_record_says_whose_it_is() -> None:
    """The key is the order's name, or the route's where it belongs to no order; a key has one partition."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 8)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                sent = [entry_message(n, n % 5) for n in range(1, 41)]
                for start in range(0, 40, 5):
                    assert kinds(await publisher.publish(sent[start : start + 5])) == [Told] * 5
            held = await cluster.held(_TOPIC)
        assert {(key, found, value) for _, key, found, value in held} == {(m.lane_name, m.id, m.body) for m in sent}
        assert {key for _, key, _, _ in held} == {"alpha", "s-1", "s-2", "s-3", "s-4"}
        assert len({(place, key) for place, key, _, _ in held}) == 5

    asyncio.run(main())


def test_who_was_in_a_refused_batch_is_told_alone() -> None:
    """A broker refuses a batch as a whole: each of it is told again by itself, and only who is refused alone is Invalid."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 1)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                await cluster.refuse(_LARGE)
                assert kinds(await publisher.publish(messages(10))) == [Told] * 10
                await cluster.refuse(KafkaError.INVALID_RECORD, _LARGE)
                outcomes = await publisher.publish(messages(10, 11))
                assert kinds(outcomes) == [Invalid] + [Told] * 9
                assert "MSG_SIZE_TOO_LARGE" in str(outcomes[0])
            assert await cluster.count(_TOPIC) == 19

    asyncio.run(main())


def test_one_too_large_does_not_share_a_batch() -> None:
    """What the library itself finds too large is Invalid at once; what is larger than a batch is told in one of its own."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 1)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                sent = messages(3, text="x" * BATCH_BYTES)
                too_large = msgspec.structs.replace(sent[1], body=b"x" * 1_000_001)
                assert kinds(await publisher.publish([sent[0], too_large, sent[2]])) == [Told, Invalid, Told]
            assert await cluster.count(_TOPIC) == 2

    asyncio.run(main())


def test_after_a_fatal_error_another_producer_is_made() -> None:
    """An error that ends the library's producer for good makes its records Unavailable, and the next call uses a new one."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 1)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                assert kinds(await publisher.publish(messages(3))) == [Told] * 3
                await cluster.refuse(_OUT_OF_ORDER)
                assert kinds(await publisher.publish(messages(3, 4))) == [Unavailable] * 3
                assert kinds(await publisher.publish(messages(3, 4))) == [Told] * 3
            assert [value for _, _, _, value in await cluster.held(_TOPIC)] == [m.body for m in messages(6)]

    asyncio.run(main())


def test_it_tells_as_an_idempotent_producer_or_not_at_all() -> None:
    """Without the right to be an idempotent producer nothing is told; with it, a later call tells."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 1)
            # Twice: the first producer may have been refused before anything is to be told, and another one be in its place.
            await cluster.refuse(*[KafkaError.CLUSTER_AUTHORIZATION_FAILED] * 2, api=INIT_PRODUCER_ID)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                told = kinds(await publisher.publish(messages(2)))
                assert told == [Unavailable] * 2
                for _ in range(2):
                    if told != [Told] * 2:
                        assert told == [Unavailable] * 2
                        assert await cluster.count(_TOPIC) == 0
                        told = kinds(await publisher.publish(messages(2)))
                assert told == [Told] * 2

    asyncio.run(main())


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_PRODUCER_EPOCH,
    ],
)
def test_what_is_not_about_the_record_is_no_fault_of_it(code: int) -> None:
    """An error about rights, settings or the producer makes a record Unavailable, never Invalid: it may be told later."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 1)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                await cluster.refuse(code)
                (outcome,) = await publisher.publish(messages(1))
                assert isinstance(outcome, Unavailable)
                assert KafkaError(code).name() in outcome.reason

    asyncio.run(main())


def test_what_the_library_may_repeat_it_repeats() -> None:
    """A passing error of the cluster is dealt with below: the record is Told, once."""

    async def main() -> None:
        async with KafkaCluster() as cluster:
            await cluster.make_topic(_TOPIC, 1)
            publisher = KafkaPublisher(cluster.bootstrap, _TOPIC)
            async with running(publisher):
                await cluster.refuse(KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_LEADER_FOR_PARTITION)
                assert kinds(await publisher.publish(messages(3))) == [Told] * 3
            assert await cluster.count(_TOPIC) == 3

    asyncio.run(main())


def test_what_cannot_work_is_said_at_the_start() -> None:
    """A cluster that cannot be reached, or properties that the library does not know, are raised when it is started."""

    async def main() -> None:
        nobody = KafkaPublisher("127.0.0.1:1", _TOPIC, start_s=0.5)
        with pytest.raises(KafkaException):
            await nobody.start()
        await nobody.close()
        misspelt = KafkaPublisher("127.0.0.1:1", _TOPIC, options={"security.protocoll": "ssl"})
        with pytest.raises(KafkaException, match=r"security\.protocoll"):
            await misspelt.start()
        await misspelt.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["acks", "enable.idempotence", "partitioner", "retries", "message.timeout.ms"])
def test_what_keeps_the_promise_is_not_to_be_set(name: str) -> None:
    """An option that could break order or acknowledgement is refused by name."""
    with pytest.raises(InvalidField, match=f"options.{name}"):
        KafkaPublisher("127.0.0.1:1", _TOPIC, options={name: "0"})


def test_what_is_missing_is_named() -> None:
    """Without confluent-kafka the module can be imported, and making a publisher names the extra to install."""
    done = python(
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from onefill.outbox.kafka import KafkaPublisher\n"
        "KafkaPublisher('127.0.0.1:1', 'events')"
    )
    assert done.returncode == 1
    assert "SettingsError: telling Kafka needs the package confluent-kafka: install onefill[kafka]" in done.stderr
