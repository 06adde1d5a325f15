"""librdkafka's mock cluster as a process, ``python -m onefill.testing.kafka_mock BROKERS``: see :mod:`onefill.testing.kafka`.

The cluster speaks Kafka's protocol on real sockets and lives in memory. It keeps five megabytes, or 100,000 batches, of a
partition and silently drops what is older; it does not check sequence numbers of an idempotent producer, so what the library
sends twice it has twice; and it forgets everything when it ends.

It takes one JSON object per line on its standard input, answers each with one, and ends at the end of its input.
"""

import ctypes
import sys
from collections.abc import Callable

import confluent_kafka.cimpl
import msgspec

_PRODUCER = 0


class Order(msgspec.Struct, frozen=True):
    """What the cluster is to do. ``broker`` counts from 1; ``codes`` of errors and ``api`` of a request are Kafka's own."""

    number: int
    do: str
    topic: str = ""
    partitions: int = 1
    broker: int = 1
    codes: tuple[int, ...] = ()
    api: int = 0
    delay_ms: int = 0


class Reply(msgspec.Struct, frozen=True):
    """``result`` is 0, or an error of the library."""

    number: int
    result: int
    bootstrap: str = ""


class _Cluster:
    """The mock cluster, by the functions of librdkafka itself, which the Python package exports no names for."""

    def __init__(self, brokers: int) -> None:
        pointer, text, size, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
        library = ctypes.CDLL(confluent_kafka.cimpl.__file__)

        def function(name: str, result: type | None, *arguments: type) -> Callable[..., int]:
            found: Callable[..., int] = library[name]
            found.restype, found.argtypes = result, arguments  # type: ignore[attr-defined]
            return found

        problem = ctypes.create_string_buffer(512)
        settings = function("rd_kafka_conf_new", pointer)()
        client = function("rd_kafka_new", pointer, number, pointer, text, size)(_PRODUCER, settings, problem, 512)
        if not client:
            raise RuntimeError(problem.value.decode())
        self._cluster = function("rd_kafka_mock_cluster_new", pointer, pointer, number)(client, brokers)
        self.bootstrap: bytes = function("rd_kafka_mock_cluster_bootstraps", text, pointer)(self._cluster)  # type: ignore[assignment]
        self._topic = function("rd_kafka_mock_topic_create", number, pointer, text, number, number)
        self._errors = function(
            "rd_kafka_mock_push_request_errors_array", None, pointer, ctypes.c_int16, size, ctypes.POINTER(number)
        )
        self._down = function("rd_kafka_mock_broker_set_down", number, pointer, ctypes.c_int32)
        self._up = function("rd_kafka_mock_broker_set_up", number, pointer, ctypes.c_int32)
        self._slow = function("rd_kafka_mock_broker_set_rtt", number, pointer, ctypes.c_int32, number)

    def do(self, order: Order) -> int:
        """Carry out an order."""
        match order.do:
            case "topic":
                return self._topic(self._cluster, order.topic.encode(), order.partitions, 1)
            case "refuse":
                self._errors(
                    self._cluster, order.api, len(order.codes), (ctypes.c_int * len(order.codes))(*order.codes)
                )
                return 0
            case "down":
                return self._down(self._cluster, order.broker)
            case "up":
                return self._up(self._cluster, order.broker)
            case "slow":
                return self._slow(self._cluster, order.broker, order.delay_ms)
        raise ValueError(order.do)


def main() -> None:
    """Serve until the input ends."""
    cluster = _Cluster(int(sys.argv[1]))

    def say(reply: Reply) -> None:
        sys.stdout.write(msgspec.json.encode(reply).decode() + "\n")
        sys.stdout.flush()

    say(Reply(0, 0, cluster.bootstrap.decode()))
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        say(Reply(order.number, cluster.do(order)))


if __name__ == "__main__":
    main()
