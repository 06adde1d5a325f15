"""Telling a Kafka topic: an idempotent producer, ``acks=all``, one key per order.

The message's id stands in the header ``id``, its kind in ``kind``; the record's value is the body as it is. The record's key is
the order's name (or the route's), so that a partition holds all that is told of an order, in order. Needs ``onefill[kafka]``.

Kafka drops what the library itself sends twice. It does not drop what a relay tells again after it was killed, or through a
new producer: such a record is there twice, with the same id.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence

from onefill.core.errors import InvalidField, SettingsError
from onefill.core.relay import TOLD, Invalid, Message, Outcome, Unavailable

try:
    from confluent_kafka import KafkaError, KafkaException, Producer
    from confluent_kafka import Message as Report
except ImportError:  # told when a publisher is made
    _MISSING = True
else:
    _MISSING = False

BATCH_BYTES = 262_144
"""How much the library puts into one batch for a partition. More than the topic's ``max.message.bytes`` would be refused."""
_POLL_S = 0.5
_OURS = frozenset({
    "acks",
    "request.required.acks",
    "bootstrap.servers",
    "metadata.broker.list",
    "delivery.timeout.ms",
    "message.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "partitioner",
    "retries",
    "transactional.id",
})  # fmt: skip
"""Properties that keep the promise, and are therefore nobody else's to set."""


class KafkaPublisher:
    """Tells one topic. See the module's text.

    ``options``: further properties of librdkafka, such as ``security.protocol`` and ``sasl.password``. ``delivery_s``: how long
    the library may try to deliver a record by itself, in seconds; keep it below the time that the relay gives a call.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        options: Mapping[str, str | int | float | bool] | None = None,
        delivery_s: float = 20.0,
        start_s: float = 10.0,
        close_s: float = 3.0,
    ) -> None:
        """Raise SettingsError if confluent-kafka is not installed, InvalidField if an option is not to be set."""
        if _MISSING:
            raise SettingsError("telling Kafka needs the package confluent-kafka: install onefill[kafka]")
        for name in options or ():
            if name in _OURS:
                raise InvalidField(f"options.{name}", "is set by Onefill: the promise to subscribers depends on it")
        self._topic = topic
        self._start_s = start_s
        self._close_s = close_s
        self._properties: dict[str, str | int | float | bool] = {
            "batch.size": BATCH_BYTES,
            "linger.ms": 1,
            "log_level": 2,
            **(options or {}),
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            "max.in.flight.requests.per.connection": 5,  # with idempotence, order holds up to five
            "message.timeout.ms": max(int(delivery_s * 1000), 1),
            "partitioner": "murmur2_random",  # the one of Kafka's own clients; a record with a key is never placed at random
        }
        self._line: _Line | None = None
        self._single: _Line | None = None
        """Puts every record into a batch of its own."""
        self._retired: set[asyncio.Future[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`. Raises KafkaException if the cluster or the topic is not there."""
        self._line = self._usable(self._line, self._properties)
        await asyncio.to_thread(self._line.look, self._topic, self._start_s)

    async def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """See :class:`~onefill.ports.publisher.Publisher`."""
        if self._closed:
            return [Unavailable(reason="the publisher is closed")] * len(messages)
        self._line = self._usable(self._line, self._properties)
        outcomes = await self._line.tell(self._topic, messages)
        # A broker refuses a whole batch for one record in it. Alone, each is judged by itself.
        doubtful = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, _Refused) and outcome.by_broker]
        if doubtful:
            alone = self._properties | {"batch.num.messages": 1}
            self._single = self._usable(self._single, alone)
            judged = await self._single.tell(self._topic, [messages[n] for n in doubtful])
            for n, outcome in zip(doubtful, judged, strict=True):
                outcomes[n] = outcome
        return [Invalid(one.reason) if isinstance(one, _Refused) else one for one in outcomes]

    async def close(self) -> None:
        """See :class:`~onefill.ports.publisher.Publisher`. What is under way may still be delivered for ``close_s``."""
        self._closed = True
        for line in (self._line, self._single):
            if line is not None:
                self._retire(line, self._close_s)
        self._line = self._single = None
        if self._retired:
            await asyncio.wait(self._retired)

    def _usable(self, line: "_Line | None", properties: Mapping[str, str | int | float | bool]) -> "_Line":
        if line is not None and line.broken:
            self._retire(line)
            line = None
        return line or _Line(properties)

    def _retire(self, line: "_Line", flush_s: float = 0.0) -> None:
        line.drop()
        ending = asyncio.ensure_future(asyncio.to_thread(line.end, flush_s))
        self._retired.add(ending)
        ending.add_done_callback(self._retired.discard)


_REFUSALS = (
    frozenset()
    if _MISSING
    else frozenset(
        {
            KafkaError.MSG_SIZE_TOO_LARGE,
            KafkaError.RECORD_LIST_TOO_LARGE,
            KafkaError.INVALID_MSG_SIZE,
            KafkaError.INVALID_RECORD,
            KafkaError._INVALID_DIFFERENT_RECORD,
        }
    )
)
"""What is said of a record, or of the batch that it was in, and will be said of it again."""


class _Refused:
    """The record itself will not be taken. ``by_broker``: which judged the batch that it was in."""

    __slots__ = ("by_broker", "reason")

    def __init__(self, reason: str, *, by_broker: bool) -> None:
        self.reason = reason
        self.by_broker = by_broker


_Result = Outcome | _Refused


class _Call:
    """Records handed over together, and what was reported of each."""

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, count: int, done: "asyncio.Future[None]") -> None:
        self.outcomes: list[_Result] = [Unavailable(reason="no report came")] * count
        self.left = count
        self.done = done

    def took(self, number: int, outcome: _Result) -> None:
        self.outcomes[number] = outcome
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def give_up(self, reason: str) -> None:
        if not self.done.done():
            self.outcomes = [
                Unavailable(reason=reason) if isinstance(one, Unavailable) else one for one in self.outcomes
            ]
            self.done.set_result(None)


class _Line:
    """One producer of the library, and the thread that fetches its reports. After a fatal error it takes nothing more."""

    def __init__(self, properties: Mapping[str, str | int | float | bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(dict(properties))
        self.broken = False
        self._calls: set[_Call] = set()
        self._reports: list[tuple[_Call, int, KafkaError | None]] = []
        self._stop = False
        self._thread = threading.Thread(target=self._fetch, name="onefill-kafka", daemon=True)
        self._thread.start()

    def look(self, topic: str, timeout_s: float) -> None:
        """Find the topic. Blocks. Raises KafkaException if it cannot be found."""
        found = self._producer.list_topics(topic, timeout_s).topics[topic].error
        if found is not None:
            raise KafkaException(found)

    async def tell(self, topic: str, messages: Sequence[Message]) -> list[_Result]:
        call = _Call(len(messages), self._loop.create_future())
        self._calls.add(call)
        try:
            for number, message in enumerate(messages):
                refused = self._hand_over(call, number, topic, message)
                if refused is not None:
                    call.took(number, refused)
            if call.left:
                await call.done
        finally:
            self._calls.discard(call)
        return call.outcomes

    def _hand_over(self, call: _Call, number: int, topic: str, message: Message) -> _Result | None:
        """Hand a record to the library. Return what is known of it at once, if anything is."""
        try:
            self._producer.produce(
                topic,
                message.body,
                message.lane_name.encode(),
                headers=[("id", message.id.encode()), ("kind", message.kind.encode())],
                on_delivery=functools.partial(self._reported, call, number),
            )
        except BufferError:
            return Unavailable(reason="the library's queue is full")
        except KafkaException as error:
            outcome = self._outcome(error.args[0])
            return _Refused(outcome.reason, by_broker=False) if isinstance(outcome, _Refused) else outcome
        return None

    def _outcome(self, error: "KafkaError | None") -> _Result:
        if error is None:
            return TOLD
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.broken = True
        if error.code() in _REFUSALS:
            return _Refused(f"{error.name()}: {error.str()}", by_broker=True)
        return Unavailable(reason=f"{error.name()}: {error.str()}")

    # ------------------------------------------------------------------ the thread

    def _fetch(self) -> None:
        while not self._stop:
            try:
                self._producer.poll(_POLL_S)
            except:  # noqa: E722 - a fatal error comes out of the library as a KafkaError, which is no exception
                self._to_loop(self._break)
                return
            if self._reports:
                reports, self._reports = self._reports, []
                self._to_loop(functools.partial(self._take, reports))

    def _reported(self, call: _Call, number: int, error: "KafkaError | None", _report: "Report") -> None:
        self._reports.append((call, number, error))

    def _to_loop(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)

    # ------------------------------------------------------------------ back in the loop

    def _take(self, reports: "list[tuple[_Call, int, KafkaError | None]]") -> None:
        for call, number, error in reports:
            call.took(number, self._outcome(error))

    def _break(self) -> None:
        self.broken = True
        self.drop("the producer failed for good; another one is made")

    def drop(self, reason: str = "the publisher is closed") -> None:
        """Nobody waits for reports any more."""
        for call in self._calls:
            call.give_up(reason)

    def end(self, flush_s: float) -> None:
        """Stop the thread; deliver what is under way for so long, then throw it away. Blocks. To be called once."""
        self._stop = True
        self._thread.join()
        try:
            self._producer.flush(flush_s)
            self._producer.purge()
            self._producer.flush(_POLL_S)
        except:  # noqa: E722, S110 - as above; nothing more is wanted of it
            pass
        del self._producer  # ends the library's own threads, which may take a moment
